#include "tcp/time_wait.hh"

#include <bit>

#include "base/assert.hh"
#include "tcp/options.hh"

namespace penstock::tcp {

TimeWaitTable::TimeWaitTable(Shared& shared)
    : shared_(shared),
      buckets_(std::bit_ceil(shared.limits().time_wait_max + 1), kNone),
      blocks_(shared.limits().time_wait_max) {
  ASSERT(!blocks_.empty());
  for (std::uint32_t i = static_cast<std::uint32_t>(blocks_.size()); i > 0; --i) {
    blocks_[i - 1].chain = free_;
    free_ = i - 1;
  }
}

std::uint32_t& TimeWaitTable::bucket(const Flow& flow) {
  return buckets_[shared_.hash(flow) & (buckets_.size() - 1)];
}

std::uint32_t TimeWaitTable::find(const Flow& flow) const {
  if (size_ == 0) return kNone;
  std::uint32_t at = buckets_[shared_.hash(flow) & (buckets_.size() - 1)];
  while (at != kNone && blocks_[at].flow != flow)
    at = blocks_[at].chain;
  return at;
}

bool TimeWaitTable::contains(const Flow& flow) const {
  return find(flow) != kNone;
}

void TimeWaitTable::append(Instant now, std::uint32_t index) {
  Block& block = blocks_[index];
  block.expires = now + shared_.limits().time_wait;
  block.older = newest_;
  block.newer = kNone;
  (newest_ == kNone ? oldest_ : blocks_[newest_].newer) = index;
  newest_ = index;
}

void TimeWaitTable::unlink(std::uint32_t index) {
  const Block& block = blocks_[index];
  (block.older == kNone ? oldest_ : blocks_[block.older].newer) = block.newer;
  (block.newer == kNone ? newest_ : blocks_[block.newer].older) = block.older;
}

void TimeWaitTable::remove(std::uint32_t index) {
  std::uint32_t* at = &bucket(blocks_[index].flow);
  while (*at != index)
    at = &blocks_[*at].chain;
  *at = blocks_[index].chain;
  unlink(index);
  blocks_[index].chain = free_;
  free_ = index;
  --size_;
}

void TimeWaitTable::add(Instant now, const Flow& flow, const TimeWaitState& state) {
  ASSERT(find(flow) == kNone);
  if (free_ == kNone) {
    ++shared_.counters.time_wait_evicted;
    remove(oldest_);
  }
  const std::uint32_t index = free_;
  Block& block = blocks_[index];
  free_ = block.chain;
  block.flow = flow;
  block.state = state;
  std::uint32_t& head = bucket(flow);
  block.chain = head;
  head = index;
  append(now, index);
  ++size_;
}

namespace {

// Whether a SYN is of a new connection (RFC 6191 §2, RFC 9293 §3.10.7.4 fourth).
bool is_new_incarnation(const TimeWaitState& old, const wire::TcpSegment& segment) {
  if (old.timestamps && segment.options.has_timestamps) {
    if (after(SeqNumber(segment.options.ts_value), SeqNumber(old.ts_recent))) return true;
    return segment.options.ts_value == old.ts_recent && after(segment.seq, old.rcv_nxt);
  }
  return after(segment.seq, old.rcv_nxt);
}

void write_ack(Instant now, const TimeWaitState& state, SegmentOut& out) {
  out.seq = state.snd_nxt;
  out.ack = state.rcv_nxt;
  out.window = state.window;
  out.flags = wire::TcpFlags::ack;
  out.ecn = 0;
  out.part_count = 0;
  out.segment_size = 0;
  out.payload_length = 0;
  wire::TcpOptions options;
  options.has_timestamps = state.timestamps;
  options.ts_value = timestamp_clock(now) + state.ts_offset;
  options.ts_echo = state.ts_recent;
  out.options_length =
      static_cast<std::uint8_t>(wire::write_tcp_options(out.options.data(), options));
}

}  // namespace

void TimeWaitTable::on_segment(Instant now, const Flow& flow, const wire::TcpSegment& segment,
                               Answer& answer) {
  using wire::TcpFlags;
  answer.verdict = Verdict::not_here;
  const std::uint32_t index = find(flow);
  if (index == kNone) return;
  const TimeWaitState& state = blocks_[index].state;
  answer.verdict = Verdict::drop;
  if (segment.has(TcpFlags::rst)) {
    shared_.drop(DropReason::time_wait_reset);
    return;
  }
  if (segment.has(TcpFlags::syn) && !segment.has(TcpFlags::ack) && !segment.has(TcpFlags::fin) &&
      is_new_incarnation(state, segment)) {
    answer.verdict = Verdict::reopen;
    // Beyond all that the old connection may still have under way.
    answer.iss_least = state.snd_nxt + 0x10000;
    ++shared_.counters.time_wait_reused;
    remove(index);
    return;
  }
  // An old ACK without anything needs no answer; anything else is told where we are.
  if (segment.length() == 0 && segment.seq == state.rcv_nxt) return;
  const bool again = segment.has(TcpFlags::fin) && segment.seq + segment.length() == state.rcv_nxt;
  if (again) {
    unlink(index);
    append(now, index);  // RFC 9293 §3.10.7.4 eighth: restart the 2 MSL timer
  } else {
    shared_.drop(DropReason::time_wait_old);
    if (!shared_.challenges.try_spend(now)) {
      ++shared_.counters.challenges_withheld;
      return;
    }
  }
  write_ack(now, state, answer.reply);
  answer.verdict = Verdict::reply;
}

void TimeWaitTable::on_timeout(Instant now) {
  while (oldest_ != kNone && blocks_[oldest_].expires <= now)
    remove(oldest_);
}

Instant TimeWaitTable::next_timeout() const {
  return oldest_ == kNone ? Instant::never() : blocks_[oldest_].expires;
}

void TimeWaitTable::validate() const {
  std::uint32_t in_order = 0;
  for (std::uint32_t at = oldest_; at != kNone; at = blocks_[at].newer) {
    ASSERT(++in_order <= size_);
    const std::uint32_t newer = blocks_[at].newer;
    ASSERT(newer == kNone
               ? newest_ == at
               : blocks_[newer].older == at && blocks_[at].expires <= blocks_[newer].expires);
    ASSERT(find(blocks_[at].flow) == at);
  }
  ASSERT(in_order == size_);
}

}  // namespace penstock::tcp
