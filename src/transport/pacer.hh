// Spreads a window over the round trip instead of sending it as a burst.
//
// Rate: gain × window / srtt, gain 2 in slow start and 1.2 else (what Linux uses). A connection may
// always send one quantum (a TSO frame or two segments) at once: below that a timer costs more than
// the burst. Without an RTT sample it doesn't hold back.
#pragma once

#include <cstdint>

#include "base/time.hh"

namespace penstock::transport {

class Pacer {
 public:
  void set_rate(std::uint32_t window, Duration srtt, bool slow_start, std::uint16_t mss);
  // Bytes that may go now; 0: not before next().
  [[nodiscard]] std::uint32_t budget(Instant now) const;
  void on_sent(Instant now, std::uint32_t bytes);
  // When there is a budget again.
  [[nodiscard]] Instant next() const { return next_; }

 private:
  Instant next_{};
};

}  // namespace penstock::transport
