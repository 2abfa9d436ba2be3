// Pages of a shard's TCP: one allocation at the start, last in first out.
//
// A page that a device may still read when its owner lets go of it waits in limbo until its owner's
// kind says that it is idle. A pool that defers keeps every page that comes back until
// free_deferred(): what was lent to the application stays as it is to the end of the cycle,
// whatever happens to its connection.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <vector>

#include "base/assert.hh"

namespace penstock::tcp {

inline constexpr std::uint32_t kNoPage = ~0u;

class PagePool {
 public:
  static constexpr std::size_t kPageSize = 4096;
  static constexpr std::uint32_t kShareLeast = 4;

  explicit PagePool(std::uint32_t count) : count_(count) {
    memory_.reset(static_cast<std::byte*>(
        ::operator new (std::size_t{count} * kPageSize, std::align_val_t{kPageSize})));
    free_.reserve(count);
    limbo_.reserve(count);
    deferred_.reserve(count);
    for (std::uint32_t i = count; i > 0; --i)
      free_.push_back(i - 1);
  }

  // As take(), for an owner that holds so many: at most a quarter of what is left for everybody
  // else (Choudhury and Hahne, "Dynamic queue length thresholds", 1998), so that whoever comes
  // later finds some. A few pages anybody gets.
  [[nodiscard]] std::uint32_t take_share(std::uint32_t held) {
    return has_share(held) ? take() : kNoPage;
  }
  [[nodiscard]] bool has_share(std::uint32_t held) const {
    return !free_.empty() && (held < kShareLeast || held < free_.size() / 4);
  }
  // kNoPage: all are in use. Not initialised.
  [[nodiscard]] std::uint32_t take() {
    if (free_.empty()) return kNoPage;
    const std::uint32_t page = free_.back();
    free_.pop_back();
    return page;
  }
  void give_back(std::uint32_t page) {
    DCHECK(page < count_ && free_.size() + deferred_.size() < count_);
    (defers_ ? deferred_ : free_).push_back(page);
  }
  void defer(bool on) { defers_ = on; }
  void free_deferred() {
    free_.insert(free_.end(), deferred_.begin(), deferred_.end());
    deferred_.clear();
  }
  // A device may read it.
  void park(std::uint32_t page) { limbo_.push_back(page); }
  // Looks at one page in limbo, in turn.
  template <class Idle>
  void reclaim_one(Idle idle) {
    if (limbo_.empty()) return;
    if (look_ >= limbo_.size()) look_ = 0;
    const std::uint32_t page = limbo_[look_];
    if (!idle(at(page))) {
      ++look_;
      return;
    }
    limbo_[look_] = limbo_.back();
    limbo_.pop_back();
    give_back(page);
  }
  [[nodiscard]] std::byte* at(std::uint32_t page) const {
    DCHECK(page < count_);
    return memory_.get() + std::size_t{page} * kPageSize;
  }
  [[nodiscard]] std::uint32_t free_count() const {
    return static_cast<std::uint32_t>(free_.size() + deferred_.size());
  }
  [[nodiscard]] std::uint32_t limbo_count() const {
    return static_cast<std::uint32_t>(limbo_.size());
  }
  [[nodiscard]] std::uint32_t count() const { return count_; }
  [[nodiscard]] std::span<std::byte> memory() const {
    return {memory_.get(), std::size_t{count_} * kPageSize};
  }

 private:
  struct Free {
    void operator()(std::byte* memory) const {
      ::operator delete (memory, std::align_val_t{kPageSize});
    }
  };

  std::uint32_t count_;
  std::size_t look_ = 0;
  std::unique_ptr<std::byte, Free> memory_;
  std::vector<std::uint32_t> free_;
  std::vector<std::uint32_t> limbo_;
  std::vector<std::uint32_t> deferred_;
  bool defers_ = false;
};

}  // namespace penstock::tcp
