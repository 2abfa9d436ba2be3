#include "base/address.hh"

#include <charconv>
#include <cstdio>
#include <optional>

namespace penstock {
namespace {

std::optional<std::array<std::uint8_t, 4>> read_v4(std::string_view text) {
  std::array<std::uint8_t, 4> out{};
  for (std::size_t i = 0; i < 4; ++i) {
    const std::size_t dot = i < 3 ? text.find('.') : text.size();
    if (dot == std::string_view::npos || dot == 0 || dot > 3) return std::nullopt;
    if (dot > 1 && text[0] == '0') return std::nullopt;  // "010" is octal to some, ten to others
    unsigned value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + dot, value);
    if (error != std::errc{} || end != text.data() + dot || value > 255) return std::nullopt;
    out[i] = static_cast<std::uint8_t>(value);
    text.remove_prefix(i < 3 ? dot + 1 : dot);
  }
  return text.empty() ? std::optional(out) : std::nullopt;
}

// One side of a "::": colon-separated groups, the last of which may be dotted IPv4.
std::optional<std::size_t> read_groups(std::string_view text, std::uint8_t* out, std::size_t room) {
  std::size_t used = 0;
  if (text.empty()) return used;
  for (;;) {
    const std::size_t colon = text.find(':');
    const std::string_view group = text.substr(0, colon);
    if (colon == std::string_view::npos && group.find('.') != std::string_view::npos) {
      const auto v4 = read_v4(group);
      if (!v4 || used + 4 > room) return std::nullopt;
      for (const std::uint8_t byte : *v4)
        out[used++] = byte;
      return used;
    }
    unsigned value = 0;
    const auto [end, error] = std::from_chars(group.data(), group.data() + group.size(), value, 16);
    if (group.empty() || group.size() > 4 || error != std::errc{} ||
        end != group.data() + group.size() || used + 2 > room) {
      return std::nullopt;
    }
    out[used++] = static_cast<std::uint8_t>(value >> 8);
    out[used++] = static_cast<std::uint8_t>(value & 255);
    if (colon == std::string_view::npos) return used;
    text.remove_prefix(colon + 1);
  }
}

std::optional<IpAddress> read_v6(std::string_view text) {
  IpAddress ip;
  const std::size_t gap = text.find("::");
  if (gap == std::string_view::npos) {
    const auto used = read_groups(text, ip.bytes.data(), 16);
    return used == 16u ? std::optional(ip) : std::nullopt;
  }
  std::array<std::uint8_t, 16> tail{};
  const auto head_used = read_groups(text.substr(0, gap), ip.bytes.data(), 14);
  const auto tail_used = read_groups(text.substr(gap + 2), tail.data(), 14);
  if (!head_used || !tail_used || *head_used + *tail_used > 14) return std::nullopt;
  for (std::size_t i = 0; i < *tail_used; ++i)
    ip.bytes[16 - *tail_used + i] = tail[i];
  return ip;
}

}  // namespace

IpAddress IpAddress::v4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d) {
  return {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d}};
}

bool IpAddress::is_unspecified() const {
  return *this == IpAddress{} || *this == IpAddress::v4(0, 0, 0, 0);
}

std::string IpAddress::to_string() const {
  char text[64];
  if (is_v4()) {
    std::snprintf(text, sizeof text, "%u.%u.%u.%u", bytes[12], bytes[13], bytes[14], bytes[15]);
    return text;
  }
  std::array<unsigned, 8> groups{};
  for (std::size_t i = 0; i < 8; ++i)
    groups[i] = bytes[2 * i] * 256u + bytes[2 * i + 1];
  // RFC 5952 §4.2: the longest run of at least two zero groups, the first of equals, becomes "::".
  std::size_t best = 8;
  std::size_t best_length = 1;
  for (std::size_t i = 0; i < 8; ++i) {
    std::size_t length = 0;
    while (i + length < 8 && groups[i + length] == 0)
      ++length;
    if (length > best_length) {
      best = i;
      best_length = length;
    }
  }
  std::string out;
  for (std::size_t i = 0; i < 8; ++i) {
    if (i == best) {
      out += "::";
      i += best_length - 1;
      continue;
    }
    if (!out.empty() && out.back() != ':') out += ':';
    std::snprintf(text, sizeof text, "%x", groups[i]);
    out += text;
  }
  return out;
}

std::string Endpoint::to_string() const {
  const std::string port_text = ":" + std::to_string(port);
  return ip.is_v4() ? ip.to_string() + port_text : "[" + ip.to_string() + "]" + port_text;
}

Result<IpAddress> parse_ip(std::string_view text) {
  if (const auto v4 = read_v4(text)) {
    return IpAddress::v4((*v4)[0], (*v4)[1], (*v4)[2], (*v4)[3]);
  }
  if (const auto v6 = read_v6(text)) return *v6;
  return fail("\"" + std::string(text) + "\" is not an IPv4 or IPv6 address", ErrorKind::usage);
}

Result<Endpoint> parse_endpoint(std::string_view text, bool zero_port_ok) {
  const std::size_t colon = text.rfind(':');
  unsigned port = 0;
  const std::string_view digits =
      colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (digits.empty() || error != std::errc{} || end != digits.data() + digits.size() ||
      port > 65535 || (port == 0 && !zero_port_ok)) {
    return fail("\"" + std::string(text) +
                    "\" is not ADDRESS:PORT (for instance 0.0.0.0:6881 or [::]:6881)",
                ErrorKind::usage);
  }
  std::string_view host = text.substr(0, colon);
  Endpoint endpoint;
  endpoint.port = static_cast<std::uint16_t>(port);
  if (host.empty() || host == "*") return endpoint;
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return fail("\"" + std::string(text) + "\": write an IPv6 address in brackets, [" +
                    std::string(host) + "]:PORT",
                ErrorKind::usage);
  }
  auto ip = parse_ip(host);
  if (!ip) return tl::unexpected(std::move(ip).error());
  endpoint.ip = *ip;
  return endpoint;
}

}  // namespace penstock
