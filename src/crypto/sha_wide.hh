// Sixteen messages at once on one core: one per 32-bit lane of AVX-512 vectors.
//
// Why: the SHA instructions (sha_lanes.hh) do one message per instruction and their unit is soon
// full; plain arithmetic on whole vectors does several times as many bytes. All lanes go at the
// pace of one, so a few messages alone are not worth it. Measured: README.md.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace penstock::sha_wide {

inline constexpr std::size_t kLanes = 16;

// A hash value of each lane, word by word: [word][lane], native integers.
template <std::size_t kWords>
struct alignas(64) States {
  std::array<std::array<std::uint32_t, kLanes>, kWords> words;
};
using Streams = std::array<const std::byte*, kLanes>;

// Whether this CPU and its kernel can run what is below. Constant for the life of the process.
bool available();

// Compresses `blocks` 64-byte blocks of each stream into its state. Only if available(). Streams
// may be the same.
void sha1(States<5>& states, Streams at, std::size_t blocks);
void sha256(States<8>& states, Streams at, std::size_t blocks);

}  // namespace penstock::sha_wide
