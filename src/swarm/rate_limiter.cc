#include "swarm/rate_limiter.hh"

#include <algorithm>

namespace penstock {

namespace {

__extension__ using Wide = unsigned __int128;
constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kBurstDivisor = 50;  // 20 ms

}  // namespace

std::uint64_t TokenBucket::burst() const {
  return std::max<std::uint64_t>(rate_ / kBurstDivisor, 2 * kRateQuantum);
}

void TokenBucket::set_rate(Instant now, std::uint64_t bytes_per_second) {
  if (limited()) refill(now);
  const bool was_limited = limited();
  rate_ = bytes_per_second;
  fraction_ = 0;
  since_ = now;
  started_ = true;
  // A new limit begins empty: what was sent before does not count, nothing is given on top.
  credit_ = was_limited ? std::min(credit_, static_cast<std::int64_t>(burst())) : 0;
}

// Credit for the time passed, exact to 1e-9 bytes, so that many short refills lose nothing.
void TokenBucket::refill(Instant now) {
  if (!started_) {
    started_ = true;
    since_ = now;
    return;
  }
  if (now <= since_) return;
  const auto elapsed = static_cast<std::uint64_t>(now.ns - since_.ns);
  since_ = now;
  const auto earned = static_cast<Wide>(elapsed) * rate_ + fraction_;
  const auto whole = static_cast<std::uint64_t>(earned / kSecond);
  fraction_ = static_cast<std::uint64_t>(earned % kSecond);
  const auto most = static_cast<std::int64_t>(burst());
  if (whole >= static_cast<std::uint64_t>(most - credit_)) {
    credit_ = most;
    fraction_ = 0;
  } else {
    credit_ += static_cast<std::int64_t>(whole);
  }
}

std::uint64_t TokenBucket::available(Instant now) {
  if (!limited()) return kRateUnlimited;
  refill(now);
  return credit_ > 0 ? static_cast<std::uint64_t>(credit_) : 0;
}

void TokenBucket::consume(Instant now, std::uint64_t bytes) {
  if (!limited()) return;
  refill(now);
  credit_ -= static_cast<std::int64_t>(bytes);
}

Instant TokenBucket::ready_at(Instant now, std::uint64_t bytes) {
  if (!limited()) return now;
  refill(now);
  const auto wanted = static_cast<std::int64_t>(std::min(bytes, burst()));
  if (credit_ >= wanted) return now;
  const auto missing = static_cast<std::uint64_t>(wanted - credit_);
  const auto wait = (static_cast<Wide>(missing) * kSecond - fraction_ + rate_ - 1) / rate_;
  return now + Duration::nanoseconds(static_cast<std::int64_t>(wait));
}

bool RateChain::limited() const {
  for (const TokenBucket* bucket : buckets_) {
    if (bucket != nullptr && bucket->limited()) return true;
  }
  return false;
}

std::uint64_t RateChain::grant(Instant now) const {
  std::uint64_t least = kRateUnlimited;
  for (TokenBucket* bucket : buckets_) {
    if (bucket != nullptr) least = std::min(least, bucket->available(now));
  }
  if (least == kRateUnlimited) return least;
  // Blocks go out whole: less than a quantum is saved up for one.
  return least >= kRateQuantum ? kRateQuantum : 0;
}

void RateChain::consume(Instant now, std::uint64_t bytes) const {
  for (TokenBucket* bucket : buckets_) {
    if (bucket != nullptr) bucket->consume(now, bytes);
  }
}

Instant RateChain::ready_at(Instant now) const {
  Instant latest = now;
  for (TokenBucket* bucket : buckets_) {
    if (bucket != nullptr) latest = std::max(latest, bucket->ready_at(now, kRateQuantum));
  }
  return latest;
}

}  // namespace penstock
