#include "transport/rtt.hh"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/random.hh"

namespace penstock::transport {
namespace {

Duration ms(std::int64_t n) {
  return Duration::milliseconds(n);
}
Instant at(std::int64_t n) {
  return Instant{} + ms(n);
}

TEST(Rtt, BeforeASampleTheInitialTimeout) {
  const RttEstimator rtt;
  EXPECT_FALSE(rtt.has_sample());
  EXPECT_EQ(rtt.rto(), Duration::seconds(1));
  EXPECT_EQ(rtt.least(), Duration::max());
}

// RFC 6298 §2.2, §2.3.
TEST(Rtt, SmoothsAsTheRfcSays) {
  RttEstimator rtt;
  rtt.on_sample(at(0), ms(400));
  EXPECT_EQ(rtt.smoothed(), ms(400));
  EXPECT_EQ(rtt.variation(), ms(200));
  EXPECT_EQ(rtt.rto(), ms(400 + 800));
  rtt.on_sample(at(1), ms(800));
  EXPECT_EQ(rtt.variation(), ms(250));
  EXPECT_EQ(rtt.smoothed(), ms(450));
  EXPECT_EQ(rtt.rto(), ms(1450));
}

TEST(Rtt, FollowsTheFormulasOverManySamples) {
  Random random(7);
  RttEstimator rtt;
  double srtt = 0, rttvar = 0;
  for (int i = 0; i < 1'000; ++i) {
    const auto sample = static_cast<std::int64_t>(1'000'000 + random.below(200'000'000));
    rtt.on_sample(at(i), Duration::nanoseconds(sample));
    const auto r = static_cast<double>(sample);
    rttvar = i == 0 ? r / 2 : 0.75 * rttvar + 0.25 * std::abs(srtt - r);
    srtt = i == 0 ? r : 0.875 * srtt + 0.125 * r;
    ASSERT_NEAR(static_cast<double>(rtt.smoothed().ns), srtt, 1'000);
    ASSERT_NEAR(static_cast<double>(rtt.variation().ns), rttvar, 1'000);
  }
}

TEST(Rtt, TheTimeoutHasBounds) {
  RttEstimator rtt;
  for (int i = 0; i < 100; ++i)
    rtt.on_sample(at(i), ms(50));
  // No variation left: 200 ms beyond the smoothed time.
  EXPECT_EQ(rtt.rto(), ms(250));
  rtt.on_sample(at(100), Duration::seconds(200));
  EXPECT_EQ(rtt.rto(), Duration::seconds(60));
}

TEST(Rtt, TheLeastAges) {
  RttEstimator rtt;
  rtt.on_sample(at(1'000), ms(10));
  rtt.on_sample(at(2'000), ms(30));
  EXPECT_EQ(rtt.least(), ms(10));
  rtt.on_sample(at(6'500), ms(40));
  EXPECT_EQ(rtt.least(), ms(10));
  rtt.on_sample(at(10'900), ms(50));
  EXPECT_EQ(rtt.least(), ms(10));
  // Ten seconds later at most it is forgotten.
  rtt.on_sample(at(11'600), ms(60));
  EXPECT_EQ(rtt.least(), ms(40));
  rtt.on_sample(at(40'000), ms(70));
  EXPECT_EQ(rtt.least(), ms(70));
}

// The least of every window of 5 s is honoured, and none older than 10 s, whatever comes.
TEST(Rtt, TheLeastAgainstAllSamples) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Random random(seed);
    RttEstimator rtt;
    std::vector<std::pair<std::int64_t, std::int64_t>> samples;
    std::int64_t now = 0;
    for (int i = 0; i < 300; ++i) {
      now += static_cast<std::int64_t>(random.below(400));
      const auto sample = static_cast<std::int64_t>(1 + random.below(100));
      samples.emplace_back(now, sample);
      rtt.on_sample(at(now), ms(sample));
      std::int64_t recent = 1'000, old = 1'000;
      for (const auto& [when, value] : samples) {
        if (now - when < 5'000) recent = std::min(recent, value);
        if (now - when < 10'400) old = std::min(old, value);
      }
      ASSERT_LE(rtt.least(), ms(recent));
      ASSERT_GE(rtt.least(), ms(old));
    }
  }
}

TEST(Rtt, NonsenseIsBounded) {
  RttEstimator rtt;
  rtt.on_sample(at(0), Duration{-5});
  EXPECT_TRUE(rtt.has_sample());
  EXPECT_EQ(rtt.smoothed().ns, 1);
  rtt.on_sample(at(1), Duration::max());
  EXPECT_LE(rtt.rto(), Duration::seconds(60));
  rtt.restart();
  EXPECT_FALSE(rtt.has_sample());
  EXPECT_EQ(rtt.least().ns, 1);
}

}  // namespace
}  // namespace penstock::transport
