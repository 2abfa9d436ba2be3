// Two own endpoints through a pipe.
#include <gtest/gtest.h>

#include "base/random.hh"
#include "tcp/support.hh"

namespace penstock::tcp::test {
namespace {

// Sends all of `bytes` from `from`, in parts of content and small bytes, as room allows.
struct Source {
  End& from;
  const std::vector<std::byte>& bytes;
  std::size_t at = 0;
  std::uint64_t pin = 1;

  void feed(Instant now) {
    while (at < bytes.size()) {
      const std::size_t head = std::min<std::size_t>(13, bytes.size() - at);
      const std::size_t body = std::min<std::size_t>(16384, bytes.size() - at - head);
      std::vector<SendPart> parts{small(bytes.data() + at, head)};
      if (body != 0) parts.push_back(content(bytes.data() + at + head, body, pin, at + head));
      const std::size_t n = from.connection->try_send(now, parts);
      at += n;
      // A block is taken whole or not at all.
      EXPECT_TRUE(n <= head || n == head + body);
      if (n > head) ++pin;
      if (n < head + body) return;
    }
  }
};

bool transfer(Pair& p, End& from, End& to, const std::vector<std::byte>& bytes, Duration most) {
  Source source{from, bytes};
  const std::size_t before = to.received.size();
  return p.run(most, [&] {
    source.feed(p.now);
    return to.received.size() - before == bytes.size();
  });
}

TEST(TcpPair, OpensAndClosesFromBothSides) {
  Pair p;
  p.open();
  EXPECT_EQ(p.a.log, "C");
  EXPECT_EQ(p.b.log, "C");
  p.a.connection->close(p.now);
  p.run(ms(100));
  EXPECT_EQ(p.b.log, "CE");
  EXPECT_EQ(p.a.connection->state(), State::fin_wait_2);
  EXPECT_EQ(p.b.connection->state(), State::close_wait);
  p.b.connection->close(p.now);
  p.run(ms(100));
  EXPECT_EQ(p.b.log, "CEX");
  EXPECT_EQ(p.b.connection->state(), State::closed);
  EXPECT_EQ(p.a.log, "CEX");
  EXPECT_EQ(p.a.connection->state(), State::time_wait);
  TimeWaitState state;
  EXPECT_TRUE(p.a.connection->time_wait(state));
  p.run(Duration::seconds(61));
  EXPECT_EQ(p.a.connection->state(), State::closed);
}

TEST(TcpPair, SimultaneousClose) {
  Pair p;
  p.open();
  p.a.connection->close(p.now);
  p.b.connection->close(p.now);
  p.run(ms(100));
  EXPECT_EQ(p.a.connection->state(), State::time_wait);
  EXPECT_EQ(p.b.connection->state(), State::time_wait);
  EXPECT_TRUE(p.a.closed && p.b.closed);
}

TEST(TcpPair, SimultaneousOpen) {
  Pair p;
  p.a.connection->open_active(p.now, Pair::opening(77));
  p.b.connection->open_active(p.now, Pair::opening(99));
  p.run(ms(500));
  EXPECT_EQ(p.a.connection->state(), State::established);
  EXPECT_EQ(p.b.connection->state(), State::established);
  const auto bytes = pattern(50'000);
  EXPECT_TRUE(transfer(p, p.a, p.b, bytes, Duration::seconds(5)));
  EXPECT_EQ(p.b.received, bytes);
}

TEST(TcpPair, CarriesBytesBothWays) {
  Pair p;
  p.open();
  const auto there = pattern(3'000'000, 1);
  const auto back = pattern(1'000'000, 2);
  Source s1{p.a, there};
  Source s2{p.b, back};
  EXPECT_TRUE(p.run(Duration::seconds(20), [&] {
    s1.feed(p.now);
    s2.feed(p.now);
    return p.b.received.size() == there.size() && p.a.received.size() == back.size();
  }));
  EXPECT_EQ(p.b.received, there);
  EXPECT_EQ(p.a.received, back);
  EXPECT_EQ(p.a.shared.counters.bytes_again, 0u);
  EXPECT_EQ(p.a.shared.counters.retransmission_timeouts, 0u);
  p.run(ms(500));
  // Every pin was released once, in order, and an idle connection holds nothing.
  for (std::size_t i = 0; i < p.a.released.size(); ++i)
    ASSERT_EQ(p.a.released[i], i + 1);
  EXPECT_EQ(p.a.released.size(), s1.pin - 1);
  EXPECT_EQ(p.a.shared.send_pages.free_count(), p.a.shared.send_pages.count());
  EXPECT_EQ(p.b.shared.receive_pages.free_count(), p.b.shared.receive_pages.count());
}

// The receive window grows as fast as a slow start needs it: one that is large from the beginning
// isn't faster. (Growing by half of what was taken in a round trip cost a round trip each time.)
TEST(TcpPair, AGrowingWindowDoesntHoldSlowStartBack) {
  const auto bytes = pattern(900'000);
  Duration took[2];
  for (const bool whole : {false, true}) {
    Limits limits = small_limits();
    limits.receive_window_first = whole ? limits.receive_window : 64 << 10;
    Pair p(limits);
    p.delay = ms(50);
    p.open();
    const Instant start = p.now;
    ASSERT_TRUE(transfer(p, p.a, p.b, bytes, Duration::seconds(10)));
    took[whole] = p.now - start;
  }
  EXPECT_EQ(took[false], took[true]);
  EXPECT_LT(took[true], ms(800));  // seven round trips
}

TEST(TcpPair, SegmentationOffloadCutsAtSegments) {
  Pair p;
  p.a.tso = 65536;
  p.open();
  p.alter = [](bool from_a, wire::TcpSegment&) { static_cast<void>(from_a); };
  const auto bytes = pattern(2'000'000);
  EXPECT_TRUE(transfer(p, p.a, p.b, bytes, Duration::seconds(20)));
  EXPECT_EQ(p.b.received, bytes);
  EXPECT_LT(p.a.shared.counters.segments_out, bytes.size() / 1448 / 2);
}

TEST(TcpPair, OneLossCostsNoTimeout) {
  Pair p;
  p.open();
  int data = 0;
  p.lose = [&](bool from_a, const wire::TcpSegment& s) {
    return from_a && !s.payload.empty() && ++data == 30;
  };
  const auto bytes = pattern(1'000'000);
  EXPECT_TRUE(transfer(p, p.a, p.b, bytes, Duration::seconds(20)));
  EXPECT_EQ(p.b.received, bytes);
  EXPECT_EQ(p.a.shared.counters.retransmission_timeouts, 0u);
  EXPECT_EQ(p.a.shared.counters.recoveries, 1u);
  EXPECT_EQ(p.a.shared.counters.bytes_again, 1448u);
}

// RFC 5681 §4.3: losses in two successive windows are two congestions, although the second is found
// before the first is mended.
TEST(TcpPair, LossesInTwoWindowsAreTwoCongestions) {
  Pair p;
  p.delay = ms(50);
  p.open();
  const tcp::Counters& counters = p.a.shared.counters;
  int data = 0;
  bool fresh_lost = false;
  SeqNumber highest = SeqNumber(0xfffffff1);
  p.lose = [&](bool from_a, const wire::TcpSegment& s) {
    if (!from_a || s.payload.empty()) return false;
    const bool fresh = !before(s.seq, highest);
    if (fresh) highest = s.seq + static_cast<std::uint32_t>(s.payload.size());
    ++data;
    if (data == 31 || data == 62) return true;
    if (counters.recoveries == 0 || !fresh || fresh_lost) return false;
    fresh_lost = true;
    return true;
  };
  const auto bytes = pattern(600'000);
  EXPECT_TRUE(transfer(p, p.a, p.b, bytes, Duration::seconds(20)));
  EXPECT_TRUE(fresh_lost);
  EXPECT_EQ(counters.recoveries, 2u);
  EXPECT_EQ(counters.bytes_again, 3 * 1448u);
  EXPECT_EQ(counters.undone, 0u);
}

// What was sent again in one recovery and arrives in the next is older than what goes again there:
// its ACK is no sign that nothing was lost (RFC 3522).
TEST(TcpPair, LossWithoutReorderingIsNeverUndone) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    Pair p;
    p.open();
    p.lose = [&](bool from_a, const wire::TcpSegment& s) {
      return from_a && !s.payload.empty() && random.below(1000) < 40;
    };
    const auto bytes = pattern(1'000'000);
    EXPECT_TRUE(transfer(p, p.a, p.b, bytes, Duration::seconds(300)));
    EXPECT_EQ(p.a.shared.counters.undone, 0u);
    EXPECT_EQ(p.a.shared.counters.dsacks_in, 0u);
  }
}

TEST(TcpPair, TailLossIsProbedAfterTwoRoundTrips) {
  Pair p;
  p.open();
  p.run(ms(100));
  bool last = true;
  p.lose = [&](bool from_a, const wire::TcpSegment& s) {
    if (!from_a || s.payload.empty() || !s.has(TcpFlags::psh) || !last) return false;
    last = false;
    return true;
  };
  const auto bytes = pattern(5 * 1448);
  const Instant began = p.now;
  EXPECT_TRUE(transfer(p, p.a, p.b, bytes, Duration::seconds(5)));
  EXPECT_EQ(p.a.shared.counters.tail_loss_probes, 1u);
  EXPECT_EQ(p.a.shared.counters.retransmission_timeouts, 0u);
  EXPECT_LT((p.now - began).ns, ms(320).ns);
}

TEST(TcpPair, FinIsSentAgain) {
  Pair p;
  p.open();
  int fins = 0;
  p.lose = [&](bool from_a, const wire::TcpSegment& s) {
    return from_a && s.has(TcpFlags::fin) && ++fins <= 3;
  };
  p.a.connection->close(p.now);
  EXPECT_TRUE(
      p.run(Duration::seconds(20), [&] { return p.a.connection->state() == State::fin_wait_2; }));
  EXPECT_EQ(p.b.log, "CE");
}

TEST(TcpPair, RandomLossReorderingAndDuplicationKeepTheBytes) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    Limits limits = small_limits();
    limits.send_buffer = 64 << 10 << random.below(5);
    Pair p(limits);
    p.delay = Duration::microseconds(static_cast<std::int64_t>(100 + random.below(50'000)));
    p.a.tso = random.below(2) != 0 ? 65536 : 0;
    p.b.tso = random.below(2) != 0 ? 20000 : 0;
    p.open();
    const std::uint64_t loss = random.below(80);
    const std::uint64_t late = random.below(100);
    p.lose = [&](bool, const wire::TcpSegment&) { return random.below(1000) < loss; };
    p.hold = [&](bool, const wire::TcpSegment&) {
      if (random.below(1000) >= late) return Duration{};
      return Duration::microseconds(static_cast<std::int64_t>(random.below(30'000)));
    };
    const auto there = pattern(200'000 + random.below(600'000), seed);
    const auto back = pattern(random.below(200'000), seed + 1);
    Source s1{p.a, there};
    Source s2{p.b, back};
    ASSERT_TRUE(p.run(Duration::seconds(300),
                      [&] {
                        s1.feed(p.now);
                        s2.feed(p.now);
                        return p.b.received.size() == there.size() &&
                               p.a.received.size() == back.size();
                      }))
        << p.b.received.size() << " of " << there.size() << ", " << p.a.received.size() << " of "
        << back.size();
    ASSERT_EQ(p.b.received, there);
    ASSERT_EQ(p.a.received, back);
    p.a.connection->close(p.now);
    p.b.connection->close(p.now);
    ASSERT_TRUE(p.run(Duration::seconds(200), [&] { return p.a.closed && p.b.closed; }));
    EXPECT_EQ(p.a.shared.send_pages.free_count(), p.a.shared.send_pages.count());
    EXPECT_EQ(p.a.shared.receive_pages.free_count(), p.a.shared.receive_pages.count());
    EXPECT_EQ(p.b.shared.receive_pages.free_count(), p.b.shared.receive_pages.count());
    EXPECT_EQ(p.a.released.size(), s1.pin - 1);
  }
}

}  // namespace
}  // namespace penstock::tcp::test
