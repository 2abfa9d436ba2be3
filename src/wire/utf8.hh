// UTF-8 (RFC 3629) as it comes from torrents: often wrong, never fatal.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace penstock {

inline constexpr std::int32_t kInvalidCodePoint = -1;

struct CodePoint {
  std::int32_t value = kInvalidCodePoint;  // kInvalidCodePoint: not UTF-8
  std::uint32_t length = 0;                // bytes to skip; at least 1, at most what is there
};

// Decodes the first code point of non-empty text. Refuses overlong forms, surrogates and what lies
// beyond U+10FFFF. An invalid sequence is skipped whole, by the length its first byte announces (as
// libtorrent does, so that both name the same file in the same way).
[[nodiscard]] CodePoint decode_utf8(std::string_view text);

// The text with each invalid sequence replaced by '_'.
[[nodiscard]] std::string mend_utf8(std::string_view text);

[[nodiscard]] bool is_utf8(std::string_view text);

}  // namespace penstock
