#include "wire/checksum.hh"

#include <array>

namespace penstock::wire::detail {
namespace {

// In vectors of so many bytes. 32-bit halves in 64-bit lanes can't overflow.
template <std::size_t Width>
[[gnu::always_inline]] inline std::uint64_t sum_in_vectors(const std::byte* p, std::size_t length) {
  using Lanes [[gnu::vector_size(Width)]] = std::uint64_t;
  Lanes low{};
  Lanes high{};
  for (const std::byte* const end = p + length; p != end; p += 64) {
    for (std::size_t at = 0; at < 64; at += Width) {
      Lanes v;
      std::memcpy(&v, p + at, Width);
      low += v & 0xffffffff;
      high += v >> 32;
    }
  }
  low += high;
  std::array<std::uint64_t, Width / sizeof(std::uint64_t)> lanes;
  std::memcpy(lanes.data(), &low, Width);
  std::uint64_t sum = 0;
  for (const std::uint64_t lane : lanes)
    sum += lane;
  return sum;
}

#if defined(__x86_64__)
[[gnu::target("avx2")]] std::uint64_t sum_with_avx2(const std::byte* p, std::size_t length) {
  return sum_in_vectors<32>(p, length);
}
const bool kHasAvx2 = __builtin_cpu_supports("avx2") != 0;
#endif

}  // namespace

std::uint64_t sum_blocks(const std::byte* p, std::size_t length) {
#if defined(__x86_64__)
  if (kHasAvx2) return sum_with_avx2(p, length);
#endif
  return sum_in_vectors<16>(p, length);
}

}  // namespace penstock::wire::detail
