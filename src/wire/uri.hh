// The little of RFC 3986 that magnet links and announce URLs need.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace penstock {

// Escapes all but unreserved characters (RFC 3986 §2.3).
void append_percent_encoded(std::string& out, std::string_view text);
void append_percent_encoded(std::string& out, std::span<const std::byte> bytes);

// Undoes %XX, and '+' for a blank. A '%' that no two hexadecimal digits follow stays as it is.
[[nodiscard]] std::string percent_decode(std::string_view text);

// Value of a hexadecimal digit; nullopt if it is none.
[[nodiscard]] std::optional<unsigned> hex_digit(char c);

// Exactly out.size() bytes of hexadecimal.
[[nodiscard]] bool decode_hex(std::string_view text, std::span<std::byte> out);

// 32 characters of base32 (RFC 4648, either case): 20 bytes.
[[nodiscard]] bool decode_base32(std::string_view text, std::span<std::byte, 20> out);

}  // namespace penstock
