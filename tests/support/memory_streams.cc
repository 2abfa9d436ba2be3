#include "support/memory_streams.hh"

#include <algorithm>

#include "base/assert.hh"

namespace penstock::support {

MemoryNetwork::~MemoryNetwork() = default;

MemoryStreams& MemoryNetwork::add_port(const Endpoint& address, const PortOptions& options) {
  ports_.push_back(std::unique_ptr<MemoryStreams>(new MemoryStreams(*this, address, options)));
  return *ports_.back();
}

Instant MemoryNetwork::next_event() const {
  Instant next = Instant::never();
  for (const auto& port : ports_)
    next = earlier(next, port->next_event());
  return next;
}

MemoryStreams::MemoryStreams(MemoryNetwork& network, const Endpoint& address,
                             const PortOptions& options)
    : network_(network), address_(address), options_(options), slots_(options.streams_max) {
  for (std::uint32_t i = options.streams_max; i-- > 0;)
    free_.push_back(i);
}

Instant MemoryStreams::next_event() const {
  if (!resumed_.empty() || !said_.empty()) return network_.clock_.time();
  return pending_.empty() ? Instant::never() : pending_.top().due;
}

MemoryStreams::Slot* MemoryStreams::find(StreamHandle stream) {
  const std::uint32_t index = stream_index(stream);
  if (index >= slots_.size()) return nullptr;
  Slot& slot = slots_[index];
  const bool same = slot.generation == stream.value >> 32;
  return slot.state != State::free && same ? &slot : nullptr;
}

bool MemoryStreams::take_slot(State state, StreamHandle& out) {
  if (free_.empty()) return false;
  const std::uint32_t index = free_.back();
  free_.pop_back();
  slots_[index].state = state;
  out = StreamHandle(std::uint64_t{slots_[index].generation} << 32 | index);
  ++live_;
  return true;
}

void MemoryStreams::free_slot(Slot& slot) {
  const std::uint32_t generation = slot.generation + 1;
  slot = Slot{};
  slot.generation = generation;
  free_.push_back(static_cast<std::uint32_t>(&slot - slots_.data()));
  --live_;
}

void MemoryStreams::post(Instant due, StreamHandle stream, What what, StreamError error,
                         std::shared_ptr<std::vector<std::byte>> data) {
  pending_.push({due, network_.sequence_++, stream, what, error, std::move(data)});
}

bool MemoryStreams::connect(const Endpoint& remote, const IpAddress& local, StreamHandle& out) {
  if (!take_slot(State::connecting, out)) return false;
  Slot& slot = *find(out);
  slot.remote = remote;
  const Duration latency = network_.link_.latency;
  const Instant there = network_.clock_.time() + latency;
  const Instant back = there + latency;
  MemoryStreams* server = nullptr;
  for (const auto& port : network_.ports_) {
    if (port->address_ == remote && port->options_.listening) server = port.get();
  }
  StreamHandle other;
  if (server == nullptr || !server->take_slot(State::open, other)) {
    post(back, out, What::end, server == nullptr ? StreamError::refused : StreamError::reset);
    return true;
  }
  Slot& accepted = *server->find(other);
  accepted.remote = {local.is_unspecified() ? address_.ip : local, next_port_++};
  accepted.peer = {this, out};
  accepted.last_arrival = back;
  slot.peer = {server, other};
  slot.last_arrival = there;
  server->post(there, other, What::accepted);
  post(back, out, What::connected);
  return true;
}

SendResult MemoryStreams::try_send(StreamHandle stream, std::span<const SendPart> parts) {
  ASSERT(parts.size() <= kSendPartsMax);
  Slot* const slot = find(stream);
  if (slot == nullptr || slot->state != State::open || slot->want_write) return {};
  const LinkOptions& link = network_.link_;
  std::size_t wanted = 0;
  for (const SendPart& part : parts)
    wanted += part.length;
  std::size_t room = std::min<std::size_t>(wanted, link.window - slot->under_way);
  if (link.short_sends && room > 1 && network_.random_.below(8) == 0) {
    room = 1 + network_.random_.below(room);
  }
  SendResult result;
  if (options_.keeps) room = keep(*slot, parts, room);
  std::vector<std::byte> bytes;
  bytes.reserve(room);
  for (const SendPart& part : parts) {
    if (options_.keeps) break;
    const std::size_t n = std::min<std::size_t>(room - bytes.size(), part.length);
    bytes.insert(bytes.end(), part.data, part.data + n);
    if (n > 0 && part.kind == SendPart::Kind::hot_slab && options_.ledger != nullptr) {
      options_.ledger->expose(part.data, n);
      result.exposed = true;
    }
  }
  result.accepted = room;
  slot->want_write = room < wanted;
  slot->under_way += static_cast<std::uint32_t>(room);
  // A short send with room left: as real sockets, it says `writable` when it was seen.
  if (slot->want_write && slot->under_way < link.window / 2) {
    post(network_.clock_.time() + link.latency, stream, What::writable);
  }
  if (options_.keeps) {
    transmit_kept(*slot);
  } else {
    transmit(*slot, bytes);
  }
  return result;
}

// On its way to the peer, in pieces.
void MemoryStreams::transmit(Slot& slot, std::span<const std::byte> bytes) {
  const LinkOptions& link = network_.link_;
  std::size_t at = 0;
  while (at < bytes.size()) {
    const std::size_t most = std::min<std::size_t>(bytes.size() - at, link.segment_max);
    const std::size_t n = 1 + network_.random_.below(most);
    Instant due = network_.clock_.time() + link.latency;
    if (link.rate > 0) {
      const auto takes = static_cast<std::int64_t>(n * 1'000'000'000 / link.rate);
      due = std::max(due, slot.last_arrival) + Duration::nanoseconds(takes);
    }
    slot.last_arrival = std::max(due, slot.last_arrival);
    auto data = std::make_shared<std::vector<std::byte>>(
        bytes.begin() + static_cast<std::ptrdiff_t>(at),
        bytes.begin() + static_cast<std::ptrdiff_t>(at + n));
    slot.peer.port->post(slot.last_arrival, slot.peer.handle, What::data, StreamError::none,
                         std::move(data));
    at += n;
  }
}

std::size_t MemoryStreams::unacknowledged(StreamHandle stream) {
  const Slot* slot = find(stream);
  return slot == nullptr ? 0 : slot->under_way;
}

void MemoryStreams::set_reading(StreamHandle stream, bool on) {
  Slot* const slot = find(stream);
  if (slot == nullptr || slot->reading == on) return;
  slot->reading = on;
  if (on && !slot->held.empty()) resumed_.push_back(stream);
}

void MemoryStreams::close(StreamHandle stream, bool graceful) {
  Slot* const slot = find(stream);
  if (slot == nullptr || slot->state == State::ending) return;
  if (options_.keeps && graceful && !slot->items.empty()) {
    slot->state = State::ending;
    return;
  }
  release_all(*slot);
  if (slot->peer.port != nullptr) {
    const Instant soon = network_.clock_.time() + network_.link_.latency;
    const Instant due = graceful ? std::max(soon, slot->last_arrival) : soon;
    slot->peer.port->post(due, slot->peer.handle, What::end,
                          graceful ? StreamError::closed_by_peer : StreamError::reset);
  }
  free_slot(*slot);
}

// The peer took bytes out of the link.
void MemoryStreams::on_delivered(StreamHandle stream, std::size_t bytes) {
  Slot* const slot = find(stream);
  if (slot == nullptr) return;
  const std::uint32_t window = network_.link_.window;
  const bool was_tight = slot->under_way >= window / 2;
  DCHECK(slot->under_way >= bytes);
  slot->under_way -= static_cast<std::uint32_t>(bytes);
  if (options_.keeps) {
    on_read(*slot, bytes);
    if (slot->state != State::open) return;
  }
  if (slot->want_write && was_tight && slot->under_way < window / 2) {
    post(network_.clock_.time() + network_.link_.latency, stream, What::writable);
  }
}

bool MemoryStreams::deliver(Pending& pending, StreamEvent& out) {
  Slot* const slot = find(pending.stream);
  if (slot == nullptr) return false;
  out = StreamEvent{.stream = pending.stream};
  switch (pending.what) {
    case What::accepted:
      out.kind = StreamEvent::Kind::accepted;
      out.endpoint = slot->remote;
      return true;
    case What::connected:
      slot->state = State::open;
      out.kind = StreamEvent::Kind::connected;
      return true;
    case What::data:
      out.kind = StreamEvent::Kind::data;
      out.data = *pending.data;
      lent_.push_back(pending.data);
      if (slot->peer.port != nullptr) {
        slot->peer.port->on_delivered(slot->peer.handle, pending.data->size());
      }
      return true;
    case What::writable:
      if (!slot->want_write) return false;
      slot->want_write = false;
      out.kind = StreamEvent::Kind::writable;
      return true;
    case What::end:
      out.kind = StreamEvent::Kind::closed;
      out.error = pending.error;
      release_all(*slot);
      free_slot(*slot);
      return true;
  }
  UNREACHABLE();
}

std::size_t MemoryStreams::poll_events(Instant now, std::span<StreamEvent> out) {
  lent_.clear();
  std::size_t count = 0;
  while (count < out.size() && !said_.empty()) {
    out[count++] = said_.front();
    said_.pop_front();
  }
  while (count < out.size() && !resumed_.empty()) {
    Slot* const slot = find(resumed_.front());
    if (slot == nullptr || !slot->reading || slot->held.empty()) {
      resumed_.pop_front();
      continue;
    }
    Pending pending = std::move(slot->held.front());
    slot->held.pop_front();
    if (deliver(pending, out[count])) ++count;
  }
  while (count < out.size() && !pending_.empty() && pending_.top().due <= now) {
    Pending pending = pending_.top();
    pending_.pop();
    Slot* const slot = find(pending.stream);
    if (slot == nullptr) continue;
    if (slot->state == State::ending) {
      if (pending.what != What::end) continue;
      release_all(*slot);
      free_slot(*slot);
      continue;
    }
    const bool in_order = pending.what == What::data ||
                          (pending.what == What::end && pending.error != StreamError::reset);
    if (in_order && (!slot->held.empty() || (!slot->reading && pending.what == What::data))) {
      slot->held.push_back(std::move(pending));
      continue;
    }
    if (deliver(pending, out[count])) ++count;
  }
  return count;
}

void MemoryStreams::validate() const {
  std::size_t live = 0;
  for (const Slot& slot : slots_) {
    live += slot.state != State::free ? 1 : 0;
    ASSERT(slot.under_way <= network_.link_.window);
  }
  ASSERT(live == live_ && live + free_.size() == slots_.size());
}

}  // namespace penstock::support
