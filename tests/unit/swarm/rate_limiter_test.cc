#include "swarm/rate_limiter.hh"

#include <thread>
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
    TokenBucket bucket;
    bucket.set_rate(kStart, rate);
    EXPECT_EQ(bucket.available(kStart), 0u);
    const Instant ready = bucket.ready_at(kStart, kBlockSize);
    EXPECT_LT(bucket.available(ready - Duration::nanoseconds(1)), kBlockSize) << rate;
    EXPECT_GE(bucket.available(ready), kBlockSize) << rate;
  }
}

TEST(TokenBucket, SavesNoMoreThanItsBurst) {
  TokenBucket bucket;
  bucket.set_rate(kStart, 100'000'000);
  EXPECT_EQ(bucket.available(kStart), 0u);
  EXPECT_EQ(bucket.available(kStart + Duration::seconds(3600)), bucket.burst());
  EXPECT_EQ(bucket.burst(), 2'000'000u);
}

TEST(TokenBucket, DebtIsPaidBack) {
  TokenBucket bucket;
  bucket.set_rate(kStart, 1'000'000);
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

TEST(TokenBucket, WhatWasSavedOrOwedOutlivesAChange) {
  TokenBucket bucket;
  bucket.set_rate(kStart, 1'000'000);
  const Instant later = kStart + Duration::milliseconds(10);
  bucket.set_rate(later, 4'000'000);
  EXPECT_EQ(bucket.available(later), 10'000u);
  bucket.set_rate(later + Duration::milliseconds(1), 4'000'000);
  EXPECT_EQ(bucket.available(later + Duration::milliseconds(1)), 14'000u);
  bucket.consume(later + Duration::milliseconds(1), 14'000 + 400'000);  // 100 ms of it
  bucket.set_rate(later + Duration::milliseconds(1), 1'000'000);
  EXPECT_EQ(bucket.available(later + Duration::milliseconds(101)), 0u);
  EXPECT_EQ(bucket.available(later + Duration::milliseconds(111)), 10'000u);
}

// Whole blocks at odd times, from rates where a block costs less than a microsecond to those where
// it costs seconds.
TEST(TokenBucket, TheRateIsExactOverTime) {
  for (const std::uint64_t rate :
       {3'001ull, 200'000ull, 5'000'000ull, 125'000'000ull, 1'250'000'000ull, 50'000'000'000ull}) {
    TokenBucket bucket;
    bucket.set_rate(kStart, rate);
    Random random(rate);
    std::uint64_t total = 0;
    Instant now = kStart;
    while (total < 20'000 * std::uint64_t{kBlockSize}) {
      now = bucket.ready_at(now, kBlockSize) +
            Duration::nanoseconds(static_cast<std::int64_t>(random.below(2'000'000)));
      while (bucket.available(now) != 0) {
        const std::uint64_t bytes = kBlockSize - random.below(3) * 1000;
        bucket.consume(now, bytes);
        total += bytes;
      }
    }
    // What is owed at the end is at most a block.
    const double allowed = static_cast<double>(rate) * (now - kStart).as_seconds();
    EXPECT_NEAR(static_cast<double>(total), allowed,
                allowed * 1e-6 + static_cast<double>(bucket.burst()) + kBlockSize)
        << rate;
    EXPECT_LE(static_cast<double>(total), allowed * (1 + 1e-6) + kBlockSize) << rate;
  }
}

// Nothing that is consumed is lost, whoever else consumes.
TEST(TokenBucket, ThreadsDrawFromOne) {
  constexpr int kThreads = 4;
  constexpr std::uint64_t kTimes = 100'000;
  TokenBucket bucket;
  bucket.set_rate(kStart, 1'000'000'000);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&bucket] {
      for (std::uint64_t n = 0; n < kTimes; ++n)
        bucket.consume(kStart, 1000);
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  const Duration owed = Duration::microseconds(kThreads * kTimes);  // 1000 bytes are 1 us
  EXPECT_EQ(bucket.available(kStart + owed), 0u);
  EXPECT_EQ(bucket.available(kStart + owed + Duration::microseconds(5)), 5000u);
}

}  // namespace
}  // namespace penstock
