// Losses and what follows from them: the sender's state machine around the scoreboard.
//
// Purpose: one window and one phase from RACK (RFC 8985), PRR (RFC 9937), CUBIC (RFC 9438), RTO
// (RFC 6298), ECN (RFC 3168) and undo. Algorithm: open → recovery when RACK marks bytes lost; PRR
// gives the window until everything that was under way then (recover_) is acknowledged, and anew
// for what was lost of what went since; → loss at a retransmission timeout, slow start until
// recover_. Limited transmit (RFC 3042) is subsumed: SACKed bytes leave the pipe, so new ones go. A
// phase that proves needless is undone: by DSACKs for all that went again (RFC 2883, RFC 3708), or
// by an ACK that echoes a timestamp older than the first retransmission (RFC 3522), or, without
// timestamps, by F-RTO (RFC 5682): after a timeout and an ACK new bytes go instead of lost ones,
// and if the next ACK is for bytes that went once, none was lost. Timers: RACK's reordering timer
// (scoreboard), RTO and tail-loss probe (connection_timers.cc). The loss of a retransmission is a
// congestion of its own (RFC 5681 §4.3): recovery begins anew. Invariants: phase_ == open or
// before(una, recover_); the window is reduced at most once in a round trip, by loss or by ECN, and
// once more for lost retransmissions.
#include <algorithm>

#include "base/assert.hh"
#include "tcp/connection.hh"
#include "tcp/options.hh"
#include "tcp/shared.hh"

namespace penstock::tcp {

namespace {

constexpr std::uint8_t kDupThresh = 3;
constexpr std::int32_t kUndoIntervalMs = 10'000;

}  // namespace

void Connection::react(Instant now, const wire::TcpSegment& segment,
                       const transport::AckReport& report, std::uint32_t in_flight_before) {
  if (report.nonsense) ++shared_->counters.nonsense_sacks;
  if (report.dsack) ++shared_->counters.dsacks_in;
  if (tail_probing_) judge_tail_probe(now, segment, report);
  if (undo_possible_ && (proved_spurious(segment, report) || judge_timeout(report))) {
    if (may_undo(now))
      undo();
    else
      undo_possible_ = false;
  }
  // What went after the recovery had begun, and was lost: the next congestion (RFC 5681 §4.3).
  bool lost_next = false;
  if (phase_ != Phase::open && !before(board_->una(), recover_)) {
    if (phase_ == Phase::recovery) cubic_.on_recovered();
    lost_next = after(board_->lost_end(), board_->una());
    phase_ = Phase::open;
    frto_ = Frto::off;
  }
  switch (phase_) {
    case Phase::open:
      if (report.lost != 0 || lost_next) {
        enter_recovery(now, in_flight_before, lost_next);
        break;
      }
      [[fallthrough]];
    case Phase::loss: {
      if (report.lost_again != 0 && phase_ == Phase::loss) {
        on_lost_again(now, in_flight_before);
        break;
      }
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
      if (report.lost_again != 0) on_lost_again(now, in_flight_before);
      // RFC 6582 §3.2 step 3: a partial ACK tells of the next loss, which goes at once (the pipe
      // doesn't know of the segments behind the duplicate ACKs).
      if (!sack_ && report.acked != 0) force_ = board_->mark_first_lost() != 0;
      break;
  }
  recovery_window_ =
      prr_.on_ack(report.delivered(), board_->in_flight(), report.acked != 0 && report.lost == 0);
}

// goes_on: what was sent again in the episode before is under way. It isn't counted anew: it is
// older than what goes again now, and its ACK would pass for that of an original.
void Connection::enter_recovery(Instant now, std::uint32_t in_flight_before, bool goes_on) {
  ++shared_->counters.recoveries;
  phase_ = Phase::recovery;
  recover_ = board_->nxt();
  tail_probing_ = false;
  frto_ = Frto::off;
  if (!goes_on) {
    board_->begin_episode();
    resent_ = false;
  }
  // Reduced in this round trip already, by ECN: once is enough (RFC 3168 §6.1.2).
  undo_possible_ = !after(reduced_until_, board_->una());
  if (undo_possible_) {
    cubic_.on_congestion(now, in_flight_before);
    send_cwr_ = ecn_;
  }
  prr_.start(in_flight_before, cubic_.slow_start_threshold(), mss_);
}

// RFC 5681 §4.3, once a round trip. Nothing of it is undone: what is saved is what was before the
// last reduction, not before the episode.
void Connection::on_lost_again(Instant now, std::uint32_t in_flight_before) {
  if (after(reduced_until_, board_->una())) return;
  ++shared_->counters.lost_again;
  enter_recovery(now, in_flight_before);
  reduced_until_ = recover_;
  undo_possible_ = false;
  force_ = true;
}

// RFC 8985 §7.4.2.
void Connection::judge_tail_probe(Instant now, const wire::TcpSegment& segment,
                                  const transport::AckReport& report) {
  if (before(board_->una(), tail_end_)) return;
  // The probe ended where everything did; a FIN at its end is in no DSACK.
  const SeqNumber told = report.duplicate.end;
  const bool came_twice =
      report.dsack && (told == tail_end_ || (fin_ == Fin::sent && told + 1 == tail_end_));
  if (!tail_resent_ || came_twice) {
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

// RFC 5682 §2.1 and §3.1, steps 2 and 3. True: the timeout was spurious.
bool Connection::judge_timeout(const transport::AckReport& report) {
  if (phase_ != Phase::loss || frto_ == Frto::off) return false;
  const bool second = frto_ == Frto::second;
  frto_ = Frto::off;
  if (report.acked == 0) return false;
  if (second) return report.original != 0;
  const std::uint32_t under_way = board_->nxt() - board_->una();
  if (unsent() != 0 && snd_wnd_ >= under_way + mss_ && before(board_->una(), recover_))
    frto_ = Frto::second;
  return false;
}

// A receiver can lie about that (RFC 4015 §6), and would never be slowed down. So at most twice in
// a row, and then once in kUndoIntervalMs: more often a path isn't wrong about losses, once the
// reordering window has grown.
bool Connection::may_undo(Instant now) {
  const auto now_ms = static_cast<std::uint32_t>(now.ns / 1'000'000);
  auto debt = static_cast<std::int32_t>(undo_debt_ms_ - now_ms);
  // Paid, or of a time so long ago that the number has come round.
  if (debt < 0 || debt > 2 * kUndoIntervalMs) debt = 0;
  if (debt > kUndoIntervalMs) return false;
  undo_debt_ms_ = now_ms + static_cast<std::uint32_t>(debt + kUndoIntervalMs);
  return true;
}

void Connection::undo() {
  ++shared_->counters.undone;
  undo_possible_ = false;
  board_->undo_lost(now_);
  cubic_.undo();
  phase_ = Phase::open;
  frto_ = Frto::off;
  backoffs_ = 0;
}

// RFC 6582 for peers without SACK.
void Connection::on_duplicate_ack(Instant now) {
  if (board_->empty()) return;
  if (dup_acks_seen_ < 255) ++dup_acks_seen_;
  if (phase_ == Phase::recovery) {
    // A segment has left the network, if it was there (RFC 5681 §5).
    if (std::uint32_t{dup_acks_seen_} * mss_ > recover_ - board_->una()) return;
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
  const transport::AckReport report = board_->on_reorder_timeout(now, rtt_);
  if (report.lost == 0) return;
  if (phase_ == Phase::open)
    enter_recovery(now, in_flight);
  else if (report.lost_again != 0)
    on_lost_again(now, in_flight);
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
    lower_mss(now, told_mss_);  // RFC 5927 §7.2: the timeout confirms it
  } else if (backoffs_ >= 2) {
    suspect_black_hole(now);
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
  frto_ = first && !timestamps_ ? Frto::first : Frto::off;
  send_cwr_ = ecn_;
  phase_ = Phase::loss;
  recover_ = board_->nxt();
  tail_probing_ = false;
  dup_acks_seen_ = 0;
  force_ = true;
  rto_from_ = now;
  pacer_.expire();
}

void Connection::set_pace() {
  if (!shared_->limits().pacing) return;
  pacer_.set_rate(window_now(), rtt_.smoothed(), cubic_.in_slow_start(), mss_);
}

}  // namespace penstock::tcp
