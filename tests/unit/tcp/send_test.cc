// What one endpoint sends, and when: windows, timers, recovery, probes, memory of content.
#include <gtest/gtest.h>

#include "tcp/support.hh"

namespace penstock::tcp::test {
namespace {

constexpr std::uint8_t kAck = TcpFlags::ack;

// Established, with an RTT of 100 ms known and no pacing, so that everything goes at once.
struct Sender : Solo {
  static Limits limits_of() {
    Limits limits = small_limits();
    limits.pacing = false;
    return limits;
  }
  explicit Sender(bool sack = true, bool with_timestamps = false, bool ecn = false,
                  const Limits& limits = limits_of())
      : Solo(limits) {
    timestamps = with_timestamps;
    Opening o = opening();
    o.peer.sack_permitted = sack;
    o.ecn = ecn;
    o.rtt = ms(100);
    c().open_passive(now, o, true);
    flush();
    end.log.clear();
  }
  DropReason ack(std::uint32_t upto, std::initializer_list<std::pair<int, int>> sacks = {}) {
    wire::TcpSegment s = segment(kAck, upto);
    for (const auto& [begin, stop] : sacks)
      s.options.sacks[s.options.sack_count++] = {iss + 1 + static_cast<std::uint32_t>(begin),
                                                 iss + 1 + static_cast<std::uint32_t>(stop)};
    return give(s);
  }
  std::size_t payload() const {
    std::size_t sum = 0;
    for (const SegmentOut& s : sent)
      sum += s.payload_length;
    return sum;
  }
};

TEST(TcpSend, InitialWindowIsTenSegments) {
  Sender t;
  t.send(100'000);
  EXPECT_EQ(t.sent.size(), 10u);
  EXPECT_EQ(t.payload(), 14'600u);
}

TEST(TcpSend, LostSynMeansOneSegment) {
  Solo t;
  Opening o = t.opening();
  o.syn_resent = true;
  t.c().open_passive(t.now, o, true);
  t.send(100'000);
  EXPECT_EQ(t.sent.size(), 1u);
}

TEST(TcpSend, SlowStartDoublesByBytesNotByAcks) {
  Sender t;
  t.send(200'000);
  t.now = t.now + ms(100);
  // ACK division (RFC 3465 §2.3): a thousand ACKs for one segment are worth one segment.
  for (std::uint32_t i = 1; i <= 1460; ++i)
    t.ack(i);
  EXPECT_EQ(t.c().congestion_window(), 14'600u + 1460u);
}

TEST(TcpSend, FirstTimeoutComesWithinOneSecond) {
  Solo t;
  t.establish();
  t.send(100);
  Duration waited{};
  while (t.end.shared.counters.retransmission_timeouts == 0)
    waited = waited + t.advance();
  EXPECT_LE(waited.ns, ms(2000).ns);
  Sender u;
  u.send(100);
  waited = {};
  while (u.end.shared.counters.retransmission_timeouts == 0)
    waited = waited + u.advance();
  EXPECT_LE(waited.ns, ms(1100).ns);
  ASSERT_EQ(u.sent.size(), 1u);
  EXPECT_EQ(u.sent[0].payload_length, 100u);
}

TEST(TcpSend, TimeoutsDoubleAndEndTheConnection) {
  Sender t(false);
  t.send(100);
  const Duration first = t.advance();
  Duration before = first;
  for (int i = 0; i < 4; ++i) {
    const Duration next = t.advance();
    EXPECT_EQ(next, before * 2);
    before = next;
  }
  t.wait(Duration::seconds(200));
  EXPECT_TRUE(t.end.closed);
  EXPECT_EQ(t.end.error, StreamError::timed_out);
}

TEST(TcpSend, TailLossProbeAfterTwoRoundTrips) {
  Sender t;
  t.send(3 * 1460);
  EXPECT_EQ(t.advance(), ms(200));
  ASSERT_EQ(t.sent.size(), 1u);
  EXPECT_EQ(t.sent[0].seq, t.iss + 1 + 2 * 1460);
  EXPECT_EQ(t.end.shared.counters.tail_loss_probes, 1u);
  // One probe, then the timeout.
  t.advance();
  EXPECT_EQ(t.end.shared.counters.tail_loss_probes, 1u);
  EXPECT_EQ(t.end.shared.counters.retransmission_timeouts, 1u);
}

TEST(TcpSend, TailLossProbeOfNewBytes) {
  Sender t;
  t.send(100'000);
  t.advance();
  ASSERT_EQ(t.sent.size(), 1u);
  EXPECT_EQ(t.sent[0].seq, t.iss + 1 + 14'600);
}

TEST(TcpSend, TwoHolesAreRepairedInOneRoundTrip) {
  Sender t;
  t.send(10 * 1460);
  t.now = t.now + ms(100);
  t.ack(1460, {{2920, 4380}});
  t.ack(1460, {{2920, 4380}, {5840, 14600}});
  // What RACK's reordering window (RTT / 4) still waits for.
  t.wait(ms(30));
  EXPECT_EQ(t.end.shared.counters.recoveries, 1u);
  EXPECT_EQ(t.end.shared.counters.bytes_again, 2 * 1460u);
  t.now = t.now + ms(100);
  t.ack(14600);
  EXPECT_EQ(t.c().in_flight(), 0u);
  EXPECT_EQ(t.end.shared.counters.retransmission_timeouts, 0u);
}

TEST(TcpSend, ThirdDuplicateAckWithoutSack) {
  Sender t(false);
  t.send(10 * 1460);
  t.now = t.now + ms(100);
  t.ack(0);
  t.ack(0);
  EXPECT_EQ(t.payload(), 0u);
  t.ack(0);
  ASSERT_GE(t.sent.size(), 1u);
  EXPECT_EQ(t.sent[0].seq, t.iss + 1);
  t.ack(2920);  // partial (RFC 6582 §3.2 step 3): the next hole
  ASSERT_GE(t.sent.size(), 1u);
  EXPECT_EQ(t.sent[0].seq, t.iss + 1 + 2920);
  t.ack(14600);
  EXPECT_EQ(t.c().in_flight(), 0u);
}

// RFC 5681 §5: of duplicate ACKs no more count than segments were under way.
TEST(TcpSend, SpoofedDuplicateAcksGainNothing) {
  Sender t(false);
  t.send(200'000);
  t.now = t.now + ms(100);
  std::size_t sent = 0;
  for (int i = 0; i < 200; ++i) {
    t.ack(0);
    sent += t.payload();
  }
  // The first again, and PRR's seven tenths of ten.
  EXPECT_GE(sent, 4 * 1460u);
  EXPECT_LE(sent, 9 * 1460u);
}

// RFC 5681 §4.3: a retransmission that is lost is a congestion of its own, once a round trip.
TEST(TcpSend, LostRetransmissionLowersTheWindowAgain) {
  Sender t;
  t.send(200'000);
  const std::uint32_t began = t.c().congestion_window();
  t.now = t.now + ms(100);
  t.ack(0, {{1460, 14600}});
  EXPECT_EQ(t.end.shared.counters.recoveries, 1u);
  const std::uint32_t once = t.c().congestion_window();
  EXPECT_LT(once, began);
  const int upto = static_cast<int>(14600 + t.payload() - 1460);
  ASSERT_GT(upto, 14600 + 1460);
  // What went with the retransmission came; it didn't.
  t.now = t.now + ms(100);
  t.ack(0, {{1460, 14600 + 1460}});
  EXPECT_EQ(t.end.shared.counters.lost_again, 1u);
  const std::uint32_t twice = t.c().congestion_window();
  EXPECT_EQ(twice, std::max(once * 7 / 10, 2u * 1460));
  ASSERT_FALSE(t.sent.empty());
  EXPECT_EQ(t.sent[0].seq, t.iss + 1);
  t.ack(0, {{1460, upto}});
  EXPECT_EQ(t.c().congestion_window(), twice);
}

// RFC 8985 §7.4.2: only a DSACK of the probe says that it wasn't needed.
TEST(TcpSend, OtherDuplicatesSayNothingOfTheProbe) {
  for (const bool of_probe : {false, true}) {
    Sender t;
    t.send(3 * 1460);
    t.advance();
    ASSERT_EQ(t.end.shared.counters.tail_loss_probes, 1u);
    t.now = t.now + ms(100);
    const std::uint32_t before = t.c().congestion_window();
    t.ack(3 * 1460, {of_probe ? std::pair{2 * 1460, 3 * 1460} : std::pair{0, 1460}});
    t.send(1460);
    t.now = t.now + ms(100);
    t.ack(4 * 1460);
    EXPECT_EQ(t.c().congestion_window() < before, !of_probe);
  }
}

// Timestamps or not, DSACKs for all that went again prove it, too (RFC 3708).
TEST(TcpSend, TimeoutThatDuplicatesProveWrongIsUndone) {
  Sender t;
  t.send(5 * 1460);
  const std::uint32_t window = t.c().congestion_window();
  while (t.end.shared.counters.retransmission_timeouts == 0)
    t.advance();
  // The tail-loss probe and the first again.
  EXPECT_LT(t.c().congestion_window(), window);
  t.now = t.now + ms(1);
  t.ack(5 * 1460, {{0, 1460}});
  EXPECT_EQ(t.end.shared.counters.undone, 1u);
  EXPECT_GE(t.c().congestion_window(), window);
}

// RFC 5682: without timestamps the second ACK after a timeout tells, if it is for what went once.
TEST(TcpSend, TimeoutThatAcksProveWrongIsUndone) {
  for (const bool sack : {true, false}) {
    Sender t(sack);
    t.send(200'000);
    const std::uint32_t window = t.c().congestion_window();
    while (t.end.shared.counters.retransmission_timeouts == 0)
      t.advance();
    ASSERT_EQ(t.sent.size(), 1u);
    EXPECT_EQ(t.sent[0].seq, t.iss + 1);
    const std::uint64_t again = t.end.shared.counters.bytes_again;
    t.now = t.now + ms(1);
    t.ack(1460);
    ASSERT_EQ(t.sent.size(), 2u);
    EXPECT_GE(t.sent[0].seq - t.iss, 14'600u);
    t.ack(2920);
    EXPECT_EQ(t.end.shared.counters.undone, 1u);
    EXPECT_GE(t.c().congestion_window(), window);
    EXPECT_EQ(t.end.shared.counters.bytes_again, again);
  }
}

TEST(TcpSend, TimeoutThatWasRightIsRecoveredFrom) {
  Sender t;
  t.send(200'000);
  while (t.end.shared.counters.retransmission_timeouts == 0)
    t.advance();
  t.now = t.now + ms(100);
  t.ack(1460);
  ASSERT_EQ(t.sent.size(), 2u);
  const int fresh = static_cast<int>(t.sent[0].seq - t.iss - 1);
  ASSERT_GE(fresh, 14'600);
  t.now = t.now + ms(100);
  t.ack(1460, {{fresh, fresh + 2920}});
  EXPECT_EQ(t.end.shared.counters.undone, 0u);
  ASSERT_FALSE(t.sent.empty());
  EXPECT_EQ(t.sent[0].seq, t.iss + 1 + 1460);
}

// RFC 4015 §6: who says each time that nothing was lost isn't believed for long.
TEST(TcpSend, UndoingIsRationed) {
  Sender t(true, true);
  std::uint32_t at = 0;
  for (int i = 0; i < 4; ++i) {
    t.send(3 * 1448);
    at += 3 * 1448;
    t.now = t.now + ms(100);
    // The first of them seems lost, and then not.
    t.ack(at - 3 * 1448, {{static_cast<int>(at - 2 * 1448), static_cast<int>(at)}});
    t.wait(ms(30));
    t.now = t.now + ms(70);
    t.ts += 100;
    wire::TcpSegment s = t.segment(kAck, at);
    s.options.ts_echo = 1;
    t.give(s);
    ASSERT_EQ(t.c().in_flight(), 0u) << i;
  }
  EXPECT_EQ(t.end.shared.counters.recoveries, 4u);
  EXPECT_EQ(t.end.shared.counters.undone, 2u);
}

TEST(TcpSend, TimeoutThatTimestampsProveWrongIsUndone) {
  Sender t(true, true);
  t.send(5 * 1448);
  const std::uint32_t window = t.c().congestion_window();
  const std::uint32_t stamp = t.options(0).ts_value;
  while (t.end.shared.counters.retransmission_timeouts == 0)
    t.advance();
  EXPECT_EQ(t.c().congestion_window(), 1448u);
  t.now = t.now + ms(1);
  t.ts += 1;
  wire::TcpSegment s = t.segment(kAck, 1448);
  s.options.ts_echo = stamp;  // the original's
  t.give(s);
  EXPECT_EQ(t.end.shared.counters.undone, 1u);
  EXPECT_GE(t.c().congestion_window(), window);
}

TEST(TcpSend, EcnHalvesOnceARoundTrip) {
  Sender t(true, false, true);
  t.send(10 * 1460);
  EXPECT_EQ(t.sent[0].ecn, 2);
  t.now = t.now + ms(100);
  wire::TcpSegment s = t.segment(kAck | TcpFlags::ece, 1460);
  t.give(s);
  EXPECT_EQ(t.end.shared.counters.ecn_reductions, 1u);
  s.ack += 1460;
  t.give(s);
  EXPECT_EQ(t.end.shared.counters.ecn_reductions, 1u);
  t.ack(14'600);
  t.send(10 * 1460);
  ASSERT_FALSE(t.sent.empty());
  EXPECT_TRUE(t.sent[0].flags & TcpFlags::cwr);
  EXPECT_FALSE(t.sent[1].flags & TcpFlags::cwr);
}

// --- the peer's window ---

TEST(TcpSend, ZeroWindowIsProbedWithinTwoSecondsAndSlower) {
  Sender t;
  t.window = 0;
  t.give(kAck);
  t.send(5000);
  EXPECT_EQ(t.payload(), 0u);
  Duration before = t.advance();
  EXPECT_LE(before.ns, ms(2000).ns);
  ASSERT_EQ(t.sent.size(), 1u);
  EXPECT_EQ(t.sent[0].seq, t.iss);  // SND.UNA - 1
  EXPECT_EQ(t.sent[0].payload_length, 0u);
  for (int i = 0; i < 4; ++i) {
    t.give(kAck);
    const Duration next = t.advance();
    EXPECT_GT(next, before);
    before = next;
  }
  // As long as it answers, for longer than the user timeout.
  for (int i = 0; i < 10; ++i) {
    t.give(kAck);
    t.advance();
  }
  EXPECT_EQ(t.c().state(), State::established);
  t.window = 65535;
  t.give(kAck);
  EXPECT_EQ(t.payload(), 5000u);
}

TEST(TcpSend, ZeroWindowWithoutAnswersEnds) {
  Sender t;
  t.window = 0;
  t.give(kAck);
  t.send(5000);
  t.wait(Duration::seconds(300));
  EXPECT_EQ(t.end.error, StreamError::timed_out);
}

TEST(TcpSend, SillyWindowWaitsForThePersistTimer) {
  Sender t;
  t.send(2000);
  t.window = 100;
  t.ack(2000);
  t.send(5000);
  EXPECT_EQ(t.payload(), 0u);
  t.advance();
  EXPECT_EQ(t.payload(), 100u);
}

TEST(TcpSend, NeverBeyondThePeersWindow) {
  Sender t;
  t.window = 4000;
  t.give(kAck);
  t.send(20'000);
  EXPECT_EQ(t.payload(), 2920u);  // two segments; the rest would be short
}

// --- keepalive and the ends of life ---

TEST(TcpSend, KeepaliveAsksAndGivesUp) {
  Limits limits = Sender::limits_of();
  limits.keepalive_idle = Duration::seconds(60);
  limits.keepalive_interval = Duration::seconds(5);
  limits.keepalive_probes = 3;
  Sender t(true, false, false, limits);
  EXPECT_EQ(t.advance(), Duration::seconds(60));
  ASSERT_EQ(t.sent.size(), 1u);
  EXPECT_EQ(t.sent[0].seq, t.iss);
  t.give(kAck);
  t.wait(Duration::seconds(70));  // 60 since the answer, then a probe
  EXPECT_EQ(t.c().state(), State::established);
  t.wait(Duration::seconds(20));
  EXPECT_TRUE(t.end.closed);
  EXPECT_EQ(t.end.error, StreamError::timed_out);
}

TEST(TcpSend, FinWait2IsNotForEver) {
  Sender t;
  t.c().close(t.now);
  t.flush();
  ASSERT_EQ(t.sent.size(), 1u);
  EXPECT_TRUE(t.sent[0].flags & TcpFlags::fin);
  t.give(kAck, 1);
  EXPECT_EQ(t.c().state(), State::fin_wait_2);
  EXPECT_EQ(t.advance(), Duration::seconds(60));
  EXPECT_TRUE(t.end.closed);
}

TEST(TcpSend, FinRidesOnTheLastSegment) {
  Sender t;
  const auto bytes = pattern(3000);
  const SendPart part = small(bytes.data(), bytes.size());
  t.c().try_send(t.now, std::span(&part, 1));
  t.c().close(t.now);
  t.flush();
  ASSERT_EQ(t.sent.size(), 3u);
  EXPECT_EQ(t.sent[2].flags, kAck | TcpFlags::psh | TcpFlags::fin);
  EXPECT_EQ(t.c().try_send(t.now, std::span(&part, 1)), 0u);
  t.give(kAck, 3000);
  EXPECT_EQ(t.c().state(), State::fin_wait_1);
  t.give(kAck, 3001);
  EXPECT_EQ(t.c().state(), State::fin_wait_2);
}

TEST(TcpSend, ClosingWithBothFinsCrossing) {
  Sender t;
  t.c().close(t.now);
  t.flush();
  t.give(kAck | TcpFlags::fin);
  EXPECT_EQ(t.c().state(), State::closing);
  t.peer += 1;
  t.give(kAck, 1);
  EXPECT_EQ(t.c().state(), State::time_wait);
  EXPECT_TRUE(t.end.closed);
  TimeWaitState state;
  ASSERT_TRUE(t.c().time_wait(state));
  EXPECT_EQ(state.snd_nxt, t.iss + 2);
  EXPECT_EQ(state.rcv_nxt, t.peer);
  EXPECT_EQ(t.give(TcpFlags::rst), DropReason::time_wait_reset);
}

TEST(TcpSend, LastAck) {
  Sender t;
  t.give(kAck | TcpFlags::fin);
  t.peer += 1;
  EXPECT_EQ(t.c().state(), State::close_wait);
  t.send(500);  // half-closed: we may still send
  EXPECT_EQ(t.payload(), 500u);
  t.c().close(t.now);
  t.flush();
  EXPECT_EQ(t.c().state(), State::last_ack);
  t.give(kAck, 501);
  EXPECT_EQ(t.c().state(), State::closed);
  EXPECT_TRUE(t.end.closed);
  EXPECT_EQ(t.end.error, StreamError::none);
}

TEST(TcpSend, AbortResets) {
  Sender t;
  t.send(500);
  t.c().abort(t.now);
  t.end.events();
  EXPECT_FALSE(t.end.closed);
  t.flush();
  ASSERT_EQ(t.sent.size(), 1u);
  EXPECT_TRUE(t.sent[0].flags & TcpFlags::rst);
  EXPECT_EQ(t.sent[0].seq, t.iss + 1 + 500);
  EXPECT_TRUE(t.end.closed);
}

// --- path MTU ---

TEST(TcpSend, PacketTooBigMustQuoteWhatIsUnderWay) {
  Sender t;
  t.send(10 * 1460);
  t.c().on_packet_too_big(t.now, t.iss, 1000);
  t.c().on_packet_too_big(t.now, t.iss + 1 + 14'600, 1000);
  EXPECT_EQ(t.c().segment_size(), 1460);
  t.c().on_packet_too_big(t.now, t.iss + 1, 1000);
  EXPECT_EQ(t.c().segment_size(), 1000);
  t.flush();
  ASSERT_FALSE(t.sent.empty());
  EXPECT_EQ(t.sent[0].seq, t.iss + 1);
  EXPECT_EQ(t.sent[0].payload_length, 1000u);
}

TEST(TcpSend, PacketTooBigIsDoubtedWhereFullSegmentsGotThrough) {
  Sender t;
  t.send(10 * 1460);
  t.ack(1460);
  t.c().on_packet_too_big(t.now, t.iss + 1 + 1460, 600);
  EXPECT_EQ(t.c().segment_size(), 1460);
  while (t.end.shared.counters.retransmission_timeouts == 0)
    t.advance();
  EXPECT_EQ(t.c().segment_size(), 600);  // RFC 5927 §7.2
}

TEST(TcpSend, BlackHoleLowersTheSegmentSize) {
  Sender t;
  t.send(5 * 1460);
  std::uint16_t before = 1460;
  while (t.end.shared.counters.retransmission_timeouts < 2)
    t.advance();
  EXPECT_LT(t.c().segment_size(), before);
}

// A segment needn't be full to be too big for the path.
// RFC 1191 §6.3, RFC 4821: after ten minutes one segment of the old size goes.
TEST(TcpSend, OldSegmentSizeIsTriedAgain) {
  for (const bool gets_through : {true, false}) {
    Sender t;
    t.send(1460);
    while (t.end.shared.counters.retransmission_timeouts < 2)
      t.advance();
    const std::uint16_t low = t.c().segment_size();
    ASSERT_LT(low, 1460);
    t.ack(1460);
    std::uint32_t at = 1460;
    std::uint32_t nxt = 1460;
    std::uint32_t large = 0;
    const auto look = [&] {
      for (const SegmentOut& s : t.sent) {
        if (s.payload_length == 1460) large = s.seq - t.iss - 1;
        EXPECT_TRUE(s.payload_length <= low || s.payload_length == 1460);
        nxt = std::max(nxt, s.seq - t.iss - 1 + s.payload_length);
      }
    };
    const auto round = [&] {
      large = 0;
      t.send(10'000);
      look();
      at += 10'000;
      t.now = t.now + ms(100);
      return large;
    };
    // The window grows from that of the timeout.
    for (int i = 0; i < 6; ++i) {
      EXPECT_EQ(round(), 0u);
      while (t.c().in_flight() != 0) {
        t.ack(nxt);
        look();
      }
      ASSERT_EQ(t.c().in_flight(), 0u);
    }
    t.now = t.now + Duration::seconds(600);
    ASSERT_NE(round(), 0u);
    if (gets_through) {
      t.ack(at);
      EXPECT_EQ(t.c().segment_size(), 1460);
      EXPECT_EQ(t.end.shared.counters.mss_raised, 1u);
      EXPECT_EQ(t.end.shared.counters.recoveries, 0u);
      continue;
    }
    const int hole = static_cast<int>(large);
    t.ack(large, {{hole + 1460, static_cast<int>(at)}});
    t.wait(ms(60));
    t.now = t.now + ms(40);
    t.ack(at);
    EXPECT_EQ(t.c().segment_size(), low);
    EXPECT_EQ(t.end.shared.counters.mss_raised, 0u);
    EXPECT_EQ(t.c().in_flight(), 0u);
    // Not for another ten minutes.
    EXPECT_EQ(round(), 0u);
  }
}

TEST(TcpSend, BlackHoleSwallowsLessThanAFullSegment) {
  Sender t;
  t.send(900);
  while (t.end.shared.counters.retransmission_timeouts < 3)
    t.advance();
  EXPECT_EQ(t.c().segment_size(), 512);
}

// --- content ---

TEST(TcpSend, ReleasesInOrderWhenAllOfAPinIsAcknowledged) {
  Sender t;
  const auto bytes = pattern(4000);
  const SendPart parts[] = {small(bytes.data(), 13), content(bytes.data(), 1000, 1),
                            content(bytes.data() + 1000, 1000, 1), small(bytes.data(), 13),
                            content(bytes.data() + 2000, 1000, 2)};
  EXPECT_EQ(t.c().try_send(t.now, parts), 3026u);
  t.flush();
  t.ack(1500);
  EXPECT_TRUE(t.end.released.empty());
  t.ack(2013);
  EXPECT_EQ(t.end.released, (std::vector<std::uint64_t>{1}));
  t.ack(3026);
  EXPECT_EQ(t.end.released, (std::vector<std::uint64_t>{1, 2}));
}

TEST(TcpSend, WaitsForTheDeviceToLetGo) {
  Sender t;
  const auto bytes = pattern(1000);
  const SendPart part = content(bytes.data(), 1000, 5);
  t.c().try_send(t.now, std::span(&part, 1));
  t.flush();
  std::uint32_t* in_use = t.sent[0].parts[0].in_use;
  ++*in_use;
  t.ack(1000);
  EXPECT_TRUE(t.end.released.empty());
  EXPECT_LE((t.c().next_timeout() - t.now).ns, ms(1).ns);
  --*in_use;
  t.advance();
  EXPECT_EQ(t.end.released, (std::vector<std::uint64_t>{5}));
}

TEST(TcpSend, ShedContentIsAskedForWhenItMustGoAgain) {
  Sender t;
  const auto bytes = pattern(20'000);
  const SendPart parts[] = {content(bytes.data(), 5000, 1, 100),
                            content(bytes.data() + 5000, 5000, 2, 5100)};
  t.c().try_send(t.now, parts);
  t.flush();
  EXPECT_EQ(t.payload(), 10'000u);
  t.c().shed();
  t.end.events();
  EXPECT_EQ(t.end.released, (std::vector<std::uint64_t>{1, 2}));
  EXPECT_TRUE(t.end.needs.empty());
  while (t.end.shared.counters.retransmission_timeouts == 0)
    t.advance();
  ASSERT_EQ(t.end.needs.size(), 2u);
  EXPECT_EQ(t.payload(), 0u);
  // The tail-loss probe asked first.
  EXPECT_EQ(t.end.needs[0].pin, 2u);
  EXPECT_EQ(t.end.needs[1].pin, 1u);
  EXPECT_EQ(t.end.needs[1].content.offset, 100u);
  EXPECT_EQ(t.end.needs[1].content.length, 5000u);
  // Meanwhile the first one arrived after all.
  t.ack(5000);
  EXPECT_FALSE(t.c().on_content(t.now, 1, t.end.needs[1].content, bytes.data()));
  EXPECT_TRUE(t.c().on_content(t.now, 2, t.end.needs[0].content, bytes.data() + 5000));
  EXPECT_FALSE(t.c().on_content(t.now, 2, t.end.needs[0].content, bytes.data() + 5000));
  t.flush();
  ASSERT_FALSE(t.sent.empty());
  EXPECT_EQ(t.sent[0].seq, t.iss + 1 + 5000);
  EXPECT_EQ(t.sent[0].parts[0].data, bytes.data() + 5000);
  t.ack(10'000);
  EXPECT_EQ(t.end.released, (std::vector<std::uint64_t>{1, 2, 2}));
}

TEST(TcpSend, ContentThatIsLostEndsTheConnection) {
  Sender t;
  const auto bytes = pattern(5000);
  const SendPart part = content(bytes.data(), 5000, 1);
  t.window = 0;
  t.give(kAck);
  t.c().try_send(t.now, std::span(&part, 1));
  t.c().shed();
  t.end.events();
  t.window = 65535;
  t.give(kAck);
  ASSERT_EQ(t.end.needs.size(), 1u);
  t.c().on_content(t.now, 1, t.end.needs[0].content, nullptr);
  t.flush();
  ASSERT_EQ(t.sent.size(), 1u);
  EXPECT_TRUE(t.sent[0].flags & TcpFlags::rst);
  EXPECT_EQ(t.end.error, StreamError::content_lost);
}

TEST(TcpSend, FullBufferSaysWhenThereIsRoom) {
  Limits limits = Sender::limits_of();
  limits.send_buffer = 10'000;
  Sender t(true, false, false, limits);
  EXPECT_EQ(t.send(20'000), 10'000u);
  EXPECT_EQ(t.end.log, "");
  t.ack(10'000);
  EXPECT_EQ(t.end.log, "W");
}

TEST(TcpSend, NoPageMeansNoRoomUntilThereIsOne) {
  Limits limits = Sender::limits_of();
  limits.send_pages = 2;
  Sender t(true, false, false, limits);
  const std::size_t n = t.send(20'000);
  EXPECT_GT(n, 4000u);
  EXPECT_LT(n, 8192u);
  t.ack(static_cast<std::uint32_t>(n));
  EXPECT_EQ(t.end.log, "W");
  EXPECT_EQ(t.end.shared.send_pages.free_count(), 2u);
}

// The pages that are missing are another connection's: nothing comes in here when they are free.
// Pages that are there, but for others, make nobody writable.
TEST(TcpSend, ShareThatIsUsedUpIsNoRoom) {
  Limits limits = Sender::limits_of();
  limits.send_pages = 40;
  Sender t(true, false, false, limits);
  const std::size_t taken = t.send(100'000);
  EXPECT_LT(taken, 40'000u);
  EXPECT_GE(t.end.shared.send_pages.free_count(), 30u);
  t.end.events();
  EXPECT_EQ(t.end.log, "");
  t.now = t.now + ms(100);
  t.ack(14'600);
  t.end.events();
  EXPECT_EQ(t.end.log, "W");
}

TEST(TcpSend, NoPageOfOthersIsLookedForAgain) {
  Limits limits = Sender::limits_of();
  limits.send_pages = 2;
  Sender t(true, false, false, limits);
  const std::uint32_t theirs[] = {t.end.shared.take_send_page(0), t.end.shared.take_send_page(0)};
  EXPECT_EQ(t.send(100), 0u);
  for (int i = 0; i < 5; ++i) {
    ASSERT_LE(t.c().next_timeout(), t.now + Duration::seconds(1));
    t.advance();
    EXPECT_EQ(t.end.log, "");
  }
  for (const std::uint32_t page : theirs)
    t.end.shared.send_pages.give_back(page);
  t.advance();
  EXPECT_EQ(t.end.log, "W");
}

TEST(TcpSend, ThreePartsASegmentAtMost) {
  Sender t;
  t.end.tso = 65536;
  const auto bytes = pattern(20'000);
  std::vector<SendPart> parts;
  for (std::uint64_t i = 0; i < 10; ++i)
    parts.push_back(content(bytes.data() + i * 1000, 1000, i + 1));
  t.c().try_send(t.now, parts);
  t.flush();
  for (const SegmentOut& s : t.sent)
    EXPECT_LE(s.part_count, kPartsMax);
  EXPECT_EQ(t.payload(), 10'000u);
}

TEST(TcpSend, IdleConnectionIsSmall) {
  EXPECT_LE(sizeof(Connection), 1024u);
  RecordProperty("sizeof_connection", static_cast<int>(sizeof(Connection)));
}

}  // namespace
}  // namespace penstock::tcp::test
