#include "base/fine_wheel.hh"

#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "base/random.hh"

namespace penstock {
namespace {

using Wheel = FineWheel<14>;
constexpr Duration kTick{Wheel::kTickNs};

TEST(FineWheel, FiresOnceWithinATickNeverBefore) {
  Wheel wheel(Instant{0});
  FineTimer timer;
  const Instant when = Instant{0} + Duration::microseconds(1'234);
  wheel.arm(timer, when);
  EXPECT_LE(wheel.next(), when + kTick);
  EXPECT_EQ(wheel.poll_expired(when - Duration{1}), nullptr);
  EXPECT_EQ(wheel.poll_expired(when + kTick), &timer);
  EXPECT_FALSE(timer.armed());
  EXPECT_EQ(wheel.poll_expired(when + Duration::seconds(1)), nullptr);
  EXPECT_EQ(wheel.next(), Instant::never());
}

TEST(FineWheel, ATimerInThePastFiresInTheNextTick) {
  const Instant now = Instant{0} + Duration::seconds(100);
  Wheel wheel(now);
  EXPECT_EQ(wheel.poll_expired(now), nullptr);
  FineTimer timer;
  wheel.arm(timer, Instant{5});
  EXPECT_LE(wheel.next(), now + kTick);
  EXPECT_EQ(wheel.poll_expired(now + kTick), &timer);
}

// The instants that next() names lead to every timer at its tick: a simulator goes by them alone.
TEST(FineWheel, FollowingNextReachesEveryTimerInItsTick) {
  Random random(3);
  Wheel wheel(Instant{0});
  std::vector<std::unique_ptr<FineTimer>> timers;
  for (int i = 0; i < 300; ++i) {
    timers.push_back(std::make_unique<FineTimer>());
    const auto bits = random.below(45);
    wheel.arm(*timers.back(), Instant{static_cast<std::int64_t>(random.next() >> (63 - bits))});
  }
  std::size_t fired = 0;
  std::size_t steps = 0;
  Instant now{0};
  while (wheel.next() != Instant::never()) {
    ASSERT_LE(++steps, 300U * 6);
    ASSERT_GE(wheel.next(), now);
    now = wheel.next();
    while (const FineTimer* timer = wheel.poll_expired(now)) {
      ++fired;
      ASSERT_GE(now, timer->when);
      ASSERT_LE(now - timer->when, kTick + kTick);
    }
  }
  EXPECT_EQ(fired, timers.size());
  EXPECT_EQ(wheel.armed(), 0U);
}

TEST(FineWheel, BeyondItsEndATimerIsPutBack) {
  FineWheel<14, 2> wheel(Instant{0});  // reaches 67 ms
  FineTimer timer;
  const Instant when = Instant{0} + Duration::seconds(1);
  wheel.arm(timer, when);
  for (Instant now{0}; now < when; now = now + Duration::microseconds(777))
    ASSERT_EQ(wheel.poll_expired(now), nullptr);
  EXPECT_EQ(wheel.poll_expired(when + kTick), &timer);
}

// Any mix of arming, disarming and steps of time, in a small wheel and a large one: every timer
// fires once, in the first poll after its tick.
template <class W>
void against_an_oracle(std::uint64_t seed, int step_bits) {
  Random random(seed);
  Instant now{static_cast<std::int64_t>(random.below(1'000'000'000'000))};
  W wheel(now);
  std::vector<FineTimer> timers(40);
  std::vector<Instant> due(timers.size(), Instant::never());
  for (int step = 0; step < 2'000; ++step) {
    const std::size_t i = random.below(timers.size());
    const auto choice = random.below(4);
    if (choice == 0) {
      wheel.disarm(timers[i]);
      due[i] = Instant::never();
    } else if (choice <= 2) {
      const auto bits = random.below(40);
      due[i] = now + Duration{static_cast<std::int64_t>(random.below(1ULL << bits))};
      wheel.arm(timers[i], due[i]);
    }
    now = now + Duration{static_cast<std::int64_t>(random.below(1ULL << step_bits))};
    Instant soonest = Instant::never();
    for (const Instant when : due)
      soonest = earlier(soonest, when);
    if (soonest != Instant::never()) {
      ASSERT_LE(wheel.next(), soonest + Duration{2 * W::kTickNs});
    }
    while (const FineTimer* timer = wheel.poll_expired(now)) {
      const auto at = static_cast<std::size_t>(timer - timers.data());
      ASSERT_LE(due[at], now);
      due[at] = Instant::never();
    }
    std::size_t armed = 0;
    for (const Instant when : due) {
      // What was armed before the poll and is due for a tick has fired.
      ASSERT_GT(when, now - Duration{2 * W::kTickNs});
      armed += when != Instant::never();
    }
    ASSERT_EQ(wheel.armed(), armed);
  }
}

TEST(FineWheel, RandomTimersAgainstAnOracle) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    against_an_oracle<Wheel>(seed, 16);
    against_an_oracle<Wheel>(seed, 30);
    against_an_oracle<FineWheel<20>>(seed, 26);
    against_an_oracle<FineWheel<14, 2>>(seed, 22);
  }
}

}  // namespace
}  // namespace penstock
