// Seam: how a shard sleeps and how others wake it (ARCHITECTURE §3).
//
// The protocol, so that no wake-up is lost: the sleeper sets `parked` (seq_cst), looks at all its
// inputs once more, then waits; a producer publishes its item, fences (seq_cst), reads `parked`,
// and calls wake() if it is set.
#pragma once

#include <atomic>

#include "base/time.hh"

namespace penstock {

class Parker {
 public:
  virtual ~Parker() = default;
  // Any thread. Ends the sleeper's current or next wait.
  virtual void wake() = 0;
};

// The flag that both sides of the protocol share. One sleeper, many producers.
class ParkFlag {
 public:
  // Sleeper: from here on producers wake us. Look at the inputs once more before waiting.
  void prepare() {
    parked_.store(true, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);  // pairs with must_wake's fence
  }
  // Sleeper: awake again.
  void leave() { parked_.store(false, std::memory_order_relaxed); }
  // Producer, after publishing an item: does the sleeper need wake()?
  [[nodiscard]] bool must_wake() const {
    std::atomic_thread_fence(std::memory_order_seq_cst);  // pairs with prepare's fence
    return parked_.load(std::memory_order_relaxed);
  }

 private:
  alignas(64) std::atomic<bool> parked_{false};
};

}  // namespace penstock
