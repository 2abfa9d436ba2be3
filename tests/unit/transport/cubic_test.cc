// CUBIC against the formulas of RFC 9438, computed here in floating point.
#include "transport/congestion/cubic.hh"

#include <cmath>

#include <gtest/gtest.h>

#include "base/random.hh"

namespace penstock::transport {
namespace {

constexpr std::uint16_t kMss = 1'448;
constexpr std::uint32_t kUnset = ~0u;

Duration ms(std::int64_t n) {
  return Duration::milliseconds(n);
}

// A flow whose window is always full, or as full as said: a round trip is 32 ACKs, evenly spread.
struct Flow {
  explicit Flow(std::uint32_t segments, Duration rtt_is = ms(100)) : rtt(rtt_is) {
    cubic.start(now, segments * kMss, kMss);
  }
  // used: the part of the window that is under way; 1 and more: the window holds the sender back.
  void ack(std::uint32_t bytes, double used = 1.0) {
    const auto under_way = static_cast<std::uint32_t>(cubic.window() * used);
    const SeqNumber nxt = una + under_way;
    una += bytes;
    cubic.on_ack({.now = now,
                  .acked = bytes,
                  .in_flight = under_way,
                  .window_limited = used >= 1.0,
                  .una = una,
                  .nxt = nxt,
                  .rtt = rtt,
                  .rtt_smoothed = rtt});
  }
  // Fractions of bytes are carried over.
  void step(double used = 1.0) {
    now = now + rtt / 32;
    owed += cubic.window() * used / 32.0;
    const auto bytes = static_cast<std::uint32_t>(owed);
    owed -= bytes;
    if (bytes > 0) ack(bytes, used);
  }
  void run(Duration how_long, double used = 1.0) {
    const Instant end = now + how_long;
    while (now < end)
      step(used);
  }
  void lose() {
    cubic.on_congestion(now, cubic.window());
    cubic.on_recovered();
  }
  [[nodiscard]] double segments() const { return static_cast<double>(cubic.window()) / kMss; }

  Cubic cubic;
  Duration rtt;
  Instant now = Instant{} + Duration::seconds(1);
  SeqNumber una{0xffff0000};
  double owed = 0;
};

// A flow of so many segments in congestion avoidance, that then loses.
Flow lost_at(std::uint32_t segments, Duration rtt) {
  Flow flow(segments, rtt);
  flow.run(rtt * 2, 0.4);
  flow.lose();
  return flow;
}

TEST(Cubic, SlowStartCountsBytes) {
  Flow flow(10);
  EXPECT_TRUE(flow.cubic.in_slow_start());
  flow.ack(kMss);
  EXPECT_EQ(flow.cubic.window(), 11u * kMss);
  // A divided ACK gains nothing.
  for (int i = 0; i < kMss; ++i)
    flow.ack(1);
  EXPECT_EQ(flow.cubic.window(), 12u * kMss);
  flow.ack(0);
  EXPECT_EQ(flow.cubic.window(), 12u * kMss);
}

TEST(Cubic, SlowStartDoublesEachRoundTrip) {
  Flow flow(10);
  for (int round = 0; round < 6; ++round) {
    const std::uint32_t before = flow.cubic.window();
    for (int i = 0; i < 10; ++i)
      flow.ack(before / 10);
    EXPECT_NEAR(flow.cubic.window(), 2.0 * before, 20);
  }
}

// RFC 8511 §3.
TEST(Cubic, AMarkTakesThreeTwentieths) {
  Flow flow = lost_at(1'000, ms(50));
  const std::uint32_t before = flow.cubic.window();
  flow.cubic.on_congestion(flow.now, before, Congestion::ecn);
  EXPECT_EQ(flow.cubic.window(), before * 17 / 20);
  EXPECT_EQ(flow.cubic.slow_start_threshold(), flow.cubic.window());
}

// RFC 9438 §4.6.
TEST(Cubic, ACongestionTakesThreeTenths) {
  Flow flow = lost_at(1'000, ms(50));
  EXPECT_EQ(flow.cubic.window(), 1'000u * kMss * 7 / 10);
  EXPECT_EQ(flow.cubic.slow_start_threshold(), flow.cubic.window());
  EXPECT_FALSE(flow.cubic.in_slow_start());
}

TEST(Cubic, AFloorOfTwoSegmentsOrOneWithEcn) {
  Flow flow(2);
  flow.lose();
  EXPECT_EQ(flow.cubic.window(), 2u * kMss);
  flow.cubic.on_congestion(flow.now, 2 * kMss, Congestion::ecn);
  EXPECT_EQ(flow.cubic.window(), 2u * kMss * 17 / 20);
  for (int i = 0; i < 4; ++i)
    flow.cubic.on_congestion(flow.now, 1 * kMss, Congestion::ecn);
  EXPECT_EQ(flow.cubic.window(), 1u * kMss);
  EXPECT_EQ(flow.cubic.slow_start_threshold(), 2u * kMss);
}

// RFC 9438 §4.2: W_cubic(t), below and beyond W_max, on long fat paths, within 1 %: the window is
// to be between the curve now and a round trip later.
TEST(Cubic, FollowsTheCubeAfterALoss) {
  for (const std::uint32_t most : {500u, 1'000u, 5'000u, 20'000u}) {
    for (const int rtt_ms : {50, 100, 200}) {
      Flow flow = lost_at(most, ms(rtt_ms));
      const Instant began = flow.now + flow.rtt / 32;
      const double w_max = most;
      const double start = w_max * 0.7;
      const double k = std::cbrt((w_max - start) / 0.4);
      const auto curve = [&](double t) { return 0.4 * std::pow(t - k, 3) + w_max; };
      // W_est, which is below all of this.
      const auto reno = [&](double t) { return start + 9.0 / 17 * t / (rtt_ms * 1e-3); };
      while ((flow.now - began).as_seconds() < 1.5 * k) {
        flow.step();
        const double t = (flow.now - began).as_seconds();
        if (reno(t) > curve(t)) continue;
        ASSERT_GE(flow.segments(), curve(t) * 0.99) << most << ' ' << rtt_ms << ' ' << t;
        ASSERT_LE(flow.segments(), curve(t + rtt_ms * 1e-3) * 1.01)
            << most << ' ' << rtt_ms << ' ' << t;
      }
    }
  }
}

// RFC 9438 §4.3: small windows and short paths grow as Reno does, by 9/17 of a segment a round trip
// up to the window before, by one from there.
TEST(Cubic, IsNoSlowerThanReno) {
  Flow flow = lost_at(30, ms(10));
  const Instant began = flow.now;
  const double start = flow.segments();
  const double reaches = (30 - start) / (9.0 / 17) * 0.010;
  while ((flow.now - began).as_seconds() < 0.5) {
    flow.step();
    const double t = (flow.now - began).as_seconds();
    const double reno = t < reaches ? start + 9.0 / 17 * t / 0.010 : 30 + (t - reaches) / 0.010;
    ASSERT_NEAR(flow.segments(), reno, reno * 0.01 + 0.1) << t;
  }
}

// RFC 9438 §4.7: a flow that lost before it was back takes less, for others to grow: it levels out
// at 0.85 of where it lost.
TEST(Cubic, FastConvergence) {
  Flow flow = lost_at(2'000, ms(100));
  flow.run(Duration::seconds(2));
  const double second = flow.segments();
  ASSERT_LT(second, 2'000);
  flow.lose();
  const double start = flow.segments();
  EXPECT_NEAR(start, second * 0.7, 1);
  const double k = std::cbrt((second * 0.85 - start) / 0.4);
  flow.run(Duration::nanoseconds(static_cast<std::int64_t>(k * 1e9)));
  EXPECT_NEAR(flow.segments(), second * 0.85, second * 0.85 * 0.01);
  // Flat there.
  const double before = flow.segments();
  flow.run(ms(300));
  EXPECT_NEAR(flow.segments(), before, before * 0.002);
}

// But not when it was back, up to a fraction of a segment: where the curve is flat.
TEST(Cubic, NoFastConvergenceAtTheOldWindow) {
  Flow flow = lost_at(100, ms(100));
  const double k = std::cbrt(100 * 0.3 / 0.4);
  flow.run(Duration::nanoseconds(static_cast<std::int64_t>((k - 0.5) * 1e9)));
  const double second = flow.segments();
  ASSERT_GT(second, 99);
  ASSERT_LT(second, 100);
  flow.lose();
  flow.run(Duration::nanoseconds(static_cast<std::int64_t>(k * 1e9)));
  EXPECT_NEAR(flow.segments(), second, 1);  // not 0.85 of it
}

// RFC 9438 §4.4: at most half as much again in a round trip, even after a long time at W_max.
TEST(Cubic, GrowsByAHalfARoundTripAtMost) {
  Flow flow = lost_at(100, ms(1'000));
  flow.run(Duration::seconds(30));
  for (int round = 0; round < 10; ++round) {
    const double before = flow.segments();
    flow.run(flow.rtt);
    EXPECT_LE(flow.segments(), before * 1.65 + 1);  // of a window that grows meanwhile
  }
}

// RFC 5681 §3.1, RFC 9438 §4.8.
TEST(Cubic, ATimeoutLeavesOneSegmentAndTheThreshold) {
  Flow flow = lost_at(1'000, ms(50));
  const std::uint32_t before = flow.cubic.window();
  flow.run(ms(200));
  const std::uint32_t window = flow.cubic.window();
  EXPECT_GT(window, before);
  flow.cubic.on_timeout(flow.now, window, true);
  EXPECT_EQ(flow.cubic.window(), kMss);
  const std::uint32_t threshold = flow.cubic.slow_start_threshold();
  EXPECT_EQ(threshold, static_cast<std::uint32_t>(window * std::uint64_t{7} / 10));
  // The next of the series changes nothing.
  flow.cubic.on_timeout(flow.now + Duration::seconds(1), kMss, false);
  EXPECT_EQ(flow.cubic.slow_start_threshold(), threshold);
  EXPECT_EQ(flow.cubic.window(), kMss);
  // Slow start to the threshold and no further; then the cube from its flat part.
  while (flow.cubic.in_slow_start()) {
    flow.step();
    ASSERT_LE(flow.cubic.window(), threshold + kMss);
  }
  const Instant began = flow.now;
  flow.run(Duration::seconds(4));
  const double t = (flow.now - began).as_seconds();
  const double reno = threshold / double{kMss} + 9.0 / 17 * t / 0.05;
  const double cube = threshold / double{kMss} + 0.4 * std::pow(t, 3);
  EXPECT_NEAR(flow.segments(), std::max(reno, cube), std::max(reno, cube) * 0.01);
}

TEST(Cubic, UndoBringsBackTheCurve) {
  Flow flow = lost_at(5'000, ms(50));
  flow.run(Duration::seconds(5));
  Flow twin = flow;
  flow.cubic.on_congestion(flow.now, flow.cubic.window());
  EXPECT_LT(flow.cubic.window(), twin.cubic.window());
  flow.cubic.undo();
  EXPECT_EQ(flow.cubic.window(), twin.cubic.window());
  EXPECT_EQ(flow.cubic.slow_start_threshold(), twin.cubic.slow_start_threshold());
  flow.run(Duration::seconds(10));
  twin.run(Duration::seconds(10));
  EXPECT_NEAR(flow.segments(), twin.segments(), twin.segments() * 0.001);
  // Once only.
  const std::uint32_t window = flow.cubic.window();
  flow.cubic.undo();
  EXPECT_EQ(flow.cubic.window(), window);
}

TEST(Cubic, UndoOfATimeoutInSlowStart) {
  Flow flow(10);
  flow.ack(10 * kMss);
  flow.cubic.on_timeout(flow.now, 20 * kMss, true);
  flow.cubic.on_timeout(flow.now, kMss, false);
  flow.cubic.undo();
  EXPECT_EQ(flow.cubic.window(), 20u * kMss);
  EXPECT_EQ(flow.cubic.slow_start_threshold(), kUnset);
}

// --- HyStart++ (RFC 9406) ---

// One round trip in slow start with 16 ACKs of this RTT.
void round_trip(Flow& flow, Duration rtt) {
  flow.rtt = rtt;
  const std::uint32_t window = flow.cubic.window();
  for (int i = 0; i < 16; ++i) {
    flow.now = flow.now + rtt / 16;
    flow.ack(window / 16);
  }
}

TEST(HyStart, AConstantDelayIsNoReason) {
  Flow flow(16);
  for (int i = 0; i < 10; ++i)
    round_trip(flow, ms(50));
  EXPECT_EQ(flow.cubic.slow_start_threshold(), kUnset);
  EXPECT_FALSE(flow.cubic.in_conservative_slow_start());
  EXPECT_GT(flow.segments(), 5'000);
}

// A rise of an eighth of the RTT, within 4 and 16 ms.
TEST(HyStart, TheThreshold) {
  const auto conservative_after = [](std::int64_t base_us, std::int64_t rise_us) {
    Flow flow(16);
    round_trip(flow, Duration::microseconds(base_us));
    round_trip(flow, Duration::microseconds(base_us));
    round_trip(flow, Duration::microseconds(base_us + rise_us));
    round_trip(flow, Duration::microseconds(base_us + rise_us));
    return flow.cubic.in_conservative_slow_start();
  };
  EXPECT_FALSE(conservative_after(10'000, 3'900));
  EXPECT_TRUE(conservative_after(10'000, 4'000));
  EXPECT_FALSE(conservative_after(80'000, 9'900));
  EXPECT_TRUE(conservative_after(80'000, 10'000));
  EXPECT_FALSE(conservative_after(400'000, 15'900));
  EXPECT_TRUE(conservative_after(400'000, 16'000));
}

// A quarter as fast for five rounds, then it ends without a loss.
TEST(HyStart, ADelayThatStaysEndsTheSlowStart) {
  Flow flow(16);
  for (int i = 0; i < 4; ++i)
    round_trip(flow, ms(50));
  round_trip(flow, ms(60));
  round_trip(flow, ms(60));
  ASSERT_TRUE(flow.cubic.in_conservative_slow_start());
  int rounds = 0;
  while (flow.cubic.in_conservative_slow_start()) {
    const double before = flow.segments();
    round_trip(flow, ms(60));
    if (flow.cubic.in_conservative_slow_start()) {
      EXPECT_NEAR(flow.segments(), before * 1.25, 1);
    }
    ASSERT_LE(++rounds, 6);
  }
  EXPECT_GE(rounds, 4);
  EXPECT_FALSE(flow.cubic.in_slow_start());
  EXPECT_NEAR(flow.cubic.slow_start_threshold(), flow.cubic.window(), flow.cubic.window() * 0.1);
  // From there the flat part of the cube (RFC 9438 §4.10).
  const double ended = flow.segments();
  flow.run(ms(600));
  EXPECT_NEAR(flow.segments(), ended + 10, 2);
}

TEST(HyStart, JitterIsForgiven) {
  Flow flow(16);
  for (int i = 0; i < 4; ++i)
    round_trip(flow, ms(50));
  round_trip(flow, ms(60));
  round_trip(flow, ms(60));
  ASSERT_TRUE(flow.cubic.in_conservative_slow_start());
  round_trip(flow, ms(52));
  round_trip(flow, ms(52));
  EXPECT_FALSE(flow.cubic.in_conservative_slow_start());
  const double before = flow.segments();
  round_trip(flow, ms(52));
  EXPECT_NEAR(flow.segments(), 2 * before, 2);
}

TEST(HyStart, FewSamplesAreNoReason) {
  Flow flow(14);
  const auto few = [&flow](Duration rtt) {
    const std::uint32_t window = flow.cubic.window();
    flow.rtt = rtt;
    flow.now = flow.now + rtt;
    for (int i = 0; i < 7; ++i)
      flow.ack(window / 7);
  };
  for (int i = 0; i < 4; ++i)
    few(ms(50));
  for (int i = 0; i < 4; ++i)
    few(ms(100));
  EXPECT_FALSE(flow.cubic.in_conservative_slow_start());
  EXPECT_TRUE(flow.cubic.in_slow_start());
}

// Only the first slow start (RFC 9406 §4.3).
TEST(HyStart, NotAfterATimeout) {
  Flow flow(1'000);
  flow.run(ms(200), 0.4);
  flow.cubic.on_timeout(flow.now, 1'000 * kMss, true);
  for (int i = 0; i < 4; ++i)
    round_trip(flow, ms(50 + 20 * i));
  EXPECT_FALSE(flow.cubic.in_conservative_slow_start());
}

// --- RFC 7661 ---

TEST(CongestionValidation, WhatIsNotUsedDoesNotGrow) {
  Flow flow = lost_at(100, ms(50));
  const std::uint32_t window = flow.cubic.window();
  flow.run(Duration::seconds(20), 0.3);
  EXPECT_EQ(flow.cubic.window(), window);
  // Nor did the curve move on meanwhile (RFC 9438 §5.8).
  Flow twin = lost_at(100, ms(50));
  flow.run(Duration::seconds(2));
  twin.run(Duration::seconds(2));
  EXPECT_NEAR(flow.segments(), twin.segments(), twin.segments() * 0.01);
}

TEST(CongestionValidation, SlowStartWantsHalfOfTheWindowUsed) {
  Flow flow(100);
  flow.cubic.on_ack({.now = flow.now,
                     .acked = kMss,
                     .in_flight = 20u * kMss,
                     .una = flow.una,
                     .nxt = flow.una + 20u * kMss,
                     .rtt_smoothed = ms(100)});
  EXPECT_EQ(flow.segments(), 100);
  flow.cubic.on_ack({.now = flow.now,
                     .acked = kMss,
                     .in_flight = 60u * kMss,
                     .una = flow.una,
                     .nxt = flow.una + 60u * kMss,
                     .rtt_smoothed = ms(100)});
  EXPECT_EQ(flow.segments(), 101);
}

// RFC 7661 §4.4.1: a congestion is answered from what was used.
TEST(CongestionValidation, ALossOfAnUnusedWindow) {
  Flow flow = lost_at(1'000, ms(50));
  const double window = flow.segments();
  flow.run(Duration::seconds(4), 0.2);
  flow.cubic.on_congestion(flow.now, kMss * 50);
  EXPECT_NEAR(flow.segments(), window * 0.2 * 0.7, window * 0.02);
  // One that was used is answered from the window.
  Flow other = lost_at(1'000, ms(50));
  other.run(Duration::seconds(4), 0.8);
  other.cubic.on_congestion(other.now, kMss * 50);
  EXPECT_NEAR(other.segments(), window * 0.7, window * 0.01);
}

// RFC 7661 §4.4.2: kept for five minutes, then halved; never below the first window.
TEST(CongestionValidation, AnIdleWindowIsHalvedEveryFiveMinutes) {
  Flow flow(10, ms(50));
  flow.run(ms(200));
  const std::uint32_t used = flow.cubic.window();
  ASSERT_GT(used, 100u * kMss);
  const auto idle = [&flow](std::int64_t s) {
    flow.now = flow.now + Duration::seconds(s);
    flow.cubic.on_idle(flow.now, Duration::seconds(s));
  };
  idle(100);
  EXPECT_EQ(flow.cubic.window(), used);
  idle(250);
  EXPECT_EQ(flow.cubic.window(), used / 2);
  EXPECT_GE(flow.cubic.slow_start_threshold(), used - used / 4);
  idle(300);
  EXPECT_EQ(flow.cubic.window(), used / 4);
  idle(100'000);
  EXPECT_EQ(flow.cubic.window(), 10u * kMss);
}

TEST(CongestionValidation, TheCurveStandsStillWhileIdle) {
  Flow flow = lost_at(1'000, ms(50)), twin = lost_at(1'000, ms(50));
  flow.run(Duration::seconds(3));
  twin.run(Duration::seconds(3));
  flow.now = flow.now + Duration::seconds(60);
  flow.cubic.on_idle(flow.now, Duration::seconds(60));
  flow.run(Duration::seconds(3));
  twin.run(Duration::seconds(3));
  EXPECT_NEAR(flow.segments(), twin.segments(), twin.segments() * 0.01);
}

// Whatever the order of events, windows stay within their bounds.
TEST(Cubic, AnyOrderOfEvents) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    Random random(seed);
    Cubic cubic;
    Instant now{static_cast<std::int64_t>(random.below(1'000'000'000))};
    auto mss = static_cast<std::uint16_t>(88 + random.below(65'483 - 88 + 1));
    cubic.start(now, 10u * mss, mss);
    SeqNumber una(static_cast<std::uint32_t>(random.next()));
    for (int i = 0; i < 2'000; ++i) {
      now = now + Duration{static_cast<std::int64_t>(random.next() >> (34 + random.below(30)))};
      const auto bytes = static_cast<std::uint32_t>(random.next() >> (33 + random.below(31)));
      switch (random.below(16)) {
        case 0:
          cubic.on_congestion(now, bytes,
                              random.below(2) != 0 ? Congestion::loss : Congestion::ecn);
          break;
        case 1:
          cubic.on_timeout(now, bytes, random.below(2) != 0);
          break;
        case 2:
          cubic.undo();
          break;
        case 3:
          cubic.on_recovered();
          break;
        case 4:
          cubic.on_idle(now, Duration{static_cast<std::int64_t>(random.next() >> 24)});
          break;
        case 5:
          mss = static_cast<std::uint16_t>(88 + random.below(65'483 - 88 + 1));
          cubic.set_mss(mss);
          break;
        default:
          una += std::min(bytes, cubic.window());
          cubic.on_ack({.now = now,
                        .acked = std::min(bytes, cubic.window()),
                        .in_flight = cubic.window(),
                        .window_limited = random.below(4) != 0,
                        .una = una,
                        .nxt = una + cubic.window(),
                        .rtt = Duration{static_cast<std::int64_t>(random.next() >> 34)},
                        .rtt_smoothed = Duration{static_cast<std::int64_t>(random.next() >> 34)}});
      }
      ASSERT_GE(cubic.window(), 88u);
      ASSERT_LE(cubic.window(), 1u << 30);
      ASSERT_GE(cubic.slow_start_threshold(), 2 * 88u);
    }
  }
}

}  // namespace
}  // namespace penstock::transport
