// Upload limits: token buckets that all shards draw from.
//
// Before a connection sends, its shard asks what is available, sends at most about that, and says
// what it sent. A bucket may go into debt by what one send overshoots, which later sends wait for,
// so that the rate over time is exact, whichever shards the peers are on.
//
// Algorithm: the virtual scheduling form of the leaky bucket (GCRA, ITU-T I.371 Annex A). Instead
// of credit and the time of the last refill there is one word, the time at which all that was sent
// is paid for: it needs no lock, no refill, and loses nothing to rounding.
//
// Threads: any. Nothing is allocated.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>

#include "base/block_info.hh"
#include "base/time.hh"

namespace penstock {

inline constexpr std::uint64_t kRateUnlimited = std::numeric_limits<std::uint64_t>::max();

// One limit. Rate 0: none. Begins empty: what was sent before doesn't count, nothing is given on
// top.
class alignas(64) TokenBucket {
 public:
  // Changes the rate; does nothing if it is that already, so that every shard may be told. What was
  // saved up or owed stays, within the new burst.
  void set_rate(Instant now, std::uint64_t bytes_per_second);
  [[nodiscard]] std::uint64_t rate() const { return rate_.load(std::memory_order_relaxed); }
  [[nodiscard]] bool limited() const { return rate() != 0; }

  // Bytes that may be sent now; kRateUnlimited when there is no limit, 0 while in debt.
  [[nodiscard]] std::uint64_t available(Instant now) const;
  // Bytes were sent: may leave the bucket in debt.
  void consume(Instant now, std::uint64_t bytes);
  // When available() is next at least `bytes` (capped at the burst); `now` if it is.
  [[nodiscard]] Instant ready_at(Instant now, std::uint64_t bytes) const;
  // What may be saved up, bytes: 20 ms of the rate, at least two blocks.
  [[nodiscard]] std::uint64_t burst() const { return burst_of(rate()); }

 private:
  static std::uint64_t burst_of(std::uint64_t rate);

  std::atomic<std::uint64_t> rate_{0};  // bytes per second
  std::atomic<std::int64_t> paid_{0};   // when all that was sent is paid for; 1/16 ns
};

}  // namespace penstock
