// Bytes that tell their place: what a stream carries at a position, for oracles that keep no copy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/random.hh"

namespace penstock::support {

// The eight bytes at 8 * index of the stream `key`.
inline std::uint64_t pattern_word(std::uint64_t key, std::uint64_t index) {
  return Random(key * 0x2545f4914f6cdd1dULL + index).next();
}

inline void fill_pattern(std::uint64_t key, std::uint64_t position, std::span<std::byte> out) {
  for (std::size_t i = 0; i < out.size();) {
    const std::uint64_t at = position + i;
    const std::uint64_t word = pattern_word(key, at / 8);
    const std::size_t skip = at % 8;
    const std::size_t count = out.size() - i < 8 - skip ? out.size() - i : 8 - skip;
    std::memcpy(&out[i], reinterpret_cast<const char*>(&word) + skip, count);
    i += count;
  }
}

// How many bytes agree, from the first on.
inline std::size_t match_pattern(std::uint64_t key, std::uint64_t position,
                                 std::span<const std::byte> bytes) {
  for (std::size_t i = 0; i < bytes.size();) {
    const std::uint64_t at = position + i;
    const std::uint64_t word = pattern_word(key, at / 8);
    const std::size_t skip = at % 8;
    const std::size_t count = bytes.size() - i < 8 - skip ? bytes.size() - i : 8 - skip;
    if (std::memcmp(&bytes[i], reinterpret_cast<const char*>(&word) + skip, count) != 0) {
      while (bytes[i] == reinterpret_cast<const std::byte*>(&word)[(position + i) % 8])
        ++i;
      return i;
    }
    i += count;
  }
  return bytes.size();
}

}  // namespace penstock::support
