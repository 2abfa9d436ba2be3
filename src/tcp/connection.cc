// The life of a connection: opening, closing, what the application calls and is told.
#include "tcp/connection.hh"

#include <algorithm>

#include "base/assert.hh"
#include "tcp/options.hh"
#include "tcp/shared.hh"
#include "tcp/time_wait.hh"

namespace penstock::tcp {

namespace {

constexpr std::uint16_t kMssDefault = 536;  // RFC 9293 §3.7.1
// A peer that asks for less would make us send little but headers (CVE-2019-11479).
constexpr std::uint16_t kMssLeast = 88;
// While a device or a pool holds something back: look again.
constexpr Duration kRetry = Duration::milliseconds(1);

}  // namespace

Connection::Connection(Shared& shared) : shared_(&shared), queue_(shared), receiver_(shared) {}

Connection::~Connection() = default;

void Connection::begin(Instant now, const Opening& opening) {
  ASSERT(state_ == State::closed && !say_closed_ && !board_);
  now_ = heard_at_ = progress_at_ = rto_from_ = window_round_at_ = now;
  iss_ = opening.iss;
  ts_offset_ = opening.ts_offset;
  path_mss_ = opening.mss;
  const SeqNumber first = iss_ + 1;
  board_.emplace(shared_->records(), first);
  queue_.start(first);
  recover_ = tail_end_ = reduced_until_ = snd_wl2_ = first;
  rcv_window_ = shared_->limits().receive_window_first;
  rcv_shift_ = window_shift_for(shared_->limits().receive_window);
  life_at_ = now + shared_->limits().connect_timeout;
}

void Connection::open_active(Instant now, const Opening& opening) {
  begin(now, opening);
  ++shared_->counters.opened_active;
  state_ = State::syn_sent;
  active_ = true;
  syn_due_ = true;
  ecn_ = shared_->limits().ecn;
}

void Connection::open_passive(Instant now, const Opening& opening, bool cookie) {
  begin(now, opening);
  ++shared_->counters.opened_passive;
  irs_ = snd_wl1_ = opening.irs;
  receiver_.start(irs_ + 1);
  window_round_seq_ = last_ack_sent_ = irs_ + 1;
  // As the SYN-ACK says it: not scaled.
  rcv_edge_ = irs_ + 1 + std::min(rcv_window_, 0xffffu);
  adopt_peer_options(opening.peer);
  ts_recent_ = opening.peer.ts_value;
  ts_recent_at_ = now;
  snd_wnd_ = snd_wnd_most_ = opening.peer_window;
  ecn_ = opening.ecn && shared_->limits().ecn;
  syn_resent_ = opening.syn_resent;
  if (opening.rtt.ns > 0) rtt_.on_sample(now, opening.rtt);
  if (cookie) {
    become_established(now);
  } else {
    state_ = State::syn_received;
    syn_due_ = true;
  }
}

void Connection::adopt_peer_options(const wire::TcpOptions& peer) {
  timestamps_ = peer.has_timestamps;
  sack_ = peer.sack_permitted;
  board_->set_rack(sack_);
  shifts_ = peer.window_shift != wire::kNoWindowShift;
  if (shifts_) {
    snd_shift_ = std::min(peer.window_shift, kWindowShiftMost);
  } else {
    rcv_shift_ = 0;
    rcv_window_ = std::min(rcv_window_, 0xffffu);  // more can't be told
  }
  const std::uint16_t mss = peer.mss != 0 ? peer.mss : kMssDefault;
  set_mss(std::min(mss, path_mss_));
}

void Connection::set_mss(std::uint16_t path_mss) {
  path_mss_ = path_mss;
  // RFC 9293 §3.7.1, RFC 6691: the MSS counts options, which every segment has.
  const int options = timestamps_ ? kTimestampBytes : 0;
  mss_ = static_cast<std::uint16_t>(std::max<int>(path_mss - options, kMssLeast));
  mss_confirmed_ = false;
  if (!in_handshake() && state_ != State::closed) cubic_.set_mss(mss_);
}

void Connection::become_established(Instant now) {
  state_ = fin_ == Fin::none ? State::established : State::fin_wait_1;
  // RFC 6928 §2; one segment after the loss of a SYN (RFC 5681 §3.1).
  const std::uint32_t ten = std::min<std::uint32_t>(10u * mss_, std::max(2u * mss_, 14600u));
  cubic_.start(now, syn_resent_ && !rtt_.has_sample() ? mss_ : ten, mss_);
  timer_ = Timer::none;
  timer_at_ = Instant::never();
  backoffs_ = 0;
  syn_due_ = false;
  say_connected_ = true;
  heard_at_ = progress_at_ = now;
  pacer_.expire();
  arm_life(now);
}

std::size_t Connection::try_send(Instant now, std::span<const SendPart> parts) {
  now_ = now;
  if (state_ == State::closed || fin_ != Fin::none || !board_) return 0;
  std::size_t asked = 0;
  for (const SendPart& part : parts)
    asked += part.length;
  const std::size_t accepted = queue_.append(parts);
  if (accepted < asked) {
    wants_room_ = true;
    if (queue_.starved()) retry_at_ = now + kRetry * 10;
  }
  return accepted;
}

std::size_t Connection::send_room() const {
  return state_ == State::closed || fin_ != Fin::none ? 0 : queue_.room();
}

void Connection::set_reading(Instant now, bool on) {
  now_ = now;
  // Without a page it is delivered nevertheless.
  if (reading_ && !on) receiver_.keep();
  reading_ = on;
}

void Connection::close(Instant now) {
  now_ = now;
  if (fin_ != Fin::none) return;
  switch (state_) {
    case State::syn_sent:
      return fail(StreamError::none, false);
    case State::syn_received:
      break;  // RFC 9293 §3.10.4: after ESTABLISHED
    case State::established:
      state_ = State::fin_wait_1;
      break;
    case State::close_wait:
      state_ = State::last_ack;
      break;
    default:
      return;
  }
  fin_ = Fin::wanted;
  wants_room_ = false;
  progress_at_ = now;
  if (state_ != State::syn_received) arm_life(now);
}

void Connection::abort(Instant now) {
  now_ = now;
  if (state_ == State::closed || state_ == State::time_wait) return;
  fail(StreamError::none, state_ != State::syn_sent);
}

void Connection::disarm_all() {
  timer_ = Timer::none;
  timer_at_ = ack_at_ = life_at_ = retry_at_ = Instant::never();
  ack_now_ = syn_due_ = probe_due_ = tail_probe_due_ = more_ = paced_ = false;
}

// Over, for `error`. RFC 9293 §3.10.5, §3.10.7.4.
void Connection::fail(StreamError error, bool with_reset) {
  if (state_ == State::closed) return;
  reset_due_ = with_reset;
  iss_ = reset_seq_ = snd_nxt();
  state_ = State::closed;
  error_ = error;
  ++shared_->counters.closed;
  if (error == StreamError::timed_out) ++shared_->counters.timed_out;
  board_.reset();
  queue_.give_up();
  receiver_.discard();
  disarm_all();
  say_connected_ = say_ended_ = wants_room_ = false;
  say_closed_ = true;
}

void Connection::enter_time_wait(Instant now) {
  state_ = State::time_wait;
  ++shared_->counters.closed;
  timer_ = Timer::none;
  timer_at_ = Instant::never();
  life_at_ = now + shared_->limits().time_wait;
  say_closed_ = true;
}

bool Connection::time_wait(TimeWaitState& out) const {
  if (state_ != State::time_wait) return false;
  out.snd_nxt = snd_nxt();
  out.rcv_nxt = rcv_nxt();
  out.window = static_cast<std::uint16_t>(
      std::min<std::uint32_t>((rcv_edge_ - rcv_nxt()) >> rcv_shift_, 0xffff));
  out.timestamps = timestamps_;
  out.ts_recent = ts_recent_;
  out.ts_offset = ts_offset_;
  out.ts_recent_at = ts_recent_at_;
  return true;
}

bool Connection::poll_event(Event& out) {
  if (say_connected_) {
    say_connected_ = false;
    out.kind = Event::Kind::connected;
    return true;
  }
  out.data = receiver_.take(reading_);
  if (!out.data.empty()) {
    shared_->counters.bytes_in += out.data.size();
    grow_receive_window();
    out.kind = Event::Kind::data;
    return true;
  }
  if (say_ended_ && receiver_.unread() == 0) {
    say_ended_ = false;
    out.kind = Event::Kind::ended;
    return true;
  }
  if (queue_.poll_released(out.pin)) {
    out.kind = Event::Kind::released;
    return true;
  }
  if (queue_.blocked() && retry_at_ == Instant::never()) retry_at_ = now_ + kRetry;
  if (queue_.poll_need(out.pin, out.content)) {
    out.kind = Event::Kind::need;
    return true;
  }
  if (wants_room_ && queue_.room() >= shared_->limits().send_buffer / 4) {
    if (!queue_.starved() || queue_.has_page()) {
      wants_room_ = false;
      out.kind = Event::Kind::writable;
      return true;
    }
    // Another connection's pages come back without a word to this one.
    if (retry_at_ == Instant::never()) retry_at_ = now_ + kRetry * 10;
  }
  // Last: when what has to be said to the peer is said, and nothing is kept of the application's.
  if (!say_closed_ || reset_due_ || ack_now_ || receiver_.unread() != 0 || say_ended_) return false;
  if (!queue_.idle()) return false;
  say_closed_ = false;
  out.kind = Event::Kind::closed;
  out.error = error_;
  return true;
}

void Connection::shed() {
  queue_.shed();
}

bool Connection::on_content(Instant now, std::uint64_t pin, const ContentRef& content,
                            const std::byte* data) {
  now_ = now;
  if (state_ == State::closed) return false;
  if (data == nullptr) {
    fail(StreamError::content_lost, true);
    return false;
  }
  return queue_.on_content(pin, content, data);
}

void Connection::on_unreachable(Instant now, SeqNumber quoted) {
  now_ = now;
  // RFC 5927 §4: only what is under way; RFC 9293 §3.9.2.2: later it is only a hint.
  if (state_ == State::syn_sent && quoted == iss_) fail(StreamError::unreachable, false);
}

Duration Connection::stalled_for(Instant now) const {
  if (!board_ || queue_.queued() == 0) return {};
  return now - progress_at_;
}

void Connection::validate() const {
  queue_.validate();
  receiver_.validate();
  if (!board_) {
    ASSERT(state_ == State::closed);
    return;
  }
  board_->validate();
  if (in_handshake()) return;
  const std::uint32_t fin = fin_ == Fin::sent ? 1 : 0;
  ASSERT(at_or_before(board_->nxt(), queue_.end() + fin));
  ASSERT(mss_ >= kMssLeast);
  // Whatever is under way has a timer (RFC 6298 §5.1).
  if (!board_->empty() && state_ != State::time_wait)
    ASSERT(timer_at_ != Instant::never() || tail_probe_due_ || force_ || more_);
  ASSERT(at_or_before(rcv_nxt(), rcv_edge_) || peer_fin_taken_);
}

}  // namespace penstock::tcp
