// Upload limits of a shard: token buckets in a chain (all, class, torrent).
//
// Before a session sends it asks for a grant, sends at most about that, and says what it sent. A
// bucket may go into debt by what one send overshoots, which later grants wait for, so that the
// rate over time is exact. Fairness: under a limit a grant is at most one quantum (a block), and
// the shard gives turns round robin, which is deficit round robin with the debt kept in the bucket.
//
// Owner: a shard; the limits are its share of the process's. Nothing is allocated.
#pragma once

#include <cstdint>
#include <limits>
#include <span>

#include "base/block_info.hh"
#include "base/time.hh"

namespace penstock {

// What a session gets in one turn under a limit, bytes.
inline constexpr std::uint64_t kRateQuantum = kBlockSize;
inline constexpr std::uint64_t kRateUnlimited = std::numeric_limits<std::uint64_t>::max();

// One limit. Rate 0: none.
class TokenBucket {
 public:
  TokenBucket() = default;
  explicit TokenBucket(std::uint64_t bytes_per_second) : rate_(bytes_per_second) {}

  // Changes the rate; credit earned so far is kept within the new burst.
  void set_rate(Instant now, std::uint64_t bytes_per_second);
  [[nodiscard]] std::uint64_t rate() const { return rate_; }
  [[nodiscard]] bool limited() const { return rate_ != 0; }

  // Bytes that may be sent now; kRateUnlimited when there is no limit, 0 while in debt.
  [[nodiscard]] std::uint64_t available(Instant now);
  // Bytes were sent: may leave the bucket in debt.
  void consume(Instant now, std::uint64_t bytes);
  // When available() is next at least `bytes` (capped at the burst); `now` if it is.
  [[nodiscard]] Instant ready_at(Instant now, std::uint64_t bytes);
  // What may be saved up, bytes: 20 ms of the rate, at least two blocks.
  [[nodiscard]] std::uint64_t burst() const;

 private:
  void refill(Instant now);

  std::uint64_t rate_ = 0;      // bytes per second
  std::int64_t credit_ = 0;     // bytes; negative: debt
  std::uint64_t fraction_ = 0;  // of a byte, in 1e-9
  Instant since_;
  bool started_ = false;
};

// The buckets that one session is under, the process's first. Cheap to build for each grant.
class RateChain {
 public:
  // Null buckets are skipped.
  RateChain(TokenBucket* all, TokenBucket* of_class, TokenBucket* of_torrent)
      : buckets_{all, of_class, of_torrent} {}

  [[nodiscard]] bool limited() const;
  // Payload bytes that may be sent in this turn: unlimited, or at most kRateQuantum, or 0 (then
  // ready_at() says when it is worth asking again).
  [[nodiscard]] std::uint64_t grant(Instant now) const;
  void consume(Instant now, std::uint64_t bytes) const;
  [[nodiscard]] Instant ready_at(Instant now) const;

 private:
  TokenBucket* buckets_[3];
};

}  // namespace penstock
