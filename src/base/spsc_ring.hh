// A bounded single-producer single-consumer ring.
//
// Owner: both ends; lives until both have stopped. Invariant: tail - head ≤ capacity; only the
// producer writes tail_ and the slots in [tail, head + capacity), only the consumer writes head_
// and reads [head, tail). Each end keeps a cached copy of the other's index, so that an index
// crosses cores only when the cache runs out.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>

#include "base/assert.hh"

namespace penstock {

template <class T>
class SpscRing {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  // capacity: a power of two.
  explicit SpscRing(std::size_t capacity)
      : mask_(capacity - 1), slots_(std::make_unique<T[]>(capacity)) {
    ASSERT(capacity > 0 && (capacity & mask_) == 0);
  }

  // Producer. False when full.
  bool try_push(const T& item) {
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
    if (tail - head_seen_ > mask_) {
      head_seen_ = head_.load(std::memory_order_acquire);  // pairs with pop's release of head_
      if (tail - head_seen_ > mask_) return false;
    }
    slots_[tail & mask_] = item;
    tail_.store(tail + 1, std::memory_order_release);  // pairs with pop's acquire of tail_
    return true;
  }

  // Producer. Items that fit now; the consumer can only make it more.
  [[nodiscard]] std::size_t room() const {
    return capacity() - static_cast<std::size_t>(tail_.load(std::memory_order_relaxed) -
                                                 head_.load(std::memory_order_acquire));
  }

  // Consumer. False when empty.
  bool try_pop(T& item) {
    const std::uint64_t head = head_.load(std::memory_order_relaxed);
    if (head == tail_seen_) {
      tail_seen_ = tail_.load(std::memory_order_acquire);  // pairs with push's release of tail_
      if (head == tail_seen_) return false;
    }
    item = slots_[head & mask_];
    head_.store(head + 1, std::memory_order_release);  // pairs with push's acquire of head_
    return true;
  }

  // Either end; a hint for the other.
  [[nodiscard]] bool empty() const {
    return head_.load(std::memory_order_acquire) == tail_.load(std::memory_order_acquire);
  }
  [[nodiscard]] std::size_t capacity() const { return mask_ + 1; }

 private:
  const std::size_t mask_;
  std::unique_ptr<T[]> slots_;
  alignas(64) std::atomic<std::uint64_t> tail_{0};
  std::uint64_t head_seen_ = 0;  // producer's
  alignas(64) std::atomic<std::uint64_t> head_{0};
  std::uint64_t tail_seen_ = 0;  // consumer's
};

}  // namespace penstock
