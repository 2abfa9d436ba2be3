// The cache of extents: which slab holds which extent of which region, and what of it is valid.
//
// One slab an extent, and the entry of a slab has the slab's index, so that what pins an entry
// needs no more than that index. An extent is found by key until it is orphaned (its bytes are in
// doubt) or evicted; an orphan lives until its last use ends.
//
// Invariants: a valid page is never written again while the extent lives. A page is in at most one
// of valid, wanted, flight, failed. An extent that is pinned or held is neither evicted nor reused.
// exposed belongs to the slab's memory and outlives the extent.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>

#include "base/arena.hh"
#include "store/eviction.hh"
#include "store/extent.hh"
#include "store/pool_share.hh"
#include "store/shard_content.hh"
#include "store/store.hh"

namespace penstock {

class ExtentCache {
 public:
  // counters outlives the cache.
  ExtentCache(Arena arena, const StoreLimits& limits, StoreCounters& counters);

  // nullptr: not in the cache.
  [[nodiscard]] Extent* find(std::uint64_t key) const {
    const std::uint32_t index = table_.find(key, extents_.get());
    return index == ExtentTable::kNone ? nullptr : &extents_[index];
  }
  // Blocks are mostly asked for in order: what finding the next extents will take is fetched, each
  // step some hundred nanoseconds before it is needed. begin: of the block in the extent, bytes.
  void fetch_ahead(const Extent& extent, std::uint32_t begin) const {
    if (begin < kBlockSize) {
      table_.fetch_slot(extent.key + 3);
    } else if (begin < 2 * kBlockSize) {
      table_.fetch_entry(extent.key + 2, extents_.get());
    } else if (extent.framed) {
      __builtin_prefetch(tail(extent));
    }
  }
  // A new extent, held once, without a valid page. nullptr: every slab is in use.
  Extent* create(ShardContent& owner, std::uint32_t region, std::uint64_t key,
                 std::uint64_t offset);

  // Another slab for what `of` holds, held once and not found; nullptr: every slab is in use.
  Extent* create_twin(Extent& of);
  // The twin, which holds the same bytes now, is found in its place. Ends the hold of the twin.
  void replace(Extent& of, Extent& twin);

  // A want, a job or I/O needs it to stay.
  void hold(Extent& extent) {
    if (extent.holds++ == 0) {
      held_.begin(extent.owner->content.pool);
      ++extent.owner->held_extents;
    }
  }
  void unhold(Extent& extent);
  // Someone outside reads its memory.
  void pin(Extent& extent) { pinned_ += extent.pins++ == 0; }
  void unpin(Extent& extent) {
    ASSERT(extent.pins > 0);
    pinned_ -= extent.pins == 1;
    if (--extent.pins == 0 && extent.orphan && extent.holds == 0) free_extent(extent);
  }
  // No longer found; freed when its last use ends.
  void orphan(Extent& extent);

  // Pages to be read. Returns those that were not on their way yet.
  std::uint16_t want_pages(Extent& extent, std::uint16_t mask);
  // Call after wanted, flight, valid or failed changed: ends the hold of I/O.
  void settle_io(Extent& extent);

  // Notes a use of a block that is checked.
  void on_hit(Extent& extent, std::uint32_t touched) {
    if ((extent.touched & touched) != touched) {
      // The first use of each block says nothing of how popular the extent is.
      extent.touched |= touched;
      return;
    }
    if (extent.hits < 255) ++extent.hits;
    eviction_.on_hit(extent);
  }

  [[nodiscard]] Extent& at(std::uint32_t index) const { return extents_[index]; }
  [[nodiscard]] std::uint32_t index_of(const Extent& extent) const {
    return static_cast<std::uint32_t>(&extent - extents_.get());
  }
  [[nodiscard]] std::byte* data(const Extent& extent) const {
    return pool_.arena().slab(SlabIndex(index_of(extent)));
  }
  // What of a framed extent its slab has no room for.
  [[nodiscard]] std::byte* tail(const Extent& extent) const {
    return tails_[index_of(extent)].data();
  }
  // take(data, length) of each run of memory that bytes [begin, begin + length) lie in: one, of a
  // framed extent at most two for each block.
  template <class Take>
  void for_each_run(const Extent& extent, std::uint32_t begin, std::uint32_t length,
                    Take take) const {
    const std::byte* const slab = data(extent);
    if (!extent.framed) {
      take(slab + begin, length);
      return;
    }
    for (const std::uint32_t end = begin + length; begin < end;) {
      const std::uint32_t next_start =
          begin < extent.first_start
              ? extent.first_start
              : begin + kBlockSize - (begin - extent.first_start) % kBlockSize;
      const std::uint32_t run = std::min(end, next_start) - begin;
      const std::uint32_t at = extent.framed_at(begin);
      const std::uint32_t in_slab = at < kExtentSize ? std::min(run, kExtentSize - at) : 0;
      if (in_slab > 0) take(slab + at, in_slab);
      if (in_slab < run) take(tail(extent) + (at + in_slab - kExtentSize), run - in_slab);
      begin += run;
    }
  }
  [[nodiscard]] std::uint32_t pinned_count() const { return pinned_; }
  [[nodiscard]] std::uint32_t held_count() const { return held_.total(); }
  [[nodiscard]] std::uint32_t held_count(PoolIndex pool) const { return held_.of(pool); }
  [[nodiscard]] std::uint32_t slab_count() const { return pool_.arena().slab_count(); }
  // Slabs set aside at the start, never used for extents; false when none is left.
  bool try_reserve(std::uint32_t& index);

  void validate() const;

 private:
  Extent* take_slab(ShardContent& owner, std::uint32_t region, std::uint64_t key,
                    std::uint64_t offset);
  void free_extent(Extent& extent);

  SlabPool pool_;
  std::unique_ptr<Extent[]> extents_;
  std::unique_ptr<std::array<std::byte, kFrameTailSize>[]> tails_;  // by slab
  ExtentTable table_;
  Eviction eviction_;
  StoreCounters& counters_;
  PoolShare held_;
  std::uint32_t pinned_ = 0;
  std::uint32_t reserved_ = 0;
};

}  // namespace penstock
