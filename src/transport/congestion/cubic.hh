// CUBIC (RFC 9438) with HyStart++ (RFC 9406): the congestion window of a bulk sender.
//
// Windows are bytes. Integer arithmetic only. Owner: one connection. The recovery state machine
// (open, disorder, recovery, loss) is the connection's; this class is told of its turns.
#pragma once

#include <cstdint>

#include "base/seq_number.hh"
#include "base/time.hh"

namespace penstock::transport {

// What one acknowledgement meant for the window.
struct AckSample {
  Instant now;
  std::uint32_t acked = 0;      // bytes newly acknowledged, cumulatively or selectively
  std::uint32_t in_flight = 0;  // bytes under way before this ACK
  bool window_limited = false;  // the window, not the application or the peer, held the sender back
  SeqNumber una;                // after this ACK
  SeqNumber nxt;
  Duration rtt{};        // of the newest segment acknowledged; 0: none
  Duration rtt_least{};  // of the connection
};

class Cubic {
 public:
  // window: of the start (RFC 6928), bytes. mss: payload of a full segment, bytes, 88 … 65,483.
  void start(std::uint32_t window, std::uint16_t mss);
  // The path changed its MTU: the window keeps its bytes.
  void set_mss(std::uint16_t mss);

  // In open and disorder, not in recovery (there PRR says what may go).
  void on_ack(const AckSample& sample);
  // Fast recovery begins, or ECN said so: once a round trip. in_flight: bytes.
  void on_congestion(Instant now, std::uint32_t in_flight);
  // A retransmission timeout; the first of a series only lowers ssthresh (RFC 5681 §3.1).
  void on_timeout(Instant now, std::uint32_t in_flight, bool first);
  // Recovery ended: the window is ssthresh (RFC 9937 leaves it there).
  void on_recovered();
  // The congestion was none (DSACK, timestamps): as before on_congestion or on_timeout.
  void undo();
  // Nothing was sent for longer than an RTO, or the window wasn't used (RFC 7661 §4.4).
  void on_idle(Instant now, Duration idle, Duration rto, std::uint32_t in_flight_most);

  [[nodiscard]] std::uint32_t window() const { return window_; }
  [[nodiscard]] std::uint32_t slow_start_threshold() const { return ssthresh_; }
  [[nodiscard]] bool in_slow_start() const { return window_ < ssthresh_; }

 private:
  // The implementer's.
  std::uint32_t window_ = 0;
  std::uint32_t ssthresh_ = ~0u;
};

}  // namespace penstock::transport
