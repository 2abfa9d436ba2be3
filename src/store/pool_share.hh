// What each pool may use of something that all share: three times what is left, and the last one
// only if it has none. So one alone gets three quarters, the next three quarters of the rest: pools
// whose disks hang, with all their torrents, leave something to the others.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/intrusive_list.hh"
#include "store/storage.hh"

namespace penstock {

class PoolShare {
 public:
  static constexpr std::uint32_t kPools = 64;

  explicit PoolShare(std::uint32_t total_max) : total_max_(std::max(total_max, 1u)) {}

  // Pools beyond the table share its slots.
  static std::uint32_t slot(PoolIndex pool) { return pool.value % kPools; }
  [[nodiscard]] bool room(std::uint32_t pool_slot) const {
    const std::uint32_t own = by_pool_[pool_slot];
    const std::uint32_t left = total_max_ - total_;
    return own == 0 ? left > 0 : left > 1 && own < 3 * left;
  }
  [[nodiscard]] bool room(PoolIndex pool) const { return room(slot(pool)); }
  [[nodiscard]] bool full() const { return total_ >= total_max_; }
  void begin(PoolIndex pool) {
    ++total_;
    ++by_pool_[slot(pool)];
  }
  void end(PoolIndex pool) {
    ASSERT(total_ > 0 && by_pool_[slot(pool)] > 0);
    --total_;
    --by_pool_[slot(pool)];
  }
  [[nodiscard]] std::uint32_t total() const { return total_; }
  [[nodiscard]] std::uint32_t of(PoolIndex pool) const { return by_pool_[slot(pool)]; }

 private:
  const std::uint32_t total_max_;
  std::uint32_t total_ = 0;
  std::array<std::uint32_t, kPools> by_pool_{};
};

// A queue a pool, emptied in turn.
template <class T, class Tag>
class PoolQueues {
 public:
  void push_back(T* element, PoolIndex pool) {
    queues_[PoolShare::slot(pool)].push_back(element);
    ++size_;
  }
  void remove(T* element, PoolIndex pool) {
    queues_[PoolShare::slot(pool)].remove(element);
    --size_;
  }
  // The oldest of the next pool that has room; nullptr when there is none.
  T* pop_front(const PoolShare& share) {
    if (size_ == 0 || share.full()) return nullptr;
    for (std::uint32_t i = 0; i < PoolShare::kPools; ++i) {
      const std::uint32_t slot = (next_ + i) % PoolShare::kPools;
      if (queues_[slot].empty() || !share.room(slot)) continue;
      next_ = slot + 1;
      --size_;
      return queues_[slot].pop_front();
    }
    return nullptr;
  }
  [[nodiscard]] std::uint32_t size() const { return size_; }

 private:
  std::array<List<T, Tag>, PoolShare::kPools> queues_;
  std::uint32_t size_ = 0;
  std::uint32_t next_ = 0;
};

}  // namespace penstock
