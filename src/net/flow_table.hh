// From a flow's hash to what it is about: open addressing with linear probing, 8 bytes an entry.
//
// The hash is keyed (tcp::Shared's secret), so that strangers can't make chains. The low bits of
// its 32 are the place, all 32 the first comparison; only an equal hash costs a look at the owner's
// key. At most half full. Erasing shifts back what follows: no tombstones, a table that has been in
// use for a year is as fast as a new one. Nothing is allocated after construction.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "base/assert.hh"

namespace penstock::net {

class FlowTable {
 public:
  static constexpr std::uint32_t kNone = ~0u;

  explicit FlowTable(std::uint32_t flows_max)
      : mask_(std::bit_ceil(2 * std::uint64_t{flows_max} + 2) - 1), entries_(mask_ + 1) {
    ASSERT(flows_max <= 1U << 30);
  }

  // To be called for a whole burst before the first find().
  void prefetch(std::uint32_t hash) const { __builtin_prefetch(&entries_[hash & mask_]); }

  // The value under `hash` for which same(value) holds; kNone: none.
  template <class Same>
  [[nodiscard]] std::uint32_t find(std::uint32_t hash, Same&& same) const {
    for (std::uint64_t at = hash & mask_;; at = (at + 1) & mask_) {
      const Entry& entry = entries_[at];
      if (entry.value == kNone) return kNone;
      if (entry.hash == hash && same(entry.value)) return entry.value;
    }
  }
  // The first value under `hash`, whoever's it is: for prefetching it.
  [[nodiscard]] std::uint32_t peek(std::uint32_t hash) const {
    return find(hash, [](std::uint32_t) { return true; });
  }

  // `value` isn't in it, and there is room.
  void insert(std::uint32_t hash, std::uint32_t value) {
    ASSERT(size_ <= mask_ / 2 && value != kNone);
    std::uint64_t at = hash & mask_;
    while (entries_[at].value != kNone)
      at = (at + 1) & mask_;
    entries_[at] = {hash, value};
    ++size_;
  }

  // It is in it.
  void erase(std::uint32_t hash, std::uint32_t value) {
    std::uint64_t hole = hash & mask_;
    while (entries_[hole].value != value) {
      ASSERT(entries_[hole].value != kNone);
      hole = (hole + 1) & mask_;
    }
    // What follows moves into the hole, unless its place lies behind the hole.
    for (std::uint64_t at = (hole + 1) & mask_; entries_[at].value != kNone;
         at = (at + 1) & mask_) {
      const std::uint64_t home = entries_[at].hash & mask_;
      if (((at - home) & mask_) < ((at - hole) & mask_)) continue;
      entries_[hole] = entries_[at];
      hole = at;
    }
    entries_[hole].value = kNone;
    --size_;
  }

  [[nodiscard]] std::uint32_t size() const { return size_; }

  // Every value is found from its hash; aborts on a contradiction.
  void validate() const {
    std::uint32_t count = 0;
    for (const Entry& entry : entries_) {
      if (entry.value == kNone) continue;
      ++count;
      ASSERT(find(entry.hash, [&](std::uint32_t v) { return v == entry.value; }) == entry.value);
    }
    ASSERT(count == size_);
  }

 private:
  struct Entry {
    std::uint32_t hash = 0;
    std::uint32_t value = kNone;
  };

  std::uint64_t mask_;
  std::vector<Entry> entries_;
  std::uint32_t size_ = 0;
};

}  // namespace penstock::net
