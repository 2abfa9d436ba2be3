// Spreads a window over the round trip instead of sending it as a burst.
//
// Rate: gain × window / srtt, gain 2 in slow start and 1.2 else (what Linux uses: enough for the
// window to grow, and for a late timer to be made up for). A connection may always send one quantum
// at once, 1 ms worth of its rate within [2 MSS, 64 KiB]: below that a timer costs more than the
// burst. What wasn't used is kept for one quantum, so nothing bursts beyond two after a pause.
// Without an RTT sample it doesn't hold back.
//
// Timers: next(), by the owner, when something waits and budget() is 0.
// Invariants: bytes sent over any interval <= rate × interval + 2 quanta + what one caller sent
// beyond its budget.
#pragma once

#include <cstdint>

#include "base/time.hh"

namespace penstock::transport {

class Pacer {
 public:
  // Two divisions: before something goes, and not with every ACK that changes one of them. srtt 0:
  // not known, no pacing.
  void set_rate(std::uint32_t window, Duration srtt, bool slow_start, std::uint16_t mss);
  // One of them changed: to be set before budget() and on_sent().
  void expire() { stale_ = true; }
  [[nodiscard]] bool stale() const { return stale_; }
  // Bytes that may go now; 0: not before next().
  [[nodiscard]] std::uint32_t budget(Instant now) const {
    return now < next_ ? 0 : cost_ == 0 ? ~0u : quantum_;
  }
  void on_sent(Instant now, std::uint32_t bytes) {
    if (cost_ == 0) return;
    const Instant kept = now - time_of(quantum_);
    next_ = (next_ < kept ? kept : next_) + time_of(bytes);
  }
  // When there is a budget again.
  [[nodiscard]] Instant next() const { return next_; }
  // Bytes per second; 0: not limited.
  [[nodiscard]] std::uint64_t rate() const;

 private:
  static constexpr int kShift = 20;

  [[nodiscard]] Duration time_of(std::uint32_t bytes) const {
    return {static_cast<std::int64_t>((cost_ * bytes) >> kShift)};
  }

  Instant next_{};
  std::uint64_t cost_ = 0;  // of a byte: ns << kShift; 0: not limited
  std::uint32_t quantum_ = 0;
  bool stale_ = false;
};

}  // namespace penstock::transport
