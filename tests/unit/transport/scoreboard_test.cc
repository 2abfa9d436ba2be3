#include "transport/scoreboard.hh"

#include <algorithm>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace penstock::transport {
namespace {

constexpr std::uint16_t kMss = 1000;

Duration ms(std::int64_t n) {
  return Duration::milliseconds(n);
}

// Sequence numbers count from the first byte sent; time is in milliseconds.
struct Board {
  explicit Board(std::uint32_t first = 0xfffff000, std::uint32_t pages = 64,
                 std::uint32_t spare = 4)
      : pool(pages, spare), origin(first), board(pool, SeqNumber(first)) {}

  bool send(std::int64_t at, std::uint32_t length, std::uint16_t mss = kMss) {
    const bool sent = board.on_sent(when(at), length, mss);
    board.validate();
    return sent;
  }
  AckReport ack(std::int64_t at, std::uint32_t ack_to, std::vector<std::pair<int, int>> blocks = {},
                bool in_recovery = false, Instant echoed = Instant::never()) {
    std::vector<wire::SackBlock> sacks;
    for (const auto& [begin, end] : blocks)
      sacks.push_back(
          {seq(static_cast<std::uint32_t>(begin)), seq(static_cast<std::uint32_t>(end))});
    const AckReport report = board.on_ack(when(at), seq(ack_to), sacks, rtt, in_recovery, echoed);
    if (report.rtt.ns != 0) rtt.on_sample(when(at), report.rtt);
    board.validate();
    return report;
  }
  // Sends what is lost again, `most` bytes at a time; returns what it was.
  std::vector<std::pair<std::uint32_t, std::uint32_t>> resend(std::int64_t at,
                                                              std::uint32_t most = kMss) {
    std::vector<std::pair<std::uint32_t, std::uint32_t>> out;
    Scoreboard::Lost lost;
    while (board.next_lost(most, lost)) {
      board.on_resent(when(at), lost);
      board.validate();
      out.emplace_back(lost.seq - origin, lost.length);
    }
    return out;
  }
  [[nodiscard]] SeqNumber seq(std::uint32_t at) const { return origin + at; }
  [[nodiscard]] static Instant when(std::int64_t at) { return Instant{} + ms(at); }

  RecordPool pool;
  SeqNumber origin;
  RttEstimator rtt;
  Scoreboard board;
};

using Ranges = std::vector<std::pair<std::uint32_t, std::uint32_t>>;

TEST(Scoreboard, InOrder) {
  Board b;
  EXPECT_TRUE(b.board.empty());
  EXPECT_EQ(b.board.oldest_sent(), Instant::never());
  ASSERT_TRUE(b.send(0, 16'000));
  ASSERT_TRUE(b.send(1, 500));
  EXPECT_EQ(b.board.in_flight(), 16'500u);
  EXPECT_EQ(b.board.oldest_sent(), Board::when(0));
  AckReport r = b.ack(50, 3'000);
  EXPECT_EQ(r.acked, 3'000u);
  EXPECT_EQ(r.delivered(), 3'000u);
  EXPECT_EQ(r.original, 3'000u);
  EXPECT_EQ(r.rtt, ms(50));
  EXPECT_EQ(b.board.in_flight(), 13'500u);
  // In the middle of a record.
  r = b.ack(51, 3'400);
  EXPECT_EQ(r.acked, 400u);
  EXPECT_EQ(r.rtt.ns, 0);
  EXPECT_EQ(b.board.una(), b.seq(3'400));
  r = b.ack(60, 16'500);
  EXPECT_EQ(r.acked, 13'100u);
  EXPECT_EQ(r.rtt, ms(59));
  EXPECT_TRUE(b.board.empty());
  EXPECT_EQ(b.board.in_flight(), 0u);
  EXPECT_EQ(b.pool.free_count(), b.pool.count());
}

// RFC 8985 §6.2: three SACKed and no reordering ever seen: lost at once; sent again, and lost
// again.
TEST(Scoreboard, AHoleIsFoundAndMended) {
  Board b;
  for (int i = 0; i < 10; ++i)
    b.send(i, 1'000);
  b.ack(100, 1'000);
  AckReport r = b.ack(102, 1'000, {{2'000, 3'000}});
  EXPECT_EQ(r.sacked, 1'000u);
  EXPECT_EQ(r.lost, 0u);
  // Sent at 1, its successor came after 100 ms; a quarter of the RTT is given to it.
  EXPECT_EQ(b.board.reorder_deadline(), Board::when(126));
  r = b.ack(103, 1'000, {{2'000, 4'000}});
  EXPECT_EQ(r.lost, 0u);
  r = b.ack(104, 1'000, {{2'000, 5'000}});
  EXPECT_EQ(r.lost, 1'000u);
  EXPECT_EQ(b.board.lost(), 1'000u);
  EXPECT_EQ(b.board.in_flight(), 5'000u);
  EXPECT_EQ(b.board.reorder_deadline(), Instant::never());
  EXPECT_EQ(b.resend(104), (Ranges{{1'000, 1'000}}));
  EXPECT_EQ(b.board.in_flight(), 6'000u);
  b.send(105, 1'000);
  // What was sent after the retransmission came, and it didn't.
  r = b.ack(204, 1'000, {{2'000, 10'000}}, true);
  EXPECT_EQ(r.lost, 0u);
  r = b.ack(206, 1'000, {{2'000, 11'000}}, true);
  EXPECT_EQ(r.lost, 1'000u);
  EXPECT_EQ(r.lost_again, 1'000u);
  EXPECT_EQ(b.resend(206), (Ranges{{1'000, 1'000}}));
  r = b.ack(306, 11'000, {}, true);
  EXPECT_EQ(r.acked, 10'000u);
  EXPECT_EQ(r.unsacked, 9'000u);
  EXPECT_EQ(r.delivered(), 1'000u);
  EXPECT_EQ(r.rtt.ns, 0);  // Karn
  EXPECT_EQ(b.pool.free_count(), b.pool.count());
}

TEST(Scoreboard, ARecordCountsWhenAllOfItIsSacked) {
  Board b;
  b.send(0, 5'000);
  EXPECT_EQ(b.ack(100, 0, {{500, 1'999}}).sacked, 0u);
  EXPECT_EQ(b.ack(101, 0, {{500, 2'000}}).sacked, 1'000u);
  EXPECT_EQ(b.ack(102, 0, {{500, 3'999}}).sacked, 1'000u);
  EXPECT_EQ(b.ack(103, 0, {{0, 4'001}}).sacked, 2'000u);
  EXPECT_TRUE(b.board.reneged());
  EXPECT_EQ(b.board.sacked_count(), 4u);
}

TEST(Scoreboard, BlocksThatRepeatOverlapAndDontMakeSense) {
  Board b;
  b.send(0, 20'000);
  b.ack(100, 2'000);
  AckReport r = b.ack(101, 2'000, {{5'000, 7'000}, {5'000, 7'000}, {6'000, 9'000}, {3'000, 4'000}});
  EXPECT_EQ(r.sacked, 5'000u);
  EXPECT_TRUE(r.dsack);  // the first lies within the second
  EXPECT_FALSE(r.nonsense);
  EXPECT_TRUE(b.ack(101, 2'000, {{9'000, 5'000}}).nonsense);
  EXPECT_TRUE(b.ack(101, 2'000, {{9'000, 9'000}}).nonsense);
  EXPECT_TRUE(b.ack(101, 2'000, {{19'000, 20'001}}).nonsense);
  EXPECT_TRUE(b.ack(101, 20'001).nonsense);
  EXPECT_FALSE(b.ack(101, 2'000, {{-2'000'000'000, 2'000}}).dsack);
  EXPECT_EQ(b.board.sacked(), 5'000u);
  // Of an ACK that was overtaken: below what is acknowledged by now, no DSACK.
  r = b.ack(102, 500, {{1'000, 2'000}});
  EXPECT_FALSE(r.dsack);
  EXPECT_FALSE(r.nonsense);
  EXPECT_EQ(r.delivered(), 0u);
}

TEST(Scoreboard, AnOldAckStillBringsItsSacks) {
  Board b;
  b.send(0, 10'000);
  b.ack(100, 3'000);
  const AckReport r = b.ack(101, 1'000, {{5'000, 6'000}});
  EXPECT_EQ(r.acked, 0u);
  EXPECT_EQ(r.sacked, 1'000u);
  EXPECT_EQ(b.board.una(), b.seq(3'000));
}

// RFC 8985 §6.2: without reordering and with less than three SACKed a quarter of the RTT; then the
// timer.
TEST(Rack, TheTimerFindsWhatTheWindowSpared) {
  Board b;
  b.send(0, 1'000);
  b.send(10, 1'000);
  b.send(20, 1'000);
  b.ack(100, 1'000);
  b.ack(120, 1'000, {{2'000, 3'000}});
  ASSERT_EQ(b.board.reorder_deadline(), Board::when(10 + 100 + 25));
  EXPECT_EQ(b.board.on_reorder_timeout(Board::when(134), b.rtt).lost, 0u);
  EXPECT_EQ(b.board.on_reorder_timeout(Board::when(135), b.rtt).lost, 1'000u);
  EXPECT_EQ(b.board.reorder_deadline(), Instant::never());
}

// Once reordering was seen three SACKs aren't enough, and the window is there in recovery, too.
TEST(Rack, ReorderingIsRemembered) {
  Board b;
  b.send(0, 10'000);
  EXPECT_TRUE(b.ack(100, 0, {{1'000, 2'000}}).rtt == ms(100));
  EXPECT_TRUE(b.ack(101, 2'000).reordered);
  const AckReport r = b.ack(102, 2'000, {{3'000, 8'000}}, true);
  EXPECT_EQ(r.lost, 0u);
  EXPECT_LT(b.board.reorder_deadline(), Board::when(130));
  EXPECT_GT(b.board.reorder_deadline(), Board::when(125));
  EXPECT_FALSE(r.reordered);
}

// ACK and SACK that come together don't speak of reordering.
TEST(Rack, AnAckThatSkippedOthersIsNoReordering) {
  Board b;
  b.send(0, 10'000);
  EXPECT_FALSE(b.ack(100, 3'000, {{5'000, 6'000}}).reordered);
}

// What was sent again arrives sooner than anything can: it was the original (RFC 8985 §6.2 step 2).
TEST(Rack, AnAnswerFasterThanTheRttIsTheOriginals) {
  Board b;
  for (int i = 0; i < 10; ++i)
    b.send(i, 1'000);
  b.ack(100, 0, {{1'000, 5'000}});
  ASSERT_EQ(b.board.lost(), 1'000u);
  b.resend(105);
  // At 110 the first record is acknowledged: not the retransmission of 105, which would make RACK
  // take all that was sent before it for late.
  const AckReport r = b.ack(110, 5'000, {}, true);
  EXPECT_EQ(r.rtt.ns, 0);
  EXPECT_EQ(r.lost, 0u);
  EXPECT_EQ(b.board.reorder_deadline(), Instant::never());
}

// The same by timestamps, however late.
TEST(Rack, AnEchoFromBeforeTheRetransmission) {
  for (const bool with_echo : {false, true}) {
    Board b;
    for (int i = 0; i < 10; ++i)
      b.send(i, 1'000);
    b.ack(100, 0, {{1'000, 5'000}});
    b.resend(104);
    const AckReport r = b.ack(300, 5'000, {}, true, with_echo ? Board::when(50) : Instant::never());
    EXPECT_EQ(r.lost, with_echo ? 0u : 5'000u);
  }
}

// RFC 8985 §6.2 step 4: a quarter of the RTT more for each round trip with a DSACK, for 16
// recoveries.
TEST(Rack, DsacksWidenTheWindow) {
  Board b;
  std::uint32_t at = 0;
  std::int64_t now = 0;
  // Two arrive out of order: reordering was seen, whatever follows.
  b.send(now, 2'000);
  b.ack(now + 100, 0, {{1'000, 2'000}});
  b.ack(now + 100, 2'000);
  at = 2'000;
  const auto patience = [&] {
    now += 1'000;
    b.send(now, 2'000);
    b.ack(now + 100, at, {{static_cast<int>(at) + 1'000, static_cast<int>(at) + 2'000}});
    const Duration waits = b.board.reorder_deadline() - Board::when(now) - ms(100);
    b.ack(now + 100, at + 2'000);
    at += 2'000;
    return waits;
  };
  const auto duplicate = [&] {
    now += 1'000;
    b.send(now, 1'000);
    b.board.on_resent(Board::when(now + 50), {b.seq(at), 1'000});
    b.ack(now + 100, at + 1'000);
    const int begin = static_cast<int>(at);
    at += 1'000;
    EXPECT_TRUE(b.ack(now + 150, at, {{begin, begin + 1'000}}).dsack);
  };
  EXPECT_EQ(patience(), ms(25));
  duplicate();
  EXPECT_EQ(patience(), ms(50));
  duplicate();
  EXPECT_EQ(patience(), ms(75));
  for (int i = 0; i < 5; ++i)
    duplicate();
  EXPECT_EQ(patience(), ms(100));  // SRTT at most
  const auto recovery = [&] {
    b.ack(now + 160, at, {}, true);
    b.ack(now + 161, at, {}, false);
  };
  for (int i = 0; i < 15; ++i)
    recovery();
  EXPECT_EQ(patience(), ms(100));
  recovery();
  EXPECT_EQ(patience(), ms(25));
}

// DSACKs of what was never sent again (the network doubled it, the peer lies) change nothing.
TEST(Rack, UnearnedDsacks) {
  Board b;
  b.send(0, 2'000);
  b.ack(100, 0, {{1'000, 2'000}});
  b.ack(100, 2'000);
  for (int i = 0; i < 10; ++i)
    EXPECT_TRUE(b.ack(101 + i, 2'000, {{0, 1'000}}).dsack);
  b.send(200, 2'000);
  b.ack(300, 2'000, {{3'000, 4'000}});
  EXPECT_EQ(b.board.reorder_deadline(), Board::when(200 + 100 + 25));
}

TEST(Rack, ADsackOfAProbeIsNoReordering) {
  Board b;
  b.send(0, 2'000);
  b.ack(100, 0, {{1'000, 2'000}});
  b.ack(100, 2'000);
  b.send(200, 1'000);
  Scoreboard::Lost last;
  ASSERT_TRUE(b.board.last_sent(kMss, last));
  EXPECT_EQ(last.seq, b.seq(2'000));
  b.board.on_probed(Board::when(400), last);
  EXPECT_EQ(b.board.in_flight(), 1'000u);
  b.ack(450, 3'000);
  const AckReport r = b.ack(500, 3'000, {{2'000, 3'000}});
  EXPECT_TRUE(r.dsack);
  EXPECT_EQ(r.duplicate, (wire::SackBlock{b.seq(2'000), b.seq(3'000)}));
  b.send(600, 2'000);
  b.ack(700, 3'000, {{4'000, 5'000}});
  EXPECT_EQ(b.board.reorder_deadline(), Board::when(600 + 100 + 25));
}

TEST(Rack, RetransmissionsThatGoTogetherAreJudgedOneByOne) {
  Board b;
  b.send(0, 20'000);
  b.ack(100, 0, {{8'000, 20'000}});
  ASSERT_EQ(b.board.lost(), 8'000u);
  EXPECT_EQ(b.resend(101, 16'000), (Ranges{{0, 8'000}}));
  // The fourth of them came: those before it are late, those behind may come.
  const AckReport r = b.ack(201, 0, {{3'000, 4'000}, {8'000, 20'000}}, true);
  EXPECT_EQ(r.lost_again, 3'000u);
  EXPECT_EQ(b.resend(201, 2'000), (Ranges{{0, 2'000}, {2'000, 1'000}}));
  EXPECT_EQ(b.ack(301, 4'000, {{8'000, 20'000}}, true).lost_again, 4'000u);
}

// RFC 8985 §6.3.
TEST(Timeout, WhatIsYoungIsNotLost) {
  Board b;
  for (int i = 0; i < 6; ++i)
    b.send(i * 100, 1'000);
  b.ack(100, 1'000);
  // At 450: sent at 400 and 500 isn't a round trip ago.
  b.board.on_timeout(Board::when(450), b.rtt, false);
  b.board.validate();
  EXPECT_EQ(b.board.lost(), 3'000u);
  EXPECT_EQ(b.board.in_flight(), 2'000u);
  EXPECT_EQ(b.resend(450, 10'000), (Ranges{{1'000, 3'000}}));
}

TEST(Timeout, WithoutAnySampleAllIsLost) {
  Board b;
  b.send(0, 10'000);
  b.board.on_timeout(Board::when(1'000), b.rtt, false);
  EXPECT_EQ(b.board.lost(), 10'000u);
  EXPECT_EQ(b.board.in_flight(), 0u);
  EXPECT_EQ(b.resend(1'000), (Ranges{{0, 1'000},
                                     {1'000, 1'000},
                                     {2'000, 1'000},
                                     {3'000, 1'000},
                                     {4'000, 1'000},
                                     {5'000, 1'000},
                                     {6'000, 1'000},
                                     {7'000, 1'000},
                                     {8'000, 1'000},
                                     {9'000, 1'000}}));
}

// RFC 2018 §8.
TEST(Timeout, SacksThatWereTakenBack) {
  Board b;
  b.send(0, 5'000);
  b.ack(100, 0, {{1'000, 3'000}});
  const AckReport r = b.ack(110, 1'000);
  EXPECT_EQ(r.acked, 1'000u);
  EXPECT_TRUE(b.board.reneged());
  b.board.on_timeout(Board::when(500), b.rtt, true);
  b.board.validate();
  EXPECT_EQ(b.board.sacked(), 0u);
  EXPECT_EQ(b.board.lost(), 4'000u);
  EXPECT_EQ(b.resend(500, 10'000), (Ranges{{1'000, 4'000}}));
  EXPECT_EQ(b.ack(600, 5'000).delivered(), 4'000u);
}

TEST(Undo, EveryRetransmissionWasTwice) {
  Board b;
  for (int i = 0; i < 10; ++i)
    b.send(i, 1'000);
  b.ack(100, 0, {{2'000, 6'000}});
  ASSERT_EQ(b.board.lost(), 2'000u);
  b.board.begin_episode();
  b.resend(101);
  EXPECT_EQ(b.board.episode_resent(), 2'000u);
  b.ack(105, 6'000, {}, true);
  EXPECT_FALSE(b.ack(200, 6'000, {{0, 1'000}}, true).spurious);
  EXPECT_EQ(b.board.episode_resent(), 1'000u);
  EXPECT_TRUE(b.ack(201, 6'000, {{1'000, 2'000}}, true).spurious);
  EXPECT_FALSE(b.ack(202, 6'000, {{1'000, 2'000}}, true).spurious);
}

TEST(Undo, ARetransmissionThatWasNeededForbidsIt) {
  Board b;
  b.send(0, 10'000);
  b.ack(100, 0, {{2'000, 6'000}});
  b.board.begin_episode();
  b.resend(101);
  b.ack(201, 6'000, {}, true);
  EXPECT_FALSE(b.ack(202, 6'000, {{0, 1'000}}, true).spurious);
  // The same again isn't the other one, but nobody can tell: what counts are bytes.
  EXPECT_EQ(b.board.episode_resent(), 1'000u);
}

// A timeout that came too soon: the first acknowledgement is of originals (RFC 5682), and what was
// marked is under way as before.
TEST(Undo, NothingWasLost) {
  Board b;
  for (int i = 0; i < 5; ++i)
    b.send(i, 1'000);
  b.board.on_timeout(Board::when(300), b.rtt, false);
  b.board.begin_episode();
  Scoreboard::Lost first;
  ASSERT_TRUE(b.board.next_lost(kMss, first));
  b.board.on_resent(Board::when(300), first);
  EXPECT_EQ(b.board.in_flight(), 1'000u);
  const AckReport r = b.ack(400, 2'000, {}, true);
  EXPECT_EQ(r.original, 1'000u);
  b.board.undo_lost(Board::when(400));
  b.board.validate();
  EXPECT_EQ(b.board.lost(), 0u);
  EXPECT_EQ(b.board.in_flight(), 3'000u);
  EXPECT_FALSE(b.board.next_lost(kMss, first));
}

TEST(Scoreboard, WithoutSackTheFirstIsTakenForLost) {
  Board b;
  b.board.set_rack(false);
  b.send(0, 5'000);
  EXPECT_EQ(b.board.mark_first_lost(), 1'000u);
  EXPECT_EQ(b.board.mark_first_lost(), 0u);
  EXPECT_EQ(b.resend(100), (Ranges{{0, 1'000}}));
  // A partial ACK (RFC 6582 §3.2 step 3): the next hole.
  EXPECT_EQ(b.ack(200, 2'000, {}, true).lost, 0u);
  EXPECT_EQ(b.board.mark_first_lost(), 1'000u);
  EXPECT_EQ(b.resend(200), (Ranges{{2'000, 1'000}}));
  b.board.on_timeout(Board::when(210), b.rtt, false);
  EXPECT_EQ(b.board.lost(), 3'000u);
}

// The path's MTU shrank: records go again in parts, and each part is its own.
TEST(Scoreboard, RecordsAreCutWhereTheyAreSentAgain) {
  Board b;
  b.send(0, 6'000);
  b.board.on_timeout(Board::when(100), b.rtt, false);
  EXPECT_EQ(b.resend(100, 600), (Ranges{{0, 600},
                                        {600, 400},
                                        {1'000, 600},
                                        {1'600, 400},
                                        {2'000, 600},
                                        {2'600, 400},
                                        {3'000, 600},
                                        {3'600, 400},
                                        {4'000, 600},
                                        {4'600, 400},
                                        {5'000, 600},
                                        {5'600, 400}}));
  const AckReport r = b.ack(200, 600, {{1'000, 1'600}});
  EXPECT_EQ(r.acked, 600u);
  EXPECT_EQ(r.sacked, 600u);
}

TEST(Scoreboard, TheTailOfARecordIsProbed) {
  Board b;
  b.send(0, 1'500);
  Scoreboard::Lost last;
  ASSERT_TRUE(b.board.last_sent(200, last));
  EXPECT_EQ(last.seq, b.seq(1'300));
  EXPECT_EQ(last.length, 200u);
  b.board.on_probed(Board::when(200), last);
  b.board.validate();
  EXPECT_EQ(b.board.in_flight(), 1'500u);
  EXPECT_EQ(b.ack(250, 0, {{1'300, 1'500}}).sacked, 200u);
  EXPECT_FALSE(b.board.last_sent(200, last));
}

// --- memory ---

TEST(RecordPool, TheReserveIsNotForNewBytes) {
  Board b(5, 6, 3);
  ASSERT_TRUE(b.send(0, 64'000));  // a directory, a page
  EXPECT_EQ(b.pool.free_count(), 4u);
  EXPECT_TRUE(b.send(1, 1'000));    // one page more
  EXPECT_FALSE(b.send(2, 64'000));  // as many as there is room for: no
  EXPECT_EQ(b.board.nxt(), b.seq(65'000));
  EXPECT_TRUE(b.send(2, 63'000));
  EXPECT_FALSE(b.send(3, 1));
  // Cutting has it.
  b.board.on_timeout(Board::when(100), b.rtt, false);
  Scoreboard::Lost lost;
  ASSERT_TRUE(b.board.next_lost(600, lost));
  b.board.on_resent(Board::when(100), lost);
  b.board.validate();
  EXPECT_EQ(b.board.lost(), 128'000u - 600u);
  b.ack(200, 128'000);
  EXPECT_EQ(b.pool.free_count(), 6u);
}

// Nothing is left to cut with, or to follow retransmissions with: still all comes across.
TEST(RecordPool, EmptyAndStillSafe) {
  Board b(5, 2, 0);
  ASSERT_TRUE(b.send(0, 64'000));
  EXPECT_FALSE(b.send(0, 1));
  b.board.on_timeout(Board::when(100), b.rtt, false);
  std::uint32_t arrived = 0;
  std::int64_t now = 100;
  for (int turns = 0; turns < 400 && !b.board.empty(); ++turns) {
    Scoreboard::Lost lost;
    if (!b.board.next_lost(600, lost)) {
      b.board.on_timeout(Board::when(now += 1'000), b.rtt, false);
      b.board.validate();
      continue;
    }
    b.board.on_resent(Board::when(++now), lost);
    b.board.validate();
    if (lost.seq - b.origin <= arrived)
      arrived = std::max(arrived, (lost.seq - b.origin) + lost.length);
    b.ack(now += 10, arrived);
  }
  EXPECT_TRUE(b.board.empty());
  EXPECT_EQ(b.pool.free_count(), 2u);
}

TEST(RecordPool, AConnectionHasItsLimit) {
  Board b(7, 2'000, 0);
  std::uint32_t records = 0;
  while (b.board.on_sent(Instant{}, 10, 10))
    ++records;
  EXPECT_GE(records, Scoreboard::kRecordsMax);
  b.board.validate();
  EXPECT_TRUE(b.ack(1, records * 10 / 2).acked > 0);
  EXPECT_TRUE(b.send(2, 10));
  // Every second one of what is left.
  for (std::uint32_t at = records / 2; at + 8 < records; at += 8) {
    std::vector<wire::SackBlock> sacks;
    for (std::uint32_t k = 1; k < 8; k += 2)
      sacks.push_back({b.seq((at + k) * 10), b.seq((at + k + 1) * 10)});
    (void)b.board.on_ack(Board::when(3), b.seq(records * 10 / 2), sacks, b.rtt, true);
  }
  b.board.validate();
  EXPECT_GT(b.board.lost(), 0u);
  Scoreboard::Lost lost;
  while (b.board.next_lost(64'000, lost))
    b.board.on_resent(Board::when(4), lost);
  b.board.validate();
  EXPECT_EQ(b.board.lost(), 0u);
  b.ack(5, records * 10 + 10);
  EXPECT_EQ(b.pool.free_count(), 2'000u);
}

TEST(RecordPool, GivesBackWhatIsUnderWay) {
  RecordPool pool(10, 0);
  {
    Scoreboard board(pool, SeqNumber(1));
    ASSERT_TRUE(board.on_sent(Instant{}, 100'000, 1'000));
    board.on_timeout(Instant{1}, RttEstimator(), false);
    Scoreboard::Lost lost;
    ASSERT_TRUE(board.next_lost(5'000, lost));
    board.on_resent(Instant{1}, lost);
    EXPECT_EQ(pool.free_count(), 6u);
  }
  EXPECT_EQ(pool.free_count(), 10u);
}

}  // namespace
}  // namespace penstock::transport
