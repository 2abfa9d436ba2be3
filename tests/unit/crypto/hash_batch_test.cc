#include "crypto/hash_batch.hh"

#include <algorithm>
#include <array>
#include <vector>

#include <gtest/gtest.h>

namespace penstock {
namespace {

std::vector<std::byte> bytes(std::size_t size, unsigned char seed) {
  std::vector<std::byte> data(size);
  for (std::size_t i = 0; i < size; ++i)
    data[i] = static_cast<std::byte>(seed + i * 7 + (i >> 8));
  return data;
}

TEST(HashBatch, JoinsThePartsOfEachMessage) {
  const auto a = bytes(1000, 1);
  const auto b = bytes(70'000, 2);
  std::vector<std::byte> joined = a;
  joined.insert(joined.end(), b.begin(), b.end());

  const std::array<std::span<const std::byte>, 2> both{a, b};
  const std::array<std::span<const std::byte>, 1> alone{b};
  const std::array<MessageParts, 3> messages{both, alone, MessageParts{}};
  std::array<Sha1Digest, 3> one;
  std::array<Sha256Digest, 3> two;
  HashBatch batch;
  batch.sha1(messages, one);
  batch.sha256(messages, two);
  EXPECT_EQ(one[0], sha1(joined));
  EXPECT_EQ(one[1], sha1(b));
  EXPECT_EQ(one[2], sha1({}));
  EXPECT_EQ(two[0], sha256(joined));
  EXPECT_EQ(two[1], sha256(b));
  EXPECT_EQ(two[2], sha256({}));
}

// However two messages are cut and whatever their lengths are, two at a time gives what one at a
// time gives.
TEST(HashBatch, PairsMessagesOfAnyLength) {
  const auto a = bytes(5000, 4);
  const auto b = bytes(5000, 9);
  const std::span<const std::byte> all_a(a);
  const std::span<const std::byte> all_b(b);
  HashBatch batch;
  for (const std::size_t size_a : {0u, 1u, 63u, 64u, 65u, 128u, 1000u, 4096u, 5000u}) {
    for (const std::size_t size_b : {0u, 64u, 127u, 640u, 4095u, 5000u}) {
      for (const std::size_t cut : {0u, 1u, 64u, 500u, 4032u}) {
        const std::size_t cut_a = std::min(cut, size_a);
        const std::size_t cut_b = std::min(2 * cut, size_b);
        const std::array<std::span<const std::byte>, 2> parts_a{
            all_a.first(cut_a), all_a.subspan(cut_a, size_a - cut_a)};
        const std::array<std::span<const std::byte>, 2> parts_b{
            all_b.first(cut_b), all_b.subspan(cut_b, size_b - cut_b)};
        const std::array<MessageParts, 2> messages{parts_a, parts_b};
        std::array<Sha1Digest, 2> one;
        std::array<Sha256Digest, 2> two;
        batch.sha1(messages, one);
        batch.sha256(messages, two);
        ASSERT_EQ(one[0], sha1(all_a.first(size_a))) << size_a << ' ' << size_b << ' ' << cut;
        ASSERT_EQ(one[1], sha1(all_b.first(size_b))) << size_a << ' ' << size_b << ' ' << cut;
        ASSERT_EQ(two[0], sha256(all_a.first(size_a))) << size_a << ' ' << size_b << ' ' << cut;
        ASSERT_EQ(two[1], sha256(all_b.first(size_b))) << size_a << ' ' << size_b << ' ' << cut;
      }
    }
  }
}

// Two lanes carry the count of bits across 2^32. The digest is coreutils' sha1sum of 513 MiB.
TEST(HashBatch, CountsBeyond512MiB) {
  const std::vector<std::byte> zeros(1 << 20);
  Sha1 a;
  Sha1 b;
  for (int i = 0; i < 511; ++i)
    a.update(zeros);
  Sha1::update_both(a, zeros, b, zeros);
  Sha1::update_both(a, zeros, b, zeros);
  EXPECT_EQ(a.finish().hex(), "56b0894b2b968f40e7a5e9240d242c19f7c56b70");
}

TEST(HashBatch, CutsLeavesAt16KiB) {
  const auto data = bytes(40'000, 3);
  std::array<Sha256Digest, 3> leaves;
  HashBatch().leaves(data, leaves);
  const std::span<const std::byte> all(data);
  EXPECT_EQ(leaves[0], sha256(all.first(16'384)));
  EXPECT_EQ(leaves[1], sha256(all.subspan(16'384, 16'384)));
  EXPECT_EQ(leaves[2], sha256(all.subspan(32'768)));
}

}  // namespace
}  // namespace penstock
