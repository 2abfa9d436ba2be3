// Builds frames by hand, as a second opinion on what ought to be on a wire.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/address.hh"
#include "wire/ethernet.hh"

namespace penstock::support {

using Bytes = std::vector<std::byte>;

inline constexpr std::uint8_t kProtoIcmp = 1, kProtoTcp = 6, kProtoUdp = 17, kProtoIcmp6 = 58;

struct Hosts {
  wire::MacAddress our_mac, their_mac;
  IpAddress us, them;  // of one family
};

// Ethernet and IP headers in front of `transport`; lengths and IPv4's own checksum are right.
Bytes ip_frame(const Hosts& hosts, std::uint8_t protocol, std::span<const std::byte> transport);
// Where the transport part of ip_frame begins.
std::size_t transport_at(const Hosts& hosts);
// Fills in the checksum at `at` of the transport part: complete, or the pseudo-header's sum alone
// as for offload.
void fill_checksum(Bytes& frame, const Hosts& hosts, std::size_t at, bool partial);

Bytes arp_request(const Hosts& hosts);

struct RawTcp {
  std::uint16_t source = 0, destination = 0;
  std::uint32_t sequence = 0, acknowledgement = 0;
  std::uint8_t flags = 0;
  std::uint16_t window = 65535;
};
Bytes tcp_segment(const RawTcp& tcp, std::span<const std::byte> payload);
Bytes udp_datagram(std::uint16_t source, std::uint16_t destination,
                   std::span<const std::byte> payload);
// Echo request, type 8 or 128.
Bytes echo_request(std::uint8_t type, std::uint16_t id, std::uint16_t sequence,
                   std::span<const std::byte> payload);

}  // namespace penstock::support
