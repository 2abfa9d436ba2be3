// The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//
// Sums are over 16-bit words *as they lie in memory*: one's-complement addition doesn't care for
// the order of bytes as long as it is the same everywhere (RFC 1071 §2 B). So a result is stored
// with store_sum(), never through an endian conversion, and a constant goes in through word().
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/address.hh"
#include "base/endian.hh"

namespace penstock::wire {

// A number of the header, as the word of memory that it is on the wire.
constexpr std::uint16_t word(std::uint16_t host_order) {
  return __builtin_bswap16(host_order);
}
inline std::uint16_t load_sum(const void* p) {
  std::uint16_t v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void store_sum(void* p, std::uint16_t sum) {
  std::memcpy(p, &sum, sizeof sum);
}

// To 16 bits, not complemented. Zero only for a sum of zero.
constexpr std::uint16_t fold(std::uint64_t sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}

namespace detail {

// A multiple of 64 bytes, at most 2^32 of them. With AVX2 where the processor has it.
std::uint64_t sum_blocks(const std::byte* p, std::size_t length);

}  // namespace detail

// The sum of the bytes added to `sum`. What is added first must have an even length. An odd byte at
// the end counts as if a zero followed.
inline std::uint64_t add_bytes(std::uint64_t sum, const void* data, std::size_t length) {
  const auto* p = static_cast<const std::byte*>(data);
  if (length >= 64) {
    const std::size_t blocks = length & ~std::size_t{63};
    sum += detail::sum_blocks(p, blocks);
    p += blocks;
    length -= blocks;
  }
  while (length >= 8) {
    std::uint64_t v;
    std::memcpy(&v, p, sizeof v);
    sum += (v & 0xffffffff) + (v >> 32);
    p += 8;
    length -= 8;
  }
  if (length >= 4) {
    std::uint32_t v;
    std::memcpy(&v, p, sizeof v);
    sum += v;
    p += 4;
    length -= 4;
  }
  if (length >= 2) {
    sum += load_sum(p);
    p += 2;
    length -= 2;
  }
  if (length != 0) sum += static_cast<std::uint8_t>(*p);
  return sum;
}
inline std::uint64_t add_bytes(std::uint64_t sum, std::span<const std::byte> bytes) {
  return add_bytes(sum, bytes.data(), bytes.size());
}

// A sum over pieces of any length, odd ones too.
class PiecewiseSum {
 public:
  explicit PiecewiseSum(std::uint64_t sum = 0) : sum_(sum) {}

  void add(const void* data, std::size_t length) {
    if (!odd_) {
      sum_ = fold(add_bytes(sum_, data, length));
    } else {
      // Every byte stands in the other half of its word (RFC 1071 §2 B).
      sum_ += __builtin_bswap16(fold(add_bytes(0, data, length)));
    }
    odd_ ^= (length & 1) != 0;
  }
  [[nodiscard]] std::uint16_t folded() const { return fold(sum_); }

 private:
  std::uint64_t sum_;
  bool odd_ = false;
};

// Of both addresses and the protocol; the length of the packet above is to be added with
// word(length). An IPv4 address is summed in its mapped form: the ffff before it adds nothing in
// one's complement.
inline std::uint64_t pseudo_header_sum(const IpAddress& source, const IpAddress& destination,
                                       std::uint8_t protocol) {
  const std::uint64_t sum = add_bytes(word(protocol), source.bytes.data(), 16);
  return add_bytes(sum, destination.bytes.data(), 16);
}
constexpr std::uint64_t length_sum(std::uint32_t length) {
  return std::uint64_t{word(static_cast<std::uint16_t>(length >> 16))} +
         word(static_cast<std::uint16_t>(length));
}

// What goes into the field.
constexpr std::uint16_t complement(std::uint16_t sum) {
  return static_cast<std::uint16_t>(~sum);
}

// The checksum after a word that it covers changed (RFC 1624 §3, eqn. 3). All three as in memory.
constexpr std::uint16_t updated(std::uint16_t checksum, std::uint16_t from, std::uint16_t to) {
  return complement(fold(std::uint64_t{complement(checksum)} + complement(from) + to));
}

}  // namespace penstock::wire
