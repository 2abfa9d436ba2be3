// Segments that leave (RFC 9293 §3.10.2, §3.8.6).
//
// Order: reset or SYN; probes; what was lost; new bytes; FIN; and an ACK if none of them carried
// it. The window is min(congestion window, peer's window); the pacer may withhold more.
// Sender's silly window (§3.8.6.2.1): a segment that isn't full goes only as the last of what is
// queued (no Nagle), or when it is half of the largest window that the peer ever had, or after the
// persist timer. Receiver's (§3.8.6.2.2): the right edge moves by a segment or half the buffer.
//
// DEVIATION(RFC 9293 §3.8.6.1): a window probe has no byte of data but the sequence number before
// SND.UNA, as keepalives have: it is answered as any segment outside the window is, and nothing has
// to be taken back.
// DEVIATION(RFC 9293 §3.8.6.3): ACKs are made when output is polled, so one may stand for all
// segments of a burst, as with receive offload; peers without SACK get each duplicate ACK.
#include <algorithm>

#include "base/assert.hh"
#include "tcp/connection.hh"
#include "tcp/options.hh"
#include "tcp/shared.hh"

namespace penstock::tcp {

using wire::TcpFlags;

namespace {

// IP and TCP headers with all options must fit beside it into 65,535 bytes.
constexpr std::uint32_t kSegmentMost = 65'280;
constexpr Duration kShortage = Duration::milliseconds(10);
// Windows below two segments are told without waiting for half of the buffer.
constexpr std::uint32_t kUpdateSegments = 2;

// Keeps the first `length` bytes of what was gathered.
void trim(SegmentOut& segment, std::uint32_t length) {
  segment.payload_length = length;
  std::uint8_t count = 0;
  while (length != 0) {
    PayloadPart& part = segment.parts[count++];
    part.length = std::min(part.length, length);
    length -= part.length;
  }
  segment.part_count = count;
}

constexpr std::uint32_t whole_segments(std::uint32_t bytes, std::uint32_t mss) {
  return bytes >= mss ? bytes - bytes % mss : bytes;
}

}  // namespace

std::size_t Connection::poll_transmit(Instant now, TxBurst& burst) {
  now_ = now;
  receiver_.settle();
  const std::size_t before_it = burst.size();
  more_ = paced_ = blocked_by_peer_ = false;
  if (reset_due_) send_reset(burst);
  if (state_ == State::closed) return burst.size() - before_it;
  if (in_handshake()) {
    if (syn_due_) send_syn(now, burst);
    if (state_ == State::syn_received) send_acks(now, burst);
    return burst.size() - before_it;
  }
  if (pacer_.stale()) set_pace();
  if (probe_due_) send_probe(now, burst);
  if (tail_probe_due_) send_tail_probe(now, burst);
  const std::size_t before_data = burst.size();
  while (send_lost(now, burst)) {
  }
  while (send_fresh(now, burst)) {
  }
  send_fin(now, burst);
  if (burst.size() != before_data) {
    arm_sender(now);
  } else if (blocked_by_peer_ && board_->empty()) {
    arm_persist(now);
  }
  send_acks(now, burst);
  const std::size_t sent = burst.size() - before_it;
  shared_->counters.segments_out += sent;
  return sent;
}

// --- headers ---

SeqNumber Connection::edge_to_offer() const {
  return receiver_.taken() + rcv_window_ + (peer_fin_taken_ ? 1u : 0u);
}

bool Connection::window_update_due() const {
  if (peer_fin_known_) return false;
  const SeqNumber edge = edge_to_offer();
  if (!after(edge, rcv_edge_)) return false;
  // While the peer still has half of the window its next segments ask for an ACK anyway.
  const std::uint32_t left = rcv_edge_ - rcv_nxt();
  if (left > rcv_window_ / 2) return false;
  return edge - rcv_edge_ >= std::min(rcv_window_ / 2, kUpdateSegments * rcv_mss_);
}

// The window field; the right edge never moves back (RFC 9293 §3.8.6.2.2, RFC 7323 §2.4).
std::uint16_t Connection::advertise() {
  const SeqNumber nxt = rcv_nxt();
  SeqNumber edge = edge_to_offer();
  if (!after(edge, rcv_edge_) ||
      edge - rcv_edge_ < std::min(rcv_window_ / 2, std::uint32_t{rcv_mss_}))
    edge = rcv_edge_;
  // Rounded up, else the edge would creep back.
  const std::uint32_t unit = 1U << rcv_shift_;
  const std::uint32_t field = std::min((edge - nxt + unit - 1) >> rcv_shift_, 0xffffu);
  rcv_edge_ = later(rcv_edge_, nxt + (field << rcv_shift_));
  return static_cast<std::uint16_t>(field);
}

// A sender in slow start has twice as much under way now as was taken in the last round trip, and
// the ACKs of that let it send twice as much again: the window mustn't be what holds it back.
void Connection::grow_receive_window() {
  const Duration round = rtt_.has_sample() ? rtt_.smoothed() : Duration::milliseconds(100);
  if (now_ - window_round_at_ < round) return;
  const std::uint32_t taken = receiver_.taken() - window_round_seq_;
  window_round_seq_ = receiver_.taken();
  window_round_at_ = now_;
  const std::uint32_t most = rcv_shift_ == 0 ? std::min(shared_->limits().receive_window, 0xffffu)
                                             : shared_->limits().receive_window;
  if (taken > rcv_window_ / 4) rcv_window_ = taken < most / 4 ? taken * 4 : most;
}

// An ACK with whatever it has to say; commit_segment() once it is sure to go. nullptr: the burst is
// full.
SegmentOut* Connection::begin_segment(Instant now, TxBurst& burst, SeqNumber seq) {
  SegmentOut* segment = burst.append();
  if (segment == nullptr) {
    more_ = true;
    return nullptr;
  }
  segment->seq = seq;
  segment->ack = rcv_nxt();
  segment->window = advertise();
  segment->flags = TcpFlags::ack;
  if (echo_congestion_) segment->flags |= TcpFlags::ece;
  segment->ecn = 0;
  segment->part_count = 0;
  segment->segment_size = 0;
  segment->payload_length = 0;
  wire::TcpOptions options;
  options.has_timestamps = timestamps_;
  options.ts_value = timestamp_clock(now) + ts_offset_;
  options.ts_echo = ts_recent_;
  if (sack_ && receiver_.sacks_due()) {
    const std::size_t most = sacks_most(timestamps_);
    options.sack_count =
        static_cast<std::uint8_t>(receiver_.sack_blocks(std::span(options.sacks).first(most)));
  }
  segment->options_length =
      static_cast<std::uint8_t>(wire::write_tcp_options(segment->options.data(), options));
  return segment;
}

void Connection::commit_segment(const SegmentOut& segment) {
  last_ack_sent_ = segment.ack;
  ack_now_ = false;
  ack_at_ = Instant::never();
  unacked_bytes_ = 0;
  receiver_.dsack_sent();
  if (dup_acks_due_ != 0) --dup_acks_due_;
}

// Payload of a full segment beside the options that it will have.
std::uint32_t Connection::segment_most() const {
  if (!sack_ || !receiver_.sacks_due()) return mss_;
  const std::size_t sacks = receiver_.sack_count(sacks_most(timestamps_));
  return std::max<std::uint32_t>(mss_ - static_cast<std::uint32_t>(4 + 8 * sacks), 40);
}

void Connection::commit_payload(Instant now, const SegmentOut& segment, bool again) {
  commit_segment(segment);
  shared_->counters.bytes_out += segment.payload_length;
  if (again) shared_->counters.bytes_again += segment.payload_length;
  if (phase_ == Phase::recovery) prr_.on_sent(segment.payload_length);
  if (shared_->limits().pacing) pacer_.on_sent(now, segment.payload_length);
}

// --- what isn't data ---

void Connection::send_reset(TxBurst& burst) {
  SegmentOut* segment = burst.append();
  if (segment == nullptr) {
    more_ = true;
    return;
  }
  reset_due_ = false;
  ++shared_->counters.resets_out;
  *segment = SegmentOut{};
  segment->seq = reset_seq_;
  segment->flags = TcpFlags::rst;
  // A stray one answers a segment with ACK; ours carries what the peer checks it by.
  if (state_ == State::closed) {
    segment->flags |= TcpFlags::ack;
    segment->ack = rcv_nxt();
  }
}

void Connection::send_syn(Instant now, TxBurst& burst) {
  SegmentOut* segment = burst.append();
  if (segment == nullptr) {
    more_ = true;
    return;
  }
  ++shared_->counters.segments_out;
  *segment = SegmentOut{};
  syn_due_ = false;
  rto_from_ = now;
  timer_ = Timer::retransmit;
  timer_at_ = now + backed_off(rtt_.rto());
  // RFC 3168 §6.1.1: without ECN when the first wasn't answered.
  if (syn_resent_) ecn_ = false;
  segment->seq = iss_;
  segment->flags = TcpFlags::syn;
  segment->window = static_cast<std::uint16_t>(std::min(rcv_window_, 0xffffu));
  wire::TcpOptions options;
  options.mss = path_mss_;
  options.ts_value = timestamp_clock(now) + ts_offset_;
  if (state_ == State::syn_sent) {
    if (ecn_) segment->flags |= TcpFlags::ece | TcpFlags::cwr;
    options.window_shift = rcv_shift_;
    options.sack_permitted = options.has_timestamps = true;
  } else {
    segment->flags |= TcpFlags::ack;
    segment->ack = rcv_nxt();
    if (ecn_) segment->flags |= TcpFlags::ece;
    if (shifts_) options.window_shift = rcv_shift_;
    options.sack_permitted = sack_;
    options.has_timestamps = timestamps_;
    options.ts_echo = ts_recent_;
  }
  segment->options_length =
      static_cast<std::uint8_t>(wire::write_tcp_options(segment->options.data(), options));
}

// Keepalive and window probe (RFC 9293 §3.8.4, §3.8.6.1): a number that was acknowledged long ago.
void Connection::send_probe(Instant now, TxBurst& burst) {
  const SegmentOut* segment = begin_segment(now, burst, board_->una() - 1);
  if (segment == nullptr) return;
  commit_segment(*segment);
  probe_due_ = false;
  if (timer_ == Timer::persist) ++shared_->counters.window_probes;
}

void Connection::send_acks(Instant now, TxBurst& burst) {
  if (window_update_due()) ack_now_ = true;
  while (ack_now_ || dup_acks_due_ != 0) {
    const SegmentOut* segment = begin_segment(now, burst, snd_nxt());
    if (segment == nullptr) return;
    commit_segment(*segment);
  }
}

// --- data ---

bool Connection::pace_allows(Instant now, std::uint32_t& most) {
  if (!shared_->limits().pacing || force_) return true;
  const std::uint32_t budget = pacer_.budget(now);
  if (budget == 0) {
    paced_ = true;
    return false;
  }
  most = std::min(most, std::max<std::uint32_t>(budget, mss_));
  return true;
}

// Sends `what` again, or a prefix. False: it couldn't.
bool Connection::resend(Instant now, TxBurst& burst, transport::Scoreboard::Lost what, bool probe) {
  const std::uint32_t full = segment_most();
  SegmentOut* segment = begin_segment(now, burst, what.seq);
  if (segment == nullptr) return false;
  // The last number is the FIN's, if it was sent.
  const bool fin = fin_ == Fin::sent && what.seq + what.length == board_->nxt();
  std::uint32_t length = what.length - (fin ? 1 : 0);
  bool with_fin = fin;
  if (length != 0) {
    const std::uint32_t got = queue_.gather(SendQueue::Cursor::again, what.seq, length, *segment);
    if (got == 0) {
      burst.take_back();  // until the content is here
      return false;
    }
    if (got < length) {
      length = whole_segments(got, full);
      with_fin = false;
    }
    trim(*segment, length);
  }
  if (with_fin) segment->flags |= TcpFlags::fin;
  if (length > full) segment->segment_size = static_cast<std::uint16_t>(full);
  what.length = length + (with_fin ? 1 : 0);
  // The timer runs for what holds SND.UNA back: it was sent just now (RFC 6298 §5.1 would let it
  // run from the last ACK, and fire before the answer can be here).
  if (what.seq == board_->una()) rto_from_ = now;
  on_mss_probe_resent(what.seq, what.length);
  if (probe)
    board_->on_probed(now, what);
  else
    board_->on_resent(now, what);
  if (!resent_) {
    resent_ = true;
    undo_stamp_ = timestamp_clock(now) + ts_offset_;
  }
  commit_payload(now, *segment, true);
  return true;
}

bool Connection::send_lost(Instant now, TxBurst& burst) {
  if (board_->lost() == 0) {
    force_ = false;
    return false;
  }
  if (frto_ == Frto::second) return false;  // new bytes first
  const std::uint32_t full = segment_most();
  const std::uint32_t window = window_now();
  std::uint32_t most = window > board_->in_flight() ? window - board_->in_flight() : 0;
  if (most < std::min(full, board_->lost())) {
    limited_ = true;
    if (!force_) return false;
    most = full;
  }
  if (!pace_allows(now, most)) return false;
  const std::uint32_t cut = std::max(full, std::min(burst.tso_bytes_max(), kSegmentMost));
  most = whole_segments(std::min(most, cut), full);
  transport::Scoreboard::Lost lost;
  if (!board_->next_lost(most, lost)) return false;
  if (!resend(now, burst, lost, false)) return false;
  force_ = false;
  return true;
}

// How much of what was never sent may go; 0: nothing. Not yet cut for the device.
std::uint32_t Connection::fresh_length() {
  const std::uint32_t waiting = unsent();
  if (waiting == 0) {
    limited_ = false;
    return 0;
  }
  const std::uint32_t full = std::min(segment_most(), waiting);
  const std::uint32_t window = window_now();
  const std::uint32_t in_flight = board_->in_flight();
  std::uint32_t by_congestion = window > in_flight ? window - in_flight : 0;
  if (force_) by_congestion = full;
  if (by_congestion < full) {
    limited_ = true;
    return 0;
  }
  const std::uint32_t under_way = board_->nxt() - board_->una();
  const std::uint32_t by_peer = snd_wnd_ > under_way ? snd_wnd_ - under_way : 0;
  if (by_peer < full && (by_peer == 0 || (by_peer < snd_wnd_most_ / 2 && !override_))) {
    blocked_by_peer_ = true;
    limited_ = false;
    return 0;
  }
  return std::min({waiting, by_congestion, by_peer});
}

bool Connection::send_fresh(Instant now, TxBurst& burst) {
  if (board_->lost() != 0 && frto_ != Frto::second) return false;
  std::uint32_t length = fresh_length();
  const std::uint32_t probe = mss_probe_due(now, length);
  if (length == 0 || !pace_allows(now, length)) return false;
  const std::uint32_t full = probe != 0 ? probe : segment_most();
  const std::uint32_t cut = std::max(full, std::min(burst.tso_bytes_max(), kSegmentMost));
  length = probe != 0 ? probe : std::min(length, cut);
  // A short segment only at the end of what is queued (or of a small window).
  if (length < unsent()) length = whole_segments(length, full);
  const bool began = board_->empty();
  SegmentOut* segment = begin_segment(now, burst, board_->nxt());
  if (segment == nullptr) return false;
  std::uint32_t got = queue_.gather(SendQueue::Cursor::fresh, board_->nxt(), length, *segment);
  if (got < length) {
    got = whole_segments(got, full);
    ++shared_->counters.parts_cut;
  }
  if (began && got != 0) cubic_.on_idle(now, now - progress_at_);
  if (got == 0 || !board_->on_sent(now, got, static_cast<std::uint16_t>(full))) {
    if (got != 0) {
      ++shared_->counters.record_shortages;
      retry_at_ = now + kShortage;
    }
    burst.take_back();
    return false;
  }
  trim(*segment, got);
  if (got == probe) on_mss_probe_sent(now);
  if (got > full) segment->segment_size = static_cast<std::uint16_t>(full);
  if (ecn_) segment->ecn = 2;
  if (send_cwr_) {
    segment->flags |= TcpFlags::cwr;
    send_cwr_ = false;
  }
  override_ = false;
  if (began) {
    progress_at_ = rto_from_ = now;
    backoffs_ = 0;
  }
  if (unsent() == 0) {
    segment->flags |= TcpFlags::psh;
    if (fin_ == Fin::wanted && board_->on_sent(now, 1, static_cast<std::uint16_t>(full))) {
      segment->flags |= TcpFlags::fin;
      fin_ = Fin::sent;
    }
  }
  commit_payload(now, *segment, false);
  return true;
}

void Connection::send_fin(Instant now, TxBurst& burst) {
  if (fin_ != Fin::wanted || unsent() != 0) return;
  const bool began = board_->empty();
  SegmentOut* segment = begin_segment(now, burst, board_->nxt());
  if (segment == nullptr) return;
  if (!board_->on_sent(now, 1, mss_)) {
    burst.take_back();
    retry_at_ = now + kShortage;
    return;
  }
  commit_segment(*segment);
  segment->flags |= TcpFlags::fin;
  fin_ = Fin::sent;
  if (began) progress_at_ = rto_from_ = now;
}

// RFC 8985 §7.3: new bytes if there are any and they may go, else the last again.
void Connection::send_tail_probe(Instant now, TxBurst& burst) {
  if (burst.full()) {
    more_ = true;
    return;
  }
  tail_probe_due_ = false;
  if (board_->empty() || phase_ != Phase::open) return;
  ++shared_->counters.tail_loss_probes;
  force_ = true;
  const bool fresh = unsent() != 0 && send_fresh(now, burst);
  force_ = false;
  transport::Scoreboard::Lost last;
  tail_resent_ =
      !fresh && board_->last_sent(segment_most(), last) && resend(now, burst, last, true);
  tail_probing_ = true;
  tail_end_ = board_->nxt();
  rto_from_ = now;
  arm_sender(now);
}

}  // namespace penstock::tcp
