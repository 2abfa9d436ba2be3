#include "transport/congestion/cubic.hh"

#include <algorithm>

#include "base/assert.hh"

namespace penstock::transport {
namespace {

// RFC 9406 §4.3.
constexpr Duration kRttThresholdLeast = Duration::milliseconds(4);
constexpr Duration kRttThresholdMost = Duration::milliseconds(16);
constexpr std::int64_t kRttDivisor = 8;
constexpr std::uint8_t kRttSamples = 8;
constexpr std::uint32_t kCssDivisor = 4;
constexpr std::uint8_t kCssRounds = 5;

// RFC 7661 §4.2, §4.4.2.
constexpr Duration kPipePeriodLeast = Duration::seconds(1);
constexpr Duration kUnvalidatedMost = Duration::seconds(300);

// Far above any window scale's reach, and below where the arithmetic would overflow.
constexpr std::uint32_t kWindowMost = 1u << 30;
// 256 s, in 2^-12 s.
constexpr std::int64_t kSinceMost = 1 << 20;

// beta_cubic = 0.7 (RFC 9438 §4.6).
constexpr std::uint32_t reduced(std::uint32_t window) {
  return static_cast<std::uint32_t>(std::uint64_t{window} * 7 / 10);
}

// The integer part of the cubic root, a bit of it at a time.
std::uint32_t cube_root(std::uint64_t of) {
  std::uint64_t root = 0;
  for (int bit = 21; bit >= 0; --bit) {
    const std::uint64_t tried = root | (std::uint64_t{1} << bit);
    // tried < 2^22: its square fits, its cube may not.
    if (tried * tried <= of / tried) root = tried;
  }
  return static_cast<std::uint32_t>(root);
}

}  // namespace

void Cubic::start(Instant now, std::uint32_t window, std::uint16_t mss) {
  DCHECK(mss > 0 && window >= mss);
  *this = Cubic();
  curve_.window = window;
  window_first_ = window;
  mss_ = mss;
  pipe_began_ = now;
  validated_ = now;
}

void Cubic::set_mss(std::uint16_t mss) {
  mss_ = mss;
  curve_.window = std::max<std::uint32_t>(curve_.window, mss);
  curve_.ssthresh = std::max(curve_.ssthresh, 2u * mss);
}

void Cubic::on_ack(const AckSample& sample) {
  count_round(sample);
  roll_period(sample.now, std::max(sample.rtt_smoothed * 3, kPipePeriodLeast));
  validate_window(sample.now);
  const bool limited = limited_by_window(sample);
  if (!limited) {
    if (quiet_since_ == Instant::never()) quiet_since_ = sample.now;
    return;
  }
  if (quiet_since_ != Instant::never()) {
    if (curve_.began != Instant::never()) curve_.began = curve_.began + (sample.now - quiet_since_);
    quiet_since_ = Instant::never();
  }
  std::uint32_t acked = sample.acked;
  if (in_slow_start()) {
    if (curve_.ssthresh == kUnset) watch_delay(sample);
    if (in_slow_start()) acked = slow_start(acked);
  }
  if (!in_slow_start() && acked > 0) avoid_congestion(sample, acked);
}

// A round ends when what was under way at its beginning is acknowledged.
void Cubic::count_round(const AckSample& sample) {
  round_acked_ += sample.acked;
  if (round_running_ && before(sample.una, round_ends_)) return;
  if (round_running_) {
    pipe_now_ = std::max(pipe_now_, round_acked_);
    // RFC 9406 §4.2: five rounds of CSS, the one that it began in counts.
    if (css_rounds_ > 0 && ++css_rounds_ > kCssRounds && curve_.ssthresh == kUnset) {
      curve_.ssthresh = curve_.window;
      css_rounds_ = 0;
      flat_start_ = true;
    }
  }
  round_running_ = true;
  round_ends_ = sample.nxt;
  round_acked_ = 0;
  round_least_before_ = round_least_;
  round_least_ = kUnset;
  rtt_samples_ = 0;
}

void Cubic::roll_period(Instant now, Duration period) {
  const Duration passed = now - pipe_began_;
  if (passed < period) return;
  // Nothing at all in the period that ended after this one's beginning.
  pipe_before_ = passed >= period * 2 ? 0 : pipe_now_;
  pipe_now_ = 0;
  pipe_began_ = now;
}

// Bytes that the path carried in a round trip; kUnset: not measured yet, and taken for enough.
std::uint32_t Cubic::pipe_ack() const {
  return std::max({pipe_before_, pipe_now_, pipe_before_ == kUnset ? 0 : round_acked_});
}

void Cubic::validate_window(Instant now) {
  if (pipe_ack() >= curve_.window / 2) {
    validated_ = now;
    return;
  }
  // At most 32 turns: then it is the first window.
  while (now - validated_ >= kUnvalidatedMost) {
    curve_.ssthresh = std::max(curve_.ssthresh, curve_.window - curve_.window / 4);
    curve_.window = std::max(curve_.window / 2, std::min(window_first_, curve_.window));
    curve_.began = Instant::never();
    flat_start_ = true;
    validated_ = curve_.window <= window_first_ ? now : validated_ + kUnvalidatedMost;
  }
}

// Whether the window was full at some time in the round trip that ends, so that its growth would
// have been used. In slow start half of it is enough: it will be full before it has grown.
bool Cubic::limited_by_window(const AckSample& sample) {
  if (sample.window_limited) {
    was_limited_ = true;
    limited_until_ = sample.nxt;
  } else if (was_limited_ && at_or_before(limited_until_, sample.una)) {
    was_limited_ = false;
  }
  return was_limited_ || (in_slow_start() && curve_.window / 2 < sample.in_flight);
}

// HyStart++ (RFC 9406 §4.2).
void Cubic::watch_delay(const AckSample& sample) {
  if (sample.rtt.ns <= 0) return;
  round_least_ =
      static_cast<std::uint32_t>(std::min<std::int64_t>(std::int64_t{round_least_}, sample.rtt.ns));
  if (rtt_samples_ < kRttSamples) ++rtt_samples_;
  if (rtt_samples_ < kRttSamples) return;
  if (css_rounds_ == 0) {
    if (round_least_before_ == kUnset) return;
    const std::int64_t before_it = round_least_before_;
    if (round_least_ < before_it + std::clamp(before_it / kRttDivisor, kRttThresholdLeast.ns,
                                              kRttThresholdMost.ns))
      return;
    css_baseline_ = round_least_;
    css_rounds_ = 1;
  } else if (round_least_ < css_baseline_) {
    // It was jitter.
    css_baseline_ = kUnset;
    css_rounds_ = 0;
  }
}

// Returns the bytes acknowledged that are left for congestion avoidance.
std::uint32_t Cubic::slow_start(std::uint32_t acked) {
  const std::uint32_t growth = css_rounds_ == 0 ? acked : acked / kCssDivisor;
  const std::uint32_t room = std::min(curve_.ssthresh, kWindowMost) - curve_.window;
  if (growth < room || curve_.ssthresh == kUnset) {
    curve_.window += std::min(growth, room);
    return 0;
  }
  curve_.window = curve_.ssthresh;
  return growth - room;
}

void Cubic::begin_epoch(Instant now) {
  curve_.began = now;
  curve_.estimate = curve_.window;
  cubic_credit_ = 0;
  estimate_credit_ = 0;
  if (flat_start_ || curve_.most <= curve_.window) {
    // RFC 9438 §4.8, §4.10.
    curve_.most = curve_.window;
    curve_.k = 0;
  } else {
    // K = cbrt((W_max - cwnd_epoch) / C) (RFC 9438 §4.2, figure 2), C = 2 / 5, in (2^-12 s)^3.
    const std::uint64_t below = curve_.most - curve_.window;
    curve_.k = cube_root(((below * 5 << 26) / (std::uint64_t{2} * mss_)) << 10);
  }
  flat_start_ = false;
}

// W_cubic(t) (RFC 9438 §4.2, figure 1).
std::uint32_t Cubic::cube(Duration since) const {
  constexpr std::int64_t kSecond = 1'000'000'000;
  const std::int64_t bounded = std::clamp<std::int64_t>(since.ns, 0, 256 * kSecond);
  const std::int64_t t = std::min((bounded << 12) / kSecond, kSinceMost);
  const std::int64_t from_k = t - static_cast<std::int64_t>(curve_.k);
  // At most 2^21 (512 s): the cube just fits. Then 2^-12 s^3, × mss × 2 < 2^59.
  const auto distance = std::min<std::uint64_t>(
      static_cast<std::uint64_t>(from_k < 0 ? -from_k : from_k), (std::uint64_t{1} << 21) - 1);
  const std::uint64_t cubed = (distance * distance * distance) >> 24;
  const std::uint64_t bytes = (cubed * mss_ * 2 / 5) >> 12;
  if (from_k < 0) return bytes < curve_.most ? static_cast<std::uint32_t>(curve_.most - bytes) : 0;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(curve_.most + bytes, kWindowMost));
}

void Cubic::avoid_congestion(const AckSample& sample, std::uint32_t acked) {
  if (curve_.began == Instant::never()) begin_epoch(sample.now);
  const std::uint32_t window = curve_.window;
  // RFC 9438 §4.3: alpha is 9/17 until the window before the congestion is reached, then 1.
  const std::uint64_t alpha = curve_.estimate < curve_.prior ? 9 : 17;
  estimate_credit_ += std::uint64_t{acked} * mss_ * alpha / 17;
  curve_.estimate = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(curve_.estimate + estimate_credit_ / window, kWindowMost));
  estimate_credit_ %= window;

  const Duration t = sample.now - curve_.began;
  if (cube(t) < curve_.estimate) {
    curve_.window = std::max(window, curve_.estimate);
    cubic_credit_ = 0;
    return;
  }
  // RFC 9438 §4.2, §4.4, §4.5: to where the curve is a round trip from now, at most half as much
  // again.
  const std::uint32_t target =
      std::clamp(cube(t + sample.rtt_smoothed), window, std::min(window + window / 2, kWindowMost));
  cubic_credit_ += std::uint64_t{target - window} * acked;
  curve_.window += static_cast<std::uint32_t>(cubic_credit_ / window);
  cubic_credit_ %= window;
  if (curve_.window > target) curve_.window = target;
}

// What loss, ECN and timeouts have in common. The threshold is from what was used.
void Cubic::reduce(Instant now, std::uint32_t in_flight, Congestion why) {
  saved_ = curve_;
  can_undo_ = true;
  const bool validated = pipe_ack() >= curve_.window / 2;
  const std::uint32_t used =
      validated ? curve_.window : std::min(curve_.window, std::max(pipe_ack(), in_flight));
  // Fast convergence (RFC 9438 §4.7). In segments, as the RFC counts: the curve is flat around
  // W_max and comes within one long before K, and then the window is back.
  curve_.most =
      used + mss_ < curve_.most ? static_cast<std::uint32_t>(std::uint64_t{used} * 17 / 20) : used;
  curve_.prior = used;
  // RFC 8511 §3: a mark comes from a short queue, which a smaller step leaves full.
  const std::uint32_t left = why == Congestion::ecn
                                 ? static_cast<std::uint32_t>(std::uint64_t{used} * 17 / 20)
                                 : reduced(used);
  curve_.ssthresh = std::max(left, 2u * mss_);
  curve_.window = left;
  curve_.began = Instant::never();
  quiet_since_ = Instant::never();
  flat_start_ = false;
  css_rounds_ = 0;
  // RFC 7661 §4.4.1: measured anew.
  pipe_now_ = 0;
  pipe_before_ = kUnset;
  pipe_began_ = now;
  round_running_ = false;
  validated_ = now;
}

void Cubic::on_congestion(Instant now, std::uint32_t in_flight, Congestion why) {
  reduce(now, in_flight, why);
  curve_.window = std::max(curve_.window, why == Congestion::loss ? 2u * mss_ : 1u * mss_);
}

void Cubic::on_timeout(Instant now, std::uint32_t in_flight, bool first) {
  if (first) reduce(now, in_flight, Congestion::loss);
  // RFC 5681 §3.1: the loss window.
  curve_.window = mss_;
  curve_.began = Instant::never();
  flat_start_ = true;
}

void Cubic::on_recovered() {
  if (curve_.ssthresh != kUnset) curve_.window = curve_.ssthresh;
}

void Cubic::undo() {
  if (!can_undo_) return;
  can_undo_ = false;
  const std::uint32_t window = std::max(curve_.window, saved_.window);
  curve_ = saved_;
  curve_.window = window;
  // An epoch that hadn't begun begins where the curve ended.
  flat_start_ = curve_.began == Instant::never() && curve_.most <= window;
}

void Cubic::on_idle(Instant now, Duration idle) {
  if (idle.ns <= 0) return;
  if (curve_.began != Instant::never() && quiet_since_ == Instant::never())
    curve_.began = curve_.began + idle;
  roll_period(now, kPipePeriodLeast);
  round_running_ = false;
  round_acked_ = 0;
  validate_window(now);
}

}  // namespace penstock::transport
