#include "base/sip_hash.hh"

#include <gtest/gtest.h>

namespace penstock {
namespace {

// The reference's key 00 01 … 0f and input 00 01 02 …, of 0, 8 and 16 bytes.
constexpr std::array<std::uint64_t, 2> kKey{0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL};

TEST(SipHash, EqualsTheReference) {
  EXPECT_EQ(SipHash24(kKey).finish(), 0x726fdb47dd0e0e31ULL);
  EXPECT_EQ(SipHash24(kKey).add(0x0706050403020100ULL).finish(), 0x93f5f5799a932462ULL);
  EXPECT_EQ(SipHash24(kKey).add(0x0706050403020100ULL).add(0x0f0e0d0c0b0a0908ULL).finish(),
            0x3f2acc7f57c29bdbULL);
  EXPECT_EQ(SipHash13(kKey).finish(), 0xabac0158050fc4dcULL);
}

}  // namespace
}  // namespace penstock
