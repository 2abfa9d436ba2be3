#include "crypto/hash_batch.hh"

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
