#include "transport/prr.hh"

#include <algorithm>

#include <gtest/gtest.h>

#include "base/random.hh"

namespace penstock::transport {
namespace {

constexpr std::uint16_t kMss = 1'000;

// One segment of 20 lost, the rest arrives: 0.7 goes for each that is delivered, evenly, and at the
// end just ssthresh is under way (RFC 9937 §6.2).
TEST(Prr, ReducesInProportion) {
  Prr prr;
  prr.start(20'000, 14'000, kMss);
  std::uint32_t in_flight = 19'000, delivered = 0, sent = 0;
  for (int ack = 0; ack < 19; ++ack) {
    in_flight -= kMss;
    delivered += kMss;
    const std::uint32_t window = prr.on_ack(kMss, in_flight, false);
    while (in_flight + kMss <= window) {
      prr.on_sent(kMss);
      in_flight += kMss;
      sent += kMss;
    }
    if (in_flight > 14'000) {
      // Never ahead of the proportion by more than the first retransmission.
      EXPECT_LE(sent, delivered * 7 / 10 + kMss);
      EXPECT_GE(sent + kMss, delivered * 7 / 10);
    }
  }
  EXPECT_LE(in_flight, 14'000u);
  EXPECT_GE(in_flight, 13'000u);
}

TEST(Prr, TheFirstRetransmissionAlwaysGoes) {
  Prr prr;
  prr.start(100'000, 50'000, kMss);
  EXPECT_EQ(prr.on_ack(0, 99'000, false), 100'000u);
  prr.on_sent(kMss);
  EXPECT_EQ(prr.on_ack(0, 99'000, false), 99'000u);
}

// Most of the flight is lost: what is delivered goes, and an MSS more only with good progress.
TEST(Prr, BelowTheThresholdItConservesPackets) {
  Prr prr;
  prr.start(100'000, 70'000, kMss);
  EXPECT_EQ(prr.on_ack(kMss, 5'000, false), 6'000u);
  prr.on_sent(kMss);
  EXPECT_EQ(prr.on_ack(kMss, 5'000, false), 6'000u);
  prr.on_sent(kMss);
  EXPECT_EQ(prr.on_ack(kMss, 5'000, true), 7'000u);
  prr.on_sent(2 * kMss);
  // Nothing is owed, yet what is delivered now may go.
  EXPECT_EQ(prr.on_ack(kMss, 5'000, false), 6'000u);
}

TEST(Prr, NeverBeyondTheThreshold) {
  Prr prr;
  prr.start(20'000, 14'000, kMss);
  prr.on_sent(kMss);
  EXPECT_EQ(prr.on_ack(10'000, 13'500, true), 14'000u);
  EXPECT_EQ(prr.on_ack(10'000, 14'000, true), 14'000u);
}

// The application paused: what it didn't use is owed, and bounded by the threshold.
TEST(Prr, CatchesUp) {
  Prr prr;
  prr.start(20'000, 14'000, kMss);
  prr.on_sent(kMss);
  (void)prr.on_ack(5'000, 10'000, false);
  EXPECT_EQ(prr.on_ack(1'000, 6'000, false), 11'000u);
}

TEST(Prr, BoundsHoldWhateverComes) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    Random random(seed);
    const auto recover = static_cast<std::uint32_t>(2'000 + random.below(500'000));
    const auto ssthresh = static_cast<std::uint32_t>(2'000 + random.below(recover));
    Prr prr;
    prr.start(recover, ssthresh, kMss);
    std::uint64_t delivered = 0, sent = 0;
    auto in_flight = static_cast<std::uint32_t>(random.below(recover + 1));
    for (int i = 0; i < 500; ++i) {
      const auto gone = static_cast<std::uint32_t>(random.below(in_flight + 1));
      const auto arrived = static_cast<std::uint32_t>(random.below(gone + 1));
      in_flight -= gone;
      delivered += arrived;
      const bool safe = random.below(2) == 0;
      const std::uint32_t window = prr.on_ack(arrived, in_flight, safe);
      ASSERT_GE(window, in_flight);
      const std::uint64_t may = window - in_flight;
      if (sent == 0 && may == kMss) {
        // The forced one.
      } else if (in_flight > ssthresh) {
        ASSERT_LE(sent + may, std::max(sent, (delivered * ssthresh + recover - 1) / recover));
      } else {
        ASSERT_LE(window, std::max(ssthresh, in_flight));
        const std::uint64_t owed = delivered > sent ? delivered - sent : 0;
        ASSERT_LE(may, std::max<std::uint64_t>(owed, arrived) + (safe ? kMss : 0));
      }
      const auto goes = static_cast<std::uint32_t>(random.below(may + 1));
      prr.on_sent(goes);
      sent += goes;
      in_flight += goes;
    }
  }
}

}  // namespace
}  // namespace penstock::transport
