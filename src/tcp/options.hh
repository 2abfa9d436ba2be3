// Arithmetic of TCP options (RFC 7323, RFC 2018); wire/tcp.hh reads and writes them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/time.hh"

namespace penstock::tcp {

// The clock of timestamps ticks every millisecond (RFC 7323 §5.4: 1 ms … 1 s).
constexpr std::uint32_t timestamp_clock(Instant now) {
  return static_cast<std::uint32_t>(now.ns / 1'000'000);
}
inline constexpr std::uint8_t kTimestampBytes = 12;
// The largest shift (RFC 7323 §2.3).
inline constexpr std::uint8_t kWindowShiftMost = 14;
// The least shift with which `window` can be told.
constexpr std::uint8_t window_shift_for(std::uint32_t window) {
  std::uint8_t shift = 0;
  while (shift < kWindowShiftMost && (window >> shift) > 0xffff)
    ++shift;
  return shift;
}

// Length that the options of a segment that isn't a SYN will have.
constexpr std::uint8_t options_length(bool timestamps, std::size_t sacks) {
  return static_cast<std::uint8_t>((timestamps ? kTimestampBytes : 0) +
                                   (sacks == 0 ? 0 : 4 + 8 * sacks));
}
// Blocks that fit beside timestamps.
constexpr std::size_t sacks_most(bool timestamps) {
  return timestamps ? 3 : 4;
}

}  // namespace penstock::tcp
