// Losses and what follows from them: the sender's state machine around the scoreboard.
//
// Purpose: one window and one phase from RACK (RFC 8985), PRR (RFC 9937), CUBIC (RFC 9438), RTO
// (RFC 6298), ECN (RFC 3168) and undo. Algorithm: open → recovery when RACK marks bytes lost; PRR
// gives the window until everything that was under way then (recover_) is acknowledged; → loss at a
// retransmission timeout, slow start until recover_. Limited transmit (RFC 3042) is subsumed:
// SACKed bytes leave the pipe, so new ones go. A phase that proves needless is undone: by DSACKs
// for all that went again (RFC 2883, RFC 3708), or by an ACK that echoes a timestamp older than the
// first retransmission (RFC 3522). Timers: RACK's reordering timer (scoreboard), RTO and tail-loss
// probe (connection_timers.cc). Invariants: phase_ == open or before(una, recover_); the window is
// reduced at most once in a round trip, by loss or by ECN.
//
// DEVIATION(RFC 5682): F-RTO's tests are left to timestamps and DSACK; without both a spurious
// timeout costs its slow start.
#include <algorithm>

#include "base/assert.hh"
#include "tcp/connection.hh"
#include "tcp/options.hh"
#include "tcp/shared.hh"

namespace penstock::tcp {

namespace {

constexpr std::uint8_t kDupThresh = 3;
// Sizes that get through where full segments vanish (RFC 4821 §7.3): IPv6's least, which tunnels
// carry, and RFC 791's. Few: each costs two timeouts at least, and the user timeout comes.
constexpr std::uint16_t kMssSteps[] = {1220, 512};

}  // namespace

void Connection::react(Instant now, const wire::TcpSegment& segment,
                       const transport::AckReport& report, std::uint32_t in_flight_before) {
  if (report.nonsense) ++shared_->counters.nonsense_sacks;
  if (report.dsack) ++shared_->counters.dsacks_in;
  if (tail_probing_) judge_tail_probe(now, segment, report);
  if (undo_possible_ && proved_spurious(segment, report)) undo();
  if (phase_ != Phase::open && !before(board_->una(), recover_)) {
    if (phase_ == Phase::recovery) cubic_.on_recovered();
    phase_ = Phase::open;
  }
  switch (phase_) {
    case Phase::open:
      if (report.lost != 0) {
        enter_recovery(now, in_flight_before);
        break;
      }
      [[fallthrough]];
    case Phase::loss: {
      const std::uint32_t delivered = report.delivered();
      if (delivered == 0) return;
      cubic_.on_ack({.now = now,
                     .acked = delivered,
                     .in_flight = in_flight_before,
                     .window_limited = limited_,
                     .una = board_->una(),
                     .nxt = board_->nxt(),
                     .rtt = report.rtt,
                     .rtt_smoothed = rtt_.smoothed()});
      return;
    }
    case Phase::recovery:
      // RFC 6582 §3.2 step 3: a partial ACK tells of the next loss, which goes at once (the pipe
      // doesn't know of the segments behind the duplicate ACKs).
      if (!sack_ && report.acked != 0) force_ = board_->mark_first_lost() != 0;
      break;
  }
  recovery_window_ =
      prr_.on_ack(report.delivered(), board_->in_flight(), report.acked != 0 && report.lost == 0);
}

void Connection::enter_recovery(Instant now, std::uint32_t in_flight_before) {
  ++shared_->counters.recoveries;
  phase_ = Phase::recovery;
  recover_ = board_->nxt();
  tail_probing_ = false;
  board_->begin_episode();
  resent_ = false;
  // Reduced in this round trip already, by ECN: once is enough (RFC 3168 §6.1.2).
  undo_possible_ = !after(reduced_until_, board_->una());
  if (undo_possible_) {
    cubic_.on_congestion(now, in_flight_before);
    send_cwr_ = ecn_;
  }
  prr_.start(in_flight_before, cubic_.slow_start_threshold(), mss_);
}

// RFC 8985 §7.4.2.
void Connection::judge_tail_probe(Instant now, const wire::TcpSegment& segment,
                                  const transport::AckReport& report) {
  if (before(board_->una(), tail_end_)) return;
  if (!tail_resent_ || report.dsack) {
    tail_probing_ = false;
  } else if (after(board_->una(), tail_end_)) {
    // The probe repaired the loss: it still was one.
    tail_probing_ = false;
    if (phase_ == Phase::open) cubic_.on_congestion(now, board_->in_flight() + report.acked);
  } else if (report.acked == 0 && segment.options.sack_count == 0) {
    tail_probing_ = false;  // a duplicate ACK: the original and the probe came
  }
}

bool Connection::proved_spurious(const wire::TcpSegment& segment,
                                 const transport::AckReport& report) const {
  if (report.spurious) return true;
  return timestamps_ && segment.options.has_timestamps && resent_ && phase_ != Phase::open &&
         report.acked != 0 && before(SeqNumber(segment.options.ts_echo), SeqNumber(undo_stamp_));
}

void Connection::undo() {
  ++shared_->counters.undone;
  undo_possible_ = false;
  board_->undo_lost(now_);
  cubic_.undo();
  phase_ = Phase::open;
  backoffs_ = 0;
}

// RFC 6582 for peers without SACK.
void Connection::on_duplicate_ack(Instant now) {
  if (board_->empty()) return;
  if (dup_acks_seen_ < 255) ++dup_acks_seen_;
  if (phase_ == Phase::recovery) {
    // A segment has left the network.
    recovery_window_ = prr_.on_ack(mss_, board_->in_flight(), false);
    return;
  }
  if (phase_ != Phase::open || dup_acks_seen_ != kDupThresh) return;
  const std::uint32_t in_flight = board_->in_flight();
  if (board_->mark_first_lost() == 0) return;
  enter_recovery(now, in_flight);
  force_ = true;
  recovery_window_ = prr_.on_ack(kDupThresh * mss_, board_->in_flight(), false);
}

// RFC 3168 §6.1.2.
void Connection::on_ecn_echo(Instant now, std::uint32_t in_flight_before) {
  if (!ecn_ || after(reduced_until_, board_->una()) || phase_ != Phase::open) return;
  ++shared_->counters.ecn_reductions;
  reduced_until_ = board_->nxt();
  send_cwr_ = true;
  cubic_.on_congestion(now, in_flight_before, transport::Congestion::ecn);
  undo_possible_ = false;
}

void Connection::on_reorder_timeout(Instant now) {
  const std::uint32_t in_flight = board_->nxt() - board_->una() - board_->sacked();
  if (board_->on_reorder_timeout(now, rtt_) == 0) return;
  if (phase_ == Phase::open) enter_recovery(now, in_flight);
  if (phase_ == Phase::recovery) recovery_window_ = prr_.on_ack(0, board_->in_flight(), false);
}

// RFC 6298 §5.4 ff., RFC 8985 §6.3.
void Connection::on_retransmission_timeout(Instant now) {
  ++shared_->counters.retransmission_timeouts;
  // A peer that shrank its window to nothing and still answers is in persist, not gone.
  const bool answers = snd_wnd_ == 0 && now - heard_at_ < shared_->limits().user_timeout;
  if (now - progress_at_ >= shared_->limits().user_timeout && !answers)
    return fail(StreamError::timed_out, false);
  if (backoffs_ < 31) ++backoffs_;
  if (told_mss_ != 0 && told_mss_ < path_mss_) {
    ++shared_->counters.mss_lowered;
    set_mss(told_mss_);  // RFC 5927 §7.2: the timeout confirms it
  } else if (backoffs_ >= 2) {
    suspect_black_hole();
  }
  told_mss_ = 0;
  const bool first = phase_ == Phase::open && backoffs_ == 1;
  const std::uint32_t in_flight = board_->in_flight();
  board_->on_timeout(now, rtt_, board_->reneged());
  cubic_.on_timeout(now, in_flight, first);
  if (first) {
    board_->begin_episode();
    resent_ = false;
  }
  undo_possible_ = first;
  send_cwr_ = ecn_;
  phase_ = Phase::loss;
  recover_ = board_->nxt();
  tail_probing_ = false;
  dup_acks_seen_ = 0;
  force_ = true;
  rto_from_ = now;
  update_pace();
}

// RFC 4821 §7.7: full segments vanish, and no ICMP says why.
void Connection::suspect_black_hole() {
  // A segment doesn't have to be full to be too big.
  const std::uint32_t largest = std::min<std::uint32_t>(path_mss_, board_->nxt() - board_->una());
  for (const std::uint16_t step : kMssSteps) {
    if (step >= largest) continue;
    ++shared_->counters.mss_lowered;
    return set_mss(step);
  }
}

void Connection::update_pace() {
  if (!shared_->limits().pacing) return;
  pacer_.set_rate(window_now(), rtt_.smoothed(), cubic_.in_slow_start(), mss_);
}

}  // namespace penstock::tcp
