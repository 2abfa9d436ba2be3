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

// Any number of hashers, of which some have a started block and some run out early, give what each
// alone gives.
template <class Hasher>
void expect_all_as_one_by_one() {
  const auto data = bytes(40 * 1000 + 20'000, 5);
  const std::span<const std::byte> all(data);
  const auto first_part = [&](std::size_t i, std::size_t shape) {
    return all.subspan(i * 1000, shape == 1 && i % 5 == 2 ? 17 : 0);
  };
  const auto second_part = [&](std::size_t i, std::size_t shape) {
    const std::size_t size = shape == 0 ? 4096 : shape == 1 ? 5000 + 64 * (i % 3) : i * 131;
    return all.subspan(i * 1000, size);
  };
  for (std::size_t shape = 0; shape < 3; ++shape) {
    for (std::size_t count = 0; count <= 40; ++count) {
      std::vector<Hasher> hashers(count);
      std::vector<Hasher*> pointers;
      std::vector<std::span<const std::byte>> parts;
      for (std::size_t i = 0; i < count; ++i) {
        hashers[i].update(first_part(i, shape));
        pointers.push_back(&hashers[i]);
        parts.push_back(second_part(i, shape));
      }
      Hasher::update_all(pointers, parts);
      for (std::size_t i = 0; i < count; ++i) {
        Hasher alone;
        alone.update(first_part(i, shape));
        alone.update(second_part(i, shape));
        ASSERT_EQ(hashers[i].finish(), alone.finish()) << shape << ' ' << count << ' ' << i;
      }
    }
  }
}

TEST(HashBatch, AnyNumberInStepIsAsOneByOne) {
  expect_all_as_one_by_one<Sha1>();
  expect_all_as_one_by_one<Sha256>();
}

TEST(HashBatch, TakesMessagesOfManyLengthsInGroups) {
  const auto data = bytes(70'000, 6);
  const std::span<const std::byte> all(data);
  HashBatch batch;
  for (const std::size_t count : {1u, 7u, 15u, 16u, 17u, 33u}) {
    std::vector<std::array<std::span<const std::byte>, 2>> parts(count);
    std::vector<MessageParts> messages;
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t size = i % 4 == 3 ? 70'000 - 999 * i : 65'536;
      parts[i] = {all.first(16'384), all.subspan(16'384, size - 16'384)};
      messages.emplace_back(parts[i]);
    }
    std::vector<Sha1Digest> one(count);
    std::vector<Sha256Digest> two(count);
    batch.sha1(messages, one);
    batch.sha256(messages, two);
    for (std::size_t i = 0; i < count; ++i) {
      const auto message = all.first(16'384 + parts[i][1].size());
      ASSERT_EQ(one[i], sha1(message)) << count << ' ' << i;
      ASSERT_EQ(two[i], sha256(message)) << count << ' ' << i;
    }
  }
}

// Lanes carry the count of bits across 2^32. The digest is coreutils' sha1sum of 513 MiB.
TEST(HashBatch, CountsBeyond512MiB) {
  const std::vector<std::byte> zeros(1 << 20);
  Sha1 a;
  Sha1 b;
  for (int i = 0; i < 511; ++i)
    a.update(zeros);
  const std::array<Sha1*, 2> two{&a, &b};
  std::array<Sha1, 15> others;
  std::vector<Sha1*> many{&a};
  for (Sha1& other : others)
    many.push_back(&other);
  const std::vector<std::span<const std::byte>> same(many.size(), zeros);
  Sha1::update_all(two, std::span(same).first(2));
  Sha1::update_all(many, same);
  EXPECT_EQ(a.finish().hex(), "56b0894b2b968f40e7a5e9240d242c19f7c56b70");
}

TEST(HashBatch, CutsManyLeaves) {
  const auto data = bytes(20 * 16'384 + 100, 8);
  std::array<Sha256Digest, 21> leaves;
  HashBatch().leaves(data, leaves);
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    const auto rest = std::span(data).subspan(i * 16'384);
    ASSERT_EQ(leaves[i], sha256(rest.first(std::min<std::size_t>(rest.size(), 16'384)))) << i;
  }
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
