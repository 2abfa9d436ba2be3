// ICMP (RFC 792, 1191) and ICMPv6 (RFC 4443): the messages that concern a TCP host, and what they
// quote of the packet that they are about.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/endian.hh"
#include "base/seq_number.hh"
#include "wire/ip.hh"

namespace penstock::wire {

inline constexpr std::size_t kIcmpSize = 8;

struct IcmpType {
  static constexpr std::uint8_t echo_reply = 0, unreachable = 3, echo_request = 8,
                                time_exceeded = 11, parameter_problem = 12;
};
struct IcmpCode {
  static constexpr std::uint8_t net = 0, host = 1, protocol = 2, port = 3, fragmentation_needed = 4;
};
struct Icmp6Type {
  static constexpr std::uint8_t unreachable = 1, packet_too_big = 2, time_exceeded = 3,
                                parameter_problem = 4, echo_request = 128, echo_reply = 129,
                                router_solicitation = 133, router_advertisement = 134,
                                neighbour_solicitation = 135, neighbour_advertisement = 136;
};
struct Icmp6Code {
  static constexpr std::uint8_t no_route = 0, prohibited = 1, address = 3, port = 4;
};

struct IcmpMessage {
  std::uint8_t type = 0;
  std::uint8_t code = 0;
  std::uint32_t rest = 0;           // the second word: identifier and sequence, or an MTU
  std::span<const std::byte> body;  // behind it
};

// False: too short. The checksum is the caller's to verify (it differs between the two).
inline bool parse_icmp(std::span<const std::byte> bytes, IcmpMessage& out) {
  if (bytes.size() < kIcmpSize) return false;
  out.type = static_cast<std::uint8_t>(bytes[0]);
  out.code = static_cast<std::uint8_t>(bytes[1]);
  out.rest = load_be32(bytes.data() + 4);
  out.body = bytes.subspan(kIcmpSize);
  return true;
}

// Writes kIcmpSize bytes, the checksum zero.
inline void write_icmp(std::byte* out, std::uint8_t type, std::uint8_t code, std::uint32_t rest) {
  out[0] = std::byte{type};
  out[1] = std::byte{code};
  store_be16(out + 2, 0);
  store_be32(out + 4, rest);
}

// The head of a packet that we sent, as an error quotes it (RFC 1122 §3.2.2: at least 8 bytes
// behind the IP header).
struct QuotedPacket {
  IpAddress source;
  IpAddress destination;
  std::uint8_t protocol = 0;
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  SeqNumber seq;  // of TCP
};

namespace detail {

inline bool parse_quoted_transport(std::span<const std::byte> transport, QuotedPacket& out) {
  if (transport.size() < 8) return false;
  out.source_port = load_be16(transport.data());
  out.destination_port = load_be16(transport.data() + 2);
  out.seq = SeqNumber(load_be32(transport.data() + 4));
  return true;
}

}  // namespace detail

// Lengths and checksums in a quotation are not verified: it is cut, and routers have changed it.
// False: too short to tell, or no first fragment.
inline bool parse_quoted_ipv4(std::span<const std::byte> bytes, QuotedPacket& out) {
  if (bytes.size() < 20) return false;
  const std::byte* p = bytes.data();
  const auto first = static_cast<std::uint8_t>(p[0]);
  const std::size_t header = (first & 15) * std::size_t{4};
  if (first >> 4 != 4 || header < 20 || header > bytes.size()) return false;
  if ((load_be16(p + 6) & 0x1fff) != 0) return false;
  const auto at = [p](std::size_t i) { return static_cast<std::uint8_t>(p[i]); };
  out.source = IpAddress::v4(at(12), at(13), at(14), at(15));
  out.destination = IpAddress::v4(at(16), at(17), at(18), at(19));
  out.protocol = at(9);
  return detail::parse_quoted_transport(bytes.subspan(header), out);
}

// Ours have no extension headers, so none are looked through.
inline bool parse_quoted_ipv6(std::span<const std::byte> bytes, QuotedPacket& out) {
  if (bytes.size() < 40 || static_cast<std::uint8_t>(bytes[0]) >> 4 != 6) return false;
  std::memcpy(out.source.bytes.data(), bytes.data() + 8, 16);
  std::memcpy(out.destination.bytes.data(), bytes.data() + 24, 16);
  out.protocol = static_cast<std::uint8_t>(bytes[6]);
  return detail::parse_quoted_transport(bytes.subspan(40), out);
}

}  // namespace penstock::wire
