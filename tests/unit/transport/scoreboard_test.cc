#include "transport/scoreboard.hh"

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

}  // namespace
}  // namespace penstock::transport
