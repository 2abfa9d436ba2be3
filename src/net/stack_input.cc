// Input: a burst of frames → flows → connections → events.
//
// A burst is parsed whole, then given to the connections frame by frame, as far as there is room
// for events. While a frame is at work, those behind it are made ready in steps, so that a few
// cache misses at a time are under way: the table's entry, the slot, what it refers to, and the
// records of what is in flight. Of pure ACKs of one connection in a row only the last is followed
// by the questions what happened and what is due. What is left waits for the next poll_events. A
// new burst is taken only when no event of this call borrows from the last one.
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
  rx_at = guessed = looked_up = made_ready = 0;
  rx_count = port.rx_burst(rx);
  rx_more = rx_count == rx.size();
  counters.frames_in += rx_count;
  const Found* before = nullptr;
  for (std::size_t i = 0; i < rx_count; ++i) {
    if (i + 2 < rx_count) __builtin_prefetch(rx[i + 2].bytes.data());
    parse_frame(rx[i], host, parsed[i]);
    Found& f = found[i];
    f.again = false;
    f.index = FlowTable::kNone;
    if (parsed[i].kind != ParsedFrame::Kind::tcp) continue;
    f.flow = {parsed[i].ip.destination, parsed[i].ip.source, parsed[i].segment.destination_port,
              parsed[i].segment.source_port};
    f.again = before != nullptr && before->flow == f.flow;
    if (f.again) {
      f.hash = before->hash;
    } else {
      f.hash = static_cast<std::uint32_t>(shared.hash(f.flow));
      flows.prefetch(f.hash);
    }
    before = &f;
  }
  found_version = flows_version;
}

std::uint32_t Stack::Impl::find_flow(const tcp::Flow& flow, std::uint32_t hash) const {
  return flows.find(hash, [&](std::uint32_t i) { return slots[i].flow == flow; });
}

// Of frame i of the burst, where it isn't that of the frame before.
const tcp::Connection* Stack::Impl::connection_at(std::size_t i) const {
  if (i >= rx_count || found[i].again || found[i].index == FlowTable::kNone) return nullptr;
  const Slot& slot = slots[found[i].index];
  return slot.used ? &slot.tcp() : nullptr;
}

// Makes ready what frames up to a few behind i need.
void Stack::Impl::look_ahead(std::size_t i) {
  if (found_version != flows_version) return;
  for (const std::size_t end = std::min(rx_count, i + kFarthest + 1); guessed < end; ++guessed) {
    Found& f = found[guessed];
    if (parsed[guessed].kind != ParsedFrame::Kind::tcp || f.again) continue;
    f.index = flows.peek(f.hash);
    if (f.index != FlowTable::kNone) slots[f.index].prefetch();
  }
  for (const std::size_t end = std::min(rx_count, i + kFar + 1); looked_up < end; ++looked_up) {
    Found& f = found[looked_up];
    if (parsed[looked_up].kind != ParsedFrame::Kind::tcp) continue;
    if (f.again)
      f.index = last_index;
    else if (f.index != FlowTable::kNone && !(slots[f.index].flow == f.flow))
      f.index = find_flow(f.flow, f.hash);
    last_index = f.index;
    if (const tcp::Connection* far = connection_at(looked_up)) far->prefetch_places();
  }
  for (const std::size_t end = std::min(rx_count, i + kNear + 1); made_ready < end; ++made_ready) {
    if (const tcp::Connection* near = connection_at(made_ready)) near->prefetch_records();
  }
}

void Stack::Impl::on_frame(std::size_t i) {
  const ParsedFrame& frame = parsed[i];
  look_ahead(i);
  switch (frame.kind) {
    case ParsedFrame::Kind::dropped:
      return drop(frame.drop);
    case ParsedFrame::Kind::tcp: {
      Found& f = found[i];
      // A frame before this one made or ended a connection.
      if (found_version != flows_version) f.index = find_flow(f.flow, f.hash);
      if (f.index == FlowTable::kNone) return on_stray(frame, f.flow);
      if (overtaken(i)) {
        ++train;
        ++counters.acks_overtaken;
        return;
      }
      train = 0;
      Slot& slot = slots[f.index];
      if (slot.neighbour != kNoNeighbour && neighbours.doubted(slot.neighbour)) {
        on_doubted(slot, frame.segment);
      } else {
        slot.tcp().on_segment(now, frame.segment);
      }
      if (!more_acks_follow(i, slot)) drain(slot);
      return;
    }
    case ParsedFrame::Kind::icmp:
      return on_icmp(frame);
    case ParsedFrame::Kind::arp:
      return on_arp(frame);
    case ParsedFrame::Kind::other:
      return on_foreign_protocol(frame);
  }
}

// Whoever gets on with a peer needn't ask whether its next hop is there (RFC 4861 §7.3.1).
void Stack::Impl::on_doubted(Slot& slot, const wire::TcpSegment& segment) {
  const std::uint64_t before = slot.tcp().progress();
  slot.tcp().on_segment(now, segment);
  const std::uint64_t after = slot.tcp().progress();
  if (after != before && after != 0) neighbours.confirm(now, slot.neighbour);
}

// Frame i is a plain ACK, and the next one says all that it says, and more. Of a long train some
// are looked at all the same: HyStart++ counts its samples (RFC 9406 §4.2).
bool Stack::Impl::overtaken(std::size_t i) const {
  if (train == kTrainMost || i + 1 >= rx_count || !found[i + 1].again ||
      parsed[i + 1].kind != ParsedFrame::Kind::tcp)
    return false;
  const auto plain = [](const wire::TcpSegment& s) {
    return s.flags == wire::TcpFlags::ack && s.payload.empty() && s.options.sack_count == 0;
  };
  const wire::TcpSegment& a = parsed[i].segment;
  const wire::TcpSegment& b = parsed[i + 1].segment;
  // Who can't see the connection's traffic can't name `seq`, and so hide no ACK behind one of his.
  return plain(a) && plain(b) && a.seq == b.seq && after(b.ack, a.ack) &&
         a.options.has_timestamps == b.options.has_timestamps &&
         !before(SeqNumber(b.options.ts_value), SeqNumber(a.options.ts_value));
}

// Frame i was an ACK, and the next one is for the same connection, at once: it has no payload to be
// taken, and `closed`, after which the flow would be another's, isn't among what it brought.
bool Stack::Impl::more_acks_follow(std::size_t i, const Slot& slot) const {
  return i + 1 < rx_count && found[i + 1].again && parsed[i].segment.payload.empty() &&
         parsed[i + 1].kind == ParsedFrame::Kind::tcp &&
         slot.tcp().state() == tcp::State::established && event_count < events.size();
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
