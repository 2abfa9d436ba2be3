#include "store/framer.hh"

#include <algorithm>
#include <bit>
#include <cstring>

namespace penstock {
namespace {

using Phase = Framing::Phase;

std::uint32_t length_of(const Extent& extent) {
  const RegionState& region = extent.owner->regions[extent.region];
  return static_cast<std::uint32_t>(
      std::min<std::uint64_t>(kExtentSize, region.length - extent.offset));
}

// Bytes from the begin of the block that the extent's first byte lies in.
std::uint32_t into_block(const Extent& extent) {
  const RegionState& region = extent.owner->regions[extent.region];
  return static_cast<std::uint32_t>((region.offset + extent.offset) % kBlockSize);
}

}  // namespace

void Framer::nominate(Extent& extent) {
  if (extent.framed) return;
  if (count_ == kNomineesMax) {
    --extent.hits;  // its next use asks again
    return;
  }
  nominees_[(first_ + count_++) % kNomineesMax] = extent.key;
}

// Whole, proven, and nobody waits for it.
bool Framer::may_frame(const Extent& extent) {
  if (extent.io || extent.holds != 0 || extent.owner->forgetting) return false;
  if (!may_frame(extent.owner->content)) return false;
  const std::uint32_t length = length_of(extent);
  if (extent.valid != page_mask(0, length)) return false;
  const std::uint64_t last = extent.first_block + (into_block(extent) + length - 1) / kBlockSize;
  return extent.is_checked(extent.first_block, last);
}

Framing* Framer::idle_framing() {
  for (Framing& framing : framings_) {
    if (framing.phase == Phase::idle) return &framing;
  }
  return nullptr;
}

bool Framer::work() {
  int left = kPerCycle;
  for (Framing& framing : framings_) {
    if (left > 0 && framing.phase == Phase::ready) {
      finish(framing);
      --left;
    }
  }
  while (left > 0 && count_ > 0) {
    Framing* framing = idle_framing();
    if (framing == nullptr) break;
    Extent* extent = cache_.find(nominees_[first_]);
    first_ = (first_ + 1) % kNomineesMax;
    --count_;
    if (extent == nullptr || extent->framed) continue;
    if (!may_frame(*extent)) continue;
    begin(*extent, *framing);
    --left;
  }
  return has_work();
}

bool Framer::has_work() const {
  bool idle = false;
  for (const Framing& framing : framings_) {
    if (framing.phase == Phase::ready) return true;
    idle |= framing.phase == Phase::idle;
  }
  return idle && count_ > 0;
}

void Framer::begin(Extent& extent, Framing& framing) {
  Extent* twin = cache_.create_twin(extent);
  if (twin == nullptr) return;
  framing.twin = twin;
  framing.phase = twin->exposed != 0 ? Phase::renew : Phase::ready;
  if (framing.phase == Phase::ready) finish(framing);
}

void Framer::finish(Framing& framing) {
  Extent* extent = cache_.find(framing.twin->key);
  if (extent == nullptr || extent->framed || !may_frame(*extent)) {
    drop(framing);
    return;
  }
  fill(*extent, *framing.twin);
  cache_.replace(*extent, *framing.twin);
  framing = Framing{};
  ++counters_.framed_extents;
}

void Framer::fill(const Extent& from, Extent& twin) {
  DCHECK(!from.framed && twin.exposed == 0);
  const TorrentContent& content = from.owner->content;
  const std::byte* const source = cache_.data(from);
  std::byte* const slab = cache_.data(twin);
  std::byte* const tail = cache_.tail(twin);
  std::uint32_t at = 0;
  const auto put = [&](const std::byte* bytes, std::uint32_t length) {
    const std::uint32_t in_slab = at < kExtentSize ? std::min(length, kExtentSize - at) : 0;
    if (in_slab > 0) std::memcpy(slab + at, bytes, in_slab);
    if (in_slab < length)
      std::memcpy(tail + (at + in_slab - kExtentSize), bytes + in_slab, length - in_slab);
    at += length;
  };
  const std::uint32_t length = length_of(from);
  const std::uint32_t into = into_block(from);
  std::uint64_t block = from.first_block;
  std::uint32_t begin = 0;
  if (into != 0) {
    begin = std::min(kBlockSize - into, length);
    put(source, begin);
    ++block;
  }
  twin.first_start = static_cast<std::uint16_t>((kBlockSize - into) % kBlockSize);
  for (; begin < length; ++block) {
    const PieceIndex piece(static_cast<std::uint32_t>(block / content.blocks_per_piece));
    const auto in_piece = static_cast<std::uint32_t>(block % content.blocks_per_piece) * kBlockSize;
    // The block may end in another extent; its header is that of the whole.
    const std::uint32_t whole = std::min(kBlockSize, content.blocks.piece_length(piece) - in_piece);
    const auto header = wire::encode_piece_header(piece, in_piece, whole);
    put(header.data(), kFrameHeaderSize);
    const std::uint32_t run = std::min(whole, length - begin);
    put(source + begin, run);
    begin += run;
  }
  twin.framed = true;
}

void Framer::drop(Framing& framing) {
  Extent* twin = framing.twin;
  framing = Framing{};
  cache_.unhold(*twin);
}

bool Framer::poll_io(StorageOp& out) {
  for (Framing& framing : framings_) {
    if (framing.phase != Phase::renew) continue;
    // The pages between two exposed ones are renewed with them: one call for all.
    Extent& twin = *framing.twin;
    const auto first = static_cast<std::uint32_t>(std::countr_zero(twin.exposed));
    const auto end = 16 - static_cast<std::uint32_t>(std::countl_zero(twin.exposed));
    out = StorageOp{};
    out.kind = StorageOp::Kind::renew;
    out.segment_count = 1;
    out.segments[0].data = cache_.data(twin) + std::size_t{first} * kPageSize;
    out.segments[0].length = (end - first) * kPageSize;
    out.segments[0].renew = true;
    out.token = make_token(&framing, OpTag::frame);
    framing.exposed = twin.exposed;
    twin.exposed = 0;
    framing.phase = Phase::renewing;
    ++twin.owner->operations;
    return true;
  }
  return false;
}

void Framer::on_renewed(Framing& framing, IoError error) {
  Extent& twin = *framing.twin;
  --twin.owner->operations;
  if (error != IoError::none) twin.exposed |= framing.exposed;
  framing.phase = Phase::ready;
  if (error != IoError::none || twin.owner->forgetting) drop(framing);
}

void Framer::forget(ShardContent& content) {
  for (Framing& framing : framings_) {
    const bool flies = framing.phase == Phase::renewing;
    if (framing.phase != Phase::idle && !flies && framing.twin->owner == &content) drop(framing);
  }
}

}  // namespace penstock
