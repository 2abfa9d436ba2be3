// The scoreboard against a model that looks at every byte: a network that loses, reorders and
// doubles, a receiver that tells with SACK and DSACK what came, and a stranger who tells nonsense.
#include "scoreboard_model.hh"

#include <algorithm>
#include <new>
#include <optional>
#include <vector>

#include <gtest/gtest.h>

#include "base/random.hh"

namespace penstock::transport {
namespace {

using Block = ScoreboardModel::Block;

class World {
 public:
  struct Shape {
    std::uint32_t window = 1'500;
    std::uint32_t mss = 8;
    std::uint32_t loss = 20;       // of 1,000
    std::uint32_t duplicate = 10;  // of 1,000
    std::uint32_t jitter_us = 3'000;
    std::uint32_t nonsense = 5;    // of 1,000 ACKs
    std::uint32_t mss_change = 0;  // of 1,000 sends
  };

  World(std::uint64_t seed, const Shape& shape)
      : random_(seed),
        shape_(shape),
        origin_(static_cast<std::uint32_t>(random_.next())),
        board_(pool_, SeqNumber(origin_)) {
    if (seed % 2 == 0) {
      // Wraps soon.
      origin_ = 0u - static_cast<std::uint32_t>(random_.below(2 * shape.window));
      board_.~Scoreboard();
      new (&board_) Scoreboard(pool_, SeqNumber(origin_));
    }
  }

  void run(int steps) {
    for (int i = 0; i < steps && !::testing::Test::HasFailure(); ++i) {
      // No two transmissions at the same instant, but those that go together.
      ++now_;
      if (random_.below(3) == 0) now_ += static_cast<std::int64_t>(random_.below(700'000));
      switch (random_.below(8)) {
        case 0:
        case 1:
          send();
          break;
        case 2:
          resend();
          break;
        case 3:
          timers();
          break;
        default:
          arrivals();
          break;
      }
      compare();
    }
  }

 private:
  struct Flying {
    std::int64_t due;
    std::int64_t begin;
    std::int64_t end;
    std::int64_t sent;
  };

  bool chance(std::uint32_t in_1000) { return random_.below(1'000) < in_1000; }
  [[nodiscard]] Instant now() const { return Instant{now_}; }
  [[nodiscard]] SeqNumber seq(std::int64_t at) const {
    return SeqNumber(origin_ + static_cast<std::uint32_t>(at));
  }

  void fly(std::int64_t begin, std::int64_t end) {
    for (std::int64_t at = begin; at < end; at += shape_.mss) {
      if (chance(shape_.loss)) continue;
      const std::int64_t last = std::min<std::int64_t>(at + shape_.mss, end);
      for (int copies = chance(shape_.duplicate) ? 2 : 1; copies > 0; --copies) {
        const auto jitter = static_cast<std::int64_t>(random_.below(shape_.jitter_us + 1)) * 1'000;
        flying_.push_back({now_ + 10'000'000 + jitter, at, last, now_});
      }
    }
  }

  void send() {
    if (chance(shape_.mss_change)) shape_.mss = 3 + static_cast<std::uint32_t>(random_.below(9));
    const auto length = static_cast<std::uint32_t>(1 + random_.below(12 * shape_.mss));
    if (model_.in_flight() + length > shape_.window || model_.nxt() - model_.una() > shape_.window)
      return;
    const std::int64_t begin = model_.nxt();
    ASSERT_TRUE(board_.on_sent(now(), length, static_cast<std::uint16_t>(shape_.mss)));
    model_.on_sent(now_, length, shape_.mss);
    fly(begin, begin + length);
  }

  void resend() {
    const auto most = static_cast<std::uint32_t>(1 + random_.below(6 * shape_.mss));
    for (int i = 0; i < 4; ++i) {
      ++now_;
      Scoreboard::Lost lost;
      const bool any = board_.next_lost(most, lost);
      const std::optional<Block> expected = model_.next_lost(most);
      ASSERT_EQ(any, expected.has_value());
      if (!any) break;
      ASSERT_EQ(lost.seq, seq(expected->begin));
      ASSERT_EQ(lost.length, expected->end - expected->begin);
      // A prefix, at times.
      if (chance(100)) lost.length = 1 + static_cast<std::uint32_t>(random_.below(lost.length));
      board_.on_resent(now(), lost);
      model_.on_resent(now_, expected->begin, lost.length);
      fly(expected->begin, expected->begin + lost.length);
      compare();
    }
  }

  void timers() {
    if (board_.reorder_deadline() <= now()) {
      EXPECT_EQ(board_.on_reorder_timeout(now(), rtt_).lost, model_.on_reorder_timeout(now_, rtt_));
    } else if (!model_.empty() && now_ - model_.oldest_sent() > 60'000'000) {
      const bool reneged = model_.reneged() || chance(50);
      board_.on_timeout(now(), rtt_, reneged);
      model_.on_timeout(now_, rtt_, reneged);
      if (reneged) received_.assign(received_.size(), false);
      board_.begin_episode();
      model_.begin_episode();
      in_recovery_ = true;
    } else if (chance(30)) {
      board_.undo_lost(now());
      model_.undo_lost(now_);
    } else if (chance(30)) {
      board_.mark_first_lost();
      model_.mark_first_lost();
    } else if (chance(50)) {
      Scoreboard::Lost last;
      const auto most = static_cast<std::uint32_t>(1 + random_.below(2 * shape_.mss));
      const std::optional<Block> expected = model_.last_sent(most);
      ASSERT_EQ(board_.last_sent(most, last), expected.has_value());
      if (!expected) return;
      ASSERT_EQ(last.seq, seq(expected->begin));
      ASSERT_EQ(last.length, expected->end - expected->begin);
      board_.on_probed(now(), last);
      model_.on_probed(now_, expected->begin, last.length);
      fly(expected->begin, expected->end);
    }
  }

  // What is due arrives; the receiver answers most of it.
  void arrivals() {
    if (flying_.empty()) {
      now_ += 5'000'000;
      return;
    }
    std::size_t first = 0;
    for (std::size_t i = 1; i < flying_.size(); ++i)
      if (flying_[i].due < flying_[first].due) first = i;
    const Flying packet = flying_[first];
    flying_.erase(flying_.begin() + static_cast<std::ptrdiff_t>(first));
    now_ = std::max(now_, packet.due);
    std::vector<Block> blocks;
    receive(packet, blocks);
    std::int64_t ack = taken_;
    Instant echoed = Instant::never();
    if (chance(500)) echoed = Instant{packet.sent};
    if (chance(200)) return;  // no ACK, or it is lost
    if (chance(shape_.nonsense)) confuse(ack, blocks);
    answer(ack, blocks, echoed);
  }

  void receive(const Flying& packet, std::vector<Block>& blocks) {
    if (received_.size() < static_cast<std::size_t>(packet.end))
      received_.resize(static_cast<std::size_t>(packet.end));
    bool fresh = false;
    for (std::int64_t i = packet.begin; i < packet.end; ++i) {
      if (i >= taken_ && !received_[static_cast<std::size_t>(i)]) fresh = true;
      received_[static_cast<std::size_t>(i)] = true;
    }
    if (!fresh) blocks.push_back({packet.begin, packet.end});
    while (static_cast<std::size_t>(taken_) < received_.size() &&
           received_[static_cast<std::size_t>(taken_)])
      ++taken_;
    // The run that it is in, then others from the highest on.
    const auto add = [&](std::int64_t at) {
      Block block{at, at};
      while (block.begin > taken_ && received_[static_cast<std::size_t>(block.begin - 1)])
        --block.begin;
      while (static_cast<std::size_t>(block.end) < received_.size() &&
             received_[static_cast<std::size_t>(block.end)])
        ++block.end;
      blocks.push_back(block);
      return block.begin;
    };
    const std::size_t most = chance(500) ? 3 : 4;
    std::int64_t skip = -1;
    if (packet.begin >= taken_ && blocks.size() < most) skip = add(packet.begin);
    for (auto at = static_cast<std::int64_t>(received_.size()) - 1;
         at > taken_ && blocks.size() < most; --at) {
      if (!received_[static_cast<std::size_t>(at)]) continue;
      std::int64_t begin = at;
      while (begin > taken_ && received_[static_cast<std::size_t>(begin - 1)])
        --begin;
      if (begin != skip) add(at);
      at = begin;
    }
  }

  // Anything at all.
  void confuse(std::int64_t& ack, std::vector<Block>& blocks) {
    const auto anywhere = [&] {
      return model_.una() - 200 +
             static_cast<std::int64_t>(
                 random_.below(static_cast<std::uint64_t>(model_.nxt() - model_.una()) + 400));
    };
    if (chance(200)) ack = std::min(anywhere(), model_.nxt() + 50);
    blocks.resize(random_.below(5));
    for (Block& block : blocks) {
      block = {anywhere(), anywhere()};
      if (chance(900) && block.begin > block.end) std::swap(block.begin, block.end);
    }
    if (blocks.size() > 1 && chance(300)) blocks[0] = blocks[1];
  }

  void answer(std::int64_t ack, const std::vector<Block>& blocks, Instant echoed) {
    std::vector<wire::SackBlock> sacks;
    for (const Block& block : blocks)
      sacks.push_back({seq(block.begin), seq(block.end)});
    const AckReport is = board_.on_ack(now(), seq(ack), sacks, rtt_, in_recovery_, echoed);
    const ScoreboardModel::Report should =
        model_.on_ack(now_, ack, blocks, rtt_, in_recovery_, echoed.ns);
    EXPECT_EQ(is.acked, should.acked);
    EXPECT_EQ(is.sacked, should.sacked);
    EXPECT_EQ(is.unsacked, should.unsacked);
    EXPECT_EQ(is.lost, should.lost);
    EXPECT_EQ(is.lost_again, should.lost_again);
    EXPECT_EQ(is.original, should.original);
    EXPECT_EQ(is.rtt.ns, should.rtt);
    EXPECT_EQ(is.dsack, should.dsack);
    EXPECT_EQ(is.reordered, should.reordered);
    EXPECT_EQ(is.spurious, should.spurious);
    EXPECT_EQ(is.nonsense, should.nonsense);
    if (is.rtt.ns != 0) rtt_.on_sample(now(), is.rtt);
    // A confused ACK may run ahead of what came.
    if (taken_ < model_.una()) {
      received_.resize(std::max(received_.size(), static_cast<std::size_t>(model_.una())));
      taken_ = model_.una();
    }
    if (is.lost > 0 && !in_recovery_) {
      in_recovery_ = true;
      recover_ = model_.nxt();
      board_.begin_episode();
      model_.begin_episode();
    } else if (in_recovery_ && model_.una() >= recover_) {
      in_recovery_ = false;
    }
    ++answers;
    lost_bytes += is.lost;
    lost_again_bytes += is.lost_again;
    spurious += is.spurious;
    reordered += is.reordered;
  }

  void compare() {
    board_.validate();
    EXPECT_EQ(board_.una(), seq(model_.una()));
    EXPECT_EQ(board_.nxt(), seq(model_.nxt()));
    EXPECT_EQ(board_.in_flight(), model_.in_flight());
    EXPECT_EQ(board_.sacked(), model_.sacked());
    EXPECT_EQ(board_.sacked_count(), model_.sacked_count());
    EXPECT_EQ(board_.lost(), model_.lost());
    EXPECT_EQ(board_.reorder_deadline().ns, model_.deadline());
    EXPECT_EQ(board_.oldest_sent().ns, model_.oldest_sent());
    EXPECT_EQ(board_.reneged(), model_.reneged());
    EXPECT_EQ(board_.episode_resent(), model_.episode_resent());
    if (model_.empty()) {
      EXPECT_EQ(pool_.free_count(), pool_.count());
    }
  }

  Random random_;
  Shape shape_;
  std::uint32_t origin_;
  RecordPool pool_{2'000, 0};
  RttEstimator rtt_;
  Scoreboard board_;
  ScoreboardModel model_;
  std::int64_t now_ = 1'000'000;
  std::vector<Flying> flying_;
  std::vector<bool> received_;  // by position
  std::int64_t taken_ = 0;      // all below was received
  bool in_recovery_ = false;
  std::int64_t recover_ = 0;

 public:
  std::uint64_t answers = 0, lost_bytes = 0, lost_again_bytes = 0, spurious = 0, reordered = 0;
};

// That every kind of event was met, so that agreement means something.
struct Met {
  std::uint64_t answers = 0, lost = 0, lost_again = 0, spurious = 0, reordered = 0;
};

Met run_seeds(std::uint64_t first, std::uint64_t last, int steps, const World::Shape& shape) {
  Met met;
  for (std::uint64_t seed = first; seed <= last; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    World world(seed, shape);
    world.run(steps);
    if (::testing::Test::HasFailure()) break;
    met.answers += world.answers;
    met.lost += world.lost_bytes;
    met.lost_again += world.lost_again_bytes;
    met.spurious += world.spurious;
    met.reordered += world.reordered;
  }
  return met;
}

TEST(ScoreboardModel, ALossyPath) {
  const Met met = run_seeds(1, 30, 1'500, {});
  EXPECT_GT(met.answers, 15'000u);
  EXPECT_GT(met.lost, 5'000u);
  EXPECT_GT(met.lost_again, 500u);
  EXPECT_GT(met.spurious, 10u);
  EXPECT_GT(met.reordered, 100u);
}

TEST(ScoreboardModel, HeavyLoss) {
  const Met met = run_seeds(100, 115, 1'500, {.loss = 300, .duplicate = 100, .nonsense = 20});
  EXPECT_GT(met.lost_again, 3'000u);
}

TEST(ScoreboardModel, ReorderingOnly) {
  run_seeds(200, 210, 1'500, {.loss = 0, .jitter_us = 20'000, .nonsense = 0});
}

TEST(ScoreboardModel, AMtuThatChanges) {
  run_seeds(300, 320, 1'500, {.loss = 100, .mss_change = 100});
}

TEST(ScoreboardModel, NothingButNonsense) {
  run_seeds(400, 430, 1'500, {.loss = 50, .nonsense = 700, .mss_change = 50});
}

// Hundreds of records a page and more.
TEST(ScoreboardModel, ManySmallRecords) {
  run_seeds(500, 506, 3'000, {.window = 2'000, .mss = 2, .loss = 60, .nonsense = 50});
}

}  // namespace
}  // namespace penstock::transport
