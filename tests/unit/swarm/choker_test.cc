#include "swarm/choker.hh"

#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/random.hh"

namespace penstock {
namespace {

constexpr Instant kStart{1'000'000'000};

std::string changes(Choker& choker, Instant now) {
  std::string out;
  Choker::Change change;
  while (choker.poll_change(now, change)) {
    out += (out.empty() ? "" : " ") + std::string(change.choked ? "-" : "+") +
           std::to_string(change.peer);
  }
  choker.validate();
  return out;
}

TEST(Choker, UnlimitedUnchokesEveryoneWhoIsInterested) {
  Choker choker(8, 0);
  for (std::uint32_t i = 0; i < 8; ++i)
    choker.on_interested(kStart, i);
  EXPECT_EQ(changes(choker, kStart), "+0 +1 +2 +3 +4 +5 +6 +7");
  EXPECT_EQ(choker.next_timeout(), Instant::never());
  choker.on_not_interested(kStart, 3);
  EXPECT_EQ(changes(choker, kStart), "-3");
}

TEST(Choker, AFreeSlotGoesToWhoWaitsLongest) {
  Choker choker(8, 2);
  for (std::uint32_t i = 0; i < 4; ++i)
    choker.on_interested(kStart, i);
  EXPECT_EQ(changes(choker, kStart), "+0 +1");
  choker.on_not_interested(kStart, 0);
  EXPECT_EQ(changes(choker, kStart), "-0 +2");
  choker.remove(kStart, 1);
  EXPECT_EQ(changes(choker, kStart), "+3");
}

TEST(Choker, SlotsPassOnOneByOneAfterAWholeTurn) {
  Choker choker(8, 2);
  for (std::uint32_t i = 0; i < 4; ++i)
    choker.on_interested(kStart, i);
  changes(choker, kStart);
  std::string log;
  for (int i = 0; i < 6; ++i) {
    const Instant now = choker.next_timeout();
    choker.on_timeout(now);
    log += std::to_string((now - kStart).ns / 1'000'000'000) + " s: " + changes(choker, now) + "; ";
  }
  EXPECT_EQ(log, "10 s: -0 +2; 15 s: -1 +3; 20 s: -2 +0; 25 s: -3 +1; 30 s: -0 +2; 35 s: -1 +3; ");
}

TEST(Choker, NobodyIsChokedWhenNobodyWaits) {
  Choker choker(8, 2);
  choker.on_interested(kStart, 0);
  choker.on_interested(kStart, 1);
  changes(choker, kStart);
  EXPECT_EQ(choker.next_timeout(), Instant::never());
  choker.on_timeout(kStart + Duration::seconds(60));
  EXPECT_EQ(changes(choker, kStart), "");
}

TEST(Choker, ChangesThatCancelOutAreNotTold) {
  Choker choker(8, 1);
  choker.on_interested(kStart, 0);
  choker.on_not_interested(kStart, 0);
  EXPECT_EQ(changes(choker, kStart), "");
  choker.on_interested(kStart, 5);
  choker.remove(kStart, 5);
  choker.on_interested(kStart, 5);  // another peer under the same number
  EXPECT_EQ(changes(choker, kStart), "+5");
}

TEST(Choker, FewerSlotsChokeThoseServedLongest) {
  Choker choker(8, 0);
  for (std::uint32_t i = 0; i < 4; ++i)
    choker.on_interested(kStart + Duration::seconds(i), i);
  changes(choker, kStart);
  choker.set_slots(kStart + Duration::seconds(5), 2);
  EXPECT_EQ(changes(choker, kStart), "-0 -1");
  choker.set_slots(kStart + Duration::seconds(6), 0);
  EXPECT_EQ(changes(choker, kStart), "+0 +1");
}

// 100 peers that always want, 7 slots, 2 hours: equal time for each (Jain's index).
TEST(Choker, EveryoneGetsTheSameTime) {
  constexpr std::uint32_t kPeers = 100;
  Choker choker(kPeers, 7);
  std::vector<double> served(kPeers);
  std::vector<Instant> since(kPeers);
  for (std::uint32_t i = 0; i < kPeers; ++i)
    choker.on_interested(kStart, i);
  const Instant end = kStart + Duration::seconds(7200);
  for (Instant now = kStart; now < end;) {
    Choker::Change change;
    while (choker.poll_change(now, change)) {
      if (change.choked) {
        served[change.peer] += (now - since[change.peer]).as_seconds();
      } else {
        since[change.peer] = now;
      }
    }
    now = choker.next_timeout();
    choker.on_timeout(now);
    choker.validate();
  }
  double sum = 0, squares = 0;
  for (const double s : served) {
    sum += s;
    squares += s * s;
  }
  EXPECT_GE(sum * sum / (kPeers * squares), 0.98);
}

// Random comings and goings keep the invariants, and the told state is the real one.
TEST(Choker, RandomEvents) {
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    Random random(seed);
    Choker choker(20, static_cast<std::uint32_t>(random.below(6)));
    std::vector<bool> told(20);
    Instant now = kStart;
    for (int step = 0; step < 1000; ++step) {
      const auto peer = static_cast<std::uint32_t>(random.below(20));
      switch (random.below(5)) {
        case 0:
        case 1:
          choker.on_interested(now, peer);
          break;
        case 2:
          choker.on_not_interested(now, peer);
          break;
        case 3:
          choker.remove(now, peer);
          told[peer] = false;
          break;
        default:
          now = now + Duration::seconds(static_cast<std::int64_t>(random.below(15)));
          if (choker.next_timeout() <= now) {
            choker.on_timeout(now);
            ASSERT_GT(choker.next_timeout(), now) << "fires once, however late";
          }
      }
      Choker::Change change;
      while (choker.poll_change(now, change)) {
        ASSERT_NE(told[change.peer], !change.choked);
        told[change.peer] = !change.choked;
      }
      for (std::uint32_t i = 0; i < 20; ++i)
        ASSERT_EQ(told[i], choker.is_unchoked(i));
      choker.validate();
    }
  }
}

}  // namespace
}  // namespace penstock
