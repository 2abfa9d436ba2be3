// Segments that arrive (RFC 9293 §3.10.7), with RFC 5961's defences and RFC 7323's timestamps.
#include <algorithm>

#include "base/assert.hh"
#include "tcp/connection.hh"
#include "tcp/options.hh"
#include "tcp/shared.hh"

namespace penstock::tcp {

using wire::TcpFlags;

namespace {

// TS.Recent is worth nothing after so long (RFC 7323 §5.5).
constexpr Duration kTimestampLife = Duration::seconds(24 * 86400);
constexpr std::uint16_t kDuplicateAcksMost = 8;

}  // namespace

DropReason Connection::on_segment(Instant now, const wire::TcpSegment& segment) {
  now_ = now;
  ++shared_->counters.segments_in;
  receiver_.settle();
  if (state_ == State::closed) return shared_->drop(DropReason::not_connected);
  const DropReason reason =
      state_ == State::syn_sent ? on_syn_sent(now, segment) : on_synchronised(now, segment);
  return reason == DropReason::none ? reason : shared_->drop(reason);
}

void Connection::stray_reset(SeqNumber seq) {
  if (!shared_->resets.try_spend(now_)) return;
  reset_due_ = true;
  reset_seq_ = seq;
}

// RFC 9293 §3.10.7.3.
DropReason Connection::on_syn_sent(Instant now, const wire::TcpSegment& segment) {
  const bool acks = segment.has(TcpFlags::ack);
  if (acks && segment.ack != iss_ + 1) {
    if (!segment.has(TcpFlags::rst)) stray_reset(segment.ack);
    return DropReason::bad_handshake;
  }
  if (segment.has(TcpFlags::rst)) {
    if (!acks) return DropReason::bad_handshake;
    ++shared_->counters.resets_in;
    fail(StreamError::refused, false);
    return DropReason::none;
  }
  if (!segment.has(TcpFlags::syn)) return DropReason::bad_handshake;
  irs_ = segment.seq;
  receiver_.start(irs_ + 1);
  window_round_seq_ = last_ack_sent_ = irs_ + 1;
  rcv_edge_ = irs_ + 1 + std::min(rcv_window_, 0xffffu);
  adopt_peer_options(segment.options);
  ts_recent_ = segment.options.ts_value;
  ts_recent_at_ = now;
  snd_wnd_ = snd_wnd_most_ = segment.window;
  snd_wl1_ = segment.seq;
  if (!acks) {
    // Simultaneous open (RFC 9293 §3.5, figure 7).
    ecn_ = ecn_ && segment.has(TcpFlags::ece) && segment.has(TcpFlags::cwr);
    state_ = State::syn_received;
    syn_due_ = true;
    backoffs_ = 0;
    return DropReason::none;
  }
  ecn_ = ecn_ && segment.has(TcpFlags::ece) && !segment.has(TcpFlags::cwr);
  snd_wl2_ = segment.ack;
  if (!syn_resent_) rtt_.on_sample(now, now - rto_from_);
  become_established(now);
  ack_now_ = true;
  return DropReason::none;
}

// RFC 9293 §3.10.7.4, all states but CLOSED, LISTEN and SYN-SENT.
DropReason Connection::on_synchronised(Instant now, const wire::TcpSegment& segment) {
  if (const DropReason reason = check_timestamp(now, segment); reason != DropReason::none)
    return reason;
  if (!acceptable(segment)) return on_unacceptable(now, segment);
  if (segment.has(TcpFlags::rst)) return on_reset(now, segment);
  if (segment.has(TcpFlags::syn)) {
    challenge(now);  // RFC 5961 §4.2
    return DropReason::blind_syn;
  }
  if (!segment.has(TcpFlags::ack)) return DropReason::no_ack;
  if (const DropReason reason = check_ack(now, segment); reason != DropReason::none) return reason;
  heard_at_ = now;
  keepalives_sent_ = 0;
  // RFC 7323 §4.3: of the segment that the last ACK asked for. An outdated one gives way (§5.5).
  if (timestamps_ && segment.options.has_timestamps && at_or_before(segment.seq, last_ack_sent_) &&
      (at_or_before(SeqNumber(ts_recent_), SeqNumber(segment.options.ts_value)) ||
       now - ts_recent_at_ > kTimestampLife)) {
    ts_recent_ = segment.options.ts_value;
    ts_recent_at_ = now;
  }
  on_ack(now, segment);
  if (state_ == State::closed) return DropReason::none;
  on_congestion_marks(segment);
  if (segment.payload.empty() && !segment.has(TcpFlags::fin)) return DropReason::none;
  return on_payload(now, segment);
}

DropReason Connection::check_timestamp(Instant now, const wire::TcpSegment& segment) {
  if (!timestamps_ || segment.has(TcpFlags::rst)) return DropReason::none;
  if (!segment.options.has_timestamps) {
    // RFC 7323 §3.2. A SYN is challenged all the same.
    return segment.has(TcpFlags::syn) ? DropReason::none : DropReason::no_timestamp;
  }
  // RFC 7323 §5.3 R1.
  if (!before(SeqNumber(segment.options.ts_value), SeqNumber(ts_recent_))) return DropReason::none;
  if (now - ts_recent_at_ > kTimestampLife) return DropReason::none;
  if (segment.has(TcpFlags::syn)) return DropReason::none;
  // Old data is a duplicate that deserves its ACK; anything else is rationed.
  if (segment.length() != 0) {
    ack_now_ = true;
    if (before(segment.seq, rcv_nxt()))
      receiver_.on_duplicate(segment.seq, sooner(segment.seq + segment.length(), rcv_nxt()));
  } else {
    challenge(now);
  }
  return DropReason::paws;
}

// RFC 9293 §3.10.7.4 first. DEVIATION: a segment without length may also stand at the right edge,
// as one does that overtook the data which fills the window.
bool Connection::acceptable(const wire::TcpSegment& segment) const {
  const std::uint32_t length = segment.length();
  const std::uint32_t window = rcv_edge_ - rcv_nxt();
  if (length == 0) return segment.seq - rcv_nxt() <= window;
  if (window == 0) {
    // A closed window still hears ACKs and RSTs.
    return segment.seq == rcv_nxt() && !segment.has(TcpFlags::syn);
  }
  return within(segment.seq, rcv_nxt(), window) ||
         within(segment.seq + (length - 1), rcv_nxt(), window);
}

DropReason Connection::on_unacceptable(Instant now, const wire::TcpSegment& segment) {
  if (segment.has(TcpFlags::rst)) return DropReason::outside_window;
  if (segment.has(TcpFlags::syn)) {
    // In SYN-RECEIVED it is the peer's SYN again: our SYN-ACK may be lost.
    if (state_ == State::syn_received && segment.seq == irs_) {
      if (segment.has(TcpFlags::ack) && segment.ack == iss_ + 1)
        ack_now_ = true;
      else
        syn_due_ = true;
      return DropReason::outside_window;
    }
    challenge(now);
    return DropReason::blind_syn;
  }
  if (segment.length() != 0 && before(segment.seq, rcv_nxt())) {
    // Everything of it was here (RFC 2883 §4.1.1), or it is a FIN again.
    if (!segment.payload.empty())
      receiver_.on_duplicate(
          segment.seq, sooner(segment.seq + static_cast<std::uint32_t>(segment.payload.size()),
                              receiver_.next()));
    ack_now_ = true;
    if (state_ == State::time_wait) life_at_ = now + shared_->limits().time_wait;
    return DropReason::outside_window;
  }
  // Keepalives and window probes are of this kind: as often as they come, but for loops of ACKs.
  if (segment.length() == 0)
    challenge(now);
  else
    ack_now_ = true;
  return DropReason::outside_window;
}

// RFC 9293 §3.10.7.4 second, RFC 5961 §3.2.
DropReason Connection::on_reset(Instant now, const wire::TcpSegment& segment) {
  if (state_ == State::time_wait) return DropReason::time_wait_reset;  // RFC 1337
  if (segment.seq != rcv_nxt()) {
    challenge(now);
    return DropReason::blind_reset;
  }
  ++shared_->counters.resets_in;
  fail(state_ == State::syn_received && active_ ? StreamError::refused : StreamError::reset, false);
  return DropReason::none;
}

// RFC 9293 §3.10.7.4 fifth, RFC 5961 §5.2.
DropReason Connection::check_ack(Instant now, const wire::TcpSegment& segment) {
  if (state_ == State::syn_received) {
    if (segment.ack != iss_ + 1) {
      stray_reset(segment.ack);
      return DropReason::ack_of_unsent;
    }
    if (!syn_resent_ && !rtt_.has_sample()) rtt_.on_sample(now, now - rto_from_);
    become_established(now);
    snd_wnd_ = std::uint32_t{segment.window} << snd_shift_;
    snd_wnd_most_ = std::max(snd_wnd_most_, snd_wnd_);
    snd_wl1_ = segment.seq;
    snd_wl2_ = segment.ack;
    return DropReason::none;
  }
  if (after(segment.ack, board_->nxt())) {
    // Optimistic ACKs gain nothing.
    challenge(now);
    return DropReason::ack_of_unsent;
  }
  if (before(segment.ack, board_->una() - snd_wnd_most_)) {
    challenge(now);
    return DropReason::ack_too_old;
  }
  return DropReason::none;
}

void Connection::on_ack(Instant now, const wire::TcpSegment& segment) {
  const SeqNumber una = board_->una();
  const bool nothing_under_way = board_->empty();
  const std::uint32_t window_before = snd_wnd_;
  if (!before(segment.ack, una)) on_window(segment);
  if (nothing_under_way) {
    if (segment.has(TcpFlags::ece)) on_ecn_echo(now, 0);
    return;
  }
  const std::uint32_t in_flight_before = board_->nxt() - una - board_->sacked();
  std::span<const wire::SackBlock> sacks;
  if (sack_) sacks = std::span(segment.options.sacks).first(segment.options.sack_count);
  // The end of the tick in which the echoed segment can have been sent.
  Instant echoed = Instant::never();
  if (timestamps_ && segment.options.has_timestamps) {
    const std::uint32_t age = timestamp_clock(now) + ts_offset_ - segment.options.ts_echo;
    if (age < 1U << 30)
      echoed = Instant{(now.ns / 1'000'000 - std::int64_t{age} + 1) * 1'000'000 - 1};
  }
  const transport::AckReport report =
      board_->on_ack(now, segment.ack, sacks, rtt_, phase_ != Phase::open, echoed);
  if (report.rtt.ns > 0)
    rtt_.on_sample(now, report.rtt);
  else if (report.acked != 0 && echoed != Instant::never() && echoed < now)
    rtt_.on_sample(now, now - echoed);  // RFC 7323 §4.1, of bytes that went twice
  if (report.acked != 0) {
    progress_at_ = rto_from_ = now;
    backoffs_ = 0;
    dup_acks_seen_ = 0;
    if (report.acked >= mss_) mss_confirmed_ = true;
    judge_mss_probe();
    queue_.acknowledge(sooner(board_->una(), queue_.end()));
  }
  if (segment.has(TcpFlags::ece)) on_ecn_echo(now, in_flight_before);
  react(now, segment, report, in_flight_before);
  if (!sack_ && report.acked == 0 && segment.ack == una && segment.length() == 0 &&
      snd_wnd_ == window_before)
    on_duplicate_ack(now);
  if (report.delivered() != 0) {
    pacer_.expire();
    arm_sender(now);
  }
  if (fin_ == Fin::sent && board_->empty()) on_fin_acked(now);
}

// RFC 9293 §3.10.7.4 fifth. An ACK that advances brings the window of its own time, also on data
// that was sent again and so has an old number: the one before would slide with SND.UNA, beyond
// what the peer offers.
void Connection::on_window(const wire::TcpSegment& segment) {
  if (!after(segment.ack, board_->una()) && !before(snd_wl1_, segment.seq) &&
      !(snd_wl1_ == segment.seq && at_or_before(snd_wl2_, segment.ack)))
    return;
  const std::uint32_t window = std::uint32_t{segment.window} << snd_shift_;
  snd_wl1_ = segment.seq;
  snd_wl2_ = segment.ack;
  if (timer_ == Timer::persist && window > snd_wnd_) {
    timer_ = Timer::none;
    timer_at_ = Instant::never();
    backoffs_ = 0;
  }
  snd_wnd_ = window;
  snd_wnd_most_ = std::max(snd_wnd_most_, window);
}

void Connection::on_fin_acked(Instant now) {
  switch (state_) {
    case State::fin_wait_1:
      state_ = State::fin_wait_2;
      arm_life(now);
      break;
    case State::closing:
      enter_time_wait(now);
      break;
    case State::last_ack:
      fail(StreamError::none, false);
      break;
    default:
      break;
  }
}

// RFC 3168 §6.1.3.
void Connection::on_congestion_marks(const wire::TcpSegment& segment) {
  if (!ecn_) return;
  if (segment.has(TcpFlags::cwr)) echo_congestion_ = false;
  if (segment.payload.empty()) return;
  const bool marked = segment.ecn == 3;
  if (marked) echo_congestion_ = true;
  if (marked != last_ce_) ack_now_ = true;
  last_ce_ = marked;
}

DropReason Connection::on_payload(Instant now, const wire::TcpSegment& segment) {
  if (peer_fin_taken_ || state_ == State::time_wait) {
    ack_now_ = true;
    return DropReason::after_fin;
  }
  std::span<const std::byte> payload = segment.payload;
  const std::uint32_t ahead = segment.seq - receiver_.next();
  const bool old = before(segment.seq, receiver_.next());
  // What lies beyond the right edge, or behind a FIN, isn't taken (RFC 9293 §3.10.7.4 first).
  const SeqNumber edge = peer_fin_known_ ? sooner(rcv_edge_, peer_fin_at_) : rcv_edge_;
  bool whole = true;
  if (!old && at_or_before(edge, segment.seq)) {
    whole = payload.empty() && rcv_edge_ - receiver_.next() >= ahead;
    payload = {};
  } else if (payload.size() > edge - segment.seq) {
    payload = payload.first(edge - segment.seq);
    whole = false;
  }
  if (segment.has(TcpFlags::fin) && whole && !peer_fin_known_) {
    peer_fin_known_ = true;
    peer_fin_at_ = segment.seq + static_cast<std::uint32_t>(segment.payload.size());
  }
  Receiver::Arrival arrival;
  if (!payload.empty()) {
    arrival = receiver_.on_payload(segment.seq, payload, reading_);
  } else if (ahead != 0 && !old) {
    arrival.out_of_order = true;
  }
  schedule_ack(now, segment, arrival);
  if (!whole) ack_now_ = true;
  // RFC 9293 §3.6 case 1: who has closed still receives, for as long as something comes.
  if (arrival.advanced && state_ == State::fin_wait_2) arm_life(now);
  if (peer_fin_known_ && receiver_.next() == peer_fin_at_) on_peer_fin(now);
  return arrival.drop;
}

// RFC 9293 §3.10.7.4 eighth.
void Connection::on_peer_fin(Instant now) {
  peer_fin_taken_ = true;
  if (rcv_edge_ == receiver_.next()) rcv_edge_ += 1;
  ack_now_ = true;
  say_ended_ = true;
  switch (state_) {
    case State::established:
      state_ = State::close_wait;
      break;
    case State::fin_wait_1:
      state_ = State::closing;
      break;
    case State::fin_wait_2:
      enter_time_wait(now);
      break;
    default:
      break;
  }
}

// RFC 9293 §3.8.6.3, RFC 5681 §4.2.
void Connection::schedule_ack(Instant now, const wire::TcpSegment& segment,
                              const Receiver::Arrival& arrival) {
  const auto size =
      static_cast<std::uint32_t>(segment.payload.size() / std::max<std::size_t>(segment.merged, 1));
  if (size > rcv_mss_) rcv_mss_ = static_cast<std::uint16_t>(std::min(size, 0xffffu));
  if (arrival.out_of_order) {
    // A peer without SACK counts them (RFC 5681 §4.2).
    if (!sack_ && dup_acks_due_ < kDuplicateAcksMost) ++dup_acks_due_;
    ack_now_ = true;
    return;
  }
  if (arrival.filled || arrival.duplicate || arrival.drop != DropReason::none ||
      segment.has(TcpFlags::fin)) {
    ack_now_ = true;
    return;
  }
  unacked_bytes_ += static_cast<std::uint32_t>(segment.payload.size());
  if (unacked_bytes_ >= 2u * rcv_mss_)
    ack_now_ = true;
  else if (ack_at_ == Instant::never())
    ack_at_ = now + shared_->limits().delayed_ack;
}

// An ACK that tells the peer where we are, unless it gets too many (RFC 5961 §7).
bool Connection::challenge(Instant now) {
  if (challenged_at_.ns != 0 && now - challenged_at_ < kChallengeInterval) {
    ++shared_->counters.challenges_withheld;
    return false;
  }
  if (!shared_->challenges.try_spend(now)) {
    ++shared_->counters.challenges_withheld;
    return false;
  }
  challenged_at_ = now;
  ++shared_->counters.challenge_acks;
  ack_now_ = true;
  return true;
}

}  // namespace penstock::tcp
