#include "wire/checksum.hh"

#include <vector>

#include <gtest/gtest.h>

#include "base/random.hh"
#include "bytes.hh"

namespace penstock::wire {
namespace {

// RFC 1071 §4.1, word by word in network order.
std::uint16_t naive(const std::vector<std::byte>& bytes) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i)
    sum += static_cast<std::uint32_t>(bytes[i]) << (i % 2 == 0 ? 8 : 0);
  while (sum >> 16 != 0)
    sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}

std::vector<std::byte> random_bytes(Random& random, std::size_t length) {
  std::vector<std::byte> bytes(length);
  // Now and then all ones: carries everywhere.
  const bool ones = random.below(4) == 0;
  for (std::byte& b : bytes)
    b = ones ? std::byte{0xff} : static_cast<std::byte>(random.next());
  return bytes;
}

TEST(Checksum, TheExampleOfRfc1071) {
  const auto bytes = test::from_hex("0001f203f4f5f6f7");
  EXPECT_EQ(fold(add_bytes(0, bytes)), word(0xddf2));
}

TEST(Checksum, EqualsTheNaiveSumAtEveryLength) {
  Random random(1);
  for (std::size_t length = 0; length < 700; ++length) {
    const auto bytes = random_bytes(random, length);
    EXPECT_EQ(fold(add_bytes(0, bytes)), word(naive(bytes))) << length;
  }
  const auto large = random_bytes(random, 65'535);
  EXPECT_EQ(fold(add_bytes(0, large)), word(naive(large)));
}

TEST(Checksum, PiecesOfAnyLengthSumToTheWhole) {
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    Random random(seed);
    const auto bytes = random_bytes(random, random.below(4'000));
    PiecewiseSum pieces;
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t length = std::min<std::size_t>(random.below(300), bytes.size() - at);
      pieces.add(bytes.data() + at, length);
      at += length;
    }
    const std::uint16_t whole = word(naive(bytes));
    EXPECT_EQ(pieces.folded() % 0xffff, whole % 0xffff) << seed;
  }
}

// RFC 1624: also where eqn. 4 of RFC 1141 goes wrong (a result of 0xffff).
TEST(Checksum, UpdatedEqualsComputedAnew) {
  Random random(7);
  for (int i = 0; i < 20'000; ++i) {
    auto bytes = random_bytes(random, 20);
    bytes[0] = std::byte{0x45};  // a header is never all zero
    const std::uint16_t before = complement(fold(add_bytes(0, bytes)));
    const std::size_t at = 2 + 2 * random.below(9);
    const std::uint16_t from = load_sum(bytes.data() + at);
    const auto to = static_cast<std::uint16_t>(random.below(3) == 0 ? 0xffff : random.next());
    store_sum(bytes.data() + at, to);
    EXPECT_EQ(updated(before, from, to), complement(fold(add_bytes(0, bytes))));
  }
  // The example of RFC 1624 §4.
  EXPECT_EQ(updated(word(0xdd2f), word(0x5555), word(0x3285)), word(0x0000));
}

TEST(Checksum, PseudoHeaderOfIpv4IsThatOfItsMappedAddress) {
  const IpAddress a = IpAddress::v4(192, 0, 2, 1), b = IpAddress::v4(198, 51, 100, 7);
  const auto bytes = test::from_hex("c0000201 c6336407 0006 0014");
  EXPECT_EQ(fold(pseudo_header_sum(a, b, 6) + length_sum(20)), word(naive(bytes)));
}

}  // namespace
}  // namespace penstock::wire
