// Address resolution for IPv4 over Ethernet (RFC 826).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/address.hh"
#include "base/endian.hh"
#include "wire/ethernet.hh"

namespace penstock::wire {

inline constexpr std::size_t kArpSize = 28;

struct ArpPacket {
  bool request = false;  // else a reply
  MacAddress sender_mac;
  IpAddress sender;
  MacAddress target_mac;  // zero in a request
  IpAddress target;
};

// False: too short, not IPv4 over Ethernet, neither request nor reply.
inline bool parse_arp(std::span<const std::byte> packet, ArpPacket& out) {
  static constexpr std::uint8_t kIpv4OverEthernet[6] = {0, 1, 0x08, 0x00, 6, 4};
  if (packet.size() < kArpSize) return false;
  const std::byte* p = packet.data();
  if (std::memcmp(p, kIpv4OverEthernet, sizeof kIpv4OverEthernet) != 0) return false;
  const std::uint16_t operation = load_be16(p + 6);
  if (operation != 1 && operation != 2) return false;
  out.request = operation == 1;
  out.sender = out.target = IpAddress::v4(0, 0, 0, 0);
  std::memcpy(out.sender_mac.bytes.data(), p + 8, 6);
  std::memcpy(out.sender.bytes.data() + 12, p + 14, 4);
  std::memcpy(out.target_mac.bytes.data(), p + 18, 6);
  std::memcpy(out.target.bytes.data() + 12, p + 24, 4);
  return true;
}

// Writes kArpSize bytes.
inline void write_arp(std::byte* out, const ArpPacket& packet) {
  store_be16(out, 1);
  store_be16(out + 2, EtherType::ipv4);
  out[4] = std::byte{6};
  out[5] = std::byte{4};
  store_be16(out + 6, packet.request ? 1 : 2);
  std::memcpy(out + 8, packet.sender_mac.bytes.data(), 6);
  std::memcpy(out + 14, packet.sender.bytes.data() + 12, 4);
  std::memcpy(out + 18, packet.target_mac.bytes.data(), 6);
  std::memcpy(out + 24, packet.target.bytes.data() + 12, 4);
}

}  // namespace penstock::wire
