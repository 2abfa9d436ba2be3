// The size of segments: down when ICMP says so (RFC 1191, RFC 8201; checked as RFC 5927 §7 has it)
// or full ones vanish (RFC 4821 §7.7), and up again when paths have changed.
//
// Up: ten minutes after it went down (RFC 1191 §6.3), and every ten minutes then, one segment of
// the old size goes among the others. If it is acknowledged without having gone again, the old size
// is back; if it is lost, its bytes go again in small ones, as all that is lost does. Timers: none,
// it rides on new data. Invariant: mss_probing_ only while mss_before_ != 0.
//
// DEVIATION(RFC 4821 §7.5): the loss of a probe counts as congestion: once in ten minutes.
// DEVIATION(RFC 4821 §7.3): no search between the sizes, nor beyond the interface's.
#include <algorithm>

#include "tcp/connection.hh"
#include "tcp/options.hh"
#include "tcp/shared.hh"

namespace penstock::tcp {

namespace {

// Sizes that get through where full segments vanish (RFC 4821 §7.3): IPv6's least, which tunnels
// carry, and RFC 791's. Few: each costs two timeouts at least, and the user timeout comes.
constexpr std::uint16_t kMssSteps[] = {1220, 512};
// RFC 1191 §6.3, RFC 8201 §4.
constexpr std::uint32_t kRaiseAfterSeconds = 600;

std::uint32_t seconds_of(Instant at) {
  return static_cast<std::uint32_t>(at.ns / 1'000'000'000);
}

}  // namespace

// RFC 5927 §7: believed only if it quotes what is under way, and at once only while no full segment
// was ever acknowledged; else when a timeout confirms that nothing gets through.
void Connection::on_packet_too_big(Instant now, SeqNumber quoted, std::uint16_t mss) {
  now_ = now;
  if (state_ == State::closed || in_handshake() || board_->empty()) return;
  if (!within(quoted, board_->una(), board_->nxt() - board_->una())) return;
  // RFC 1191 §3: no IPv4 path is believed to carry less than 552 bytes.
  constexpr std::uint16_t kLeast = 512;
  mss = std::max(mss, kLeast);
  if (mss >= path_mss_) return;
  if (mss_confirmed_) {
    told_mss_ = mss;
    return;
  }
  lower_mss(now, mss);
  // Not a sign of congestion: what was too big goes again at once.
  board_->on_timeout(now, rtt_, false);
  force_ = true;
}

// RFC 4821 §7.7: full segments vanish, and no ICMP says why.
void Connection::suspect_black_hole(Instant now) {
  // A segment doesn't have to be full to be too big.
  const std::uint32_t largest = std::min<std::uint32_t>(path_mss_, board_->nxt() - board_->una());
  for (const std::uint16_t step : kMssSteps) {
    if (step >= largest) continue;
    return lower_mss(now, step);
  }
}

void Connection::lower_mss(Instant now, std::uint16_t mss) {
  ++shared_->counters.mss_lowered;
  if (mss_before_ == 0) mss_before_ = path_mss_;
  mss_probing_ = false;
  mss_probe_at_s_ = seconds_of(now) + kRaiseAfterSeconds;
  set_mss(mss);
}

std::uint32_t Connection::mss_probe_payload() const {
  return mss_before_ - (timestamps_ ? std::uint32_t{kTimestampBytes} : 0u);
}

// The payload of a probe that is to go now, with at least a segment behind it to tell of its loss.
// room: what may go. 0: none.
std::uint32_t Connection::mss_probe_due(Instant now, std::uint32_t room) const {
  if (mss_before_ == 0 || mss_probing_ || phase_ != Phase::open || backoffs_ != 0) return 0;
  if (static_cast<std::int32_t>(seconds_of(now) - mss_probe_at_s_) < 0) return 0;
  const std::uint32_t payload = mss_probe_payload();
  // SACK blocks would make it larger.
  return payload + mss_ <= room && !receiver_.has_holes() && !receiver_.dsack_due() ? payload : 0;
}

void Connection::on_mss_probe_sent(Instant now) {
  mss_probing_ = true;
  mss_probe_end_ = board_->nxt();
  mss_probe_at_s_ = seconds_of(now) + kRaiseAfterSeconds;
}

// Bytes go again: if they are the probe's, it was lost.
void Connection::on_mss_probe_resent(SeqNumber begin, std::uint32_t length) {
  if (!mss_probing_) return;
  if (before(begin, mss_probe_end_) && after(begin + length, mss_probe_end_ - mss_probe_payload()))
    mss_probing_ = false;
}

void Connection::judge_mss_probe() {
  if (!mss_probing_ || before(board_->una(), mss_probe_end_)) return;
  ++shared_->counters.mss_raised;
  const std::uint16_t mss = mss_before_;
  mss_before_ = 0;
  mss_probing_ = false;
  set_mss(mss);
  mss_confirmed_ = true;
}

}  // namespace penstock::tcp
