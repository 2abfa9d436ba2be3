// Which extent goes when a slab is needed: S3-FIFO (Yang et al., SOSP 2023) or LRU.
//
// S3-FIFO: new extents enter a small queue (a tenth of the cache). At its end, those that were used
// again move to the main queue, the others leave and only their names are kept (ghosts); an extent
// whose ghost is still known enters the main queue at once. The main queue is a FIFO with second
// chances, up to three. So a scan passes through the small queue and leaves the rest alone.
//
// An extent enters when its first holds end. Those in use at the moment (held, pinned) are passed
// over. LRU is the main queue alone, every hit moving to the back.
#pragma once

#include <cstdint>
#include <memory>

#include "store/extent.hh"
#include "store/store.hh"

namespace penstock {

// Names of extents evicted lately: four-way sets of fingerprints with the time of eviction, counted
// in evictions. A name is forgotten after `capacity` more. A false hit (1 in 2^30) costs a queue.
class GhostTable {
 public:
  explicit GhostTable(std::uint32_t capacity);
  void insert(std::uint64_t key);
  // Whether it was there; it no longer is.
  bool take(std::uint64_t key);

 private:
  struct Ghost {
    std::uint32_t fingerprint = 0;  // 0: none
    std::uint32_t born = 0;
  };
  static constexpr std::uint32_t kWays = 4;
  [[nodiscard]] Ghost* set_of(std::uint64_t hash) const;
  static std::uint32_t fingerprint(std::uint64_t hash);

  std::unique_ptr<Ghost[]> ghosts_;
  std::uint32_t set_mask_ = 0;
  std::uint32_t capacity_;
  std::uint32_t clock_ = 0;
};

class Eviction {
 public:
  Eviction(StoreLimits::Policy policy, std::uint32_t slab_count);

  void on_hit(Extent& extent) {
    if (extent.frequency < kFrequencyMax) ++extent.frequency;
    if (policy_ == StoreLimits::Policy::lru && extent.queue == EvictionQueue::main) {
      main_.remove(&extent);
      main_.push_back(&extent);
    }
  }
  // ghost_hit: its name was known.
  void insert(Extent& extent, bool& ghost_hit);
  void remove(Extent& extent);
  // Takes one out of its queue. nullptr: none found that isn't in use, after a bounded search.
  Extent* victim();

  [[nodiscard]] std::uint32_t size() const { return small_.size() + main_.size(); }
  void validate() const;

 private:
  static constexpr std::uint8_t kFrequencyMax = 3;
  static constexpr std::uint32_t kStepsMax = 1024;
  static bool in_use(const Extent& extent) { return extent.holds != 0 || extent.pins != 0; }
  Extent* step_small();
  Extent* step_main();

  const StoreLimits::Policy policy_;
  const std::uint32_t small_target_;
  List<Extent, struct QueueTag> small_;
  List<Extent, struct QueueTag> main_;
  GhostTable ghosts_;
};

}  // namespace penstock
