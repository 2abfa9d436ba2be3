// An IPv4 or IPv6 transport address as data: no socket type outside drivers/.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "base/result.hh"

namespace penstock {

struct IpAddress {
  // Network order. IPv4 is kept as an IPv4-mapped IPv6 address (::ffff:a.b.c.d).
  std::array<std::uint8_t, 16> bytes{};

  static IpAddress v4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d);
  [[nodiscard]] bool is_v4() const {
    static constexpr std::array<std::uint8_t, 12> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return std::memcmp(bytes.data(), kMapped.data(), kMapped.size()) == 0;
  }
  [[nodiscard]] bool is_unspecified() const;  // 0.0.0.0 or ::
  // "192.0.2.1" or "2001:db8::1" (RFC 5952).
  [[nodiscard]] std::string to_string() const;
  auto operator<=>(const IpAddress&) const = default;
  // Two words: the defaulted one would call memcmp().
  bool operator==(const IpAddress& other) const {
    std::array<std::uint64_t, 2> a, b;
    std::memcpy(a.data(), bytes.data(), sizeof a);
    std::memcpy(b.data(), other.bytes.data(), sizeof b);
    return ((a[0] ^ b[0]) | (a[1] ^ b[1])) == 0;
  }
};

struct Endpoint {
  IpAddress ip;
  std::uint16_t port = 0;

  // "192.0.2.1:6881" or "[2001:db8::1]:6881".
  [[nodiscard]] std::string to_string() const;
  auto operator<=>(const Endpoint&) const = default;
};

// An address alone, either family.
Result<IpAddress> parse_ip(std::string_view text);
// "ADDR:PORT", "[ADDR]:PORT", or ":PORT" for every address (::). Port 0 is refused unless
// zero_port_ok.
Result<Endpoint> parse_endpoint(std::string_view text, bool zero_port_ok = false);

}  // namespace penstock
