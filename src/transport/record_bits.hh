// Runs of bits in the words of a record page.
#pragma once

#include <bit>
#include <cstdint>

#include "transport/record_pool.hh"

namespace penstock::transport {

// Bits [begin, end), end <= 64.
constexpr std::uint64_t bit_range(std::uint32_t begin, std::uint32_t end) {
  if (begin >= end) return 0;
  return (~std::uint64_t{0} >> (64 - (end - begin))) << begin;
}
// Of a word that isn't 0.
constexpr std::uint32_t lowest_bit(std::uint64_t word) {
  return static_cast<std::uint32_t>(std::countr_zero(word));
}
constexpr std::uint32_t highest_bit(std::uint64_t word) {
  return 63u - static_cast<std::uint32_t>(std::countl_zero(word));
}
// Where the run that begins at bit `from` ends.
constexpr std::uint32_t run_end(std::uint64_t word, std::uint32_t from) {
  return from + static_cast<std::uint32_t>(std::countr_one(word >> from));
}

// Bytes of the records in `mask`.
inline std::uint32_t bytes_of(const RecordPool::Page& page, std::uint64_t mask) {
  std::uint32_t sum = 0;
  while (mask != 0) {
    const std::uint32_t begin = lowest_bit(mask);
    const std::uint32_t end = run_end(mask, begin);
    sum += page.seq[end] - page.seq[begin];
    mask &= ~bit_range(begin, end);
  }
  return sum;
}

}  // namespace penstock::transport
