// IPv6 headers (RFC 8200). Extension headers are looked through, as far as the bound goes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/endian.hh"
#include "wire/ip.hh"

namespace penstock::wire {

inline constexpr std::size_t kIpv6Size = 40;
// RFC 8200 §4.1 knows seven kinds, each once, but destination options, twice.
inline constexpr std::size_t kIpv6ExtensionsMax = 8;

inline IpError parse_ipv6(std::span<const std::byte> bytes, IpPacket& out) {
  if (bytes.size() < kIpv6Size) return IpError::truncated;
  const std::byte* p = bytes.data();
  if (static_cast<std::uint8_t>(p[0]) >> 4 != 6) return IpError::malformed;
  const std::size_t length = load_be16(p + 4);
  if (length > bytes.size() - kIpv6Size) return IpError::truncated;
  out.ecn = static_cast<std::uint8_t>(p[1]) >> 4 & 3;
  out.hop_limit = static_cast<std::uint8_t>(p[7]);
  std::memcpy(out.source.bytes.data(), p + 8, 16);
  std::memcpy(out.destination.bytes.data(), p + 24, 16);
  std::uint8_t next = static_cast<std::uint8_t>(p[6]);
  std::span<const std::byte> rest = bytes.subspan(kIpv6Size, length);
  for (std::size_t i = 0;; ++i) {
    const bool known = next == IpProtocol::hop_by_hop || next == IpProtocol::routing ||
                       next == IpProtocol::fragment || next == IpProtocol::destination_options;
    if (!known) break;
    if (i == kIpv6ExtensionsMax) return IpError::extensions;
    if (rest.size() < 8) return IpError::truncated;
    // RFC 8200 §4.1: hop-by-hop options stand first or nowhere.
    if (next == IpProtocol::hop_by_hop && i != 0) return IpError::malformed;
    std::size_t size = 8;
    if (next == IpProtocol::fragment) {
      // Offset 0 and no more to come: an atomic fragment is a packet (RFC 6946 §4).
      if ((load_be16(rest.data() + 2) & 0xfff9) != 0) return IpError::fragment;
    } else {
      size += static_cast<std::uint8_t>(rest[1]) * std::size_t{8};
      if (size > rest.size()) return IpError::truncated;
      // Segments left: we forward nothing (RFC 8200 §4.4, RFC 5095).
      if (next == IpProtocol::routing && rest[3] != std::byte{0}) return IpError::source_route;
    }
    next = static_cast<std::uint8_t>(rest[0]);
    rest = rest.subspan(size);
  }
  out.protocol = next;
  out.payload = rest;
  return IpError::none;
}

// Writes kIpv6Size bytes.
inline void write_ipv6(std::byte* out, const IpAddress& source, const IpAddress& destination,
                       std::uint8_t protocol, std::uint8_t ecn, std::uint8_t hop_limit,
                       std::size_t payload_length) {
  store_be32(out, 0x60000000U | std::uint32_t{ecn} << 20);
  store_be16(out + 4, static_cast<std::uint16_t>(payload_length));
  out[6] = std::byte{protocol};
  out[7] = std::byte{hop_limit};
  std::memcpy(out + 8, source.bytes.data(), 16);
  std::memcpy(out + 24, destination.bytes.data(), 16);
}

}  // namespace penstock::wire
