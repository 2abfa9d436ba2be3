#include "swarm/rate_limiter.hh"

#include <algorithm>

namespace penstock {

namespace {

__extension__ using Wide = unsigned __int128;
constexpr std::uint64_t kTicks = 16;  // a nanosecond; 2^63 of them are 18 years
constexpr std::uint64_t kSecond = 1'000'000'000 * kTicks;
constexpr std::uint64_t kBurstDivisor = 50;  // 20 ms

std::int64_t ticks(Instant at) {
  return at.ns * static_cast<std::int64_t>(kTicks);
}

// What so many bytes cost, rounded up.
std::int64_t cost(std::uint64_t bytes, std::uint64_t rate) {
  return static_cast<std::int64_t>((static_cast<Wide>(bytes) * kSecond + rate - 1) / rate);
}

}  // namespace

std::uint64_t TokenBucket::burst_of(std::uint64_t rate) {
  return std::max<std::uint64_t>(rate / kBurstDivisor, 2 * kBlockSize);
}

void TokenBucket::set_rate(Instant now, std::uint64_t bytes_per_second) {
  const std::uint64_t before = rate();
  if (before == bytes_per_second) return;
  if (bytes_per_second != 0) {
    const std::uint64_t burst = burst_of(bytes_per_second);
    const std::uint64_t saved = before == 0 ? 0 : std::min(available(now), burst);
    // Debt is a time: whoever waits for it to be paid waits no longer for the new rate.
    const std::int64_t debt = before == 0 ? 0
                                          : paid_.load(std::memory_order_relaxed) - ticks(now) -
                                                cost(burst_of(before), before);
    paid_.store(
        ticks(now) + cost(burst - saved, bytes_per_second) + std::max<std::int64_t>(debt, 0),
        std::memory_order_relaxed);
  }
  rate_.store(bytes_per_second, std::memory_order_relaxed);
}

std::uint64_t TokenBucket::available(Instant now) const {
  const std::uint64_t rate = this->rate();
  if (rate == 0) return kRateUnlimited;
  const std::uint64_t burst = burst_of(rate);
  const std::int64_t owed = paid_.load(std::memory_order_relaxed) - ticks(now);
  if (owed <= 0) return burst;
  const auto bytes = (static_cast<Wide>(owed) * rate + kSecond - 1) / kSecond;
  return bytes >= burst ? 0 : burst - static_cast<std::uint64_t>(bytes);
}

void TokenBucket::consume(Instant now, std::uint64_t bytes) {
  const std::uint64_t rate = this->rate();
  if (rate == 0) return;
  const std::int64_t more = cost(bytes, rate);
  const std::int64_t from = ticks(now);
  std::int64_t paid = paid_.load(std::memory_order_relaxed);
  while (
      !paid_.compare_exchange_weak(paid, std::max(paid, from) + more, std::memory_order_relaxed)) {
  }
}

Instant TokenBucket::ready_at(Instant now, std::uint64_t bytes) const {
  const std::uint64_t rate = this->rate();
  if (rate == 0) return now;
  const std::uint64_t burst = burst_of(rate);
  const std::int64_t early = cost(burst - std::min(bytes, burst), rate);
  const std::int64_t at = paid_.load(std::memory_order_relaxed) - early;
  constexpr auto kRoundUp = static_cast<std::int64_t>(kTicks) - 1;
  return std::max(now, Instant{(at + kRoundUp) / static_cast<std::int64_t>(kTicks)});
}

}  // namespace penstock
