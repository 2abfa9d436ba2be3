#include "store/extent_cache.hh"

namespace penstock {

ExtentCache::ExtentCache(Arena arena, const StoreLimits& limits, StoreCounters& counters)
    : pool_(arena),
      extents_(std::make_unique<Extent[]>(arena.slab_count())),
      // Not touched before they are used: no memory for extents that never are.
      tails_(std::make_unique_for_overwrite<std::array<std::byte, kFrameTailSize>[]>(
          arena.slab_count())),
      table_(arena.slab_count()),
      eviction_(limits.policy, arena.slab_count()),
      counters_(counters),
      held_(arena.slab_count()) {}

bool ExtentCache::try_reserve(std::uint32_t& index) {
  SlabIndex slab;
  if (!pool_.try_take(slab)) return false;
  index = slab.value;
  ++reserved_;
  return true;
}

Extent* ExtentCache::create(ShardContent& owner, std::uint32_t region, std::uint64_t key,
                            std::uint64_t offset) {
  Extent* extent = take_slab(owner, region, key, offset);
  if (extent != nullptr) table_.insert(key, index_of(*extent));
  return extent;
}

Extent* ExtentCache::create_twin(Extent& of) {
  hold(of);  // not evicted for its own sake
  Extent* twin = take_slab(*of.owner, of.region, of.key, of.offset);
  unhold(of);
  if (twin != nullptr) twin->orphan = true;
  return twin;
}

void ExtentCache::replace(Extent& of, Extent& twin) {
  DCHECK(twin.orphan && twin.key == of.key && find(of.key) == &of);
  twin.valid = of.valid;
  twin.checked = of.checked;
  twin.touched = of.touched;
  twin.hits = of.hits;
  twin.frequency = of.frequency;
  orphan(of);
  twin.orphan = false;
  table_.insert(twin.key, index_of(twin));
  unhold(twin);
}

// An extent of no valid page, held once, in no table.
Extent* ExtentCache::take_slab(ShardContent& owner, std::uint32_t region, std::uint64_t key,
                               std::uint64_t offset) {
  SlabIndex slab;
  if (!pool_.try_take(slab)) {
    Extent* victim = eviction_.victim();
    if (victim == nullptr) return nullptr;
    ++counters_.evictions;
    table_.erase(victim->key, extents_.get());
    free_extent(*victim);
    if (!pool_.try_take(slab)) UNREACHABLE();
  }
  Extent& extent = extents_[slab.value];
  DCHECK(extent.use == SlabUse::free);
  const TorrentContent& content = owner.content;
  const std::uint64_t first_byte = owner.regions[region].offset + offset;
  const PieceIndex piece = content.blocks.piece_at(first_byte);
  extent.use = SlabUse::extent;
  extent.key = key;
  extent.first_block = std::uint64_t{piece.value} * content.blocks_per_piece +
                       (first_byte - content.blocks.piece_offset(piece)) / kBlockSize;
  extent.region = region;
  extent.offset = offset;
  extent.owner = &owner;
  owner.extents.push_back(&extent);
  hold(extent);
  return &extent;
}

void ExtentCache::free_extent(Extent& extent) {
  DCHECK(extent.holds == 0 && extent.pins == 0 && extent.queue == EvictionQueue::none);
  DCHECK(extent.waiters.empty() && !extent.io);
  extent.owner->extents.remove(&extent);
  extent.owner = nullptr;
  extent.checked = extent.touched = 0;
  extent.valid = extent.wanted = extent.flight = extent.failed = 0;
  extent.frequency = extent.hits = 0;
  extent.orphan = extent.solo = extent.framed = false;
  extent.error = IoError::none;
  extent.use = SlabUse::free;
  pool_.give_back(SlabIndex(index_of(extent)));
}

void ExtentCache::unhold(Extent& extent) {
  ASSERT(extent.holds > 0);
  if (--extent.holds != 0) return;
  held_.end(extent.owner->content.pool);
  --extent.owner->held_extents;
  // What failed is not remembered: the next want asks the disk again.
  if (extent.orphan || extent.failed != 0 || extent.valid == 0) {
    orphan(extent);
    return;
  }
  if (extent.queue == EvictionQueue::none) {
    bool ghost_hit = false;
    eviction_.insert(extent, ghost_hit);
    counters_.ghost_hits += ghost_hit;
  }
}

void ExtentCache::orphan(Extent& extent) {
  if (!extent.orphan) {
    extent.orphan = true;
    table_.erase(extent.key, extents_.get());
    eviction_.remove(extent);
  }
  if (extent.holds == 0 && extent.pins == 0) free_extent(extent);
}

std::uint16_t ExtentCache::want_pages(Extent& extent, std::uint16_t mask) {
  const std::uint16_t have = extent.valid | extent.wanted | extent.flight | extent.failed;
  const auto added = static_cast<std::uint16_t>(mask & ~have);
  extent.wanted |= added;
  if (added != 0 && !extent.io) {
    extent.io = true;
    hold(extent);
  }
  return added;
}

void ExtentCache::settle_io(Extent& extent) {
  if (!extent.io || extent.wanted != 0 || extent.flight != 0 || extent.renewing) return;
  extent.io = false;
  unhold(extent);
}

void ExtentCache::validate() const {
  eviction_.validate();
  std::uint32_t held = 0;
  std::uint32_t used = 0;
  std::uint32_t queued = 0;
  std::uint32_t pinned = 0;
  for (std::uint32_t i = 0; i < slab_count(); ++i) {
    const Extent& extent = extents_[i];
    if (extent.use != SlabUse::extent) {
      ASSERT(extent.owner == nullptr);
      continue;
    }
    ++used;
    held += extent.holds > 0;
    pinned += extent.pins > 0;
    queued += extent.queue != EvictionQueue::none;
    const std::uint32_t in_table = table_.find(extent.key, extents_.get());
    ASSERT(extent.orphan ? in_table != i : in_table == i);
    ASSERT((extent.valid & extent.wanted) == 0 && (extent.valid & extent.flight) == 0);
    ASSERT((extent.wanted & extent.flight) == 0 && (extent.valid & extent.failed) == 0);
    ASSERT(extent.io || (extent.wanted == 0 && extent.flight == 0));
    ASSERT(extent.holds > 0 || extent.pins > 0 || extent.queue != EvictionQueue::none);
    ASSERT(extent.waiters.size() + extent.io <= extent.holds);
    ASSERT(!extent.framed || (!extent.io && extent.valid != 0));
  }
  ASSERT(held == held_.total() && pinned == pinned_);
  ASSERT(queued == eviction_.size());
  ASSERT(used + reserved_ + pool_.free_count() == slab_count());
}

}  // namespace penstock
