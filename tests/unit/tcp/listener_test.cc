// LISTEN, SYN-RECEIVED as mini control blocks, SYN cookies, resets to nobody.
#include "tcp/listener.hh"

#include <gtest/gtest.h>

#include "tcp/support.hh"

namespace penstock::tcp::test {
namespace {

using Verdict = Listener::Verdict;

Flow flow_of(std::uint16_t port) {
  return {IpAddress::v4(192, 0, 2, 1), IpAddress::v4(198, 51, 100, 7), 6881, port};
}

struct Listening {
  Shared shared{small_limits(), kSecret};
  Listener listener{shared};
  Instant now = kStart;
  Listener::Answer answer;

  static wire::TcpSegment syn(std::uint32_t seq = 500) {
    wire::TcpSegment s;
    s.seq = SeqNumber(seq);
    s.flags = TcpFlags::syn;
    s.window = 29200;
    s.options.mss = 1400;
    s.options.window_shift = 7;
    s.options.sack_permitted = true;
    s.options.has_timestamps = true;
    s.options.ts_value = 12345;
    return s;
  }
  Verdict on_syn(std::uint16_t port, const wire::TcpSegment& s) {
    listener.on_syn(now, flow_of(port), s, 1460, nullptr, answer);
    listener.validate();
    return answer.verdict;
  }
  wire::TcpSegment ack() const {
    wire::TcpSegment s = syn();
    const wire::TcpOptions o = options();
    s.seq = answer.reply.ack;
    s.ack = answer.reply.seq + 1;
    s.flags = TcpFlags::ack;
    s.options = {};
    s.options.has_timestamps = o.has_timestamps;
    s.options.ts_value = 12350;
    s.options.ts_echo = o.ts_value;
    return s;
  }
  Verdict on_ack(std::uint16_t port, const wire::TcpSegment& s, bool room = true) {
    listener.on_ack(now, flow_of(port), s, 1460, room, answer);
    listener.validate();
    return answer.verdict;
  }
  wire::TcpOptions options() const {
    wire::TcpOptions o;
    wire::parse_tcp_options(std::span(answer.reply.options).first(answer.reply.options_length), o);
    return o;
  }
};

TEST(TcpListener, HandshakeMakesAConnection) {
  Listening t;
  ASSERT_EQ(t.on_syn(1000, Listening::syn()), Verdict::reply);
  EXPECT_EQ(t.answer.reply.flags, TcpFlags::syn | TcpFlags::ack);
  EXPECT_EQ(t.answer.reply.ack, SeqNumber(501));
  const wire::TcpOptions o = t.options();
  EXPECT_EQ(o.mss, 1460);
  EXPECT_EQ(o.ts_echo, 12345u);
  EXPECT_TRUE(o.sack_permitted);
  EXPECT_EQ(o.window_shift, 5);
  const wire::TcpSegment ack = t.ack();
  t.now = t.now + ms(30);
  ASSERT_EQ(t.on_ack(1000, ack), Verdict::establish);
  EXPECT_EQ(t.answer.opening.rtt, ms(30));
  EXPECT_EQ(t.answer.opening.peer.mss, 1400);
  EXPECT_EQ(t.answer.opening.peer.window_shift, 7);
  EXPECT_EQ(t.listener.half_open(), 0u);
  Connection c(t.shared);
  c.open_passive(t.now, t.answer.opening, true);
  EXPECT_EQ(c.on_segment(t.now, ack), DropReason::none);
  EXPECT_EQ(c.state(), State::established);
  EXPECT_EQ(c.segment_size(), 1400 - 12);
}

TEST(TcpListener, OffersOnlyWhatThePeerOffered) {
  Listening t;
  wire::TcpSegment s = Listening::syn();
  s.options = {};
  t.on_syn(1000, s);
  const wire::TcpOptions o = t.options();
  EXPECT_FALSE(o.has_timestamps || o.sack_permitted);
  EXPECT_EQ(o.window_shift, wire::kNoWindowShift);
  EXPECT_EQ(o.mss, 1460);
}

TEST(TcpListener, SynAckGoesAgainAndThenNoMore) {
  Listening t;
  t.on_syn(1000, Listening::syn());
  Flow flow;
  SegmentOut out;
  Duration gap = Duration::seconds(1);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(t.listener.next_timeout() - t.now, gap);
    EXPECT_FALSE(t.listener.poll_transmit(t.now, flow, out));
    t.now = t.now + gap;
    ASSERT_TRUE(t.listener.poll_transmit(t.now, flow, out));
    EXPECT_EQ(out.flags, TcpFlags::syn | TcpFlags::ack);
    EXPECT_EQ(flow, flow_of(1000));
    EXPECT_FALSE(t.listener.poll_transmit(t.now, flow, out));
    t.listener.validate();
    gap = gap * 2;
  }
  t.now = t.now + gap;
  EXPECT_FALSE(t.listener.poll_transmit(t.now, flow, out));
  EXPECT_EQ(t.listener.half_open(), 0u);
  EXPECT_EQ(t.shared.counters.half_open_expired, 1u);
  EXPECT_EQ(t.listener.next_timeout(), Instant::never());
}

TEST(TcpListener, SameSynIsAnsweredOnceASecond) {
  Listening t;
  t.on_syn(1000, Listening::syn());
  const SeqNumber iss = t.answer.reply.seq;
  EXPECT_EQ(t.on_syn(1000, Listening::syn()), Verdict::drop);
  t.now = t.now + Duration::seconds(1);
  EXPECT_EQ(t.on_syn(1000, Listening::syn()), Verdict::reply);
  EXPECT_EQ(t.answer.reply.seq, iss);
  // Another one starts anew.
  EXPECT_EQ(t.on_syn(1000, Listening::syn(900)), Verdict::reply);
  EXPECT_EQ(t.answer.reply.ack, SeqNumber(901));
  EXPECT_EQ(t.listener.half_open(), 1u);
}

TEST(TcpListener, WrongAcksAndResets) {
  Listening t;
  t.on_syn(1000, Listening::syn());
  const wire::TcpSegment good = t.ack();
  wire::TcpSegment s = good;
  s.ack += 1;
  EXPECT_EQ(t.on_ack(1000, s), Verdict::not_here);  // to be reset
  s = good;
  s.seq = s.seq - 1;
  EXPECT_EQ(t.on_ack(1000, s), Verdict::drop);
  s = good;
  s.options.ts_value = 1;
  EXPECT_EQ(t.on_ack(1000, s), Verdict::drop);  // PAWS
  s = good;
  s.flags = TcpFlags::rst;
  s.seq += 1;
  EXPECT_EQ(t.on_ack(1000, s), Verdict::drop);
  EXPECT_EQ(t.listener.half_open(), 1u);
  s.seq = s.seq - 1;
  t.on_ack(1000, s);
  EXPECT_EQ(t.listener.half_open(), 0u);
  EXPECT_EQ(t.on_ack(1000, good), Verdict::not_here);
}

TEST(TcpListener, WithoutRoomThePeerAsksAgain) {
  Listening t;
  t.on_syn(1000, Listening::syn());
  const wire::TcpSegment good = t.ack();
  EXPECT_EQ(t.on_ack(1000, good, false), Verdict::drop);
  EXPECT_EQ(t.on_ack(1000, good, true), Verdict::establish);
}

TEST(TcpListener, CookiesBeyondTheBacklog) {
  Listening t;
  for (std::uint16_t port = 1; port <= 4; ++port)
    t.on_syn(port, Listening::syn());
  EXPECT_EQ(t.shared.counters.syn_cookies_sent, 0u);
  wire::TcpSegment s = Listening::syn();
  s.flags |= TcpFlags::ece | TcpFlags::cwr;
  ASSERT_EQ(t.on_syn(5, s), Verdict::reply);
  EXPECT_EQ(t.shared.counters.syn_cookies_sent, 1u);
  EXPECT_EQ(t.listener.half_open(), 4u);
  const wire::TcpSegment good = t.ack();
  const SeqNumber cookie = t.answer.reply.seq;
  wire::TcpSegment wrong = good;
  wrong.ack += 32;
  EXPECT_EQ(t.on_ack(5, wrong), Verdict::drop);
  EXPECT_EQ(t.on_ack(6, good), Verdict::drop);  // another flow's
  wire::TcpSegment second = good;
  second.seq += 100;
  EXPECT_EQ(t.on_ack(5, second), Verdict::drop);  // its first was lost
  EXPECT_EQ(t.shared.counters.dropped[static_cast<std::size_t>(DropReason::cookie_invalid)], 3u);
  t.now = t.now + Duration::seconds(3);
  ASSERT_EQ(t.on_ack(5, good), Verdict::establish);
  const Opening& o = t.answer.opening;
  EXPECT_EQ(o.iss, cookie);
  EXPECT_EQ(o.irs, SeqNumber(500));
  EXPECT_EQ(o.peer.mss, 1360);  // of the table
  EXPECT_EQ(o.peer.window_shift, 7);
  EXPECT_TRUE(o.peer.sack_permitted);
  EXPECT_TRUE(o.ecn);
  EXPECT_EQ(t.shared.counters.syn_cookies_good, 1u);
}

// The SYN came again when there was room for it: two SYN-ACKs with two numbers are on their way.
TEST(TcpListener, CookieIsGoodBesideABlockOfItsSyn) {
  Listening t;
  for (std::uint16_t port = 1; port <= 4; ++port)
    t.on_syn(port, Listening::syn());
  t.on_syn(5, Listening::syn());
  const wire::TcpSegment good = t.ack();
  const SeqNumber cookie = t.answer.reply.seq;
  wire::TcpSegment reset = good;
  reset.flags = TcpFlags::rst;
  t.on_ack(4, reset);
  ASSERT_EQ(t.listener.half_open(), 3u);
  t.now = t.now + Duration::seconds(1);
  ASSERT_EQ(t.on_syn(5, Listening::syn()), Verdict::reply);
  ASSERT_EQ(t.listener.half_open(), 4u);
  EXPECT_NE(t.answer.reply.seq, cookie);
  EXPECT_EQ(t.on_ack(5, good), Verdict::establish);
  EXPECT_EQ(t.answer.opening.iss, cookie);
  EXPECT_EQ(t.listener.half_open(), 3u);
}

TEST(TcpListener, CookieIsLookedAtOnlyAfterAFlood) {
  Listening t;
  Cookies cookies(kSecret);
  wire::TcpSegment s;
  s.flags = TcpFlags::ack;
  s.seq = SeqNumber(501);
  s.ack = cookies.make(t.now, flow_of(5), SeqNumber(500), 1460) + 1;
  EXPECT_EQ(t.on_ack(5, s), Verdict::not_here);
  EXPECT_EQ(t.shared.counters.syn_cookies_good, 0u);
}

TEST(TcpCookies, AreGoodForOneToTwoEpochs) {
  Cookies cookies(kSecret);
  Instant now{Duration::seconds(6400).ns};  // an epoch begins
  const SeqNumber cookie = cookies.make(now, flow_of(1), SeqNumber(1), 1460);
  EXPECT_EQ(cookies.check(now + Duration::seconds(127), flow_of(1), SeqNumber(1), cookie), 1460);
  EXPECT_EQ(cookies.check(now + Duration::seconds(128), flow_of(1), SeqNumber(1), cookie), 0);
  EXPECT_EQ(cookies.check(now + Duration::seconds(257), flow_of(1), SeqNumber(1), cookie), 0);
}

TEST(TcpCookies, SayNoMoreThanThePeersMss) {
  Cookies cookies(kSecret);
  for (const std::uint16_t mss :
       std::initializer_list<std::uint16_t>{217, 536, 1000, 1459, 1460, 9000, 65535}) {
    const SeqNumber cookie = cookies.make(kStart, flow_of(1), SeqNumber(1), mss);
    const std::uint16_t said = cookies.check(kStart, flow_of(1), SeqNumber(1), cookie);
    EXPECT_NE(said, 0);
    EXPECT_LE(said, mss);
  }
}

TEST(TcpCookies, GuessesFail) {
  Cookies cookies(kSecret);
  int good = 0;
  for (std::uint32_t i = 0; i < 100'000; ++i)
    good += cookies.check(kStart, flow_of(1), SeqNumber(1), SeqNumber(i * 42949)) != 0;
  EXPECT_LE(good, 1);
}

TEST(TcpCookies, StampsNeverRunAhead) {
  wire::TcpOptions peer;
  for (std::uint32_t shift : {0u, 7u, 14u, 255u}) {
    peer.window_shift = static_cast<std::uint8_t>(shift);
    peer.sack_permitted = shift != 7;
    for (std::uint32_t clock : {0u, 1u, 63u, 64u, 1000u, 0xffffffffu}) {
      const std::uint32_t stamp = Cookies::stamp(clock, peer, shift == 0);
      EXPECT_LE(clock - stamp, 127u);
      wire::TcpOptions read;
      EXPECT_EQ(Cookies::read_stamp(stamp, read), shift == 0);
      EXPECT_EQ(read.window_shift, peer.window_shift);
      EXPECT_EQ(read.sack_permitted, peer.sack_permitted);
    }
  }
}

TEST(TcpNobody, ResetsAsTheStandardSays) {
  Shared shared(small_limits(), kSecret);
  SegmentOut out;
  wire::TcpSegment s;
  s.flags = TcpFlags::ack;
  s.seq = SeqNumber(10);
  s.ack = SeqNumber(77);
  ASSERT_TRUE(reset_to_nobody(kStart, shared, s, out));
  EXPECT_EQ(out.flags, TcpFlags::rst);
  EXPECT_EQ(out.seq, SeqNumber(77));
  s.flags = TcpFlags::syn;
  ASSERT_TRUE(reset_to_nobody(kStart, shared, s, out));
  EXPECT_EQ(out.flags, TcpFlags::rst | TcpFlags::ack);
  EXPECT_EQ(out.seq, SeqNumber(0));
  EXPECT_EQ(out.ack, SeqNumber(11));
  s.flags = TcpFlags::rst;
  EXPECT_FALSE(reset_to_nobody(kStart, shared, s, out));
  int sent = 0;
  s.flags = TcpFlags::ack;
  for (int i = 0; i < 10'000; ++i)
    sent += reset_to_nobody(kStart, shared, s, out);
  EXPECT_LE(sent, 1500);
}

}  // namespace
}  // namespace penstock::tcp::test
