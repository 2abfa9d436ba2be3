// Output: timers, then turns of the connections that have something to send, until the port is
// full, nobody has anything left, or the flush has made enough.
//
// Fairness: connections take turns of about kTurnBytes; who has more goes to the end of the list.
// Backpressure: frames that the port didn't take stay in the queue, and no more are made; what
// isn't made stays in its connection. A connection whose next hop is being asked for waits in the
// list of that neighbour, unpolled; one whose next hop doesn't answer sends into the void, so that
// its own timers end it.
#include <algorithm>

#include "net/stack_impl.hh"

namespace penstock::net {

namespace {

// Segments whose content is on its way into the processor's cache while one before them is summed.
constexpr std::size_t kSumAhead = 2;
constexpr std::uint32_t kCacheLine = 64;

// Content in memory is out of reach of what the processor foresees: one page ends soon.
void prefetch_payload(const tcp::SegmentOut& segment) {
  for (std::size_t i = 0; i < segment.part_count; ++i) {
    const tcp::PayloadPart& part = segment.parts[i];
    for (std::uint32_t at = 0; at < part.length; at += kCacheLine)
      __builtin_prefetch(part.data + at);
  }
}

}  // namespace

void Stack::Impl::send_queued() {
  if (tx.empty()) return;
  counters.frames_out += tx.send(port);
  port_full = !tx.empty();
  counters.port_full += port_full;
}

TxFrame* Stack::Impl::next_frame() {
  if (tx.room() == 0) {
    send_queued();
    if (tx.room() == 0) return nullptr;
  }
  return &tx.next();
}

void Stack::Impl::reply(const ParsedFrame& frame, const tcp::Flow& flow,
                        const tcp::SegmentOut& segment) {
  TxFrame* out = next_frame();
  if (out == nullptr) return drop(DropReason::no_room);
  // Back to the station that it came from: no look-up, nothing kept for strangers.
  headers.write(frame.source_mac, flow, headers.sums(flow), segment, tx_checksum, *out);
  tx.push();
}

void Stack::Impl::run_timers() {
  // Some at a time, so that their connections come into the cache together.
  std::array<Slot*, 8> due;
  std::size_t count = due.size();
  for (int i = 0; i < kTimerBurst && count == due.size(); i += static_cast<int>(due.size())) {
    for (count = 0; count < due.size(); ++count) {
      FineTimer* timer = wheel.poll_expired(now);
      if (timer == nullptr) break;
      due[count] = static_cast<Slot*>(timer);
      due[count]->prefetch();
    }
    for (Slot* slot : std::span(due).first(count)) {
      if (slot->tcp().next_timeout() <= now) {
        slot->tcp().on_timeout(now);
        want_events(*slot);
        activate(*slot);
      }
      arm(*slot);  // it may have fired early
    }
  }
  if (time_wait.next_timeout() <= now) time_wait.on_timeout(now);
}

void Stack::Impl::send_half_open() {
  tcp::Flow flow;
  tcp::SegmentOut segment;
  std::uint64_t station = 0;
  for (int i = 0; i < kControlBurst; ++i) {
    TxFrame* out = next_frame();
    if (out == nullptr || !listener.poll_transmit(now, flow, segment, &station)) return;
    // Where the first one went: its next hop may be unknown here, as reply() needs no look-up.
    const wire::MacAddress mac = mac_of(station);
    headers.write(mac, flow, headers.sums(flow), segment, tx_checksum, *out);
    tx.push();
  }
}

// There is room for a frame at least.
void Stack::Impl::transmit_turn(Slot& slot) {
  tcp::Connection& connection = slot.tcp();
  wire::MacAddress mac;
  const Neighbours::Answer answer = neighbours.resolve(now, slot.neighbour, mac);
  if (answer == Neighbours::Answer::asked) {
    slot.waiting = true;
    waiting[slot.neighbour].push_back(&slot);
    return;
  }
  if (answer == Neighbours::Answer::failed && connection.state() == tcp::State::syn_sent) {
    ++counters.unreachable;
    return fail_later(slot, StreamError::unreachable);
  }
  burst->clear();
  burst->begin_turn(std::min(turn_segments, tx.room()));
  connection.poll_transmit(now, *burst);
  stalls.on_progress(slot);
  for (std::size_t i = 0; i < burst->size(); ++i) {
    if (!tx_checksum && i + kSumAhead < burst->size()) prefetch_payload((*burst)[i + kSumAhead]);
    if (answer == Neighbours::Answer::failed) {
      drop(DropReason::no_neighbour);
      continue;
    }
    headers.write(mac, slot.flow, slot.sums, (*burst)[i], tx_checksum, tx.next());
    tx.push();
  }
  if (connection.has_output()) activate(slot);
  // What had to be said before `closed` may have been said now; or content is missing. Without a
  // word `closed` waits for a device that still reads, and for a timer.
  const tcp::State state = connection.state();
  const bool over = state == tcp::State::closed || state == tcp::State::time_wait;
  if ((over && burst->size() != 0) || connection.wants_content()) want_events(slot);
  arm(slot);
}

void Stack::Impl::transmit() {
  std::size_t made = 0;
  while (made < kFlushFramesMax && !active.empty()) {
    if (tx.room() == 0) {
      send_queued();
      if (tx.room() == 0) return;
    }
    const std::size_t room = tx.room();
    transmit_turn(*active.pop_front());
    // A turn without a frame counts, too: the loop is bounded.
    made += std::max<std::size_t>(room - tx.room(), 1);
  }
}

void Stack::Impl::flush(Instant at) {
  now = at;
  wake_neighbours();
  run_timers();
  send_queued();
  send_half_open();
  transmit();
  ask_neighbours();
  wake_neighbours();
  send_queued();
}

Instant Stack::Impl::next_timeout() const {
  if (rx_at < rx_count || rx_more || !speaking.empty()) return now;
  // Whatever is due has something to say, which has to wait.
  if (port_full) return now + kPortFullPause;
  if (!active.empty()) return now;
  const Instant due = earlier(wheel.next(), neighbours.next_timeout());
  return earlier(due, earlier(listener.next_timeout(), time_wait.next_timeout()));
}

}  // namespace penstock::net
