// Round-trip time and retransmission timeout (RFC 6298), and the windowed minimum (RFC 8985 §6.2).
//
// Algorithm: SRTT and RTTVAR with gains 1/8 and 1/4; RTO = SRTT + max(4 RTTVAR, 200 ms). The
// minimum is kept for two windows of 5 s, this one and the one before. Timers: none; the owner's
// RTO timer runs for rto(), doubled by it (RFC 6298 §5.5). Invariants: least() <= every sample of
// the last 5 s; rto() within the limits below.
//
// DEVIATION(RFC 6298 §2.4): the least RTO is SRTT + 200 ms instead of 1 s, as deployed stacks have
// it: a delayed ACK on a path without jitter isn't a loss, and nobody waits a second for the rest.
#pragma once

#include "base/time.hh"

namespace penstock::transport {

class RttEstimator {
 public:
  static constexpr Duration kRtoInitial = Duration::seconds(1);
  static constexpr Duration kRtoLeast = Duration::milliseconds(200);  // beyond SRTT
  static constexpr Duration kRtoMost = Duration::seconds(60);

  // rtt of a segment sent once or told apart by timestamps (Karn, RFC 6298 §3). Not above 0: not
  // counted, but as 1 ns (a clock that stands still in a burst).
  void on_sample(Instant now, Duration rtt);
  // Forgets what was learnt (RFC 6298 §5.7, a path that changed); the minimum stays until it ages.
  void restart();

  [[nodiscard]] bool has_sample() const { return srtt_.ns != 0; }
  [[nodiscard]] Duration smoothed() const { return srtt_; }
  [[nodiscard]] Duration variation() const { return rttvar_; }
  // Least of the last 5 to 10 s; Duration::max() without a sample.
  [[nodiscard]] Duration least() const {
    return least_before_ < least_now_ ? least_before_ : least_now_;
  }
  // Without backoff: the owner doubles (RFC 6298 §5.5).
  [[nodiscard]] Duration rto() const {
    if (!has_sample()) return kRtoInitial;
    const Duration spread = rttvar_ * 4;
    const Duration rto = srtt_ + (spread < kRtoLeast ? kRtoLeast : spread);
    return rto < kRtoMost ? rto : kRtoMost;
  }

 private:
  Duration srtt_{};
  Duration rttvar_{};
  // The minimum of the window before and of this one.
  Duration least_before_ = Duration::max();
  Duration least_now_ = Duration::max();
  Instant window_began_{};
};

}  // namespace penstock::transport
