// Time that passes when the test says so.
#pragma once

#include "base/assert.hh"
#include "base/clock.hh"

namespace penstock::support {

class VirtualClock final : public Clock {
 public:
  Instant now() override { return now_; }
  [[nodiscard]] Instant time() const { return now_; }
  void advance(Duration d) {
    ASSERT(d.ns >= 0);
    now_ = now_ + d;
  }
  // Never backwards: a time that has passed is now.
  void advance_to(Instant t) {
    if (t > now_) now_ = t;
  }

 private:
  Instant now_{Duration::seconds(1).ns};
};

}  // namespace penstock::support
