#include "tcp/listener.hh"

#include <algorithm>
#include <bit>

#include "base/assert.hh"
#include "tcp/options.hh"

namespace penstock::tcp {

using wire::TcpFlags;

namespace {

constexpr std::uint16_t kMssDefault = 536;  // RFC 9293 §3.7.1
// A SYN that comes again is answered again, but not more often.
constexpr Duration kAgainLeast = Duration::seconds(1);
// How long after the last cookie an ACK is looked at as one: two epochs (cookies.hh).
constexpr Duration kCookieLife = Duration::seconds(128);

void clear_segment(SegmentOut& out) {
  out.window = 0;
  out.ecn = 0;
  out.options_length = 0;
  out.part_count = 0;
  out.segment_size = 0;
  out.payload_length = 0;
}

// ECN is asked for by both bits (RFC 3168 §6.1.1).
bool asks_for_ecn(const wire::TcpSegment& segment) {
  return segment.has(TcpFlags::ece) && segment.has(TcpFlags::cwr);
}

void write_options(SegmentOut& out, const wire::TcpOptions& options) {
  out.options_length =
      static_cast<std::uint8_t>(wire::write_tcp_options(out.options.data(), options));
}

}  // namespace

bool reset_to_nobody(Instant now, Shared& shared, const wire::TcpSegment& segment,
                     SegmentOut& out) {
  if (segment.has(TcpFlags::rst)) {
    shared.drop(DropReason::reset_to_nobody);
    return false;
  }
  shared.drop(DropReason::port_closed);
  if (!shared.resets.try_spend(now)) return false;
  ++shared.counters.resets_out;
  clear_segment(out);
  if (segment.has(TcpFlags::ack)) {
    out.seq = segment.ack;
    out.ack = SeqNumber();
    out.flags = TcpFlags::rst;
  } else {
    out.seq = SeqNumber();
    out.ack = segment.seq + segment.length();
    out.flags = TcpFlags::rst | TcpFlags::ack;
  }
  return true;
}

Listener::Listener(Shared& shared)
    : shared_(shared),
      cookies_(shared.secret()),
      buckets_(std::bit_ceil(shared.limits().syn_backlog + 1), kNone),
      blocks_(shared.limits().syn_backlog) {
  ASSERT(shared.limits().syn_ack_retries < kListsMax);
  for (std::uint32_t i = static_cast<std::uint32_t>(blocks_.size()); i > 0; --i) {
    blocks_[i - 1].chain = free_;
    free_ = i - 1;
  }
}

std::uint32_t& Listener::bucket(const Flow& flow) {
  return buckets_[shared_.hash(flow) & (buckets_.size() - 1)];
}

std::uint32_t Listener::find(const Flow& flow) const {
  if (size_ == 0) return kNone;
  std::uint32_t at = buckets_[shared_.hash(flow) & (buckets_.size() - 1)];
  while (at != kNone && blocks_[at].flow != flow)
    at = blocks_[at].chain;
  return at;
}

void Listener::append(std::uint32_t index) {
  Block& block = blocks_[index];
  List& list = lists_[block.sent];
  block.due = block.last_sent + Duration::seconds(std::int64_t{1} << block.sent);
  block.older = list.newest;
  block.newer = kNone;
  (list.newest == kNone ? list.oldest : blocks_[list.newest].newer) = index;
  list.newest = index;
}

void Listener::unlink(std::uint32_t index) {
  const Block& block = blocks_[index];
  List& list = lists_[block.sent];
  (block.older == kNone ? list.oldest : blocks_[block.older].newer) = block.newer;
  (block.newer == kNone ? list.newest : blocks_[block.newer].older) = block.older;
}

void Listener::remove(std::uint32_t index) {
  std::uint32_t* at = &bucket(blocks_[index].flow);
  while (*at != index)
    at = &blocks_[*at].chain;
  *at = blocks_[index].chain;
  unlink(index);
  blocks_[index].chain = free_;
  free_ = index;
  --size_;
}

void Listener::write_syn_ack(Instant now, const Block& block, SegmentOut& out) const {
  clear_segment(out);
  out.seq = block.iss;
  out.ack = block.irs + 1;
  out.flags = TcpFlags::syn | TcpFlags::ack;
  if (block.ecn) out.flags |= TcpFlags::ece;
  // Not scaled in a segment with SYN (RFC 7323 §2.2).
  out.window = static_cast<std::uint16_t>(std::min(shared_.limits().receive_window_first, 0xffffu));
  wire::TcpOptions options;
  options.mss = block.path_mss;
  if (block.peer_shift != wire::kNoWindowShift)
    options.window_shift = window_shift_for(shared_.limits().receive_window);
  options.sack_permitted = block.sack;
  options.has_timestamps = block.timestamps;
  options.ts_value = timestamp_clock(now) + block.ts_offset;
  options.ts_echo = block.ts_recent;
  write_options(out, options);
}

void Listener::on_syn(Instant now, const Flow& flow, const wire::TcpSegment& segment,
                      std::uint16_t path_mss, const SeqNumber* iss_least, Answer& answer,
                      std::uint64_t station) {
  ++shared_.counters.syns_in;
  answer.verdict = Verdict::reply;
  std::uint32_t index = find(flow);
  if (index != kNone) {
    Block& block = blocks_[index];
    if (block.irs != segment.seq) {
      // The peer began anew: what it forgot is worth nothing.
      remove(index);
    } else if (now - block.last_sent < kAgainLeast) {
      answer.verdict = Verdict::drop;
      return;
    } else {
      block.last_sent = now;
      if (segment.options.has_timestamps) block.ts_recent = segment.options.ts_value;
      return write_syn_ack(now, block, answer.reply);
    }
  }
  index = free_;
  if (index == kNone) return reply_with_cookie(now, flow, segment, path_mss, answer);
  Block& block = blocks_[index];
  free_ = block.chain;
  const wire::TcpOptions& options = segment.options;
  block = Block{.flow = flow,
                .irs = segment.seq,
                .iss = shared_.initial_sequence(now, flow),
                .ts_offset = shared_.timestamp_offset(flow),
                .ts_recent = options.ts_value,
                .path_mss = path_mss,
                .peer_mss = options.mss,
                .peer_window = segment.window,
                .peer_shift = options.window_shift,
                .sack = options.sack_permitted,
                .timestamps = options.has_timestamps,
                .ecn = shared_.limits().ecn && asks_for_ecn(segment) && segment.ecn == 0,
                .first_sent = now,
                .last_sent = now,
                .station = station};
  if (iss_least != nullptr && before(block.iss, *iss_least)) block.iss = *iss_least;
  std::uint32_t& head = bucket(flow);
  block.chain = head;
  head = index;
  append(index);
  ++size_;
  write_syn_ack(now, block, answer.reply);
}

void Listener::reply_with_cookie(Instant now, const Flow& flow, const wire::TcpSegment& segment,
                                 std::uint16_t path_mss, Answer& answer) {
  ++shared_.counters.syn_cookies_sent;
  cookies_until_ = now + kCookieLife;
  const wire::TcpOptions& peer = segment.options;
  const std::uint16_t peer_mss = peer.mss != 0 ? peer.mss : kMssDefault;
  Block block;
  block.irs = segment.seq;
  block.iss = cookies_.make(now, flow, segment.seq, peer_mss);
  block.path_mss = path_mss;
  block.timestamps = peer.has_timestamps;
  block.ts_recent = peer.ts_value;
  if (peer.has_timestamps) {
    block.peer_shift = peer.window_shift;
    block.sack = peer.sack_permitted;
    block.ecn = shared_.limits().ecn && asks_for_ecn(segment) && segment.ecn == 0;
    block.ts_offset = Cookies::stamp(timestamp_clock(now), peer, block.ecn) - timestamp_clock(now) +
                      shared_.timestamp_offset(flow);
  } else {
    block.peer_shift = wire::kNoWindowShift;
  }
  write_syn_ack(now, block, answer.reply);
}

void Listener::on_ack(Instant now, const Flow& flow, const wire::TcpSegment& segment,
                      std::uint16_t path_mss, bool room, Answer& answer) {
  answer.verdict = Verdict::drop;
  const std::uint32_t index = find(flow);
  if (index == kNone) return check_cookie(now, flow, segment, path_mss, room, answer);
  Block& block = blocks_[index];
  // RFC 9293 §3.10.7.4 first: the window is what the SYN-ACK offered.
  const std::uint32_t window = std::min(shared_.limits().receive_window_first, 0xffffu);
  const bool in_window = within(segment.seq, block.irs + 1, window);
  if (segment.has(TcpFlags::rst)) {
    // RFC 5961 §3.2; there is no connection yet to send a challenge for.
    if (segment.seq == block.irs + 1) {
      shared_.drop(DropReason::syn_reset);
      remove(index);
    } else {
      shared_.drop(DropReason::blind_reset);
    }
    return;
  }
  if (block.timestamps && segment.options.has_timestamps &&
      before(SeqNumber(segment.options.ts_value), SeqNumber(block.ts_recent))) {
    shared_.drop(DropReason::paws);
    return;
  }
  if (block.timestamps && !segment.options.has_timestamps) {
    shared_.drop(DropReason::no_timestamp);  // RFC 7323 §3.2
    return;
  }
  if (!segment.has(TcpFlags::ack) || segment.has(TcpFlags::syn)) {
    shared_.drop(segment.has(TcpFlags::syn) ? DropReason::syn_conflict : DropReason::no_ack);
    return;
  }
  if (segment.ack != block.iss + 1) {
    // Of the SYN-ACK by cookie before there was a block for its SYN's repetition? Else RFC 9293
    // §3.10.7.4 fifth: RST with SEG.ACK.
    check_cookie(now, flow, segment, path_mss, room, answer);
    if (answer.verdict == Verdict::establish) remove(index);
    return;
  }
  if (!in_window) {
    shared_.drop(DropReason::outside_window);
    return;
  }
  if (!room) return;
  Opening& out = answer.opening;
  out = Opening{};
  out.mss = block.path_mss;
  out.iss = block.iss;
  out.ts_offset = block.ts_offset;
  out.irs = block.irs;
  out.peer.mss = block.peer_mss;
  out.peer.window_shift = block.peer_shift;
  out.peer.sack_permitted = block.sack;
  out.peer.has_timestamps = block.timestamps;
  out.peer.ts_value = block.ts_recent;
  out.peer_window = block.peer_window;
  out.ecn = block.ecn;
  out.syn_resent = block.sent != 0 || block.first_sent != block.last_sent;
  if (!out.syn_resent) out.rtt = now - block.first_sent;
  answer.verdict = Verdict::establish;
  remove(index);
}

void Listener::check_cookie(Instant now, const Flow& flow, const wire::TcpSegment& segment,
                            std::uint16_t path_mss, bool room, Answer& answer) {
  answer.verdict = Verdict::not_here;
  if (now >= cookies_until_) return;
  if ((segment.flags & (TcpFlags::ack | TcpFlags::syn | TcpFlags::rst)) != TcpFlags::ack) return;
  const SeqNumber irs = segment.seq - 1;
  const std::uint16_t mss = cookies_.check(now, flow, irs, segment.ack - 1);
  if (mss == 0) {
    // Perhaps the second segment of a peer whose first was lost: that comes again, but not after a
    // reset.
    shared_.drop(DropReason::cookie_invalid);
    answer.verdict = Verdict::drop;
    return;
  }
  if (!room) {
    answer.verdict = Verdict::drop;
    return;
  }
  ++shared_.counters.syn_cookies_good;
  Opening& out = answer.opening;
  out = Opening{};
  out.mss = path_mss;
  out.iss = segment.ack - 1;
  out.irs = irs;
  out.peer.mss = mss;
  out.ts_offset = shared_.timestamp_offset(flow);
  if (segment.options.has_timestamps) {
    out.peer.has_timestamps = true;
    out.peer.ts_value = segment.options.ts_value;
    out.ecn = Cookies::read_stamp(segment.options.ts_echo - out.ts_offset, out.peer);
  }
  // Scaled already, as it isn't of a SYN; on_segment takes the true one.
  out.peer_window = segment.window;
  answer.verdict = Verdict::establish;
}

bool Listener::poll_transmit(Instant now, Flow& flow, SegmentOut& out, std::uint64_t* station) {
  for (std::size_t sent = 0; sent <= shared_.limits().syn_ack_retries; ++sent) {
    const List& list = lists_[sent];
    while (list.oldest != kNone && blocks_[list.oldest].due <= now) {
      const std::uint32_t index = list.oldest;
      if (sent == shared_.limits().syn_ack_retries) {
        ++shared_.counters.half_open_expired;
        remove(index);
        continue;
      }
      unlink(index);
      Block& block = blocks_[index];
      ++block.sent;
      block.last_sent = now;
      block.ecn = false;  // RFC 3168 §6.1.1: perhaps it is what was in the way
      append(index);
      flow = block.flow;
      if (station != nullptr) *station = block.station;
      write_syn_ack(now, block, out);
      return true;
    }
  }
  return false;
}

Instant Listener::next_timeout() const {
  Instant next = Instant::never();
  for (const List& list : lists_)
    if (list.oldest != kNone) next = earlier(next, blocks_[list.oldest].due);
  return next;
}

void Listener::on_unreachable(const Flow& flow, SeqNumber quoted) {
  const std::uint32_t index = find(flow);
  if (index != kNone && blocks_[index].iss == quoted) remove(index);
}

void Listener::validate() const {
  std::uint32_t count = 0;
  for (std::size_t sent = 0; sent < lists_.size(); ++sent) {
    for (std::uint32_t at = lists_[sent].oldest; at != kNone; at = blocks_[at].newer) {
      ASSERT(++count <= size_);
      ASSERT(blocks_[at].sent == sent && find(blocks_[at].flow) == at);
    }
  }
  ASSERT(count == size_);
}

}  // namespace penstock::tcp
