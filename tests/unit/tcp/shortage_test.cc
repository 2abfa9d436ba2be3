// What happens when something runs out: room in a burst, records, pages, budgets; and timers that
// find others at work.
#include <gtest/gtest.h>

#include "tcp/listener.hh"
#include "tcp/support.hh"
#include "transport/record_pool.hh"

namespace penstock::tcp::test {
namespace {

constexpr std::uint8_t kAck = TcpFlags::ack;

// A turn without room for a segment.
void poll_without_room(Solo& t) {
  TxBurst none;
  none.begin_turn(0);
  EXPECT_EQ(t.c().poll_transmit(t.now, none), 0u);
  EXPECT_TRUE(t.c().has_output());
}

Limits unpaced() {
  Limits limits = small_limits();
  limits.pacing = false;
  return limits;
}

TEST(TcpShortage, ASynWaitsForRoom) {
  Solo t;
  t.c().open_active(t.now, t.opening());
  poll_without_room(t);
  t.flush();
  ASSERT_EQ(t.sent.size(), 1u);
  EXPECT_EQ(t.sent[0].flags & TcpFlags::syn, TcpFlags::syn);
}

TEST(TcpShortage, AResetWaitsForRoomAndTheEndWaitsForTheReset) {
  Solo t;
  t.establish();
  t.c().abort(t.now);
  poll_without_room(t);
  t.end.events();
  EXPECT_FALSE(t.end.closed);
  t.flush();
  ASSERT_EQ(t.sent.size(), 1u);
  EXPECT_EQ(t.sent[0].flags & TcpFlags::rst, TcpFlags::rst);
  EXPECT_TRUE(t.end.closed);
}

// RFC 8985 §7.3.
TEST(TcpShortage, ATailLossProbeWaitsForRoom) {
  Solo t(unpaced());
  Opening o = t.opening();
  o.rtt = ms(100);
  t.c().open_passive(t.now, o, true);
  t.send(3 * 1460);
  t.now = t.c().next_timeout();
  t.c().on_timeout(t.now);
  poll_without_room(t);
  EXPECT_EQ(t.end.shared.counters.tail_loss_probes, 0u);
  t.flush();
  ASSERT_EQ(t.sent.size(), 1u);
  EXPECT_EQ(t.end.shared.counters.tail_loss_probes, 1u);
}

TEST(TcpShortage, WithoutRecordsDataAndFinWaitAndThenGo) {
  Solo t(unpaced());
  t.establish();
  transport::RecordPool& records = t.end.shared.records();
  std::vector<std::uint32_t> taken;
  while (records.has(1))
    taken.push_back(records.take());
  t.send(100);
  EXPECT_TRUE(t.sent.empty());
  EXPECT_EQ(t.end.shared.counters.record_shortages, 1u);
  for (const std::uint32_t page : taken)
    records.give(page);
  EXPECT_EQ(t.advance(), ms(10));
  ASSERT_EQ(t.sent.size(), 1u);
  EXPECT_EQ(t.sent[0].payload_length, 100u);
  t.give(kAck, 100);
  taken.clear();
  while (records.has(1))
    taken.push_back(records.take());
  t.c().close(t.now);
  t.flush();
  EXPECT_TRUE(t.sent.empty());
  for (const std::uint32_t page : taken)
    records.give(page);
  EXPECT_EQ(t.advance(), ms(10));
  ASSERT_EQ(t.sent.size(), 1u);
  EXPECT_EQ(t.sent[0].flags & TcpFlags::fin, TcpFlags::fin);
}

// What came out of order may be dropped (RFC 9293 §3.10.7.4 sixth); what is in order passes.
TEST(TcpShortage, WithoutPagesOnlyTheOrderPasses) {
  for (const std::uint32_t pages : {0u, 1u, 2u}) {
    Limits limits = small_limits();
    limits.receive_pages = pages;
    Solo t(limits);
    t.establish();
    EXPECT_EQ(t.data(1000, 500), DropReason::no_page) << pages;
    ASSERT_EQ(t.sent.size(), 1u);
    EXPECT_EQ(t.options(0).sack_count, 0);
    EXPECT_EQ(t.data(0, 1000), DropReason::none);
    EXPECT_EQ(t.end.received.size(), 1000u);
    EXPECT_EQ(t.end.shared.receive_pages.free_count(), pages);
  }
}

// RFC 5961 §7: the budget is of all connections.
TEST(TcpShortage, WithoutABudgetNothingIsChallenged) {
  Limits limits = small_limits();
  limits.challenge_acks = 0;
  Solo t(limits);
  t.establish();
  EXPECT_EQ(t.give(TcpFlags::syn), DropReason::blind_syn);
  EXPECT_TRUE(t.sent.empty());
  EXPECT_EQ(t.end.shared.counters.challenges_withheld, 1u);

  const Flow flow{IpAddress::v4(192, 0, 2, 1), IpAddress::v4(198, 51, 100, 7), 6881, 1};
  TimeWaitTable table(t.end.shared);
  table.add(t.now, flow, {.snd_nxt = t.iss, .rcv_nxt = t.peer, .ts_recent_at = t.now});
  wire::TcpSegment old = t.segment(kAck);
  old.seq = t.peer - 100;
  TimeWaitTable::Answer answer;
  table.on_segment(t.now, flow, old, answer);
  EXPECT_EQ(answer.verdict, TimeWaitTable::Verdict::drop);
  EXPECT_EQ(t.end.shared.counters.challenges_withheld, 2u);
}

// RFC 4987 §3.6: a cookie proves as much when there is room again.
TEST(TcpShortage, AGoodCookieWaitsForAConnection) {
  Limits limits = small_limits();
  limits.syn_backlog = 0;
  Solo t(limits);
  Listener listener(t.end.shared);
  const Flow flow{IpAddress::v4(192, 0, 2, 1), IpAddress::v4(198, 51, 100, 7), 6881, 1};
  Listener::Answer answer;
  listener.on_syn(t.now, flow, t.segment(TcpFlags::syn), 1460, nullptr, answer);
  ASSERT_EQ(answer.verdict, Listener::Verdict::reply);
  wire::TcpSegment ack = t.segment(kAck);
  ack.seq = answer.reply.ack;
  ack.ack = answer.reply.seq + 1;
  listener.on_ack(t.now, flow, ack, 1460, false, answer);
  EXPECT_EQ(answer.verdict, Listener::Verdict::drop);
  listener.on_ack(t.now, flow, ack, 1460, true, answer);
  EXPECT_EQ(answer.verdict, Listener::Verdict::establish);
}

// A queue that goes while a device reads leaves its page to the pool, which waits for the device.
TEST(TcpShortage, PagesThatADeviceReadsOutliveTheirConnection) {
  Solo t(unpaced());
  t.establish();
  const std::vector<std::byte> bytes = pattern(100);
  const SendPart parts[] = {small(bytes.data(), 10), content(bytes.data(), bytes.size(), 1)};
  EXPECT_EQ(t.c().try_send(t.now, parts), 110u);
  EXPECT_EQ(t.c().send_room(), t.end.shared.limits().send_buffer - 110);
  t.flush();
  ASSERT_EQ(t.sent.size(), 1u);
  ASSERT_EQ(t.sent[0].part_count, 2);
  ++*t.sent[0].parts[1].in_use;
  PagePool& pool = t.end.shared.send_pages;
  t.end.connection.reset();
  EXPECT_EQ(pool.limbo_count(), 1u);
  pool.reclaim_one(SendQueue::page_idle);
  EXPECT_EQ(pool.limbo_count(), 1u);
  --*t.sent[0].parts[1].in_use;
  pool.reclaim_one(SendQueue::page_idle);
  EXPECT_EQ(pool.limbo_count(), 0u);
  EXPECT_EQ(pool.free_count(), pool.count());
}

// RFC 9293 §3.10.4: nothing is left to close.
TEST(TcpShortage, ClosingWhatIsOverDoesNothing) {
  Solo t;
  t.establish();
  t.give(TcpFlags::rst);
  EXPECT_TRUE(t.end.closed);
  t.c().close(t.now);
  t.flush();
  EXPECT_TRUE(t.sent.empty());
  EXPECT_EQ(t.end.log, "X");
  EXPECT_EQ(t.c().send_room(), 0u);
}

// RFC 9293 §3.8.4: only while nothing else is under way.
TEST(TcpShortage, RetransmissionsStandForKeepalives) {
  Limits limits = unpaced();
  limits.keepalive_idle = Duration::seconds(5);
  Solo t(limits);
  t.establish();
  t.send(100);
  t.wait(Duration::seconds(30));
  EXPECT_GE(t.end.shared.counters.retransmission_timeouts, 3u);
  EXPECT_EQ(t.end.shared.counters.keepalives, 0u);
  EXPECT_FALSE(t.end.closed);
}

// RFC 9293 §3.8.3: a closing peer that takes something has its time again.
TEST(TcpShortage, ProgressPutsTheEndOfAClosingOff) {
  Solo t(unpaced());
  t.establish();
  t.send(100'000);
  t.c().close(t.now);
  t.flush();
  t.wait(Duration::seconds(60));
  t.give(kAck, 1460);
  t.wait(Duration::seconds(60));
  EXPECT_FALSE(t.end.closed);
  t.wait(Duration::seconds(60));
  EXPECT_TRUE(t.end.closed);
  EXPECT_EQ(t.end.error, StreamError::timed_out);
}

// RFC 6582 §3.2 step 2 and RFC 5681 §3.2 step 4: each further duplicate ACK is a segment less in
// the network.
TEST(TcpShortage, DuplicateAcksWithoutSackLetNewSegmentsGo) {
  Solo t(unpaced());
  Opening o = t.opening();
  o.peer.sack_permitted = false;
  o.rtt = ms(100);
  t.c().open_passive(t.now, o, true);
  t.send(60'000);
  ASSERT_EQ(t.sent.size(), 10u);
  std::uint32_t fresh = 0;
  for (int i = 0; i < 9; ++i) {
    t.give(kAck);
    for (const SegmentOut& s : t.sent)
      fresh += s.seq == t.iss + 1 ? 0 : s.payload_length;
  }
  EXPECT_EQ(t.end.shared.counters.recoveries, 1u);
  EXPECT_EQ(t.end.shared.counters.bytes_again, 1460u);
  EXPECT_GE(fresh, 2 * 1460u);
}

}  // namespace
}  // namespace penstock::tcp::test
