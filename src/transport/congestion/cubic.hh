// CUBIC (RFC 9438) with HyStart++ (RFC 9406) and the validation of windows that aren't used (RFC
// 7661): the congestion window of a bulk sender.
//
// Algorithm. Slow start counts bytes, without a limit an ACK, since the sender paces (RFC 9406
// §4.2, L = infinity). The first one ends by HyStart++: a round whose least RTT rose by an eighth
// (4 to 16 ms) leads to conservative slow start, a quarter as fast, which ends the slow start after
// five rounds if the delay stays. Congestion avoidance follows W_cubic(t) = 0.4 (t - K)^3 + W_max
// (segments, seconds), or Reno's line where that is faster. A congestion takes the window to 0.7 of
// it, an ECN mark to 0.85 (RFC 8511). A window that isn't used doesn't grow; when less than half of
// it was used, a congestion is answered from what was (max(pipeACK, in flight), RFC 7661 §4.4.1),
// and after five minutes it is halved (§4.4.2).
//
// Windows are bytes. Integer arithmetic only: times in 2^-12 s, an error below 0.1 % of the cube
// wherever that is above a segment. Owner: one connection. The recovery state machine (open,
// disorder, recovery, loss) is the connection's; this class is told of its turns. Timers: none.
//
// Invariants: window() >= 1 MSS, >= 2 but after a timeout or ECN; slow_start_threshold() >= 2 MSS.
//
// DEVIATION(RFC 5681 §4.1): no restart window after idle; RFC 7661 keeps the window for five
// minutes, and the pacer spreads it.
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
  Duration rtt{};           // of the newest segment acknowledged; 0: none
  Duration rtt_smoothed{};  // of the connection
};

enum class Congestion : std::uint8_t { loss, ecn };

class Cubic {
 public:
  // window: of the start (RFC 6928), bytes. mss: payload of a full segment, bytes, 88 … 65,483.
  void start(Instant now, std::uint32_t window, std::uint16_t mss);
  // The path changed its MTU: the window keeps its bytes, but is at least a segment.
  void set_mss(std::uint16_t mss);

  // In open and disorder, and in CWR after ECN; not in recovery (there PRR says what may go).
  void on_ack(const AckSample& sample);
  // Fast recovery begins, or ECN said so (RFC 3168 §6.1.2): once a round trip. in_flight: bytes
  // before it. Sets the threshold and the window at once; with PRR the owner uses the threshold.
  void on_congestion(Instant now, std::uint32_t in_flight, Congestion why = Congestion::loss);
  // A retransmission timeout: one segment. first: nothing was reduced for this flight yet; neither
  // a further timeout of a series nor one in a recovery lowers the threshold again (RFC 5681 §3.1).
  void on_timeout(Instant now, std::uint32_t in_flight, bool first);
  // Fast recovery ended: the window is ssthresh (RFC 9937 §6.2).
  void on_recovered();
  // The congestion was none (DSACK, timestamps, F-RTO): as before the last on_congestion, or
  // on_timeout that was a first. Without one to undo: nothing.
  void undo();
  // Before anything is sent again after nothing was under way for `idle`.
  void on_idle(Instant now, Duration idle);

  [[nodiscard]] std::uint32_t window() const { return curve_.window; }
  [[nodiscard]] std::uint32_t slow_start_threshold() const { return curve_.ssthresh; }
  [[nodiscard]] bool in_slow_start() const { return curve_.window < curve_.ssthresh; }
  // HyStart++'s conservative part of it.
  [[nodiscard]] bool in_conservative_slow_start() const { return css_rounds_ != 0; }

 private:
  static constexpr std::uint32_t kUnset = ~0u;

  // What undo() brings back (RFC 9438 §4.9.1).
  struct Curve {
    std::uint32_t window = 0;
    std::uint32_t ssthresh = kUnset;
    std::uint32_t most = 0;            // W_max
    std::uint32_t prior = 0;           // cwnd_prior
    std::uint32_t estimate = 0;        // W_est
    std::uint32_t k = 0;               // K, 2^-12 s
    Instant began = Instant::never();  // of the epoch; never(): none is running
  };

  void count_round(const AckSample& sample);
  void roll_period(Instant now, Duration period);
  void validate_window(Instant now);
  bool limited_by_window(const AckSample& sample);
  [[nodiscard]] std::uint32_t pipe_ack() const;
  void watch_delay(const AckSample& sample);
  std::uint32_t slow_start(std::uint32_t acked);
  void avoid_congestion(const AckSample& sample, std::uint32_t acked);
  void begin_epoch(Instant now);
  [[nodiscard]] std::uint32_t cube(Duration since) const;
  void reduce(Instant now, std::uint32_t in_flight, Congestion why);

  Curve curve_;
  std::uint64_t cubic_credit_ = 0;
  std::uint64_t estimate_credit_ = 0;
  // Since when the window isn't used: the epoch's clock stands (RFC 9438 §5.8). never(): it is.
  Instant quiet_since_ = Instant::never();
  std::uint16_t mss_ = 0;
  bool flat_start_ = true;  // the next epoch begins at W_max: after slow start or a timeout
  bool can_undo_ = false;
  bool round_running_ = false;
  bool was_limited_ = false;
  std::uint8_t css_rounds_ = 0;
  std::uint8_t rtt_samples_ = 0;

  // A round trip by sequence numbers.
  SeqNumber round_ends_;
  SeqNumber limited_until_;  // what was under way when the window was last full
  std::uint32_t round_acked_ = 0;

  // RFC 7661: the most that was acknowledged in a round, in this period and the one before.
  std::uint32_t pipe_now_ = 0;
  std::uint32_t pipe_before_ = kUnset;
  std::uint32_t window_first_ = 0;
  Instant pipe_began_{};
  Instant validated_{};  // when half of the window was last used

  // ns, at most 4.3 s; kUnset: none.
  std::uint32_t round_least_ = kUnset;
  std::uint32_t round_least_before_ = kUnset;
  std::uint32_t css_baseline_ = kUnset;

  Curve saved_;
};

}  // namespace penstock::transport
