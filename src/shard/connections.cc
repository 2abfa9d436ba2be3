// Peers: from the accepted stream to the closed one.
#include "shard/connection.hh"
#include "shard/shard.hh"

namespace penstock {

Shard::Connection* Shard::find(StreamHandle stream) {
  Connection* c = pools_->by_stream[stream_index(stream)];
  return c != nullptr && c->stream == stream ? c : nullptr;
}

void Shard::on_accepted(Instant now, const StreamEvent& event) {
  ShardCounters::add(counters_.accepted, 1);
  CloseReason refusal = stopping_ ? CloseReason::shutdown : CloseReason::too_many_connections;
  bool admitted = false;
  if (!stopping_ && pools_->free_connection_count > 0) {
    switch (admission_.try_admit(event.endpoint.ip)) {
      case Admission::Verdict::admitted:
        admitted = true;
        break;
      case Admission::Verdict::too_many:
        refusal = CloseReason::too_many_connections;
        break;
      case Admission::Verdict::too_many_from_address:
        refusal = CloseReason::too_many_from_address;
        break;
    }
  }
  if (!admitted) {
    streams_.close(event.stream, false);
    ShardCounters::add(counters_.closes[static_cast<std::size_t>(refusal)], 1);
    return;
  }
  Connection& c = *pools_->free_connections[--pools_->free_connection_count];
  c.stream = event.stream;
  c.remote = event.endpoint;
  c.generation = (c.generation + 1) & 0xffffff;
  c.torrent = nullptr;
  c.window = nullptr;
  c.uploaded = 0;
  c.pending = 0;
  c.cycles_held = 0;
  c.busy_pause = Duration{};
  c.busy_until = Instant{};
  c.live = true;
  c.writable = true;
  ++live_;
  counters_.connections.store(live_, std::memory_order_relaxed);
  pools_->by_stream[stream_index(event.stream)] = &c;
  c.session.open(now, shared_, SessionRole::seed, event.endpoint, false, nullptr);
  after_input(now, c);
}

// The session has had input or a command: hear what it says, look at its deadline, pump it.
void Shard::after_input(Instant now, Connection& c) {
  if (!hear(now, c)) return;
  rearm(c);
  if (!c.writable) return;
  const bool words = c.session.small_pending();
  words_wait_ |= words && bucket_.limited();
  if (words || c.session.request_count() > 0) activate(c);
}

// The session has had output: what is left of after_input.
void Shard::after_pump(Instant now, Connection& c) {
  if (c.session.event_due()) {
    if (!hear(now, c)) return;
    if (c.writable && c.session.small_pending()) activate(c);
  }
  rearm(c);
}

// False: the connection is gone.
bool Shard::hear(Instant now, Connection& c) {
  SessionEvent event;
  while (c.session.poll_event(event)) {
    if (event.kind == SessionEvent::Kind::closed) {
      streams_.close(c.stream, close_reason_fault(event.reason) != CloseFault::peer);
      forget(now, c);
      return false;
    }
    on_session_event(now, c, event);
  }
  return true;
}

// A deadline that moved later is seen when the timer fires.
void Shard::rearm(Connection& c) {
  const Instant deadline = c.session.next_timeout();
  if (!c.timer.armed() || deadline < c.timer.when) wheel_.arm(c.timer, deadline);
}

void Shard::on_session_event(Instant now, Connection& c, const SessionEvent& event) {
  switch (event.kind) {
    case SessionEvent::Kind::info_hash:
      on_info_hash(now, c, event.info_hash);
      return;
    case SessionEvent::Kind::interested:
      choker_.on_interested(now, c.index);
      return;
    case SessionEvent::Kind::not_interested:
      choker_.on_not_interested(now, c.index);
      return;
    case SessionEvent::Kind::cancel:
      on_cancel(now, c, event.request);
      return;
    case SessionEvent::Kind::leaf_hashes:
      start_leaf_job(now, c, event.piece);
      return;
    case SessionEvent::Kind::leaf_hashes_done:
      end_leaf_job(c);
      return;
    default:
      return;  // of no matter to a seed
  }
}

void Shard::on_info_hash(Instant now, Connection& c, const WireInfoHash& hash) {
  ShardTorrent* torrent = torrents_.find(hash);
  if (torrent == nullptr) {
    c.session.refuse_torrent();
    return;
  }
  c.torrent = torrent;
  TorrentCounters& counters = torrent->counters[id_.value];
  counters.peers.store(counters.peers.load(std::memory_order_relaxed) + 1,
                       std::memory_order_relaxed);
  c.session.accept_torrent(now, &torrent->torrent);
}

// Tells the sessions whom the choker has chosen.
bool Shard::apply_choker(Instant now) {
  bool any = false;
  Choker::Change change;
  while (choker_.poll_change(now, change)) {
    any = true;
    Connection& c = pools_->connections[change.peer];
    DCHECK(c.live);
    c.session.set_choked(now, change.choked);
    if (change.choked) drop_unsent(now, c);
    after_input(now, c);
  }
  return any;
}

// The stream is closed: nothing of the connection remains.
void Shard::forget(Instant now, Connection& c) {
  const auto reason = static_cast<std::size_t>(c.session.close_reason());
  ShardCounters::add(counters_.closes[reason], 1);
  pools_->by_stream[stream_index(c.stream)] = nullptr;
  deactivate(c);
  wheel_.disarm(c.timer);
  choker_.remove(now, c.index);
  abandon_leaf_job(c);
  if (c.window != nullptr) {
    unpin_all(c);
    free_window(c);  // pending wants come home to a generation that is gone
  }
  if (c.torrent != nullptr) {
    TorrentCounters& counters = c.torrent->counters[id_.value];
    counters.peers.store(counters.peers.load(std::memory_order_relaxed) - 1,
                         std::memory_order_relaxed);
  }
  admission_.release(c.remote.ip);
  c.session.reset();
  c.live = false;
  c.torrent = nullptr;
  --live_;
  counters_.connections.store(live_, std::memory_order_relaxed);
  pools_->free_connections[pools_->free_connection_count++] = &c;
}

void Shard::activate(Connection& c) {
  if (c.next_active != nullptr) return;
  ++active_count_;
  if (active_ == nullptr) {
    active_ = c.next_active = c.prev_active = &c;
    return;
  }
  // Last in turn: just before the next one.
  c.next_active = active_;
  c.prev_active = active_->prev_active;
  c.prev_active->next_active = &c;
  active_->prev_active = &c;
}

void Shard::deactivate(Connection& c) {
  if (c.next_active == nullptr) return;
  --active_count_;
  if (active_ == &c) active_ = c.next_active == &c ? nullptr : c.next_active;
  c.prev_active->next_active = c.next_active;
  c.next_active->prev_active = c.prev_active;
  c.next_active = c.prev_active = nullptr;
}

}  // namespace penstock
