// Content that streams keep until it is acknowledged (StreamPort::keeps_payload; ARCHITECTURE §2).
//
// Purpose: payload leaves by reference, and a peer that doesn't acknowledge can't hold memory.
// Algorithm: of a block that the stream took, the shard keeps the store's pin until the stream has
// said `released` for each part. While more than half of the memory is pinned nothing new is sent
// and, every kShedPause, the stream that is stalled longest is told to let go. What it then asks
// for with `need` is wanted from the store like any block, as often as it takes, and given with
// on_content; content that is lost ends the stream. Invariants: every pin of a part that was taken
// is in kept_ until it is released; a need is free, queued (in the line), or wanted (the store will
// answer). Sources: byte_stream.hh; Atlas (SIGCOMM 2017) for keeping no more than the window.
#include <algorithm>
#include <cstring>

#include "shard/connection.hh"
#include "shard/shard.hh"

namespace penstock {

namespace {
// What streams that go on acknowledge meanwhile may be enough.
constexpr Duration kShedPause = Duration::milliseconds(1);
// Needs that are taken up in one cycle.
constexpr int kNeedBurst = 64;
// A slot's epoch is above this in ContentRef::torrent.
constexpr unsigned kSlotBits = 20;
}  // namespace

Shard::Keeping::Keeping(const ShardLimits& limits)
    : blocks(limits.kept_parts_max),
      needs(limits.streams_max() * kNeedsPerStream),
      epochs(limits.torrents_max),
      scratch(kScratchBlocks) {
  ASSERT(limits.torrents_max <= 1u << kSlotBits);
  for (Need& need : needs)
    free_needs.push_back(&need);
  for (std::uint32_t i = 0; i < kScratchBlocks; ++i)
    free_scratch[free_scratch_count++] = i;
}

// What a part of a block is called towards the stream. Epochs tell a torrent from the one that had
// its slot before: a stream may outlive both.
ContentRef Shard::content_ref(const ShardTorrent& torrent, std::uint64_t offset,
                              std::uint32_t length) const {
  const std::uint32_t slot = torrent.content->slot.value;
  return {TorrentSlot(keeping_->epochs[slot] << kSlotBits | slot), length, offset};
}

// Parts of which anything was taken are the stream's until it says `released`. False: there were
// none, the slot still has its pin.
bool Shard::keep_taken(const UploadSlot& slot, std::span<const SendPart> parts,
                       std::uint32_t taken) {
  std::array<std::uint64_t, std::tuple_size_v<decltype(Block::parts)>> pins;
  std::size_t count = 0;
  for (const SendPart& part : parts) {
    if (taken == 0) break;
    taken -= std::min(taken, part.length);
    if (part.pin != 0) pins[count++] = part.pin;
  }
  if (count == 0) return false;
  keeping_->blocks.keep(ShardId(slot.home), slot.block, std::span(pins).first(count));
  return true;
}

void Shard::on_released(std::uint64_t pin) {
  KeptBlocks::Kept kept;
  if (!keeping_->blocks.release(pin, kept)) return;
  if (kept.block.part_count == 0) {
    // A copy.
    Keeping& k = *keeping_;
    k.free_scratch[k.free_scratch_count++] = kept.block.parts[0].entry;
    return;
  }
  release_block(kept.home, kept.block, false);
}

void Shard::on_need(Instant now, const StreamEvent& event) {
  Need* need = keeping_->free_needs.pop_front();
  if (need == nullptr) {
    // More than streams have ever been seen to ask for: this one is given up.
    streams_.on_content(event.stream, event.pin, event.content, nullptr);
    return;
  }
  ShardCounters::add(counters_.needs, 1);
  need->stream = event.stream;
  need->pin = event.pin;
  need->content = event.content;
  need->again = now;
  keeping_->queued.push_back(need);
}

// One that finds no room goes behind the others: its pool may be the only one that has none.
bool Shard::run_needs(Instant now) {
  if (keeping_->queued.empty()) return false;
  bool any = false;
  for (int i = 0; i < kNeedBurst; ++i) {
    Need* const need = keeping_->queued.front();
    if (need == nullptr) return any;
    if (now < need->again) {
      stalled_ = true;
      return any;
    }
    any = true;
    keeping_->queued.remove(need);
    if (start_need(now, *need)) continue;
    need->again = now + kStallRetry;
    keeping_->queued.push_back(need);
  }
  work_left_ = true;
  return any;
}

// False: no room for it now.
bool Shard::start_need(Instant now, Need& need) {
  const std::uint32_t number = need.content.torrent.value;
  const std::uint32_t place = number & ((1u << kSlotBits) - 1);
  ShardTorrent* const torrent = pools_->by_slot[place];
  BlockReady ready{need_token(need), WantStatus::lost, {}};
  ShardId home = id_;
  if (torrent != nullptr && keeping_->epochs[place] == number >> kSlotBits) {
    TorrentContent& content = *torrent->content;
    const std::uint64_t piece_size = content.blocks.piece_size;
    const PieceIndex piece(static_cast<std::uint32_t>(need.content.offset / piece_size));
    home = content.home(piece, exchange_.shard_count());
    const BlockWant want{&content, piece,
                         static_cast<std::uint32_t>(need.content.offset % piece_size),
                         need.content.length, ready.token};
    if (keeping_->blocks.room() == 0) {
      shed_due_ = true;
      return false;
    }
    if (home == id_) {
      ready.status = store_.want(now, want, ready.block);
    } else {
      ready.status = open_want(home, want) ? WantStatus::pending : WantStatus::busy;
    }
    if (ready.status == WantStatus::busy) return false;
  }
  if (ready.status != WantStatus::pending) on_need_ready(now, ready, home);
  return true;
}

std::uint64_t Shard::need_token(const Need& need) const {
  const auto index = static_cast<std::uint32_t>(&need - keeping_->needs.data());
  return Token{id_.value, index, 0, kNeedSlot}.pack();
}

void Shard::on_need_ready(Instant now, const BlockReady& ready, ShardId home) {
  Need& need = keeping_->needs[Token::unpack(ready.token).connection];
  if (ready.status == WantStatus::ready && give_content(need, ready.block, home)) {
    keeping_->free_needs.push_front(&need);
    return;
  }
  if (ready.status == WantStatus::lost) {
    streams_.on_content(need.stream, need.pin, need.content, nullptr);
    keeping_->free_needs.push_front(&need);
    return;
  }
  need.again = now + kStallRetry;
  keeping_->queued.push_back(&need);
}

// False: no room to keep it; the block was let go.
bool Shard::give_content(const Need& need, const Block& block, ShardId home) {
  Keeping& k = *keeping_;
  if (k.blocks.room() == 0 || (block.part_count != 1 && k.free_scratch_count == 0)) {
    release_block(home, block, false);
    return false;
  }
  if (block.part_count == 1) {
    if (streams_.on_content(need.stream, need.pin, need.content, block.parts[0].data)) {
      k.blocks.keep(home, block, std::span(&need.pin, 1));
    } else {
      release_block(home, block, false);
    }
    return true;
  }
  const std::uint32_t index = k.free_scratch[k.free_scratch_count - 1];
  std::byte* to = k.scratch[index].data();
  for (std::uint32_t i = 0; i < block.part_count; ++i) {
    std::memcpy(to, block.parts[i].data, block.parts[i].length);
    to += block.parts[i].length;
  }
  release_block(home, block, false);
  if (streams_.on_content(need.stream, need.pin, need.content, k.scratch[index].data())) {
    --k.free_scratch_count;
    Block copy;
    copy.parts[0].entry = index;
    k.blocks.keep(id_, copy, std::span(&need.pin, 1));
  }
  return true;
}

// What it lets go of comes as `released` with the next events.
bool Shard::shed(Instant now) {
  if (!shed_due_) return false;
  shed_due_ = false;
  stalled_ = true;
  if (now < shed_again_) return false;
  shed_again_ = now + kShedPause;
  if (!streams_.shed_longest_stalled(now)) return false;
  ShardCounters::add(counters_.sheds, 1);
  return true;
}

}  // namespace penstock
