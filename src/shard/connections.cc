// Peers: from the accepted stream to the closed one.
#include "shard/connection.hh"
#include "shard/shard.hh"

namespace penstock {

namespace {
// Session events handled for one connection in one step.
constexpr int kEventsMax = 64;
}  // namespace

Shard::Connection* Shard::find(StreamHandle stream) {
  Connection* c = pools_->by_stream[stream_index(stream)];
  return c != nullptr && c->stream == stream ? c : nullptr;
}

void Shard::on_accepted(Instant now, const StreamEvent& event) {
  ShardCounters::add(counters_.accepted, 1);
  if (stopping_ || pools_->free_connection_count == 0 || !admission_.try_admit(event.endpoint.ip)) {
    streams_.close(event.stream, false);
    const CloseReason reason =
        stopping_ ? CloseReason::shutdown : CloseReason::too_many_connections;
    ShardCounters::add(counters_.closes[static_cast<std::size_t>(reason)], 1);
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
  c.live = true;
  c.writable = true;
  c.doomed = false;
  ++live_;
  pools_->by_stream[stream_index(event.stream)] = &c;
  c.session.open(now, session_limits_, SessionRole::seed, event.endpoint, false, nullptr);
  after_input(now, c);
}

// The session has had input or a command: hear what it says, look at its deadline, pump it.
void Shard::after_input(Instant now, Connection& c) {
  drain_session_events(now, c);
  if (!c.live) return;
  if (c.doomed) {
    end(now, c);
    return;
  }
  const Instant deadline = c.session.next_timeout();
  // A deadline that moved later is seen when the timer fires.
  if (!c.timer.armed() || deadline < c.timer.when) wheel_.arm(c.timer, deadline);
  if (c.writable && (c.session.small_pending() > 0 || c.session.request_count() > 0)) activate(c);
}

void Shard::drain_session_events(Instant now, Connection& c) {
  SessionEvent event;
  for (int i = 0; i < kEventsMax && c.session.poll_event(event); ++i) {
    switch (event.kind) {
      case SessionEvent::Kind::info_hash:
        on_info_hash(now, c, event.info_hash);
        break;
      case SessionEvent::Kind::interested:
        choker_.on_interested(now, c.index);
        choker_changed_ = true;
        break;
      case SessionEvent::Kind::not_interested:
        choker_.on_not_interested(now, c.index);
        choker_changed_ = true;
        break;
      case SessionEvent::Kind::cancel:
        on_cancel(now, c, event.request);
        break;
      case SessionEvent::Kind::closed:
        c.doomed = true;
        return;
      default:
        break;  // the leecher's events
    }
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
void Shard::apply_choker(Instant now) {
  Choker::Change change;
  while (choker_.poll_change(now, change)) {
    Connection& c = pools_->connections[change.peer];
    DCHECK(c.live);
    c.session.set_choked(now, change.choked);
    if (change.choked) drop_unsent(now, c);
    after_input(now, c);
  }
}

void Shard::doom(Connection& c, CloseReason reason) {
  c.session.close(reason);
  c.doomed = true;
}

// Closes the stream from our side and forgets the peer.
void Shard::end(Instant now, Connection& c) {
  streams_.close(c.stream, true);
  forget(now, c);
}

// The stream is gone.
void Shard::forget(Instant now, Connection& c) {
  const auto reason = static_cast<std::size_t>(c.session.close_reason());
  ShardCounters::add(counters_.closes[reason], 1);
  pools_->by_stream[stream_index(c.stream)] = nullptr;
  deactivate(c);
  wheel_.disarm(c.timer);
  choker_.remove(now, c.index);
  choker_changed_ = true;
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
