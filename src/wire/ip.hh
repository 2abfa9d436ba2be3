// What IPv4 and IPv6 have in common: an address, a protocol, a payload.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/address.hh"

namespace penstock::wire {

struct IpProtocol {
  static constexpr std::uint8_t hop_by_hop = 0, icmp = 1, tcp = 6, udp = 17, routing = 43,
                                fragment = 44, icmpv6 = 58, none = 59, destination_options = 60;
};

// ECN codepoints (RFC 3168 §5).
struct Ecn {
  static constexpr std::uint8_t not_ect = 0, ect1 = 1, ect0 = 2, ce = 3;
};

struct IpPacket {
  IpAddress source;
  IpAddress destination;
  std::uint8_t protocol = 0;
  std::uint8_t ecn = 0;
  std::uint8_t hop_limit = 0;
  std::span<const std::byte> payload;  // without what pads the frame
};

enum class IpError : std::uint8_t {
  none,
  truncated,     // shorter than its headers say
  malformed,     // version, header length
  checksum,      // of the IPv4 header
  fragment,      // we set DF and reassemble nothing
  source_route,  // RFC 7126 §4.3, RFC 5095
  extensions,    // more IPv6 extension headers than we look through
};

}  // namespace penstock::wire
