// TIME-WAIT as mini control blocks: RFC 9293 §3.6.1, RFC 1337, RFC 6191.
#include "tcp/time_wait.hh"

#include <gtest/gtest.h>

#include "tcp/support.hh"

namespace penstock::tcp::test {
namespace {

using Verdict = TimeWaitTable::Verdict;

Flow flow_of(std::uint16_t port) {
  return {IpAddress::v4(192, 0, 2, 1), IpAddress::v4(198, 51, 100, 7), 6881, port};
}

struct Waiting {
  Shared shared{small_limits(), kSecret};
  TimeWaitTable table{shared};
  Instant now = kStart;
  TimeWaitTable::Answer answer;
  TimeWaitState state{.snd_nxt = SeqNumber(5000),
                      .rcv_nxt = SeqNumber(9000),
                      .window = 100,
                      .timestamps = true,
                      .ts_recent = 70,
                      .ts_offset = 0,
                      .ts_recent_at = kStart};

  void add(std::uint16_t port) {
    table.add(now, flow_of(port), state);
    table.validate();
  }
  Verdict give(std::uint16_t port, std::uint8_t flags, std::uint32_t seq, std::uint32_t ts) {
    wire::TcpSegment s;
    s.flags = flags;
    s.seq = SeqNumber(seq);
    s.ack = SeqNumber(5000);
    s.options.has_timestamps = ts != 0;
    s.options.ts_value = ts;
    table.on_segment(now, flow_of(port), s, answer);
    table.validate();
    return answer.verdict;
  }
};

constexpr std::uint8_t kFinAck = TcpFlags::fin | TcpFlags::ack;

TEST(TcpTimeWait, LastsTwoLifetimes) {
  Waiting t;
  t.add(1);
  EXPECT_EQ(t.table.next_timeout() - t.now, Duration::seconds(60));
  t.now = t.now + Duration::seconds(59);
  t.table.on_timeout(t.now);
  EXPECT_TRUE(t.table.contains(flow_of(1)));
  t.now = t.now + Duration::seconds(1);
  t.table.on_timeout(t.now);
  EXPECT_EQ(t.table.size(), 0u);
  EXPECT_EQ(t.give(1, TcpFlags::ack, 9000, 80), Verdict::not_here);
}

TEST(TcpTimeWait, FinAgainIsAcknowledgedAndStartsAnew) {
  Waiting t;
  t.add(1);
  t.now = t.now + Duration::seconds(50);
  ASSERT_EQ(t.give(1, kFinAck, 8999, 70), Verdict::reply);
  EXPECT_EQ(t.answer.reply.seq, SeqNumber(5000));
  EXPECT_EQ(t.answer.reply.ack, SeqNumber(9000));
  EXPECT_EQ(t.answer.reply.flags, TcpFlags::ack);
  EXPECT_EQ(t.table.next_timeout() - t.now, Duration::seconds(60));
}

TEST(TcpTimeWait, ResetIsIgnored) {
  Waiting t;
  t.add(1);
  EXPECT_EQ(t.give(1, TcpFlags::rst, 9000, 0), Verdict::drop);
  EXPECT_TRUE(t.table.contains(flow_of(1)));
}

TEST(TcpTimeWait, NewSynIsLetInByTimestamp) {
  Waiting t;
  t.add(1);
  EXPECT_EQ(t.give(1, TcpFlags::syn, 100, 69), Verdict::reply);  // old: an ACK
  EXPECT_EQ(t.give(1, TcpFlags::syn, 8000, 70), Verdict::reply);
  EXPECT_EQ(t.give(1, TcpFlags::syn, 100, 71), Verdict::reopen);
  EXPECT_EQ(t.answer.iss_least, SeqNumber(5000 + 65536));
  EXPECT_FALSE(t.table.contains(flow_of(1)));
}

TEST(TcpTimeWait, NewSynIsLetInBySequenceNumber) {
  Waiting t;
  t.state.timestamps = false;
  t.add(1);
  EXPECT_EQ(t.give(1, TcpFlags::syn, 9000, 0), Verdict::reply);
  EXPECT_EQ(t.give(1, TcpFlags::syn, 9001, 0), Verdict::reopen);
}

TEST(TcpTimeWait, OldAckNeedsNoAnswer) {
  Waiting t;
  t.add(1);
  EXPECT_EQ(t.give(1, TcpFlags::ack, 9000, 80), Verdict::drop);
}

TEST(TcpTimeWait, TheOldestMakesRoom) {
  Waiting t;
  for (std::uint16_t port = 1; port <= 5; ++port)
    t.add(port);
  EXPECT_EQ(t.table.size(), 4u);
  EXPECT_FALSE(t.table.contains(flow_of(1)));
  EXPECT_TRUE(t.table.contains(flow_of(5)));
  EXPECT_EQ(t.shared.counters.time_wait_evicted, 1u);
}

}  // namespace
}  // namespace penstock::tcp::test
