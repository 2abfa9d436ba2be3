// Both roles against each other: random steps, random segmentation, virtual time, one seed a run.
#include <gtest/gtest.h>

#include "base/random.hh"
#include "support/session_pair.hh"

namespace penstock::test {
namespace {

struct RandomChoice {
  Random* random;
  std::uint32_t operator()(std::uint32_t bound) const {
    return static_cast<std::uint32_t>(random->below(bound));
  }
};
using Pair = SessionPair<RandomChoice>;

void run(const Pair::Options& options, std::uint64_t seed, bool may_lose) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random(seed);
  Pair pair(options, RandomChoice{&random});
  for (int i = 0; i < 1500; ++i)
    pair.step();
  pair.settle();
  pair.validate();
  if (pair.seed().closed() && may_lose) {
    EXPECT_EQ(pair.seed().close_reason(), CloseReason::piece_lost);
    return;
  }
  ASSERT_FALSE(pair.seed().closed()) << close_reason_name(pair.seed().close_reason());
  ASSERT_FALSE(pair.leech().closed()) << close_reason_name(pair.leech().close_reason());
  EXPECT_TRUE(pair.idle());
  EXPECT_EQ(pair.leech().outstanding(), 0u);
  EXPECT_EQ(pair.answered(), pair.asked());
  EXPECT_GT(pair.blocks(), 0u);
}

TEST(Pair, WithBep6EveryRequestIsAnswered) {
  for (std::uint64_t seed = 0; seed < 60; ++seed)
    run({.lose_pieces = true}, seed, false);
}

TEST(Pair, WithoutBep6) {
  for (std::uint64_t seed = 0; seed < 60; ++seed)
    run({.fast_seed = seed % 2 == 0, .fast_leech = seed % 2 != 0}, seed, false);
}

// Room for few: what a CHOKE or a CANCEL made the leecher forget is still in the seed's way.
TEST(Pair, WithoutBep6AndAShortQueue) {
  for (std::uint64_t seed = 0; seed < 200; ++seed)
    run({.fast_leech = false, .requests_max = 4}, seed, false);
}

TEST(Pair, WithoutBep6ALostPieceEndsIt) {
  for (std::uint64_t seed = 0; seed < 20; ++seed)
    run({.fast_leech = false, .lose_pieces = true}, seed, true);
}

TEST(Pair, AShortQueue) {
  for (std::uint64_t seed = 0; seed < 20; ++seed)
    run({.requests_max = 1}, seed, false);
}

}  // namespace
}  // namespace penstock::test
