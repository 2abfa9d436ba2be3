#include "net/neighbours.hh"

#include <gtest/gtest.h>

namespace penstock::net {
namespace {

using Answer = Neighbours::Answer;

constexpr wire::MacAddress kMac{{2, 0, 0, 0, 0, 9}};
constexpr wire::MacAddress kOther{{2, 0, 0, 0, 0, 10}};

class NeighboursTest : public testing::Test {
 protected:
  static IpAddress ip(std::uint8_t last) { return IpAddress::v4(192, 0, 2, last); }

  Answer resolve(NeighbourId id) {
    mac_ = {};
    return cache_.resolve(now_, id, mac_);
  }
  // Questions that are due now: 'b' by broadcast, 'u' by unicast.
  std::string questions() {
    std::string out;
    Neighbours::Question q;
    while (cache_.poll_question(now_, q))
      out += q.unicast ? 'u' : 'b';
    cache_.validate();
    return out;
  }
  void pass(Duration d) { now_ = now_ + d + Duration::milliseconds(2); }

  Instant now_{Duration::seconds(1'000).ns};
  Neighbours cache_{now_, 4, {1, 2}};
  wire::MacAddress mac_;
};

TEST_F(NeighboursTest, AsksOnceASecondThreeTimesThenFails) {
  const NeighbourId id = cache_.hold(ip(9), 0);
  EXPECT_EQ(questions(), "");  // nobody wants to send yet
  EXPECT_EQ(resolve(id), Answer::asked);
  pass({});
  EXPECT_EQ(questions(), "b");
  EXPECT_EQ(resolve(id), Answer::asked);
  EXPECT_EQ(questions(), "");
  pass(Duration::seconds(1));
  EXPECT_EQ(questions(), "b");
  pass(Duration::seconds(1));
  EXPECT_EQ(questions(), "b");
  EXPECT_EQ(cache_.poll_settled(), kNoNeighbour);
  pass(Duration::seconds(1));
  EXPECT_EQ(questions(), "");
  EXPECT_EQ(cache_.poll_settled(), id);
  EXPECT_EQ(resolve(id), Answer::failed);
  // A second later who wants it makes it ask again.
  pass(Duration::seconds(1));
  EXPECT_EQ(resolve(id), Answer::asked);
  pass({});
  EXPECT_EQ(questions(), "b");
}

TEST_F(NeighboursTest, AnAnswerSettles) {
  const NeighbourId id = cache_.hold(ip(9), 0);
  EXPECT_EQ(resolve(id), Answer::asked);
  cache_.on_advertisement(now_, ip(9), kMac, {});
  EXPECT_EQ(cache_.poll_settled(), id);
  EXPECT_EQ(cache_.poll_settled(), kNoNeighbour);
  EXPECT_EQ(resolve(id), Answer::known);
  EXPECT_EQ(mac_, kMac);
  pass(Duration::seconds(5));
  EXPECT_EQ(questions(), "");
}

TEST_F(NeighboursTest, WhatIsOldIsUsedAndProbedByUnicast) {
  const NeighbourId id = cache_.hold(ip(9), 0);
  EXPECT_EQ(resolve(id), Answer::asked);
  cache_.on_advertisement(now_, ip(9), kMac, {});
  EXPECT_EQ(cache_.poll_settled(), id);
  pass(Duration::seconds(46));  // more than 1.5 × 30 s
  EXPECT_EQ(questions(), "");   // unused entries cost no packet
  EXPECT_EQ(resolve(id), Answer::known);
  pass(Duration::seconds(4));
  EXPECT_EQ(questions(), "");
  pass(Duration::seconds(1));
  EXPECT_EQ(questions(), "u");
  EXPECT_EQ(resolve(id), Answer::known);
  cache_.on_advertisement(now_, ip(9), kMac, {});
  pass(Duration::seconds(1));
  EXPECT_EQ(questions(), "");
  EXPECT_EQ(cache_.next_timeout(), Instant::never());
}

TEST_F(NeighboursTest, AProbeWithoutAnAnswerGoesOnByBroadcastAndFails) {
  const NeighbourId id = cache_.hold(ip(9), 0);
  cache_.suggest(id, kMac);
  EXPECT_EQ(resolve(id), Answer::known);
  std::string all;
  for (int i = 0; i < 12; ++i) {
    pass(Duration::seconds(1));
    all += questions();
  }
  EXPECT_EQ(all, "uuubbb");
  EXPECT_EQ(cache_.poll_settled(), id);
  EXPECT_EQ(resolve(id), Answer::asked);  // a second has passed since
}

TEST_F(NeighboursTest, ProgressOfAConnectionSparesTheProbe) {
  const NeighbourId id = cache_.hold(ip(9), 0);
  cache_.suggest(id, kMac);
  EXPECT_FALSE(cache_.doubted(id));
  EXPECT_EQ(resolve(id), Answer::known);
  EXPECT_TRUE(cache_.doubted(id));  // in delay
  cache_.confirm(now_, id);
  EXPECT_FALSE(cache_.doubted(id));
  pass(Duration::seconds(14));  // half of 30 s at least
  EXPECT_EQ(resolve(id), Answer::known);
  EXPECT_EQ(questions(), "");
  EXPECT_EQ(cache_.next_timeout(), Instant::never());
  pass(Duration::seconds(46));
  EXPECT_EQ(resolve(id), Answer::known);
  pass(Duration::seconds(5));
  EXPECT_EQ(questions(), "u");
  EXPECT_TRUE(cache_.doubted(id));  // in probe
  cache_.confirm(now_, id);
  pass(Duration::seconds(1));
  EXPECT_EQ(questions(), "");
  EXPECT_EQ(resolve(id), Answer::known);
  EXPECT_EQ(mac_, kMac);
}

TEST_F(NeighboursTest, AnotherMacIsDoubtedUnlessItOverrides) {
  const NeighbourId id = cache_.hold(ip(9), 0);
  EXPECT_EQ(resolve(id), Answer::asked);
  cache_.on_advertisement(now_, ip(9), kMac, {});
  cache_.on_advertisement(now_, ip(9), kOther, {true, false});
  EXPECT_EQ(resolve(id), Answer::known);
  EXPECT_EQ(mac_, kMac);
  pass(Duration::seconds(5));
  EXPECT_EQ(questions(), "u");
  cache_.on_advertisement(now_, ip(9), kOther, {true, true});
  EXPECT_EQ(resolve(id), Answer::known);
  EXPECT_EQ(mac_, kOther);
}

TEST_F(NeighboursTest, ASuggestionNeverChangesWhatIsKnown) {
  const NeighbourId id = cache_.hold(ip(9), 0);
  cache_.suggest(id, kMac);
  cache_.suggest(id, kOther);
  EXPECT_EQ(resolve(id), Answer::known);
  EXPECT_EQ(mac_, kMac);
}

TEST_F(NeighboursTest, ASuggestionServesWhoWaitsForAnAnswer) {
  const NeighbourId id = cache_.hold(ip(9), 0);
  EXPECT_EQ(resolve(id), Answer::asked);
  EXPECT_EQ(questions(), "b");
  cache_.suggest(id, kMac);  // a connection was accepted from there
  EXPECT_EQ(cache_.poll_settled(), id);
  EXPECT_EQ(resolve(id), Answer::known);
  EXPECT_EQ(mac_, kMac);
  pass(Duration::seconds(5));
  EXPECT_EQ(questions(), "u");  // and is probed like any other
}

TEST_F(NeighboursTest, WhoMovedIsHeard) {
  const NeighbourId id = cache_.hold(ip(9), 0);
  cache_.suggest(id, kMac);
  cache_.on_heard(ip(9), kOther);  // its own request, from a new card
  EXPECT_EQ(resolve(id), Answer::known);
  EXPECT_EQ(mac_, kOther);
}

TEST_F(NeighboursTest, StrangersMakeNoEntries) {
  for (std::uint8_t i = 1; i < 200; ++i) {
    cache_.on_heard(ip(i), kMac);
    cache_.on_advertisement(now_, ip(i), kMac, {});
  }
  cache_.validate();
  EXPECT_EQ(cache_.held(), 0U);
  const NeighbourId id = cache_.hold(ip(9), 0);
  EXPECT_EQ(resolve(id), Answer::asked);
}

TEST_F(NeighboursTest, HeldOnesStayTheLongestIdleGoes) {
  NeighbourId ids[4];
  for (std::uint8_t i = 0; i < 4; ++i) {
    ids[i] = cache_.hold(ip(i + 1), 0);
    cache_.suggest(ids[i], kMac);
  }
  EXPECT_EQ(cache_.hold(ip(9), 0), kNoNeighbour);
  EXPECT_EQ(cache_.hold(ip(1), 0), ids[0]);  // one more holder
  cache_.release(ids[0]);
  cache_.release(ids[2]);
  cache_.release(ids[1]);
  // 3 was let go first.
  EXPECT_EQ(cache_.hold(ip(9), 0), ids[2]);
  cache_.validate();
  // What is idle is still known.
  const NeighbourId again = cache_.hold(ip(2), 0);
  EXPECT_EQ(again, ids[1]);
  EXPECT_EQ(resolve(again), Answer::known);
  EXPECT_EQ(cache_.held(), 4U);
}

TEST_F(NeighboursTest, AnEntryThatIsForgottenAsksNoMore) {
  const NeighbourId id = cache_.hold(ip(1), 0);
  EXPECT_EQ(resolve(id), Answer::asked);
  cache_.release(id);
  for (std::uint8_t i = 2; i < 6; ++i)
    EXPECT_NE(cache_.hold(ip(i), 0), kNoNeighbour);
  pass(Duration::seconds(1));
  EXPECT_EQ(questions(), "");
  EXPECT_EQ(cache_.poll_settled(), kNoNeighbour);
}

TEST_F(NeighboursTest, GroupAddressesAreNobodys) {
  const NeighbourId id = cache_.hold(ip(9), 0);
  EXPECT_EQ(resolve(id), Answer::asked);
  cache_.on_advertisement(now_, ip(9), wire::MacAddress::broadcast(), {});
  cache_.on_heard(ip(9), {});
  EXPECT_EQ(resolve(id), Answer::asked);
}

}  // namespace
}  // namespace penstock::net
