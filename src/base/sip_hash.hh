// SipHash (Aumasson, Bernstein 2012): a keyed hash that strangers can't foresee.
//
// SipHash24 for what they see the results of (initial sequence numbers, cookies, port choice);
// SipHash13 for hash tables, whose results stay inside. Input is whole 64-bit words, little endian:
// the result equals that of the reference over the same bytes.
#pragma once

#include <array>
#include <cstdint>

namespace penstock {

template <int kRounds, int kFinalRounds>
class SipHash {
 public:
  explicit constexpr SipHash(const std::array<std::uint64_t, 2>& key)
      : v0_(key[0] ^ 0x736f6d6570736575ULL),
        v1_(key[1] ^ 0x646f72616e646f6dULL),
        v2_(key[0] ^ 0x6c7967656e657261ULL),
        v3_(key[1] ^ 0x7465646279746573ULL) {}

  constexpr SipHash& add(std::uint64_t word) {
    v3_ ^= word;
    for (int i = 0; i < kRounds; ++i)
      round();
    v0_ ^= word;
    bytes_ += 8;
    return *this;
  }
  // Ends it.
  constexpr std::uint64_t finish() {
    add(bytes_ << 56);
    v2_ ^= 0xff;
    for (int i = 0; i < kFinalRounds; ++i)
      round();
    return v0_ ^ v1_ ^ v2_ ^ v3_;
  }

 private:
  static constexpr std::uint64_t rotated(std::uint64_t v, int by) {
    return v << by | v >> (64 - by);
  }
  constexpr void round() {
    v0_ += v1_;
    v2_ += v3_;
    v1_ = rotated(v1_, 13) ^ v0_;
    v3_ = rotated(v3_, 16) ^ v2_;
    v0_ = rotated(v0_, 32);
    v2_ += v1_;
    v0_ += v3_;
    v1_ = rotated(v1_, 17) ^ v2_;
    v3_ = rotated(v3_, 21) ^ v0_;
    v2_ = rotated(v2_, 32);
  }

  std::uint64_t v0_, v1_, v2_, v3_;
  std::uint64_t bytes_ = 0;
};

using SipHash24 = SipHash<2, 4>;
using SipHash13 = SipHash<1, 3>;

}  // namespace penstock
