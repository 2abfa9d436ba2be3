// Whoever lies about what came gains nothing (liar_world.hh).
#include <gtest/gtest.h>

#include "sim/liar_world.hh"

namespace penstock::test {
namespace {

// Whose lies name only bytes that were sent and came: the window must grow by these and no more.
constexpr Lie kHarmless[] = {Lie::none, Lie::divided, Lie::duplicates, Lie::optimistic};

LiarResult run(Lie lie, std::uint64_t seed, bool sack, bool lossy) {
  LiarOptions o;
  o.lie = lie;
  o.seed = seed;
  o.sack = sack;
  o.timestamps = seed % 2 == 0 || lie == Lie::forging;
  if (!lossy) o.loss = 0;
  if (lossy) o.rate /= 10;
  o.length = lossy ? Duration::seconds(8) : Duration::milliseconds(600);
  return LiarWorld(o).run();
}

class Liar : public testing::TestWithParam<bool> {};

// Slow start without a loss: never more than the initial window and twice what came.
TEST_P(Liar, WindowGrowsByWhatCame) {
  for (const Lie lie : kHarmless) {
    const LiarResult result = run(lie, 2, GetParam(), false);
    EXPECT_EQ(result.wrong, "") << name_of(lie);
    // A tail-loss probe may go beyond (RFC 8985 §7.3).
    EXPECT_LE(result.excess, 1460) << name_of(lie);
    EXPECT_GT(result.delivered, lie == Lie::none ? 1u << 20 : 20'000u) << name_of(lie);
  }
}

TEST_P(Liar, GainsNothingWhereSegmentsAreLost) {
  std::uint64_t honest = 0;
  for (const Lie lie : kLies) {
    // Without SACK there is nothing to lie with.
    if (!GetParam() &&
        (lie == Lie::absurd || lie == Lie::claiming || lie == Lie::reneging || lie == Lie::forging))
      continue;
    std::uint64_t sum = 0;
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
      const LiarResult result = run(lie, seed, GetParam(), true);
      EXPECT_EQ(result.wrong, "") << name_of(lie);
      EXPECT_EQ(result.allocations, 0u) << name_of(lie);
      // The stream gets on, whatever it hears.
      if (lie != Lie::concealing) {
        EXPECT_GT(result.delivered, 100'000u) << name_of(lie);
      }
      // Sanitizers included; a walk over all that is under way would be more.
      EXPECT_LT(result.nanoseconds_per_ack, 200'000) << name_of(lie);
      sum += result.delivered;
    }
    if (lie == Lie::none) honest = sum;
    // Chance: where losses fall differs from the first lie on. Two recoveries, and one more in ten
    // seconds, a liar can have undone: the first of them end a slow start.
    EXPECT_LE(sum, honest * (lie == Lie::forging ? 200 : 112) / 100) << name_of(lie);
  }
}

INSTANTIATE_TEST_SUITE_P(Sack, Liar, testing::Bool(),
                         [](const auto& with) { return with.param ? "WithSack" : "WithoutSack"; });

}  // namespace
}  // namespace penstock::test
