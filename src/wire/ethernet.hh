// Ethernet II frames (IEEE 802.3), with an 802.1Q tag or without.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/endian.hh"

namespace penstock::wire {

inline constexpr std::size_t kEthernetSize = 14;
inline constexpr std::size_t kVlanTagSize = 4;

struct MacAddress {
  std::array<std::uint8_t, 6> bytes{};

  bool operator==(const MacAddress&) const = default;
  static constexpr MacAddress broadcast() { return {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}; }
  // Multicast or broadcast (IEEE 802, the group bit).
  [[nodiscard]] constexpr bool is_group() const { return (bytes[0] & 1) != 0; }
  [[nodiscard]] constexpr bool is_zero() const { return *this == MacAddress{}; }
  // With another last bit, marked as administered locally: for us at the other end of a cable of
  // which only the kernel's end has an address.
  [[nodiscard]] constexpr MacAddress beside() const {
    MacAddress other = *this;
    other.bytes[0] = static_cast<std::uint8_t>((bytes[0] | 0x02) & ~0x01);
    other.bytes[5] ^= 0x01;
    return other;
  }
};

struct EtherType {
  static constexpr std::uint16_t ipv4 = 0x0800, arp = 0x0806, vlan = 0x8100, ipv6 = 0x86dd;
};

struct EthernetHeader {
  MacAddress destination;
  MacAddress source;
  std::uint16_t type = 0;
  std::uint16_t vlan = 0;        // id of the tag; 0: none, or one that has only a priority
  std::uint8_t header_size = 0;  // 14 or 18
};

// False: too short. A second tag is left as the type.
inline bool parse_ethernet(std::span<const std::byte> frame, EthernetHeader& out) {
  if (frame.size() < kEthernetSize) return false;
  std::memcpy(out.destination.bytes.data(), frame.data(), 6);
  std::memcpy(out.source.bytes.data(), frame.data() + 6, 6);
  out.type = load_be16(frame.data() + 12);
  out.vlan = 0;
  out.header_size = kEthernetSize;
  if (out.type != EtherType::vlan) return true;
  if (frame.size() < kEthernetSize + kVlanTagSize) return false;
  out.vlan = load_be16(frame.data() + 14) & 0xfff;
  out.type = load_be16(frame.data() + 16);
  out.header_size = kEthernetSize + kVlanTagSize;
  return true;
}

// Writes 14 bytes, or 18 with vlan != 0; returns how many.
inline std::size_t write_ethernet(std::byte* out, const MacAddress& destination,
                                  const MacAddress& source, std::uint16_t type,
                                  std::uint16_t vlan = 0) {
  std::memcpy(out, destination.bytes.data(), 6);
  std::memcpy(out + 6, source.bytes.data(), 6);
  if (vlan == 0) {
    store_be16(out + 12, type);
    return kEthernetSize;
  }
  store_be16(out + 12, EtherType::vlan);
  store_be16(out + 14, vlan);
  store_be16(out + 16, type);
  return kEthernetSize + kVlanTagSize;
}

}  // namespace penstock::wire
