// Input: a burst of frames → flows → connections → events.
//
// A burst is parsed whole, then looked up whole (table and slots are prefetched meanwhile), then
// given to the connections frame by frame, as far as there is room for events. What is left waits
// for the next poll_events. A new burst is taken only when no event of this call borrows from the
// last one.
#include <algorithm>

#include "net/stack_impl.hh"

namespace penstock::net {

std::size_t Stack::Impl::poll_events(Instant at, std::span<StreamEvent> out) {
  now = at;
  events = out;
  event_count = 0;
  lent = false;
  shared.receive_pages.free_deferred();
  wake_neighbours();
  // What was left from before comes first.
  for (std::uint32_t i = speaking.size(); i > 0 && event_count < events.size(); --i) {
    Slot& slot = *speaking.pop_front();
    drain(slot);
  }
  constexpr int kBurstsMax = 4;
  for (int i = 0; event_count < events.size(); ++i) {
    while (rx_at < rx_count && event_count < events.size())
      on_frame(rx_at++);
    if (rx_at < rx_count || lent || i == kBurstsMax || (i != 0 && !rx_more)) break;
    receive();
  }
  events = {};
  return event_count;
}

void Stack::Impl::receive() {
  rx_at = 0;
  rx_count = port.rx_burst(rx);
  rx_more = rx_count == rx.size();
  counters.frames_in += rx_count;
  for (std::size_t i = 0; i < rx_count; ++i) {
    if (i + 2 < rx_count) __builtin_prefetch(rx[i + 2].bytes.data());
    parse_frame(rx[i], host, parsed[i]);
    if (parsed[i].kind != ParsedFrame::Kind::tcp) continue;
    Found& f = found[i];
    f.flow = {parsed[i].ip.destination, parsed[i].ip.source, parsed[i].segment.destination_port,
              parsed[i].segment.source_port};
    f.hash = static_cast<std::uint32_t>(shared.hash(f.flow));
    flows.prefetch(f.hash);
  }
  look_up_burst();
}

std::uint32_t Stack::Impl::find_flow(const tcp::Flow& flow, std::uint32_t hash) const {
  return flows.find(hash, [&](std::uint32_t i) { return slots[i].flow == flow; });
}

void Stack::Impl::look_up_burst() {
  for (std::size_t i = 0; i < rx_count; ++i) {
    if (parsed[i].kind != ParsedFrame::Kind::tcp) continue;
    found[i].index = flows.peek(found[i].hash);
    if (found[i].index == FlowTable::kNone) continue;
    const auto* slot = reinterpret_cast<const std::byte*>(&slots[found[i].index]);
    __builtin_prefetch(slot);
    __builtin_prefetch(slot + 64);
    const auto* connection = slots[found[i].index].connection;
    __builtin_prefetch(connection);
    __builtin_prefetch(connection + 64);
    __builtin_prefetch(connection + 128);
  }
  for (std::size_t i = 0; i < rx_count; ++i) {
    Found& f = found[i];
    if (parsed[i].kind != ParsedFrame::Kind::tcp || f.index == FlowTable::kNone) continue;
    if (!(slots[f.index].flow == f.flow)) f.index = find_flow(f.flow, f.hash);
  }
  found_version = flows_version;
}

void Stack::Impl::on_frame(std::size_t i) {
  const ParsedFrame& frame = parsed[i];
  switch (frame.kind) {
    case ParsedFrame::Kind::dropped:
      return drop(frame.drop);
    case ParsedFrame::Kind::tcp: {
      Found& f = found[i];
      // A frame before this one made or ended a connection.
      if (found_version != flows_version) f.index = find_flow(f.flow, f.hash);
      return on_segment(frame, f.flow, f.index);
    }
    case ParsedFrame::Kind::icmp:
      return on_icmp(frame);
    case ParsedFrame::Kind::arp:
      return on_arp(frame);
    case ParsedFrame::Kind::other:
      return on_foreign_protocol(frame);
  }
}

void Stack::Impl::on_segment(const ParsedFrame& frame, const tcp::Flow& flow, std::uint32_t index) {
  if (index == FlowTable::kNone) return on_stray(frame, flow);
  Slot& slot = slots[index];
  slot.tcp().on_segment(now, frame.segment);
  drain(slot);
}

// Nobody has it: TIME-WAIT, the listener, or a reset.
void Stack::Impl::on_stray(const ParsedFrame& frame, const tcp::Flow& flow) {
  using wire::TcpFlags;
  const wire::TcpSegment& segment = frame.segment;
  tcp::TimeWaitTable::Answer waited;
  time_wait.on_segment(now, flow, segment, waited);
  using Waited = tcp::TimeWaitTable::Verdict;
  if (waited.verdict == Waited::drop) return;
  if (waited.verdict == Waited::reply) return reply(frame, flow, waited.reply);

  tcp::Listener::Answer answer;
  if (listens(flow.local_port)) {
    const std::uint16_t path_mss = host.mss(frame.v4);
    if (segment.has(TcpFlags::syn) && !segment.has(TcpFlags::ack)) {
      const SeqNumber* least = waited.verdict == Waited::reopen ? &waited.iss_least : nullptr;
      listener.on_syn(now, flow, segment, path_mss, least, answer, station_of(frame.source_mac));
    } else {
      listener.on_ack(now, flow, segment, path_mss, !slots.full(), answer);
    }
  }
  using Verdict = tcp::Listener::Verdict;
  switch (answer.verdict) {
    case Verdict::drop:
      return;
    case Verdict::reply:
      return reply(frame, flow, answer.reply);
    case Verdict::establish:
      return accept(frame, flow, answer.opening);
    case Verdict::not_here: {
      tcp::SegmentOut reset;
      if (tcp::reset_to_nobody(now, shared, segment, reset)) reply(frame, flow, reset);
      return;
    }
  }
}

void Stack::Impl::accept(const ParsedFrame& frame, const tcp::Flow& flow,
                         const tcp::Opening& opening) {
  Slot* slot = slots.take(shared);
  ASSERT(slot != nullptr);  // on_ack was told whether there is room
  const Route route = host.route_from(frame.local, flow.remote);
  if (route.interface == kNoInterface || !add_flow(*slot, flow, route)) {
    // The peer sends again, or gives up.
    drop(DropReason::no_route);
    slots.give_back(*slot);
    return;
  }
  neighbours.suggest(slot->neighbour, frame.source_mac);
  slot->tcp().open_passive(now, opening, true);
  slot->tcp().on_segment(now, frame.segment);
  drain(*slot);
}

bool Stack::Impl::drain(Slot& slot) {
  tcp::Event event;
  if (slot.neighbour != kNoNeighbour) {
    while (event_count < events.size()) {
      if (!slot.tcp().poll_event(event)) {
        after_input(slot);
        return true;
      }
      if (translate(slot, event, events[event_count])) ++event_count;
      if (event.kind == tcp::Event::Kind::closed) return true;  // the slot is gone
    }
    want_events(slot);
    arm(slot);
    return false;
  }
  // connect() had nowhere to go.
  if (!slot.orphan) {
    if (event_count == events.size()) {
      want_events(slot);
      return false;
    }
    StreamEvent& out = events[event_count++] = {};
    out.kind = StreamEvent::Kind::closed;
    out.error = slot.failure;
    out.stream = slots.handle_of(slot);
  }
  destroy(slot);
  return true;
}

// False: the application isn't told.
bool Stack::Impl::translate(Slot& slot, const tcp::Event& event, StreamEvent& out) {
  using Kind = tcp::Event::Kind;
  const bool told = !slot.orphan && slot.announced;
  out = {};
  out.stream = slots.handle_of(slot);
  switch (event.kind) {
    case Kind::connected:
      if (slot.orphan) return false;
      out.kind = slot.announced ? StreamEvent::Kind::connected : StreamEvent::Kind::accepted;
      out.endpoint = {slot.flow.remote, slot.flow.remote_port};
      slot.announced = true;
      return true;
    case Kind::data:
      // All of ours was delivered and nobody takes what comes: RFC 1122 §4.2.2.13 has a reset.
      if (slot.orphan && slot.tcp().state() == tcp::State::fin_wait_2) {
        slot.tcp().abort(now);
        activate(slot);
      }
      if (!told) return false;
      out.kind = StreamEvent::Kind::data;
      out.data = event.data;
      lent = true;
      return true;
    case Kind::ended:
      // The seam knows no half-closed stream: what was accepted still goes out, then our FIN.
      slot.tcp().close(now);
      activate(slot);
      if (!told) return false;
      slot.orphan = true;
      out.kind = StreamEvent::Kind::closed;
      out.error = StreamError::closed_by_peer;
      return true;
    case Kind::writable:
      out.kind = StreamEvent::Kind::writable;
      return told;
    case Kind::released:
      out.kind = StreamEvent::Kind::released;
      out.pin = event.pin;
      return true;
    case Kind::need:
      out.kind = StreamEvent::Kind::need;
      out.pin = event.pin;
      out.content = event.content;
      return true;
    case Kind::closed: {
      out.kind = StreamEvent::Kind::closed;
      out.error = slot.failure != StreamError::none ? slot.failure : event.error;
      tcp::TimeWaitState state;
      if (slot.tcp().time_wait(state)) time_wait.add(now, slot.flow, state);
      destroy(slot);
      return told;
    }
  }
  UNREACHABLE();
}

}  // namespace penstock::net
