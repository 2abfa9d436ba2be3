#include "cli/load_summary.hh"

#include <vector>

#include <gtest/gtest.h>

namespace penstock::cli {
namespace {

TEST(LoadSummary, NothingMeasuredIsZero) {
  const LoadSummary summary = summarise({}, {});
  EXPECT_EQ(summary.rate, 0);
  EXPECT_EQ(summary.rate_ci95, 0);
  EXPECT_EQ(summary.jain, 0);
}

TEST(LoadSummary, MeanAndConfidenceInterval) {
  // Mean 10, sample deviation √(8/3), n = 4: t(3) × deviation / √4.
  const std::vector<double> rates{8, 10, 10, 12};
  const LoadSummary summary = summarise(rates, {});
  EXPECT_DOUBLE_EQ(summary.rate, 10);
  EXPECT_NEAR(summary.rate_ci95, 3.182 * 1.632993 / 2, 1e-4);
}

TEST(LoadSummary, EqualBatchesHaveNoInterval) {
  const std::vector<double> rates(20, 5.0);
  EXPECT_EQ(summarise(rates, {}).rate_ci95, 0);
  const std::vector<double> one{5};
  EXPECT_EQ(summarise(one, {}).rate_ci95, 0);
}

TEST(LoadSummary, JainIsOneWhenAllAreEqualAndOneOverNWhenOneHasAll) {
  const std::vector<std::uint64_t> equal{7, 7, 7, 7};
  EXPECT_DOUBLE_EQ(summarise({}, equal).jain, 1.0);
  const std::vector<std::uint64_t> one{0, 0, 9, 0};
  const LoadSummary summary = summarise({}, one);
  EXPECT_DOUBLE_EQ(summary.jain, 0.25);
  EXPECT_EQ(summary.least, 0u);
  EXPECT_EQ(summary.most, 9u);
}

}  // namespace
}  // namespace penstock::cli
