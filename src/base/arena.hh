// The arena of slabs: the one piece of memory that content is read into and sent from (ARCHITECTURE
// §4).
//
// The mapping itself comes from a driver (drivers/host, later EAL memory) and outlives everything
// that points into it. Each shard owns a contiguous range of slabs through its SlabPool; a slab has
// one owner at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/assert.hh"
#include "base/block_info.hh"
#include "base/strong.hh"

namespace penstock {

using SlabIndex = Strong<struct SlabIndexTag, std::uint32_t>;

inline constexpr std::uint32_t kSlabSize = kExtentSize;
// The memory of a slab is tracked in pages of this size (validity, alignment of direct reads),
// bytes.
inline constexpr std::uint32_t kPageSize = 4096;

// A view of slabs [0, count) of the arena.
class Arena {
 public:
  Arena() = default;
  // memory: page-aligned, a multiple of kSlabSize, owned by the caller.
  explicit Arena(std::span<std::byte> memory) : memory_(memory) {
    ASSERT(memory.size() % kSlabSize == 0);
    ASSERT(reinterpret_cast<std::uintptr_t>(memory.data()) % kPageSize == 0);
  }

  [[nodiscard]] std::uint32_t slab_count() const {
    return static_cast<std::uint32_t>(memory_.size() / kSlabSize);
  }
  [[nodiscard]] std::byte* slab(SlabIndex index) const {
    DCHECK(index.value < slab_count());
    return memory_.data() + std::size_t{index.value} * kSlabSize;
  }
  // The part that a shard owns.
  [[nodiscard]] Arena part(std::uint32_t first, std::uint32_t count) const {
    return Arena(memory_.subspan(std::size_t{first} * kSlabSize, std::size_t{count} * kSlabSize));
  }
  [[nodiscard]] std::span<std::byte> memory() const { return memory_; }

 private:
  std::span<std::byte> memory_;
};

// Free slabs of one arena, last in first out (a slab just let go is still in the processor's
// cache).
class SlabPool {
 public:
  explicit SlabPool(Arena arena)
      : arena_(arena),
        free_(std::make_unique<std::uint32_t[]>(arena.slab_count())),
        free_count_(arena.slab_count()) {
    for (std::uint32_t i = 0; i < free_count_; ++i)
      free_[i] = free_count_ - 1 - i;
  }

  // False when all are in use.
  bool try_take(SlabIndex& out) {
    if (free_count_ == 0) return false;
    out = SlabIndex(free_[--free_count_]);
    return true;
  }
  void give_back(SlabIndex index) {
    ASSERT(free_count_ < arena_.slab_count());
    free_[free_count_++] = index.value;
  }
  [[nodiscard]] std::uint32_t free_count() const { return free_count_; }
  [[nodiscard]] const Arena& arena() const { return arena_; }

 private:
  Arena arena_;
  std::unique_ptr<std::uint32_t[]> free_;
  std::uint32_t free_count_;
};

}  // namespace penstock
