// Neighbour discovery (RFC 4861 §4.3, §4.4): solicitations and advertisements, Ethernet addresses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/address.hh"
#include "base/endian.hh"
#include "wire/ethernet.hh"
#include "wire/icmp.hh"

namespace penstock::wire {

struct NeighbourMessage {
  bool solicitation = false;  // else an advertisement
  IpAddress target;
  bool has_link_address = false;
  MacAddress link_address;  // of the source (solicitation) or of the target (advertisement)
  // Flags of an advertisement.
  bool router = false;
  bool solicited = false;
  bool overrides = false;
};

// With the option.
inline constexpr std::size_t kNeighbourMessageSize = kIcmpSize + 16 + 8;
// Options looked at; a message has one or two.
inline constexpr std::size_t kNdpOptionsMax = 8;

// Of an IcmpMessage of type 135 or 136. False: too short, an option of length 0, a target that is a
// multicast address (RFC 4861 §7.1).
inline bool parse_neighbour(const IcmpMessage& message, NeighbourMessage& out) {
  if (message.body.size() < 16 || message.code != 0) return false;
  out.solicitation = message.type == Icmp6Type::neighbour_solicitation;
  out.router = (message.rest & 0x80000000U) != 0;
  out.solicited = (message.rest & 0x40000000U) != 0;
  out.overrides = (message.rest & 0x20000000U) != 0;
  std::memcpy(out.target.bytes.data(), message.body.data(), 16);
  if (out.target.bytes[0] == 0xff) return false;
  out.has_link_address = false;
  const std::uint8_t wanted = out.solicitation ? 1 : 2;
  std::span<const std::byte> options = message.body.subspan(16);
  for (std::size_t i = 0; i < kNdpOptionsMax && !options.empty(); ++i) {
    if (options.size() < 8) return false;
    const std::size_t size = static_cast<std::uint8_t>(options[1]) * std::size_t{8};
    if (size == 0 || size > options.size()) return false;
    if (static_cast<std::uint8_t>(options[0]) == wanted && size == 8) {
      out.has_link_address = true;
      std::memcpy(out.link_address.bytes.data(), options.data() + 2, 6);
    }
    options = options.subspan(size);
  }
  return true;
}

// Writes kNeighbourMessageSize bytes, with the link address; the checksum zero.
inline void write_neighbour(std::byte* out, const NeighbourMessage& message) {
  const std::uint32_t flags = (message.router ? 0x80000000U : 0) |
                              (message.solicited ? 0x40000000U : 0) |
                              (message.overrides ? 0x20000000U : 0);
  write_icmp(
      out,
      message.solicitation ? Icmp6Type::neighbour_solicitation : Icmp6Type::neighbour_advertisement,
      0, flags);
  std::memcpy(out + 8, message.target.bytes.data(), 16);
  out[24] = std::byte{message.solicitation ? std::uint8_t{1} : std::uint8_t{2}};
  out[25] = std::byte{1};
  std::memcpy(out + 26, message.link_address.bytes.data(), 6);
}

// ff02::1:ff and the last three bytes (RFC 4291 §2.7.1).
inline IpAddress solicited_node(const IpAddress& address) {
  IpAddress out;
  out.bytes = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff};
  std::memcpy(out.bytes.data() + 13, address.bytes.data() + 13, 3);
  return out;
}
inline IpAddress all_nodes() {
  IpAddress out;
  out.bytes = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  return out;
}
// 33:33 and the last four bytes (RFC 2464 §7).
inline MacAddress multicast_mac(const IpAddress& group) {
  return {{0x33, 0x33, group.bytes[12], group.bytes[13], group.bytes[14], group.bytes[15]}};
}

}  // namespace penstock::wire
