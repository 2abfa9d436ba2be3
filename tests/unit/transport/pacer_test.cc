#include "transport/pacer.hh"

#include <gtest/gtest.h>

#include "base/random.hh"

namespace penstock::transport {
namespace {

constexpr std::uint16_t kMss = 1'448;

TEST(Pacer, WithoutAnRttItDoesNotHoldBack) {
  Pacer pacer;
  pacer.set_rate(14'480, Duration{}, true, kMss);
  EXPECT_GT(pacer.budget(Instant{5}), 1u << 30);
  pacer.on_sent(Instant{5}, 1'000'000);
  EXPECT_GT(pacer.budget(Instant{5}), 1u << 30);
  EXPECT_EQ(pacer.rate(), 0u);
}

// Sends whenever it may for a while; returns the bytes.
std::uint64_t drive(Pacer& pacer, Instant& now, Duration how_long) {
  const Instant end = now + how_long;
  std::uint64_t sum = 0;
  while (now < end) {
    const std::uint32_t budget = pacer.budget(now);
    if (budget == 0) {
      now = pacer.next();
      continue;
    }
    pacer.on_sent(now, budget);
    sum += budget;
  }
  return sum;
}

TEST(Pacer, KeepsTheRateItWasGiven) {
  struct Case {
    std::uint32_t window;
    Duration srtt;
    bool slow_start;
  };
  const Case cases[] = {
      {14'480, Duration::milliseconds(100), true},
      {14'480, Duration::milliseconds(100), false},
      {100'000'000, Duration::milliseconds(20), false},
      {2'896, Duration::seconds(2), false},
      {100'000'000, Duration::microseconds(200), true},
  };
  for (const Case& c : cases) {
    Pacer pacer;
    pacer.set_rate(c.window, c.srtt, c.slow_start, kMss);
    const double rate = c.window * (c.slow_start ? 2.0 : 1.2) / c.srtt.as_seconds();
    EXPECT_NEAR(static_cast<double>(pacer.rate()), rate, rate * 0.005 + 1);
    Instant now{1'000'000};
    const double quantum = pacer.budget(now);
    drive(pacer, now, Duration::microseconds(200));
    // At least a thousand quanta where those are 64 KiB.
    const Duration long_enough = rate > 1e9 ? Duration::milliseconds(50) : c.srtt * 100;
    const std::uint64_t sent = drive(pacer, now, long_enough);
    EXPECT_NEAR(static_cast<double>(sent), rate * long_enough.as_seconds(),
                rate * long_enough.as_seconds() * 0.02 + 2 * quantum)
        << c.window;
  }
}

// After a pause two quanta, then the rate.
TEST(Pacer, APauseIsNoCredit) {
  Pacer pacer;
  pacer.set_rate(1'000'000, Duration::milliseconds(100), false, kMss);  // 12 MB/s, 12 KB a ms
  Instant now{};
  drive(pacer, now, Duration::milliseconds(100));
  now = now + Duration::seconds(10);
  std::uint64_t burst = 0;
  while (const std::uint32_t budget = pacer.budget(now)) {
    pacer.on_sent(now, budget);
    burst += budget;
  }
  EXPECT_LE(burst, 2 * 12'000u + 10);
  EXPECT_GE(burst, 12'000u);
  EXPECT_GT(pacer.next(), now);
  EXPECT_LE(pacer.next(), now + Duration::milliseconds(2));
}

TEST(Pacer, AQuantumIsAtLeastTwoSegments) {
  Pacer pacer;
  pacer.set_rate(2'896, Duration::seconds(1), false, kMss);
  EXPECT_EQ(pacer.budget(Instant{10}), 2u * kMss);
  pacer.set_rate(1 << 30, Duration::milliseconds(1), false, kMss);
  EXPECT_EQ(pacer.budget(Instant{10}), 65'536u);
}

TEST(Pacer, ExtremesDoNotOverflow) {
  Random random(3);
  for (int i = 0; i < 20'000; ++i) {
    Pacer pacer;
    const auto window = static_cast<std::uint32_t>(1 + (random.next() >> random.below(60) >> 33));
    const Duration srtt{static_cast<std::int64_t>(1 + (random.next() >> 1 >> random.below(62)))};
    pacer.set_rate(window, srtt, random.below(2) != 0, kMss);
    const Instant now{static_cast<std::int64_t>(random.below(1'000'000'000'000))};
    const std::uint32_t budget = pacer.budget(now);
    ASSERT_GE(budget, 2u * kMss);
    ASSERT_LE(budget, 65'536u);
    pacer.on_sent(now, budget);
    ASSERT_GE(pacer.next(), Instant{} - Duration::seconds(700));
    ASSERT_LE(pacer.next(), now + Duration::seconds(700));
  }
}

}  // namespace
}  // namespace penstock::transport
