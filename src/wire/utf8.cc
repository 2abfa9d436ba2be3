#include "wire/utf8.hh"

#include <algorithm>

namespace penstock {
namespace {

// By the first byte; 0 when it can't begin a sequence. 5 is no UTF-8 any more, but is skipped
// whole.
std::uint32_t announced_length(unsigned char b) {
  if (b < 0x80) return 1;
  if ((b >> 5) == 0b110) return 2;
  if ((b >> 4) == 0b1110) return 3;
  if ((b >> 3) == 0b11110) return 4;
  if ((b >> 2) == 0b111110) return 5;
  return 0;
}

}  // namespace

CodePoint decode_utf8(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  const std::uint32_t length = announced_length(first);
  if (length == 1) return {first, 1};
  if (length == 0) return {kInvalidCodePoint, 1};
  const CodePoint invalid{kInvalidCodePoint,
                          std::min(length, static_cast<std::uint32_t>(text.size()))};
  if (length > 4 || length > text.size()) return invalid;
  std::int32_t value = first & (0xff >> (length + 1));
  for (std::uint32_t i = 1; i < length; ++i) {
    const auto b = static_cast<unsigned char>(text[i]);
    if ((b & 0xc0) != 0x80) return invalid;
    value = (value << 6) | (b & 0x3f);
  }
  static constexpr std::int32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = value >= 0xd800 && value <= 0xdfff;
  if (value < kLeast[length] || value > 0x10ffff || surrogate) return invalid;
  return {value, length};
}

std::string mend_utf8(std::string_view text) {
  std::string mended;
  mended.reserve(text.size());
  while (!text.empty()) {
    const CodePoint point = decode_utf8(text);
    if (point.value == kInvalidCodePoint) {
      mended.push_back('_');
    } else {
      mended.append(text.substr(0, point.length));
    }
    text.remove_prefix(point.length);
  }
  return mended;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const CodePoint point = decode_utf8(text);
    if (point.value == kInvalidCodePoint) return false;
    text.remove_prefix(point.length);
  }
  return true;
}

}  // namespace penstock
