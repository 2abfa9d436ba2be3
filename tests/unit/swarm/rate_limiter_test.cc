#include "swarm/rate_limiter.hh"

#include <vector>

#include <gtest/gtest.h>

#include "base/random.hh"

namespace penstock {
namespace {

constexpr Instant kStart{5'000'000'000};

TEST(TokenBucket, UnlimitedGrantsEverything) {
  TokenBucket bucket;
  EXPECT_EQ(bucket.available(kStart), kRateUnlimited);
  bucket.consume(kStart, 1u << 30);
  EXPECT_EQ(bucket.available(kStart), kRateUnlimited);
  EXPECT_EQ(bucket.ready_at(kStart, 1000), kStart);
}

TEST(TokenBucket, ReadyWhenItSays) {
  for (const std::uint64_t rate : {1'000ull, 1'000'000ull, 3'333'333'333ull}) {
    TokenBucket bucket(rate);
    EXPECT_EQ(bucket.available(kStart), 0u);
    const Instant ready = bucket.ready_at(kStart, kRateQuantum);
    EXPECT_LT(bucket.available(ready - Duration::nanoseconds(1)), kRateQuantum) << rate;
    EXPECT_GE(bucket.available(ready), kRateQuantum) << rate;
  }
}

TEST(TokenBucket, SavesNoMoreThanItsBurst) {
  TokenBucket bucket(100'000'000);
  EXPECT_EQ(bucket.available(kStart), 0u);
  EXPECT_EQ(bucket.available(kStart + Duration::seconds(3600)), bucket.burst());
  EXPECT_EQ(bucket.burst(), 2'000'000u);
}

TEST(TokenBucket, DebtIsPaidBack) {
  TokenBucket bucket(1'000'000);
  EXPECT_EQ(bucket.available(kStart), 0u);
  bucket.consume(kStart, 500'000);
  EXPECT_EQ(bucket.available(kStart + Duration::milliseconds(500)), 0u);
  EXPECT_EQ(bucket.available(kStart + Duration::milliseconds(510)), 10'000u);
}

TEST(TokenBucket, ALimitSetLaterBeginsEmpty) {
  TokenBucket bucket;
  bucket.set_rate(kStart, 1'000'000);
  EXPECT_EQ(bucket.available(kStart), 0u);
  EXPECT_EQ(bucket.available(kStart + Duration::milliseconds(10)), 10'000u);
  bucket.set_rate(kStart + Duration::milliseconds(10), 0);
  EXPECT_EQ(bucket.available(kStart), kRateUnlimited);
}

// What a shard does: whoever may send, in turn; jittered time; whole blocks.
struct World {
  std::vector<std::uint64_t> sent;
  std::uint64_t total = 0;

  void run(std::vector<RateChain> chains, Duration span, std::uint64_t seed) {
    Random random(seed);
    sent.assign(chains.size(), 0);
    std::size_t turn = 0;
    for (Instant now = kStart; now < kStart + span;) {
      bool any = false;
      for (std::size_t i = 0; i < chains.size(); ++i, turn = (turn + 1) % chains.size()) {
        const std::uint64_t grant = chains[turn].grant(now);
        if (grant == 0) {
          // The turn stays with whoever was turned away.
          break;
        }
        const std::uint64_t bytes = std::min(grant, kRateQuantum) - random.below(3) * 1000;
        chains[turn].consume(now, bytes);
        sent[turn] += bytes;
        total += bytes;
        any = true;
      }
      const Instant ready = chains[turn].ready_at(now);
      now = (any ? now : ready) +
            Duration::nanoseconds(static_cast<std::int64_t>(random.below(200'000)));
    }
  }
  [[nodiscard]] double jain() const {
    double sum = 0, squares = 0;
    for (const auto s : sent) {
      sum += static_cast<double>(s);
      squares += static_cast<double>(s) * static_cast<double>(s);
    }
    return sum * sum / (static_cast<double>(sent.size()) * squares);
  }
};

TEST(RateChain, TheLimitIsKeptAndSharedEqually) {
  for (const std::uint64_t rate : {200'000ull, 5'000'000ull, 125'000'000ull, 1'250'000'000ull}) {
    TokenBucket all(rate);
    World world;
    const Duration span = rate < 1'000'000 ? Duration::seconds(120) : Duration::seconds(10);
    world.run(std::vector<RateChain>(100, RateChain(&all, nullptr, nullptr)), span, rate);
    const double expected = static_cast<double>(rate) * span.as_seconds();
    EXPECT_NEAR(static_cast<double>(world.total) / expected, 1.0, 0.03) << rate;
    EXPECT_GE(world.jain(), 0.95) << rate;
  }
}

TEST(RateChain, TheTightestBucketDecides) {
  TokenBucket all(10'000'000);
  TokenBucket torrent(1'000'000);
  World world;
  world.run({RateChain(&all, nullptr, &torrent)}, Duration::seconds(20), 3);
  EXPECT_NEAR(static_cast<double>(world.total) / 20e6, 1.0, 0.03);
  EXPECT_TRUE(RateChain(&all, nullptr, nullptr).limited());
  TokenBucket none;
  EXPECT_FALSE(RateChain(&none, nullptr, nullptr).limited());
  EXPECT_EQ(RateChain(&none, nullptr, nullptr).grant(kStart), kRateUnlimited);
}

}  // namespace
}  // namespace penstock
