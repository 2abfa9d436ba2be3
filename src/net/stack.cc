// Streams: handles, connect, close, and what they come to.
#include "net/stack.hh"

#include <algorithm>

#include "base/sip_hash.hh"
#include "net/stack_impl.hh"

namespace penstock::net {
namespace {

// RFC 6056 §3.2 asks for as many ports as possible; those below are where services listen.
// Ports tried for one connect().
constexpr std::uint32_t kPortTries = 4096;

std::uint32_t tso_bytes(const NicInfo& info, const StackOptions& options) {
  // An IP packet with the largest headers ends at 65,535 bytes.
  constexpr std::uint32_t kMost = 65'535 - 120;
  return options.tso ? std::min(info.tso_bytes_max, kMost) : 0;
}

}  // namespace

Stack::Impl::Impl(NicPort& p, const StackOptions& o, Instant at)
    : port(p),
      options(o),
      host(p.info().mac, o.vlan, p.info().mtu, o.interfaces),
      headers(host),
      now(at),
      shared(o, o.secret),
      listener(shared),
      time_wait(shared),
      icmp_budget(o.icmp_answers, o.secret[1]),
      slots(o.connections_max),
      stalls(slots),
      flows(o.connections_max),
      wheel(at),
      neighbours(at, o.neighbours_max, o.secret),
      listening(65536 / 64),
      next_ephemeral(static_cast<std::uint32_t>(SipHash24(o.secret).add(at.ns).finish())),
      waiting(std::make_unique<List<Slot, OutputTag>[]>(o.neighbours_max)),
      parsed(std::make_unique<ParsedFrame[]>(kFrameBurst)),
      burst(std::make_unique<tcp::TxBurst>(tso_bytes(p.info(), o))),
      tx_checksum(p.info().tx_checksum),
      echoes(p.info().mtu) {
  for (const std::uint16_t listen_port : o.listen)
    listening[listen_port / 64] |= std::uint64_t{1} << (listen_port % 64);
  const std::uint32_t segment = std::max(burst->tso_bytes_max(), std::uint32_t{p.info().mtu});
  turn_segments = std::max<std::size_t>(1, kTurnBytes / segment);
  // Pages behind `data` events stay until the next poll_events.
  shared.receive_pages.defer(true);
  announce();
}

Stack::Impl::~Impl() {
  for (Slot& slot : slots) {
    if (!slot.used) continue;
    wheel.disarm(slot);
    if (slot.in_output_list()) (slot.waiting ? waiting[slot.neighbour] : active).remove(&slot);
    if (slot.in_event_list()) speaking.remove(&slot);
  }
}

void Stack::Impl::activate(Slot& slot) {
  if (slot.in_output_list()) return;
  slot.waiting = false;
  active.push_back(&slot);
}

void Stack::Impl::want_events(Slot& slot) {
  if (!slot.in_event_list()) speaking.push_back(&slot);
}

// A timer that fires early costs a look; so it is moved only when it has to fire sooner.
void Stack::Impl::arm(Slot& slot) {
  const Instant due = slot.tcp().next_timeout();
  if (!slot.armed() || due < slot.when) wheel.arm(slot, due);
}

bool Stack::Impl::add_flow(Slot& slot, const tcp::Flow& flow, const Route& route) {
  slot.neighbour = neighbours.hold(route.next_hop, route.interface);
  if (slot.neighbour == kNoNeighbour) return false;
  slot.flow = flow;
  slot.hash = static_cast<std::uint32_t>(shared.hash(flow));
  slot.sums = headers.sums(flow);
  flows.insert(slot.hash, slots.index_of(slot));
  ++flows_version;
  return true;
}

void Stack::Impl::destroy(Slot& slot) {
  wheel.disarm(slot);
  stalls.on_gone(slot);
  if (slot.in_output_list()) (slot.waiting ? waiting[slot.neighbour] : active).remove(&slot);
  if (slot.in_event_list()) speaking.remove(&slot);
  if (slot.neighbour != kNoNeighbour) {
    neighbours.release(slot.neighbour);
    flows.erase(slot.hash, slots.index_of(slot));
    ++flows_version;
  }
  slots.give_back(slot);
}

// The connection ends without a word to the peer; `closed` says `error`.
void Stack::Impl::fail_later(Slot& slot, StreamError error) {
  slot.failure = error;
  slot.tcp().abort(now);
  burst->clear();
  burst->begin_turn(tcp::TxBurst::kCapacity);
  slot.tcp().poll_transmit(now, *burst);  // into the void
  burst->clear();
  want_events(slot);
}

// RFC 6056 §3.3.3, "simple hash-based": ports of one destination follow one another, those of
// others say nothing about them. 0: none is free.
std::uint16_t Stack::Impl::choose_port(const tcp::Flow& wanted) {
  SipHash24 hash(options.secret);
  hash.add(0x706f7274);  // a domain of its own
  tcp::add_flow(hash, wanted);
  const std::uint64_t offset = hash.finish();
  const std::uint32_t first = options.ephemeral_first;
  tcp::Flow flow = wanted;
  for (std::uint32_t i = 0; i < kPortTries; ++i) {
    const auto port_number =
        static_cast<std::uint16_t>(first + (offset + next_ephemeral++) % (65536 - first));
    flow.local_port = port_number;
    if (listens(port_number) || time_wait.contains(flow)) continue;
    if (find_flow(flow, static_cast<std::uint32_t>(shared.hash(flow))) != FlowTable::kNone)
      continue;
    return port_number;
  }
  return 0;
}

bool Stack::Impl::connect(const Endpoint& remote, const IpAddress& local, StreamHandle& out) {
  Slot* slot = slots.take(shared);
  if (slot == nullptr) return false;
  out = slots.handle_of(*slot);
  slot->announced = true;
  const Route route = host.route(remote.ip, local);
  if (route.interface == kNoInterface || remote.port == 0 ||
      is_bogon(remote.ip, remote.ip.is_v4()) || host.find_local(remote.ip) != kNoInterface) {
    drop(DropReason::no_route);
    slot->failure = StreamError::unreachable;
    want_events(*slot);
    return true;
  }
  tcp::Flow flow{host.interfaces()[route.interface].address, remote.ip, 0, remote.port};
  flow.local_port = choose_port(flow);
  if (flow.local_port == 0 || !add_flow(*slot, flow, route)) {
    slot->failure = StreamError::no_resources;
    want_events(*slot);
    return true;
  }
  slot->tcp().open_active(now, shared.opening(now, flow, host.mss(flow.local.is_v4())));
  activate(*slot);
  arm(*slot);
  return true;
}

void Stack::Impl::validate() const {
  std::uint32_t used = 0, with_flow = 0, listed = 0;
  for (const Slot& slot : slots) {
    if (!slot.used) {
      ASSERT(!slot.armed() && !slot.in_output_list() && !slot.in_event_list());
      continue;
    }
    ++used;
    listed += slot.in_output_list() && !slot.waiting;
    ASSERT(!slot.waiting || slot.in_output_list());
    if (slot.neighbour == kNoNeighbour) {
      ASSERT(slot.failure != StreamError::none && slot.in_event_list());
      continue;
    }
    ++with_flow;
    ASSERT(find_flow(slot.flow, slot.hash) == slots.index_of(slot));
    slot.tcp().validate();
    // Whatever it waits for, somebody will look.
    const Instant due = slot.tcp().next_timeout();
    ASSERT(due == Instant::never() || slot.in_output_list() || slot.in_event_list() ||
           (slot.armed() && slot.when <= due));
  }
  ASSERT(used == slots.size() && with_flow == flows.size() && listed == active.size());
  flows.validate();
  neighbours.validate();
  listener.validate();
  stalls.validate();
  time_wait.validate();
}

Stack::Stack(NicPort& port, const StackOptions& options, Instant now)
    : impl_(std::make_unique<Impl>(port, options, now)) {}

Stack::~Stack() = default;

std::size_t Stack::poll_events(Instant now, std::span<StreamEvent> out) {
  return impl_->poll_events(now, out);
}

SendResult Stack::try_send(StreamHandle stream, std::span<const SendPart> parts) {
  Slot* slot = impl_->find_stream(stream);
  if (slot == nullptr || slot->failure != StreamError::none) return {};
  const SendResult result{slot->tcp().try_send(impl_->now, parts), false};
  if (result.accepted != 0) {
    impl_->stalls.on_kept(impl_->now, *slot);
    impl_->activate(*slot);
  }
  impl_->arm(*slot);
  return result;
}

void Stack::set_reading(StreamHandle stream, bool on) {
  Slot* slot = impl_->find_stream(stream);
  if (slot == nullptr || slot->failure != StreamError::none) return;
  slot->tcp().set_reading(impl_->now, on);
  if (on) impl_->want_events(*slot);
  impl_->after_input(*slot);
}

bool Stack::connect(const Endpoint& remote, const IpAddress& local, StreamHandle& out) {
  return impl_->connect(remote, local, out);
}

std::size_t Stack::unacknowledged(StreamHandle stream) {
  Slot* slot = impl_->find_stream(stream);
  return slot == nullptr ? 0 : slot->tcp().queued();
}

void Stack::close(StreamHandle stream, bool graceful) {
  Slot* slot = impl_->find_stream(stream);
  if (slot == nullptr) return;
  slot->orphan = true;
  if (slot->failure != StreamError::none) return;  // `closed` was on its way; now it is swallowed
  if (graceful) {
    slot->tcp().close(impl_->now);
    // Nobody takes what comes from now on.
    slot->tcp().set_reading(impl_->now, true);
  } else {
    slot->tcp().abort(impl_->now);
  }
  impl_->want_events(*slot);
  impl_->after_input(*slot);
}

bool Stack::shed_longest_stalled(Instant now) {
  impl_->now = now;
  Slot* const longest = impl_->stalls.take(now);
  if (longest == nullptr) return false;
  longest->tcp().shed();
  impl_->want_events(*longest);
  impl_->after_input(*longest);
  return true;
}

bool Stack::on_content(StreamHandle stream, std::uint64_t pin, const ContentRef& content,
                       const std::byte* data) {
  Slot* slot = impl_->slots.find(stream);
  if (slot == nullptr || slot->neighbour == kNoNeighbour) return false;
  const bool kept = slot->tcp().on_content(impl_->now, pin, content, data);
  if (kept) impl_->stalls.on_kept(impl_->now, *slot);
  impl_->want_events(*slot);
  impl_->after_input(*slot);
  return kept;
}

void Stack::flush(Instant now) {
  impl_->flush(now);
}

Instant Stack::next_timeout() const {
  return impl_->next_timeout();
}

const StackCounters& Stack::counters() const {
  return impl_->counters;
}

const tcp::Counters& Stack::tcp_counters() const {
  return impl_->shared.counters;
}

std::uint32_t Stack::connections() const {
  return impl_->slots.size();
}

std::size_t Stack::bytes_per_connection() {
  // A table is at most half full, at least a quarter.
  return sizeof(Slot) + 4 * 2 * sizeof(std::uint32_t);
}

std::array<std::span<std::byte>, 4> Stack::memory() const {
  const tcp::Shared& shared = impl_->shared;
  return {impl_->slots.memory(), shared.record_memory(), shared.send_pages.memory(),
          shared.receive_pages.memory()};
}

void Stack::validate() const {
  impl_->validate();
}

}  // namespace penstock::net
