// Segments that arrive at one endpoint: RFC 9293 §3.10.7 row by row, RFC 5961, RFC 7323, RFC 2018,
// RFC 2883, RFC 3168.
#include <gtest/gtest.h>

#include "tcp/support.hh"

namespace penstock::tcp::test {
namespace {

constexpr std::uint8_t kAck = TcpFlags::ack;

// --- SYN-SENT (§3.10.7.3) ---

struct SynSent : Solo {
  SynSent() {
    Opening o;
    o.mss = 1460;
    o.iss = iss;
    c().open_active(now, o);
    flush();
    EXPECT_EQ(sent.size(), 1u);
    peer = SeqNumber(9000);
  }
  wire::TcpSegment syn(std::uint8_t flags, std::uint32_t ack) {
    wire::TcpSegment s = segment(flags);
    s.ack = iss + ack;
    s.options.mss = 1400;
    return s;
  }
};

TEST(TcpSynSent, SynOffersEverything) {
  SynSent t;
  EXPECT_EQ(t.sent[0].flags, TcpFlags::syn | TcpFlags::ece | TcpFlags::cwr);
  const wire::TcpOptions o = t.options(0);
  EXPECT_EQ(o.mss, 1460);
  EXPECT_EQ(o.window_shift, 5);  // 1 MiB
  EXPECT_TRUE(o.sack_permitted && o.has_timestamps);
}

TEST(TcpSynSent, AckOfSomethingElseIsReset) {
  SynSent t;
  EXPECT_EQ(t.give(t.syn(TcpFlags::syn | kAck, 7)), DropReason::bad_handshake);
  ASSERT_EQ(t.sent.size(), 1u);
  EXPECT_EQ(t.sent[0].flags, TcpFlags::rst);
  EXPECT_EQ(t.sent[0].seq, t.iss + 7);
  EXPECT_EQ(t.c().state(), State::syn_sent);
  // But not with RST.
  EXPECT_EQ(t.give(t.syn(TcpFlags::rst | kAck, 7)), DropReason::bad_handshake);
  EXPECT_TRUE(t.sent.empty());
}

TEST(TcpSynSent, ResetNeedsTheRightAck) {
  SynSent t;
  EXPECT_EQ(t.give(t.syn(TcpFlags::rst, 0)), DropReason::bad_handshake);
  EXPECT_FALSE(t.end.closed);
  EXPECT_EQ(t.give(t.syn(TcpFlags::rst | kAck, 1)), DropReason::none);
  EXPECT_TRUE(t.end.closed);
  EXPECT_EQ(t.end.error, StreamError::refused);
}

TEST(TcpSynSent, SynAckEstablishes) {
  SynSent t;
  t.now = t.now + ms(50);
  EXPECT_EQ(t.give(t.syn(TcpFlags::syn | kAck, 1)), DropReason::none);
  EXPECT_EQ(t.c().state(), State::established);
  EXPECT_EQ(t.end.log, "C");
  ASSERT_EQ(t.sent.size(), 1u);
  EXPECT_EQ(t.sent[0].flags, kAck);
  EXPECT_EQ(t.sent[0].ack, t.peer + 1);
  EXPECT_EQ(t.c().segment_size(), 1400);
  EXPECT_EQ(t.c().rtt().smoothed(), ms(50));
}

TEST(TcpSynSent, SynAloneIsAnsweredWithSynAck) {
  SynSent t;
  EXPECT_EQ(t.give(t.syn(TcpFlags::syn, 0)), DropReason::none);
  EXPECT_EQ(t.c().state(), State::syn_received);
  ASSERT_EQ(t.sent.size(), 1u);
  EXPECT_EQ(t.sent[0].flags, TcpFlags::syn | kAck);
  EXPECT_EQ(t.sent[0].seq, t.iss);
  t.peer += 1;
  t.give(kAck);
  EXPECT_EQ(t.c().state(), State::established);
}

TEST(TcpSynSent, NothingElseCounts) {
  SynSent t;
  EXPECT_EQ(t.give(t.syn(kAck, 1)), DropReason::bad_handshake);
  EXPECT_EQ(t.c().state(), State::syn_sent);
  EXPECT_TRUE(t.sent.empty());
}

TEST(TcpSynSent, SynGoesAgainWithoutEcnAndGivesUp) {
  SynSent t;
  EXPECT_EQ(t.advance(), Duration::seconds(1));
  ASSERT_EQ(t.sent.size(), 1u);
  EXPECT_EQ(t.sent[0].flags, TcpFlags::syn);
  EXPECT_EQ(t.advance(), Duration::seconds(2));
  EXPECT_EQ(t.advance(), Duration::seconds(4));
  t.wait(Duration::seconds(200));
  EXPECT_TRUE(t.end.closed);
  EXPECT_EQ(t.end.error, StreamError::timed_out);
}

TEST(TcpSynSent, UnreachableEndsOnlyAHandshake) {
  SynSent t;
  t.c().on_unreachable(t.now, t.iss + 9);
  EXPECT_EQ(t.c().state(), State::syn_sent);
  t.c().on_unreachable(t.now, t.iss);
  t.end.events();
  EXPECT_EQ(t.end.error, StreamError::unreachable);
  Solo u;
  u.establish();
  u.c().on_unreachable(u.now, u.iss);
  EXPECT_EQ(u.c().state(), State::established);
}

// --- synchronised: what is refused ---

TEST(TcpReceive, ResetMustBeExact) {
  Solo t;
  t.establish();
  wire::TcpSegment s = t.segment(TcpFlags::rst);
  s.seq = t.peer + 70'000;
  EXPECT_EQ(t.give(s), DropReason::outside_window);
  EXPECT_TRUE(t.sent.empty());
  s.seq = t.peer + 1;
  EXPECT_EQ(t.give(s), DropReason::blind_reset);
  ASSERT_EQ(t.sent.size(), 1u);  // RFC 5961 §3.2
  EXPECT_EQ(t.sent[0].flags, kAck);
  EXPECT_EQ(t.c().state(), State::established);
  s.seq = t.peer;
  EXPECT_EQ(t.give(s), DropReason::none);
  EXPECT_EQ(t.end.error, StreamError::reset);
  EXPECT_TRUE(t.sent.empty());
}

TEST(TcpReceive, SynIsChallengedWhereverItLies) {
  for (const std::uint32_t at : {0u, 5u, 0x80000000u, 0xfffffff0u}) {
    Solo t;
    t.establish();
    wire::TcpSegment s = t.segment(TcpFlags::syn);
    s.seq = t.peer + at;
    EXPECT_EQ(t.give(s), DropReason::blind_syn);
    ASSERT_EQ(t.sent.size(), 1u) << at;
    EXPECT_EQ(t.sent[0].flags, kAck);
    EXPECT_EQ(t.sent[0].ack, t.peer);
    EXPECT_EQ(t.c().state(), State::established);
  }
}

TEST(TcpReceive, ChallengesAreLimited) {
  Solo t;
  t.establish();
  wire::TcpSegment s = t.segment(TcpFlags::rst);
  s.seq = t.peer + 1;
  std::size_t answers = 0;
  for (int i = 0; i < 1000; ++i) {
    t.give(s);
    answers += t.sent.size();
    t.now = t.now + ms(1);
  }
  EXPECT_EQ(answers, 10u);  // one in 100 ms
  EXPECT_EQ(t.end.shared.counters.challenges_withheld, 990u);
}

TEST(TcpReceive, AllConnectionsShareABudgetThatNobodyKnows) {
  Limits limits = small_limits();
  limits.challenge_acks = 100;
  Shared shared(limits, kSecret);
  std::vector<std::size_t> seconds;
  Instant now = kStart;
  for (int second = 0; second < 8; ++second, now = now + Duration::seconds(1)) {
    std::size_t spent = 0;
    while (shared.challenges.try_spend(now))
      ++spent;
    EXPECT_GE(spent, 50u);
    EXPECT_LE(spent, 150u);
    seconds.push_back(spent);
  }
  std::sort(seconds.begin(), seconds.end());
  EXPECT_LT(seconds.front(), seconds.back());
}

TEST(TcpReceive, AckOfTheUnsentIsChallenged) {
  Solo t;
  t.establish();
  t.send(1000);
  const std::uint32_t window = t.c().congestion_window();
  EXPECT_EQ(t.give(kAck, 1001), DropReason::ack_of_unsent);
  ASSERT_EQ(t.sent.size(), 1u);
  EXPECT_EQ(t.c().in_flight(), 1000u);
  EXPECT_EQ(t.c().congestion_window(), window);
}

TEST(TcpReceive, AckFromTheDistantPastIsChallenged) {
  Solo t;
  t.window = 1000;
  t.establish();
  wire::TcpSegment s = t.segment(kAck);
  s.ack = t.iss + 1 - 1001;
  EXPECT_EQ(t.give(s), DropReason::ack_too_old);
  EXPECT_EQ(t.sent.size(), 1u);
  s.ack = t.iss + 1 - 1000;  // within the largest window: an old duplicate
  EXPECT_EQ(t.give(s), DropReason::none);
  EXPECT_TRUE(t.sent.empty());
}

TEST(TcpReceive, SegmentWithoutAckIsDropped) {
  Solo t;
  t.establish();
  wire::TcpSegment s = t.segment(TcpFlags::psh);
  const auto bytes = pattern(10);
  s.payload = bytes;
  EXPECT_EQ(t.give(s), DropReason::no_ack);
  EXPECT_TRUE(t.end.received.empty());
}

TEST(TcpReceive, SegmentOutsideTheWindowIsAcknowledged) {
  Solo t;
  t.establish();
  EXPECT_EQ(t.data(65'535, 100), DropReason::outside_window);
  ASSERT_EQ(t.sent.size(), 1u);
  EXPECT_EQ(t.sent[0].ack, t.peer);
}

TEST(TcpReceive, KeepaliveAndWindowProbeAreAnswered) {
  Solo t;
  t.establish();
  wire::TcpSegment s = t.segment(kAck);
  s.seq = t.peer - 1;
  EXPECT_EQ(t.give(s), DropReason::outside_window);
  ASSERT_EQ(t.sent.size(), 1u);
  EXPECT_EQ(t.sent[0].ack, t.peer);
}

// --- timestamps (RFC 7323) ---

TEST(TcpReceive, OldTimestampIsRefusedAndAcknowledged) {
  Solo t;
  t.timestamps = true;
  t.establish();
  t.data(0, 100);
  t.peer += 100;
  t.ts -= 1;
  EXPECT_EQ(t.data(0, 100), DropReason::paws);
  ASSERT_EQ(t.sent.size(), 1u);
  EXPECT_EQ(t.sent[0].ack, t.peer);
  EXPECT_EQ(t.end.received.size(), 100u);
  // §5.5: not after 24 days of silence.
  t.now = t.now + Duration::seconds(25 * 86400);
  EXPECT_EQ(t.data(0, 100), DropReason::none);
  EXPECT_EQ(t.data(100, 100), DropReason::none);
}

TEST(TcpReceive, MissingTimestampIsDroppedInSilence) {
  Solo t;
  t.timestamps = true;
  t.establish();
  t.timestamps = false;
  EXPECT_EQ(t.data(0, 100), DropReason::no_timestamp);
  EXPECT_TRUE(t.sent.empty());
  EXPECT_EQ(t.give(TcpFlags::rst), DropReason::none);  // §5.2: RST needs none
  EXPECT_EQ(t.end.error, StreamError::reset);
}

TEST(TcpReceive, EchoesTheTimestampOfWhatWasAskedFor) {
  Solo t;
  t.timestamps = true;
  t.establish();
  t.ts = 600;
  t.data(100, 100);  // out of order: not the one that the last ACK asked for
  EXPECT_EQ(t.options(0).ts_echo, 500u);
  t.ts = 601;
  t.data(0, 100);
  EXPECT_EQ(t.options(0).ts_echo, 601u);
}

// --- acknowledging ---

TEST(TcpReceive, DelaysAcksByFortyMilliseconds) {
  Solo t;
  t.establish();
  t.data(0, 1460);
  EXPECT_TRUE(t.sent.empty());
  EXPECT_EQ(t.advance(), ms(40));
  ASSERT_EQ(t.sent.size(), 1u);
  EXPECT_EQ(t.sent[0].ack, t.peer + 1460);
}

TEST(TcpReceive, AcknowledgesEverySecondSegment) {
  Solo t;
  t.establish();
  for (std::uint32_t i = 0; i < 10; ++i) {
    t.data(i * 1460, 1460);
    EXPECT_EQ(t.sent.size(), i % 2) << i;
  }
  EXPECT_EQ(t.end.received, [] {
    auto bytes = pattern(70000);
    bytes.resize(14600);
    return bytes;
  }());
}

TEST(TcpReceive, HolesAreReportedNewestFirst) {
  Solo t;
  t.timestamps = true;
  t.establish();
  t.data(1000, 500);
  ASSERT_EQ(t.sent.size(), 1u);  // at once
  t.data(3000, 500);
  t.data(5000, 500);
  t.data(7000, 500);
  const wire::TcpOptions o = t.options(0);
  ASSERT_EQ(o.sack_count, 3);
  EXPECT_EQ(o.sacks[0], (wire::SackBlock{t.peer + 7000, t.peer + 7500}));
  EXPECT_EQ(o.sacks[1], (wire::SackBlock{t.peer + 5000, t.peer + 5500}));
  EXPECT_EQ(o.sacks[2], (wire::SackBlock{t.peer + 3000, t.peer + 3500}));
  t.data(3500, 500);  // an old one grows: first again
  EXPECT_EQ(t.options(0).sacks[0], (wire::SackBlock{t.peer + 3000, t.peer + 4000}));
  EXPECT_EQ(t.options(0).sacks[1].begin, t.peer + 7000);
  t.data(0, 1000);
  ASSERT_EQ(t.sent.size(), 1u);  // filled a hole: at once
  EXPECT_EQ(t.sent[0].ack, t.peer + 1500);
  EXPECT_EQ(t.options(0).sack_count, 3);
  EXPECT_EQ(t.end.received.size(), 1500u);
}

TEST(TcpReceive, DuplicatesAreReportedOnceAndFirst) {
  Solo t;
  t.establish();
  t.data(0, 1000);
  t.data(3000, 500);
  t.data(0, 1000);  // RFC 2883 §4.1.1
  wire::TcpOptions o = t.options(0);
  ASSERT_EQ(o.sack_count, 2);
  EXPECT_EQ(o.sacks[0], (wire::SackBlock{t.peer, t.peer + 1000}));
  EXPECT_EQ(o.sacks[1], (wire::SackBlock{t.peer + 3000, t.peer + 3500}));
  t.data(3100, 200);  // §4.1.2: inside what is there
  o = t.options(0);
  EXPECT_EQ(o.sacks[0], (wire::SackBlock{t.peer + 3100, t.peer + 3300}));
  EXPECT_EQ(o.sacks[1], (wire::SackBlock{t.peer + 3000, t.peer + 3500}));
  t.data(5000, 10);
  EXPECT_EQ(t.options(0).sacks[0].begin, t.peer + 5000);
}

TEST(TcpReceive, PeerWithoutSackGetsEachDuplicateAck) {
  Solo t;
  Opening o = t.opening();
  o.peer.sack_permitted = false;
  t.c().open_passive(t.now, o, true);
  t.flush();
  const auto bytes = pattern(100);
  for (std::uint32_t i = 1; i <= 3; ++i) {
    wire::TcpSegment s = t.segment(kAck);
    s.seq = t.peer + i * 100;
    s.payload = bytes;
    t.c().on_segment(t.now, s);
    t.end.events();
  }
  t.flush();
  ASSERT_EQ(t.sent.size(), 3u);
  EXPECT_EQ(t.sent[2].ack, t.peer);
  EXPECT_EQ(t.options(2).sack_count, 0);
}

TEST(TcpReceive, FinWaitsForWhatComesBefore) {
  Solo t;
  t.establish();
  t.data(1000, 500, TcpFlags::fin);
  EXPECT_EQ(t.c().state(), State::established);
  EXPECT_EQ(t.sent[0].ack, t.peer);
  t.data(0, 1000);
  EXPECT_EQ(t.c().state(), State::close_wait);
  EXPECT_EQ(t.end.log, "E");
  EXPECT_EQ(t.end.received.size(), 1500u);
  ASSERT_EQ(t.sent.size(), 1u);
  EXPECT_EQ(t.sent[0].ack, t.peer + 1501);
  // Again: acknowledged, and nothing behind it is taken.
  t.data(1000, 500, TcpFlags::fin);
  EXPECT_EQ(t.sent.size(), 1u);
  t.data(1501, 100);
  EXPECT_EQ(t.end.received.size(), 1500u);
}

TEST(TcpReceive, WindowClosesAndOpensAgain) {
  Limits limits = small_limits();
  limits.receive_window = limits.receive_window_first = 20'000;
  Solo t(limits);
  t.establish();
  t.c().set_reading(t.now, false);
  for (std::uint32_t i = 0; i < 20; ++i)
    t.data(i * 1000, 1000);
  EXPECT_TRUE(t.end.received.empty());
  ASSERT_EQ(t.sent.size(), 1u);
  EXPECT_EQ(t.sent[0].window, 0);
  // A byte beyond it is refused, an ACK with it counts (§3.10.7.4 first).
  t.peer += 20'000;
  t.send(500);
  EXPECT_EQ(t.data(0, 1, 0, 500), DropReason::none);
  EXPECT_EQ(t.c().in_flight(), 0u);
  ASSERT_EQ(t.sent.size(), 1u);
  EXPECT_EQ(t.sent[0].ack, t.peer);
  t.c().set_reading(t.now, true);
  t.end.events();
  EXPECT_EQ(t.end.received.size(), 20'000u);
  t.flush();
  ASSERT_EQ(t.sent.size(), 1u);
  EXPECT_EQ(t.sent[0].window, 20'000);
  EXPECT_EQ(t.end.shared.receive_pages.free_count(), t.end.shared.receive_pages.count());
}

TEST(TcpReceive, WhatLiesBeyondTheWindowIsCutOff) {
  Limits limits = small_limits();
  limits.receive_window = limits.receive_window_first = 1000;
  Solo t(limits);
  t.establish();
  t.data(0, 1500, TcpFlags::fin);
  EXPECT_EQ(t.end.received.size(), 1000u);
  EXPECT_EQ(t.c().state(), State::established);  // its FIN was cut off, too
}

TEST(TcpReceive, CongestionMarksAreEchoedUntilCwr) {
  Solo t;
  Opening o = t.opening();
  o.ecn = true;
  t.c().open_passive(t.now, o, true);
  t.flush();
  const auto bytes = pattern(100);
  const auto give = [&](std::uint8_t flags, std::uint8_t ecn) {
    wire::TcpSegment s = t.segment(flags);
    s.payload = bytes;
    s.ecn = ecn;
    t.give(s);
    t.peer += 100;
  };
  give(kAck, 3);
  ASSERT_EQ(t.sent.size(), 1u);  // at once
  EXPECT_TRUE(t.sent[0].flags & TcpFlags::ece);
  give(kAck, 2);
  ASSERT_EQ(t.sent.size(), 1u);
  EXPECT_TRUE(t.sent[0].flags & TcpFlags::ece);
  give(kAck | TcpFlags::cwr, 2);
  t.wait(ms(40));
  ASSERT_EQ(t.sent.size(), 1u);
  EXPECT_FALSE(t.sent[0].flags & TcpFlags::ece);
}

// RFC 9293 §3.6 case 1: a peer that goes on sending isn't cut off; one that falls silent is.
TEST(TcpReceive, WhoHasClosedReceivesForAsLongAsDataComes) {
  Solo t;
  t.establish();
  t.c().close(t.now);
  t.flush();
  t.give(kAck, 1);
  ASSERT_EQ(t.c().state(), State::fin_wait_2);
  for (int i = 0; i < 5; ++i) {
    t.wait(Duration::seconds(50));
    ASSERT_EQ(t.data(0, 100, 0, 1), DropReason::none) << i;
    t.peer += 100;
  }
  EXPECT_EQ(t.end.received.size(), 500u);
  // Acknowledgements alone don't count.
  t.wait(Duration::seconds(50));
  t.give(kAck, 1);
  t.wait(Duration::seconds(20));
  EXPECT_TRUE(t.end.closed);
  EXPECT_EQ(t.end.error, StreamError::timed_out);
}

TEST(TcpReceive, ClosedConnectionsTakeNothing) {
  Solo t;
  EXPECT_EQ(t.give(kAck), DropReason::not_connected);
  EXPECT_EQ(name(DropReason::not_connected), "not_connected");
  EXPECT_FALSE(explain(DropReason::not_connected).empty());
}

}  // namespace
}  // namespace penstock::tcp::test
