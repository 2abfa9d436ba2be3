#include "base/timer_wheel.hh"

#include <vector>

#include <gtest/gtest.h>

#include "base/random.hh"

namespace penstock {
namespace {

constexpr Duration kTick = Duration::nanoseconds(TimerWheel::kTickNs);

TEST(TimerWheel, FiresOnceNotBeforeItsInstant) {
  TimerWheel wheel(Instant{0});
  TimerWheel::Node node;
  wheel.arm(node, Instant{0} + Duration::seconds(1));
  EXPECT_EQ(wheel.poll_expired(Instant{0} + Duration::milliseconds(999)), nullptr);
  EXPECT_EQ(wheel.poll_expired(Instant{0} + Duration::seconds(1) + kTick), &node);
  EXPECT_FALSE(node.armed());
  EXPECT_EQ(wheel.poll_expired(Instant{0} + Duration::seconds(10)), nullptr);
  EXPECT_EQ(wheel.next(), Instant::never());
}

TEST(TimerWheel, AnInstantInThePastFiresInTheNextTick) {
  TimerWheel wheel(Instant{0} + Duration::seconds(100));
  TimerWheel::Node node;
  wheel.arm(node, Instant{0});
  EXPECT_EQ(wheel.poll_expired(Instant{0} + Duration::seconds(100) + kTick), &node);
}

TEST(TimerWheel, BeyondTheHorizonItWaitsFurtherRounds) {
  TimerWheel wheel(Instant{0});
  TimerWheel::Node node;
  const Instant when = Instant{0} + Duration::seconds(3600);
  wheel.arm(node, when);
  Instant now{0};
  while (now < when) {
    ASSERT_EQ(wheel.poll_expired(now), nullptr);
    now = now + Duration::milliseconds(777);
  }
  EXPECT_EQ(wheel.poll_expired(now + kTick), &node);
}

// Any mix of arming, disarming and uneven steps of time: each timer fires once, in [when, when +
// step + tick].
TEST(TimerWheel, RandomTimersAgainstAnOracle) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    Random random(seed);
    Instant now{static_cast<std::int64_t>(random.below(1'000'000'000'000))};
    TimerWheel wheel(now);
    std::vector<TimerWheel::Node> nodes(40);
    std::vector<Instant> due(nodes.size(), Instant::never());
    for (int step = 0; step < 2'000; ++step) {
      const std::size_t i = random.below(nodes.size());
      if (random.below(4) == 0) {
        wheel.disarm(nodes[i]);
        due[i] = Instant::never();
      } else if (random.below(2) == 0) {
        due[i] = now + Duration::milliseconds(static_cast<std::int64_t>(random.below(60'000)));
        wheel.arm(nodes[i], due[i]);
      }
      Instant first = Instant::never();
      for (const Instant d : due)
        first = earlier(first, d);
      if (first != Instant::never()) {
        EXPECT_LE(wheel.next(), first + kTick + kTick);
      } else {
        EXPECT_EQ(wheel.next(), Instant::never());
      }
      now = now + Duration::milliseconds(static_cast<std::int64_t>(random.below(3'000)));
      while (TimerWheel::Node* node = wheel.poll_expired(now)) {
        const auto index = static_cast<std::size_t>(node - nodes.data());
        ASSERT_LE(due[index], now) << "seed " << seed;
        due[index] = Instant::never();
      }
      for (const Instant d : due) {
        ASSERT_TRUE(d == Instant::never() || d > now - kTick) << "seed " << seed << " late";
      }
    }
    for (auto& node : nodes)
      wheel.disarm(node);
  }
}

}  // namespace
}  // namespace penstock
