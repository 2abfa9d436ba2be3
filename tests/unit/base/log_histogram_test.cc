#include "base/log_histogram.hh"

#include <algorithm>
#include <vector>

#include <gtest/gtest.h>

#include "base/random.hh"

namespace penstock {
namespace {

TEST(LogHistogram, EmptyHasNoQuantiles) {
  LogHistogram histogram;
  EXPECT_EQ(histogram.count(), 0u);
  EXPECT_EQ(histogram.quantile(0.99), Duration{});
  EXPECT_EQ(histogram.max(), Duration{});
}

TEST(LogHistogram, SmallValuesAreExact) {
  LogHistogram histogram;
  for (std::int64_t ns = 0; ns < 32; ++ns)
    histogram.add({ns});
  for (std::int64_t ns = 0; ns < 32; ++ns)
    EXPECT_EQ(histogram.quantile((static_cast<double>(ns) + 0.5) / 32), Duration{ns});
}

TEST(LogHistogram, NegativeCountsAsZeroAndTheLargestFits) {
  LogHistogram histogram;
  histogram.add({-5});
  EXPECT_EQ(histogram.quantile(1), Duration{});
  histogram.add(Duration::max());
  EXPECT_EQ(histogram.quantile(1), Duration::max());
  EXPECT_EQ(histogram.max(), Duration::max());
}

// Against the sorted values: never below the true quantile, at most 1/32 above.
TEST(LogHistogram, QuantilesAreWithinABucketOfTheTruth) {
  Random random(7);
  for (int round = 0; round < 20; ++round) {
    LogHistogram histogram;
    std::vector<std::int64_t> values;
    for (int i = 0; i < 5'000; ++i) {
      const auto value = static_cast<std::int64_t>(random.below(1ull << (1 + random.below(40))));
      values.push_back(value);
      histogram.add({value});
    }
    std::sort(values.begin(), values.end());
    for (const double share : {0.0, 0.1, 0.5, 0.9, 0.99, 0.999}) {
      const auto at = static_cast<std::size_t>(share * static_cast<double>(values.size()));
      const std::int64_t found = histogram.quantile(share).ns;
      EXPECT_GE(found, values[at]);
      EXPECT_LE(found, values[at] + values[at] / 32 + 1);
    }
    EXPECT_EQ(histogram.quantile(1).ns, values.back());
  }
}

TEST(LogHistogram, ClearForgets) {
  LogHistogram histogram;
  histogram.add(Duration::seconds(1));
  histogram.clear();
  EXPECT_EQ(histogram.count(), 0u);
  EXPECT_EQ(histogram.max(), Duration{});
}

}  // namespace
}  // namespace penstock
