// Frames as tests see them: a strict parser and builders of their own, so that what src/wire and
// src/net write is read by somebody else. Slow and plain on purpose.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/address.hh"
#include "base/time.hh"
#include "wire/ethernet.hh"
#include "wire/tcp.hh"

namespace penstock::support {

using Bytes = std::vector<std::byte>;

inline constexpr std::size_t kEthernetSize = 14;
inline constexpr std::uint16_t kEtherArp = 0x0806;
inline constexpr std::uint16_t kEtherIpv4 = 0x0800;
inline constexpr std::uint16_t kEtherIpv6 = 0x86dd;
inline constexpr std::uint8_t kProtocolIcmp = 1;
inline constexpr std::uint8_t kProtocolTcp = 6;
inline constexpr std::uint8_t kProtocolIcmp6 = 58;

// Ones' complement sum of 16-bit words (RFC 1071), not folded and not complemented.
std::uint64_t sum_words(std::span<const std::byte> bytes, std::uint64_t sum = 0);
// Folded and complemented: what goes into the field; over bytes that hold a right one: 0.
std::uint16_t finish_sum(std::uint64_t sum);
std::uint64_t pseudo_header_sum(const IpAddress& source, const IpAddress& destination,
                                std::uint8_t protocol, std::size_t length);

struct Packet {
  std::span<const std::byte> frame;
  wire::MacAddress source_mac;
  wire::MacAddress destination_mac;
  std::uint16_t ether_type = 0;
  std::uint8_t version = 0;  // 4 or 6; 0: no IP packet
  std::uint8_t protocol = 0;
  std::uint8_t ecn = 0;
  std::uint8_t hop_limit = 0;
  std::uint16_t ip_id = 0;
  bool dont_fragment = true;  // always so of IPv6
  bool ip_checksum_good = true;
  bool transport_checksum_good = false;
  IpAddress source;
  IpAddress destination;
  std::size_t ip_length = 0;  // of the IP packet; the frame may be padded
  std::size_t transport_at = 0;
  std::span<const std::byte> transport;
  // What keeps it from being read further; nullptr: nothing.
  const char* problem = nullptr;

  // Where protocol is TCP and problem is nullptr.
  wire::TcpSegment tcp;
  std::size_t tcp_header_length = 0;
  bool options_malformed = false;

  [[nodiscard]] bool is_tcp() const { return protocol == kProtocolTcp && problem == nullptr; }
  [[nodiscard]] bool checksums_good() const { return ip_checksum_good && transport_checksum_good; }
};

Packet parse_packet(std::span<const std::byte> frame);

// "10.0.0.1:80 > 10.0.0.2:90: S. 123:123(0) ack 7 win 100 <mss 1460>"; SEQ and ACK less the bases.
std::string describe(const Packet& packet, SeqNumber seq_base = {}, SeqNumber ack_base = {});
std::string describe_flags(std::uint8_t flags);
// "1.250000 s".
std::string describe(Instant at);

// --- builders ---

struct Addressing {
  wire::MacAddress source_mac;
  wire::MacAddress destination_mac;
  IpAddress source;
  IpAddress destination;
  std::uint8_t hop_limit = 64;
  std::uint8_t ecn = 0;
};

// Ethernet and IP headers around a transport part whose checksum is already right.
Bytes build_ip(const Addressing& to, std::uint8_t protocol, std::span<const std::byte> transport);
// segment.payload is copied. `options` are raw bytes, padded here with zeros to a multiple of 4.
Bytes build_tcp(const Addressing& to, const wire::TcpSegment& segment,
                std::span<const std::byte> options);
Bytes encode_options(const wire::TcpOptions& options);
// ICMP or ICMPv6 by the family of the addresses; `body` follows the four first bytes.
Bytes build_icmp(const Addressing& to, std::uint8_t type, std::uint8_t code,
                 std::span<const std::byte> body);
// "Packet too big" of either family about `packet` (from the IP header on), quoting `quote` bytes.
Bytes build_too_big(const Addressing& to, std::uint16_t mtu, std::span<const std::byte> packet,
                    std::size_t quote);
// The answer to an ARP request or a neighbour solicitation, if the frame is one for `address`.
bool answer_neighbour(std::span<const std::byte> frame, const IpAddress& address,
                      const wire::MacAddress& mac, Bytes& out);

// --- what a device does ---

// Fills in the checksum of the transport header at `transport_at`: the field at `checksum_at` holds
// the sum over the pseudo-header.
void fill_checksum(std::span<std::byte> frame, std::size_t transport_at, std::size_t checksum_at);
// Cuts a TCP frame into segments of `segment_size`: sequence numbers, IP ids and lengths move on,
// FIN and PSH only on the last, CWR only on the first, checksums are filled in.
std::vector<Bytes> cut_segments(std::span<const std::byte> frame, std::size_t transport_at,
                                std::size_t segment_size);

// Appends the payload of `next` to `into` as a device that merges does: the same flow and headers,
// right behind, no larger than the segments before (`size`, 0 at first), whose last was full. The
// TCP checksum is wrong then. False: it can't.
bool merge_segment(Bytes& into, std::size_t& size, std::span<const std::byte> next);

}  // namespace penstock::support
