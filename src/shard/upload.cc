// Upload planner: from a session's request queue through the store to the socket.
//
// Purpose: keep the socket full without queueing more than the peer can take, and hold no memory
// for a peer that doesn't read. Algorithm: while the stream has room, requests move from the
// session's queue into the window and are wanted; whatever is in memory goes out in one try_send,
// ready ones first, never inside a block that has begun. After a short try_send the peer has no
// room: every pin is let go at once, and the blocks are wanted again when the stream is writable
// (they are most likely still in the cache). Only the block whose header has begun must be the next
// bytes on the stream. Invariants: pins are held only between `ready` and the next try_send;
// c.pending counts the window's pending slots.
#include <algorithm>
#include <new>

#include "shard/connection.hh"
#include "shard/shard.hh"
#include "shard/upload_batch.hh"

namespace penstock {

namespace {

// Blocks of one peer that may wait for the disk: enough for the read scheduler to see neighbours,
// few enough that what is read is sent before it is evicted.
constexpr std::uint32_t kMissesMax = 32;
// Sends of one connection before the next one's turn.
constexpr int kRoundsMax = 4;
// Parts that control messages may take of a batch.
constexpr std::size_t kSmallPartsMax = 16;
// Under a rate limit, what all connections together get in a round of turns: this much of a
// second's bytes.
constexpr std::uint64_t kTurnsPerSecond = 1000;
// A home without room is asked again after kStallRetry, twice that, … at most this.
constexpr Duration kBusyPauseMax = Duration::milliseconds(50);
// A send of four blocks costs little more than one of a single block, here and at the peer, whose
// next requests then come together, too. So while the disk keeps the shard busy, fewer blocks than
// this wait for others of their connection, for at most so many cycles.
constexpr std::uint32_t kBlocksWorthSending = 4;
constexpr std::uint8_t kCyclesHeldMax = 8;

}  // namespace

// Blocks that a connection may send in this turn; 0: a rate limit says wait.
std::uint32_t Shard::quantum(Instant now, const Connection& c) {
  const auto share_of = [&](const TokenBucket& bucket, std::uint32_t sharers) -> std::uint64_t {
    const std::uint64_t rate = bucket.rate();
    if (rate == 0) return UploadWindow::kSlots;
    if (bucket.available(now) == 0) return 0;
    return std::max<std::uint64_t>(rate / kTurnsPerSecond / kBlockSize / std::max(sharers, 1u), 1);
  };
  std::uint64_t share = share_of(bucket_, active_count_);
  if (c.torrent != nullptr) {
    TorrentCounters& own = c.torrent->counters[id_.value];
    share = std::min(share, share_of(c.torrent->bucket, own.peers.load(std::memory_order_relaxed)));
  }
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(share, UploadWindow::kSlots));
}

bool Shard::rate_limited(const Connection& c) const {
  return bucket_.limited() || (c.torrent != nullptr && c.torrent->bucket.limited());
}

Shard::Pumped Shard::pump(Instant now, Connection& c) {
  for (int round = 0; round < kRoundsMax; ++round) {
    if (!c.writable) return Pumped::waiting;
    const bool crowded = keeping_ != nullptr && store_.crowded();
    const std::uint32_t blocks = crowded ? 0 : quantum(now, c);
    bool refused = crowded && (c.window != nullptr || c.session.request_count() > 0);
    if (refused) {
      unpin_all(c);
      shed_due_ = true;
    }
    if (blocks > 0 && !c.session.choked()) refused = !refill(now, c, blocks);
    if (c.session.closed()) return Pumped::idle;
    if (waits_for_others(c)) return Pumped::more;
    Batch& batch = *pools_->batch;
    batch.clear();
    if (!compose(now, c, batch, blocks)) {
      if (refused || batch.refused) return Pumped::refused;
      if (blocks == 0 && (c.window != nullptr || c.session.request_count() > 0)) {
        return bucket_.limited() && bucket_.available(now) == 0 ? Pumped::limited : Pumped::held;
      }
      return c.pending > 0 ? Pumped::waiting : Pumped::idle;
    }
    const SendResult result =
        streams_.try_send(c.stream, std::span(batch.parts).first(batch.part_count));
    settle(now, c, batch, result);
    if (result.accepted < batch.bytes) {
      c.writable = false;
      c.unacknowledged = SIZE_MAX;
      c.session.set_send_blocked(now, true);
      unpin_all(c);
      return Pumped::waiting;
    }
    // One quantum a turn: equal shares.
    if (rate_limited(c)) return Pumped::more;
  }
  return Pumped::more;
}

// Whether what is ready of a connection is to be sent together with what it still waits for. The
// shard doesn't sleep over that: once a cycle brings few completions, everything goes out.
bool Shard::waits_for_others(Connection& c) const {
  const bool may_wait = disk_crowded_ && c.pending > 0 && c.cycles_held < kCyclesHeldMax &&
                        c.window != nullptr && c.window->begun() == nullptr && !rate_limited(c) &&
                        !c.session.small_pending();
  const std::uint32_t others = may_wait ? c.window->size() - c.pending : 0;
  if (others == 0 || others >= kBlocksWorthSending) {
    c.cycles_held = 0;
    return false;
  }
  ++c.cycles_held;
  return true;
}

// Moves requests into the window up to so many blocks, and wants what isn't wanted yet. False: a
// home had no room for a want.
bool Shard::refill(Instant now, Connection& c, std::uint32_t blocks) {
  if (c.window != nullptr) {
    for (std::uint32_t i = 0; i < c.window->size() && c.pending < kMissesMax; ++i) {
      UploadSlot& slot = c.window->at(i);
      if (slot.state == UploadSlot::State::queued && !want_slot(now, c, slot)) return false;
    }
    c.window->compact();
  }
  while (c.session.request_count() > 0 && c.pending < kMissesMax && !c.session.closed()) {
    if (c.window == nullptr && (c.window = take_window()) == nullptr) return false;
    if (c.window->size() >= blocks) break;
    UploadSlot* slot = c.window->append();
    if (slot == nullptr) break;
    const Request request = c.session.pop_request();
    slot->state = UploadSlot::State::queued;
    slot->piece = request.piece;
    slot->begin = request.begin;
    slot->length = request.length;
    if (!want_slot(now, c, *slot)) return false;
    if (slot->state == UploadSlot::State::free) c.window->compact();
  }
  if (c.window != nullptr && c.window->size() == 0) free_window(c);
  return true;
}

// A queued slot asks its home for the block. False: no room there now, ask again in a later cycle.
bool Shard::want_slot(Instant now, Connection& c, UploadSlot& slot) {
  TorrentContent& content = *c.torrent->content;
  const ShardId home = content.home(slot.piece, exchange_.shard_count());
  const Token token{id_.value, c.index, c.generation,
                    static_cast<std::uint8_t>(c.window->index_of(slot))};
  const BlockWant want{&content, slot.piece, slot.begin, slot.length, token.pack()};
  slot.home = home.value;
  WantStatus status = WantStatus::pending;
  if (home == id_) {
    status = store_.want(now, want, slot.block);
  } else if (now >= c.busy_until && open_want(home, want)) {
    ShardCounters::add(counters_.cross_shard_wants, 1);
  } else {
    status = WantStatus::busy;
  }
  switch (status) {
    case WantStatus::ready:
      slot.state = UploadSlot::State::ready;
      return true;
    case WantStatus::pending:
      slot.state = UploadSlot::State::pending;
      ++c.pending;
      return true;
    case WantStatus::busy:
      return false;
    case WantStatus::lost:
      lose_slot(now, c, slot);
      return true;
  }
  UNREACHABLE();
}

// The block is not to be had.
void Shard::lose_slot(Instant now, Connection& c, UploadSlot& slot) {
  const bool begun = slot.sent > 0;
  slot.state = UploadSlot::State::free;
  if (begun) {
    c.session.close(CloseReason::content_lost);
  } else if (!c.session.reject(now, Request{slot.piece, slot.begin, slot.length})) {
    c.session.close(CloseReason::piece_lost);
  }
}

// False: the streams keep so much that no more can be accounted for.
bool Shard::add(const Connection& c, Batch& batch, UploadSlot& slot) {
  if (keeping_ == nullptr) {
    batch.add_block(slot);
    return true;
  }
  const std::size_t pins = (batch.slot_count + 1) * slot.block.parts.size();
  if (keeping_->blocks.room() < pins) {
    batch.refused = shed_due_ = true;
    return false;
  }
  const std::uint64_t at = c.torrent->content->blocks.piece_offset(slot.piece) + slot.begin;
  batch.add_kept_block(slot, keeping_->blocks, content_ref(*c.torrent, at, slot.length));
  return true;
}

// False: nothing can go out now.
bool Shard::compose(Instant now, Connection& c, Batch& batch, std::uint32_t blocks) {
  UploadSlot* begun = c.window == nullptr ? nullptr : c.window->begun();
  if (begun != nullptr) {
    if (begun->state != UploadSlot::State::ready) return false;
    if (!add(c, batch, *begun)) return false;
    batch.starts_inside = true;
  }
  const SmallFill small = c.session.fill_small(
      now, batch.scratch, std::span(batch.parts).subspan(batch.part_count, kSmallPartsMax));
  batch.small_bytes = small.bytes;
  batch.part_count += small.parts;
  batch.bytes += small.bytes;
  if (c.window != nullptr && small.complete) {
    for (std::uint32_t i = 0; i < c.window->size() && batch.has_room(); ++i) {
      UploadSlot& slot = c.window->at(i);
      if (slot.state != UploadSlot::State::ready || &slot == begun) continue;
      if (batch.slot_count >= blocks || !add(c, batch, slot)) break;
    }
  }
  return batch.bytes > 0;
}

void Shard::settle(Instant now, Connection& c, const Batch& batch, const SendResult& result) {
  std::size_t left = result.accepted;
  std::uint64_t payload = 0;
  const auto take_block = [&](std::size_t which) {
    UploadSlot& slot = *batch.slots[which];
    const std::uint32_t whole = wire::kPieceHeaderSize + slot.length;
    const auto taken = static_cast<std::uint32_t>(std::min<std::size_t>(left, whole - slot.sent));
    const std::uint32_t header_left =
        slot.sent < wire::kPieceHeaderSize ? wire::kPieceHeaderSize - slot.sent : 0;
    payload += taken > header_left ? taken - header_left : 0;
    left -= taken;
    slot.sent += taken;
    slot.exposed |= result.exposed;
    const bool kept = keeping_ != nullptr && keep_taken(slot, batch.parts_of(which), taken);
    if (slot.sent == whole) {
      if (!kept) let_go(slot);
      c.session.on_block_sent(now);
      slot.state = UploadSlot::State::free;
    } else if (kept) {
      slot.state = UploadSlot::State::queued;  // the rest is wanted anew
    }
  };
  std::size_t next = 0;
  if (batch.starts_inside) take_block(next++);
  const std::size_t small = std::min(left, batch.small_bytes);
  if (small > 0) c.session.on_small_sent(now, small);
  left -= small;
  while (left > 0) {
    DCHECK(next < batch.slot_count);
    take_block(next++);
  }
  if (c.window != nullptr) {
    c.window->compact();
    if (c.window->size() == 0) free_window(c);
  }
  ShardCounters::add(counters_.sent_bytes, result.accepted);
  if (payload == 0) return;
  ShardCounters::add(counters_.payload_bytes, payload);
  if (result.exposed) ShardCounters::add(counters_.payload_bytes_by_reference, payload);
  c.torrent->counters[id_.value].add_uploaded(payload);
  c.uploaded += payload;
  bucket_.consume(now, payload);
  c.torrent->bucket.consume(now, payload);
}

// The peer has no room: nothing stays pinned for it.
void Shard::unpin_all(Connection& c) {
  if (c.window == nullptr) return;
  for (std::uint32_t i = 0; i < c.window->size(); ++i) {
    UploadSlot& slot = c.window->at(i);
    if (slot.state != UploadSlot::State::ready) continue;
    let_go(slot);
    slot.state = UploadSlot::State::queued;
  }
}

// Ends the slot's pin, here or at its home.
void Shard::let_go(UploadSlot& slot) {
  release_block(ShardId(slot.home), slot.block, slot.exposed);
  slot.exposed = false;
}

void Shard::release_block(ShardId home, const Block& block, bool exposed) {
  if (home == id_) {
    store_.release(block, exposed);
  } else {
    post_release(home, block, exposed);
  }
}

void Shard::on_block_ready(Instant now, const BlockReady& ready, ShardId home) {
  const Token token = Token::unpack(ready.token);
  if (token.slot == kLeafSlot) {
    on_leaf_block(now, ready, home);
    return;
  }
  if (token.slot == kNeedSlot) {
    on_need_ready(now, ready, home);
    return;
  }
  Connection& c = pools_->connections[token.connection];
  UploadSlot* slot = nullptr;
  if (c.live && c.generation == token.generation && c.window != nullptr) {
    slot = &c.window->by_index(token.slot);
  }
  if (slot == nullptr || slot->state != UploadSlot::State::pending) {
    // The peer went away meanwhile.
    if (ready.status == WantStatus::ready) release_block(home, ready.block, false);
    return;
  }
  --c.pending;
  if (ready.status != WantStatus::busy) {
    c.busy_pause = Duration{};
  } else if (now >= c.busy_until) {
    // Asked again at once, two shards would do nothing else while a disk hangs.
    c.busy_pause = std::clamp(c.busy_pause * 2, kStallRetry, kBusyPauseMax);
    c.busy_until = now + c.busy_pause;
  }
  if (ready.status == WantStatus::ready && !slot->cancelled && c.writable) {
    slot->block = ready.block;
    slot->state = UploadSlot::State::ready;
    activate(c);
    return;
  }
  if (ready.status == WantStatus::ready) release_block(home, ready.block, false);
  if (slot->cancelled) {
    const Request request{slot->piece, slot->begin, slot->length};
    slot->state = UploadSlot::State::free;
    refuse(now, c, request);
  } else if (ready.status == WantStatus::lost) {
    lose_slot(now, c, *slot);
  } else {
    slot->state = UploadSlot::State::queued;  // busy at its home, or the peer has no room now
  }
  c.window->compact();
  if (c.window->size() == 0) free_window(c);
  activate(c);
}

// The session no longer has the request: it is in the window, or it went out already.
void Shard::on_cancel(Instant now, Connection& c, const Request& request) {
  if (c.window == nullptr) return;
  for (std::uint32_t i = 0; i < c.window->size(); ++i) {
    UploadSlot& slot = c.window->at(i);
    if (slot.piece != request.piece || slot.begin != request.begin ||
        slot.length != request.length || slot.sent > 0 || slot.cancelled) {
      continue;
    }
    drop_slot(now, c, slot);
    break;
  }
  c.window->compact();
  if (c.window->size() == 0) free_window(c);
}

// Not to be sent any more. A pending want is waited for.
void Shard::drop_slot(Instant now, Connection& c, UploadSlot& slot) {
  if (slot.state == UploadSlot::State::pending) {
    slot.cancelled = true;
    return;
  }
  if (slot.state == UploadSlot::State::ready) let_go(slot);
  slot.state = UploadSlot::State::free;
  refuse(now, c, Request{slot.piece, slot.begin, slot.length});
}

// BEP 6: a request that was cancelled or choked is answered, too; without BEP 6 it is dropped.
void Shard::refuse(Instant now, Connection& c, const Request& request) {
  if (!c.session.reject(now, request)) c.session.drop_request();
}

// Choked: what has not begun isn't sent (BEP 3), and is rejected where the peer speaks BEP 6.
void Shard::drop_unsent(Instant now, Connection& c) {
  if (c.window == nullptr) return;
  for (std::uint32_t i = 0; i < c.window->size(); ++i) {
    UploadSlot& slot = c.window->at(i);
    if (slot.sent == 0 && !slot.cancelled) drop_slot(now, c, slot);
  }
  c.window->compact();
  if (c.window->size() == 0) free_window(c);
}

UploadWindow* Shard::take_window() {
  if (pools_->free_window_count == 0) return nullptr;
  UploadWindow* const window = pools_->free_windows[--pools_->free_window_count];
  if (window < pools_->unmade()) return window;
  ++pools_->windows_made;
  return new (window) UploadWindow;
}

void Shard::free_window(Connection& c) {
  c.window->clear();
  pools_->free_windows[pools_->free_window_count++] = c.window;
  c.window = nullptr;
}

}  // namespace penstock
