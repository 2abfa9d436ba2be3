// A budget for what a peer may do: so much at once, so much a second.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/time.hh"

namespace penstock {

// Credit is refilled only when it has run out, so that spending is one subtraction. Over any time t
// no more than 2 × burst + t × rate is granted.
class Budget {
 public:
  void open(Instant now, std::uint32_t burst) {
    credit_ = burst;
    since_ = now;
  }
  // False: not granted, nothing was spent.
  bool try_spend(Instant now, std::uint32_t cost, std::uint32_t per_second, std::uint32_t burst) {
    if (cost > credit_ && !refill(now, cost, per_second, burst)) return false;
    credit_ -= cost;
    return true;
  }
  [[nodiscard]] std::uint32_t credit() const { return credit_; }

 private:
  bool refill(Instant now, std::uint32_t cost, std::uint32_t per_second, std::uint32_t burst) {
    constexpr std::int64_t kSecond = 1'000'000'000;
    // Longer than an hour fills any budget; the product then stays far from overflow.
    const std::int64_t elapsed = std::clamp<std::int64_t>(now.ns - since_.ns, 0, 3600 * kSecond);
    const std::uint64_t earned = static_cast<std::uint64_t>(elapsed) * per_second / kSecond;
    if (credit_ + earned < cost) return false;
    credit_ = static_cast<std::uint32_t>(std::min<std::uint64_t>(credit_ + earned, burst));
    since_ = now;
    return cost <= credit_;
  }

  std::uint32_t credit_ = 0;
  Instant since_;
};

}  // namespace penstock
