// Torrents come and go: control's messages, the store's news.
#include "shard/connection.hh"
#include "shard/shard.hh"

namespace penstock {

namespace {
constexpr int kControlBurst = 64;
}  // namespace

bool Shard::take_control(Instant now) {
  bool any = false;
  ControlMessage message;
  for (int i = 0; i < kControlBurst; ++i) {
    if (!exchange_.to_shard(id_).try_receive(message)) break;
    any = true;
    switch (message.kind) {
      case ControlMessage::Kind::add_torrent:
        add_torrent(message.torrent);
        break;
      case ControlMessage::Kind::remove_torrent:
        remove_torrent(now, message.torrent);
        break;
      case ControlMessage::Kind::set_rate:
        bucket_.set_rate(now, message.value);
        break;
      case ControlMessage::Kind::set_torrent_rate:
        message.torrent->bucket.set_rate(now, message.value);
        break;
      case ControlMessage::Kind::set_peers_max:
        admission_.set_limits(static_cast<std::uint32_t>(message.value),
                              static_cast<std::uint32_t>(message.value >> 32));
        break;
      case ControlMessage::Kind::piece_lost:
        tell_peers(now, message.torrent, PieceIndex(static_cast<std::uint32_t>(message.value)),
                   true);
        break;
      case ControlMessage::Kind::piece_recovered:
        tell_peers(now, message.torrent, PieceIndex(static_cast<std::uint32_t>(message.value)),
                   false);
        break;
      case ControlMessage::Kind::stop:
        stop(now);
        break;
    }
  }
  return any;
}

void Shard::add_torrent(ShardTorrent* torrent) {
  for (const WireInfoHash& hash : torrent->torrent.hashes()) {
    const bool inserted = torrents_.insert(hash, torrent);
    ASSERT(inserted);  // control keeps torrents_max
  }
  pools_->by_slot[torrent->content->slot.value] = torrent;
  if (keeping_ != nullptr) ++keeping_->epochs[torrent->content->slot.value];
}

// Removal: no new sessions, no sessions, no wants of ours on the way to other shards (the fence
// follows them in the same rings), no pins and reads in the store. A shard that has its own store
// empty and everybody's fence holds nothing of the torrent and can't be asked for it again. When
// all shards have said so, control frees it.
void Shard::remove_torrent(Instant now, ShardTorrent* torrent) {
  for (const WireInfoHash& hash : torrent->torrent.hashes())
    torrents_.erase(hash);
  for (std::uint32_t i = 0; i < limits_.connections_max; ++i) {
    Connection& c = pools_->connections[i];
    if (!c.live || c.torrent != torrent) continue;
    c.session.close(CloseReason::torrent_withdrawn);
    after_input(now, c);
  }
  pools_->by_slot[torrent->content->slot.value] = nullptr;
  store_.forget(torrent->content.get());
  pools_->leaving[pools_->leaving_count++] = torrent;
}

void Shard::finish_removals() {
  for (std::uint32_t i = 0; i < pools_->leaving_count && !reports_full();) {
    ShardTorrent* torrent = pools_->leaving[i];
    if (!send_fences(torrent) || !store_.forgotten(torrent->content.get()) ||
        torrent->counters[id_.value].fences + 1 < exchange_.shard_count()) {
      ++i;
      continue;
    }
    report(ShardReport{.kind = ShardReport::Kind::torrent_removed, .torrent = torrent});
    pools_->leaving[i] = pools_->leaving[--pools_->leaving_count];
  }
}

void Shard::stop(Instant now) {
  stopping_ = true;
  for (std::uint32_t i = 0; i < limits_.connections_max; ++i) {
    Connection& c = pools_->connections[i];
    if (!c.live) continue;
    c.session.close(CloseReason::shutdown);
    after_input(now, c);
  }
}

// News of a piece or file whose home is here: control logs it, and tells the sessions of all shards
// (tell_peers).
void Shard::on_store_event(const StoreEvent& event) {
  ShardTorrent* torrent = pools_->by_slot[event.torrent->slot.value];
  if (torrent == nullptr || torrent->content.get() != event.torrent) return;  // it is leaving
  report(ShardReport{.kind = ShardReport::Kind::store_event, .torrent = torrent, .event = event});
}

void Shard::tell_peers(Instant now, const ShardTorrent* torrent, PieceIndex piece, bool lost) {
  for (std::uint32_t i = 0; i < limits_.connections_max; ++i) {
    Connection& c = pools_->connections[i];
    if (!c.live || c.torrent != torrent) continue;
    if (lost) {
      c.session.on_piece_lost(now, piece);
    } else {
      c.session.on_piece_recovered(now, piece);
    }
    after_input(now, c);
  }
}

}  // namespace penstock
