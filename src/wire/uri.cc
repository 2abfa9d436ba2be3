#include "wire/uri.hh"

#include <cstdint>

namespace penstock {
namespace {

bool is_unreserved(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.' || c == '_' || c == '~';
}

std::optional<unsigned> base32_digit(char c) {
  if (c >= 'a' && c <= 'z') return static_cast<unsigned>(c - 'a');
  if (c >= 'A' && c <= 'Z') return static_cast<unsigned>(c - 'A');
  if (c >= '2' && c <= '7') return static_cast<unsigned>(c - '2') + 26;
  return std::nullopt;
}

}  // namespace

std::optional<unsigned> hex_digit(char c) {
  if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a') + 10;
  if (c >= 'A' && c <= 'F') return static_cast<unsigned>(c - 'A') + 10;
  return std::nullopt;
}

void append_percent_encoded(std::string& out, std::string_view text) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  for (const char c : text) {
    if (is_unreserved(c)) {
      out.push_back(c);
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    out.push_back('%');
    out.push_back(kDigits[byte >> 4]);
    out.push_back(kDigits[byte & 15]);
  }
}

void append_percent_encoded(std::string& out, std::span<const std::byte> bytes) {
  append_percent_encoded(
      out, std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

std::string percent_decode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+') {
      out.push_back(' ');
      continue;
    }
    if (text[i] == '%' && i + 2 < text.size()) {
      const auto high = hex_digit(text[i + 1]);
      const auto low = hex_digit(text[i + 2]);
      if (high && low) {
        out.push_back(static_cast<char>(*high * 16 + *low));
        i += 2;
        continue;
      }
    }
    out.push_back(text[i]);
  }
  return out;
}

bool decode_hex(std::string_view text, std::span<std::byte> out) {
  if (text.size() != 2 * out.size()) return false;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const auto high = hex_digit(text[2 * i]);
    const auto low = hex_digit(text[2 * i + 1]);
    if (!high || !low) return false;
    out[i] = static_cast<std::byte>(*high * 16 + *low);
  }
  return true;
}

bool decode_base32(std::string_view text, std::span<std::byte, 20> out) {
  if (text.size() != 32) return false;
  std::uint64_t bits = 0;
  unsigned count = 0;
  std::size_t used = 0;
  for (const char c : text) {
    const auto digit = base32_digit(c);
    if (!digit) return false;
    bits = (bits << 5) | *digit;
    count += 5;
    if (count < 8) continue;
    count -= 8;
    out[used++] = static_cast<std::byte>(bits >> count);
  }
  return used == out.size();
}

}  // namespace penstock
