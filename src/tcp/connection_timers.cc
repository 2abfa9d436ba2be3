// Timers of a connection.
//
// timer_: one of retransmission (RFC 6298), tail-loss probe (RFC 8985 §7) and persist (RFC 9293
//   §3.8.6.1); at most one makes sense at a time. Retransmission: armed while something is under
//   way, from the last progress, doubled at each timeout up to 60 s. Probe: 2 SRTT after the last
//   transmission or ACK, if that comes first. Persist: nothing is under way and the peer's window
//   holds back what is queued.
// ack_at_: a delayed ACK, 40 ms after the first segment that isn't acknowledged.
// life_at_: the handshake's limit; keepalive in ESTABLISHED and CLOSE-WAIT; a limit for every
//   closing state, FIN-WAIT-2 (anew with data) and TIME-WAIT among them.
// retry_at_: a device still reads what was acknowledged, or a pool was empty.
// Besides: the scoreboard's reordering timer, and the pacer when it withheld something.
#include <algorithm>

#include "base/assert.hh"
#include "tcp/connection.hh"
#include "tcp/shared.hh"

namespace penstock::tcp {

namespace {

constexpr Duration kTimeoutMost = Duration::seconds(60);
// The first window probe comes no later.
constexpr Duration kPersistMost = Duration::seconds(2);
// RFC 8985 §7.2: for the ACK that a lone segment waits for (WCDelAckT), and without an RTT.
constexpr Duration kDelayedAckMost = Duration::milliseconds(200);
constexpr Duration kProbeWithoutRtt = Duration::seconds(1);

}  // namespace

Duration Connection::backed_off(Duration base) const {
  const std::int64_t factor = std::int64_t{1} << std::min<int>(backoffs_, 10);
  return base > kTimeoutMost / factor ? kTimeoutMost : base * factor;
}

Instant Connection::next_timeout() const {
  Instant next = earlier(earlier(timer_at_, ack_at_), earlier(life_at_, retry_at_));
  if (board_) {
    next = earlier(next, board_->reorder_deadline());
    if (paced_) next = earlier(next, pacer_.next());
  }
  return next;
}

void Connection::on_timeout(Instant now) {
  now_ = now;
  receiver_.settle();
  if (retry_at_ <= now) retry_at_ = Instant::never();
  if (ack_at_ <= now) {
    ack_at_ = Instant::never();
    ack_now_ = true;
  }
  if (board_ && board_->reorder_deadline() <= now) {
    on_reorder_timeout(now);
    arm_sender(now);
  }
  if (timer_at_ <= now) on_sender_timeout(now);
  if (life_at_ <= now) on_life_timeout(now);
}

// Something is under way, and something was sent or acknowledged.
void Connection::arm_sender(Instant now) {
  if (board_->empty()) {
    if (timer_ != Timer::persist) {
      timer_ = Timer::none;
      timer_at_ = Instant::never();
    }
    return;
  }
  timer_ = Timer::retransmit;
  timer_at_ = rto_from_ + backed_off(rtt_.rto());
  // RFC 8985 §7.2: with SACK, not in recovery, nothing SACKed, one probe at a time.
  if (!sack_ || phase_ != Phase::open || tail_probing_ || backoffs_ != 0 || board_->sacked() != 0)
    return;
  Duration wait = kProbeWithoutRtt;
  if (rtt_.has_sample()) {
    wait = rtt_.smoothed() * 2;
    if (board_->in_flight() <= mss_) wait = wait + kDelayedAckMost;
  }
  if (now + wait < timer_at_) {
    timer_ = Timer::tail_probe;
    timer_at_ = now + wait;
  }
}

void Connection::arm_persist(Instant now) {
  if (timer_ == Timer::persist) return;
  timer_ = Timer::persist;
  backoffs_ = 0;
  timer_at_ = now + std::min(rtt_.rto(), kPersistMost);
}

void Connection::on_sender_timeout(Instant now) {
  timer_at_ = Instant::never();
  switch (timer_) {
    case Timer::none:
      break;
    case Timer::retransmit:
      if (in_handshake()) {
        if (backoffs_ < 31) ++backoffs_;
        syn_due_ = syn_resent_ = true;
        break;
      }
      on_retransmission_timeout(now);
      if (state_ != State::closed) arm_sender(now);
      break;
    case Timer::tail_probe:
      tail_probe_due_ = true;
      rto_from_ = now;
      break;
    case Timer::persist:
      on_persist_timeout(now);
      break;
  }
}

// RFC 9293 §3.8.6.1: as long as the peer answers, its window may stay closed.
void Connection::on_persist_timeout(Instant now) {
  if (now - heard_at_ >= shared_->limits().user_timeout) return fail(StreamError::timed_out, false);
  if (snd_wnd_ != 0)
    override_ = true;  // §3.8.6.2.1: too small a window for too long
  else
    probe_due_ = true;
  if (backoffs_ < 31) ++backoffs_;
  timer_at_ = now + backed_off(std::min(rtt_.rto(), kPersistMost));
}

void Connection::arm_life(Instant now) {
  const Limits& limits = shared_->limits();
  switch (state_) {
    case State::established:
    case State::close_wait:
      life_at_ =
          limits.keepalive_idle.ns == 0 ? Instant::never() : heard_at_ + limits.keepalive_idle;
      break;
    case State::fin_wait_1:
    case State::closing:
    case State::last_ack:
      life_at_ = now + limits.user_timeout;
      break;
    case State::fin_wait_2:
      life_at_ = now + limits.fin_wait_2;
      break;
    default:
      break;
  }
}

void Connection::on_life_timeout(Instant now) {
  const Limits& limits = shared_->limits();
  switch (state_) {
    case State::closed:
      life_at_ = Instant::never();
      break;
    case State::syn_sent:
    case State::syn_received:
      fail(StreamError::timed_out, state_ == State::syn_received);
      break;
    case State::established:
    case State::close_wait:
      if (keepalives_sent_ == 0 && heard_at_ + limits.keepalive_idle > now) {
        life_at_ = heard_at_ + limits.keepalive_idle;
      } else if (!board_->empty() || timer_ == Timer::persist) {
        life_at_ = now + limits.keepalive_idle;  // other timers ask the peer already
      } else if (keepalives_sent_ >= limits.keepalive_probes) {
        fail(StreamError::timed_out, true);
      } else {
        ++keepalives_sent_;
        ++shared_->counters.keepalives;
        probe_due_ = true;
        life_at_ = now + limits.keepalive_interval;
      }
      break;
    case State::fin_wait_1:
    case State::closing:
    case State::last_ack:
      // Nobody waits for it any more: a peer that takes nothing for so long is given up, even if it
      // answers window probes (RFC 9293 §3.8.6.1 leaves that to the application, which is gone).
      if (now - progress_at_ >= limits.user_timeout)
        fail(StreamError::timed_out, true);
      else
        life_at_ = progress_at_ + limits.user_timeout;
      break;
    case State::fin_wait_2:
      fail(StreamError::timed_out, true);
      break;
    case State::time_wait:
      state_ = State::closed;
      iss_ = snd_nxt();
      board_.reset();
      disarm_all();
      break;
  }
}

}  // namespace penstock::tcp
