// IPv4 headers (RFC 791). Fragments are refused: whoever we talk to is told to find the path's MTU.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/endian.hh"
#include "wire/checksum.hh"
#include "wire/ip.hh"

namespace penstock::wire {

inline constexpr std::size_t kIpv4Size = 20;

namespace detail {

// Whether options (RFC 791 §3.1) hold a source route. At most 40 bytes.
inline bool has_source_route(std::span<const std::byte> options) {
  while (!options.empty()) {
    const auto kind = static_cast<std::uint8_t>(options[0]);
    if (kind == 0) return false;
    std::size_t length = 1;
    if (kind != 1) {
      if (options.size() < 2) return false;
      length = static_cast<std::uint8_t>(options[1]);
      if (length < 2 || length > options.size()) return false;
    }
    if (kind == 131 || kind == 137) return true;
    options = options.subspan(length);
  }
  return false;
}

}  // namespace detail

inline IpError parse_ipv4(std::span<const std::byte> bytes, IpPacket& out) {
  if (bytes.size() < kIpv4Size) return IpError::truncated;
  const std::byte* p = bytes.data();
  const auto first = static_cast<std::uint8_t>(p[0]);
  const std::size_t header = (first & 15) * std::size_t{4};
  if (first >> 4 != 4 || header < kIpv4Size) return IpError::malformed;
  const std::size_t total = load_be16(p + 2);
  if (total < header || total > bytes.size()) return IpError::truncated;
  if (fold(add_bytes(0, p, header)) != 0xffff) return IpError::checksum;
  if ((load_be16(p + 6) & 0x3fff) != 0) return IpError::fragment;
  if (header > kIpv4Size &&
      detail::has_source_route(bytes.subspan(kIpv4Size, header - kIpv4Size))) {
    return IpError::source_route;
  }
  static constexpr std::array<std::uint8_t, 16> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  out.source.bytes = out.destination.bytes = kMapped;
  std::memcpy(out.source.bytes.data() + 12, p + 12, 4);
  std::memcpy(out.destination.bytes.data() + 12, p + 16, 4);
  out.protocol = static_cast<std::uint8_t>(p[9]);
  out.ecn = static_cast<std::uint8_t>(p[1]) & 3;
  out.hop_limit = static_cast<std::uint8_t>(p[8]);
  out.payload = bytes.subspan(header, total - header);
  return IpError::none;
}

// Writes kIpv4Size bytes, DF set. The identification is 0: an atomic datagram's means nothing
// (RFC 6864 §4.1).
inline void write_ipv4(std::byte* out, const IpAddress& source, const IpAddress& destination,
                       std::uint8_t protocol, std::uint8_t ecn, std::uint8_t hop_limit,
                       std::size_t payload_length) {
  out[0] = std::byte{0x45};
  out[1] = std::byte{ecn};
  store_be16(out + 2, static_cast<std::uint16_t>(kIpv4Size + payload_length));
  store_be16(out + 4, 0);
  store_be16(out + 6, 0x4000);
  out[8] = std::byte{hop_limit};
  out[9] = std::byte{protocol};
  store_be16(out + 10, 0);
  std::memcpy(out + 12, source.bytes.data() + 12, 4);
  std::memcpy(out + 16, destination.bytes.data() + 12, 4);
  store_sum(out + 10, complement(fold(add_bytes(0, out, kIpv4Size))));
}

}  // namespace penstock::wire
