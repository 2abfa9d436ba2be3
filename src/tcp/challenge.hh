// How many segments strangers may make us send: challenge ACKs (RFC 5961 §7) and resets to nobody.
//
// Every second has a budget of its own, drawn between half and one and a half of the mean: an
// attacker who counts the answers that he gets himself can't tell whether another connection had
// one (CVE-2016-5696).
#pragma once

#include <cstdint>

#include "base/random.hh"
#include "base/time.hh"

namespace penstock::tcp {

class Budget {
 public:
  Budget(std::uint32_t per_second, std::uint64_t seed) : mean_(per_second), random_(seed) {}

  // Whether one more may go.
  bool try_spend(Instant now) {
    if (now >= next_) {
      left_ = mean_ / 2 + static_cast<std::uint32_t>(random_.below(std::uint64_t{mean_} + 1));
      next_ = now + Duration::seconds(1);
    }
    if (left_ == 0) return false;
    --left_;
    return true;
  }

 private:
  std::uint32_t mean_;
  std::uint32_t left_ = 0;
  Instant next_{};
  Random random_;
};

// Of one connection: no two within this time.
inline constexpr Duration kChallengeInterval = Duration::milliseconds(100);

}  // namespace penstock::tcp
