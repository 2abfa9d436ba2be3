// The memory behind the arena: an anonymous private mapping (ARCHITECTURE §4).
//
// Owner: app; outlives every shard. Nothing in it is touched until it is used, so that a large
// cache costs address space first and memory only as it fills.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/arena.hh"
#include "base/result.hh"

namespace penstock::host {

enum class PageChoice : std::uint8_t {
  small,  // 4 KiB pages, transparent huge ones refused
  // Huge pages wanted (madvise): fewer faults, TLB misses and page references. Renewing a slab
  // splits its huge page (host::renew_segments).
  huge,
};

class ArenaMapping {
 public:
  ArenaMapping() = default;
  ArenaMapping(ArenaMapping&& other) noexcept;
  ArenaMapping& operator=(ArenaMapping&& other) noexcept;
  ArenaMapping(const ArenaMapping&) = delete;
  ArenaMapping& operator=(const ArenaMapping&) = delete;
  ~ArenaMapping();

  [[nodiscard]] Arena arena() const { return Arena({data_, size_}); }
  [[nodiscard]] std::size_t size() const { return size_; }
  // True when the kernel agreed to huge pages; how many it finds is seen only as they fill.
  [[nodiscard]] bool huge() const { return huge_; }

 private:
  friend Result<ArenaMapping> map_arena(std::uint64_t bytes, PageChoice pages);
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  bool huge_ = false;
};

// bytes: > 0, rounded up to whole slabs. The start is aligned to 2 MiB. Fails when the address
// space or the overcommit policy doesn't allow it.
[[nodiscard]] Result<ArenaMapping> map_arena(std::uint64_t bytes, PageChoice pages);

// Asks for huge pages for what isn't touched yet of memory that somebody else allocated. Does
// nothing where the kernel has none.
void prefer_huge_pages(std::span<std::byte> memory);

}  // namespace penstock::host
