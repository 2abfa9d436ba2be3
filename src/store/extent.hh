// An entry of the cache, and the table that finds it.
#pragma once

#include <cstdint>
#include <memory>

#include "base/arena.hh"
#include "base/assert.hh"
#include "base/intrusive_list.hh"
#include "store/storage.hh"
#include "wire/peer_wire.hh"

namespace penstock {

class ShardContent;
struct WaitLink;

inline constexpr std::uint32_t kPagesPerExtent = kExtentSize / kPageSize;
static_assert(kPagesPerExtent == 16, "page masks are 16 bits");
inline constexpr std::uint16_t kAllPages = 0xffff;

// The pages that bytes [begin, begin + length) of an extent lie in; length > 0.
constexpr std::uint16_t page_mask(std::uint32_t begin, std::uint32_t length) {
  const std::uint32_t first = begin / kPageSize;
  const std::uint32_t last = (begin + length - 1) / kPageSize;
  return static_cast<std::uint16_t>((0xffffu << first) & (0xffffu >> (15 - last)));
}

// A framed extent holds its bytes as they go to a peer: in front of each block that begins in it
// stands the header of the PIECE message (BEP 3) that the block is sent in. What doesn't fit into
// the slab for that is kept beside it.
inline constexpr std::uint32_t kFrameHeaderSize = wire::kPieceHeaderSize;
inline constexpr std::uint32_t kFrameTailSize = kExtentSize / kBlockSize * kFrameHeaderSize;

enum class SlabUse : std::uint8_t { free, extent, zero, scratch, bounce };
enum class EvictionQueue : std::uint8_t { none, small, main };

// What a hit touches: one cache line.
struct alignas(64) ExtentHot {
  std::uint64_t key = 0;
  // Number (piece × blocks_per_piece + block) of the torrent block that its first byte lies in.
  std::uint64_t first_block = 0;
  // Blocks, relative to first_block, that matched their checksum with these very bytes. A block
  // further than 31 from the first (tiny pieces) has no bit and is checked at every use.
  std::uint32_t checked = 0;
  std::uint32_t touched = 0;  // blocks used at least once
  std::uint32_t pins = 0;
  std::uint32_t holds = 0;
  std::uint16_t valid = 0;    // pages with bytes from the disk
  std::uint16_t exposed = 0;  // pages that the kernel may still refer to
  std::uint8_t frequency = 0;
  std::uint8_t hits = 0;  // since it was loaded, beyond the first use of each block; saturates
  SlabUse use = SlabUse::free;
  EvictionQueue queue = EvictionQueue::none;
  bool orphan = false;
  bool framed = false;
  std::uint16_t first_start = 0;  // framed: where the first block that begins in it does, bytes
};

struct Extent : ExtentHot, Hook<struct QueueTag>, Hook<struct ExtentOfTag>, Hook<struct ReadTag> {
  std::uint16_t wanted = 0;  // pages to be read
  std::uint16_t flight = 0;  // pages being read
  std::uint16_t failed = 0;  // pages that could not be read: `error`
  bool io = false;           // wanted or flight: held for it
  bool solo = false;         // a joint read failed: read alone
  bool renewing = false;     // packed: its exposed pages are being replaced
  IoError error = IoError::none;
  std::uint32_t region = 0;
  std::uint64_t offset = 0;  // of its first byte in the region
  ShardContent* owner = nullptr;
  List<WaitLink, struct WaiterTag> waiters;

  // Whether blocks first … last (numbers, both overlapping the extent) are all checked.
  [[nodiscard]] bool is_checked(std::uint64_t first, std::uint64_t last) const {
    const std::uint64_t low = first - first_block;
    const std::uint64_t high = last - first_block;
    if (high > 31) return false;
    const std::uint32_t mask = (~0u << low) & (~0u >> (31 - high));
    return (checked & mask) == mask;
  }
  // The bits of `touched` for blocks first … last.
  [[nodiscard]] std::uint32_t touch_mask(std::uint64_t first, std::uint64_t last) const {
    const std::uint64_t low = first - first_block;
    const std::uint64_t high = last - first_block;
    return high > 31 ? 0 : (~0u << low) & (~0u >> (31 - high));
  }
  // Where byte `begin` of a framed extent lies, from the begin of its slab; its own block's header
  // stands before it.
  [[nodiscard]] std::uint32_t framed_at(std::uint32_t begin) const {
    if (begin < first_start) return begin;
    return begin + ((begin - first_start) / kBlockSize + 1) * kFrameHeaderSize;
  }
  void set_checked(std::uint64_t block) {
    if (block - first_block < 32) checked |= 1u << (block - first_block);
  }
};

// Open addressing with linear probing, never more than half full, so that a miss ends soon too.
// Keys of a file are consecutive: multiplicative hashing spreads them evenly.
class ExtentTable {
 public:
  static constexpr std::uint32_t kNone = ~0u;

  explicit ExtentTable(std::uint32_t entries_max) {
    std::uint32_t bits = 4;
    while ((std::uint64_t{1} << bits) < std::uint64_t{entries_max} * 2)
      ++bits;
    shift_ = 64 - bits;
    mask_ = (1u << bits) - 1;
    slots_ = std::make_unique<Slot[]>(std::size_t{mask_} + 1);
  }

  [[nodiscard]] std::uint32_t find(std::uint64_t key, const Extent* extents) const {
    const std::uint64_t hash = mix(key);
    for (std::uint32_t i = home(hash);; i = (i + 1) & mask_) {
      const Slot& slot = slots_[i];
      if (slot.index == kNone) return kNone;
      if (slot.tag == tag(hash) && extents[slot.index].key == key) return slot.index;
    }
  }
  // What find() will read of the table, and then of the entry that it will find, is brought into
  // the processor's cache. A wrong guess costs nothing but the fetch.
  void fetch_slot(std::uint64_t key) const { __builtin_prefetch(&slots_[home(mix(key))]); }
  void fetch_entry(std::uint64_t key, const Extent* extents) const {
    const std::uint64_t hash = mix(key);
    const Slot& slot = slots_[home(hash)];
    if (slot.index != kNone && slot.tag == tag(hash)) __builtin_prefetch(&extents[slot.index]);
  }
  // The key is not in the table.
  void insert(std::uint64_t key, std::uint32_t index) {
    const std::uint64_t hash = mix(key);
    std::uint32_t i = home(hash);
    while (slots_[i].index != kNone)
      i = (i + 1) & mask_;
    slots_[i] = {tag(hash), index};
  }
  // The key is in the table. Later entries of the same cluster move up: no tombstones.
  void erase(std::uint64_t key, const Extent* extents) {
    std::uint32_t hole = home(mix(key));
    while (slots_[hole].index == kNone || extents[slots_[hole].index].key != key) {
      ASSERT(slots_[hole].index != kNone);
      hole = (hole + 1) & mask_;
    }
    for (std::uint32_t i = (hole + 1) & mask_; slots_[i].index != kNone; i = (i + 1) & mask_) {
      const std::uint32_t wish = home(mix(extents[slots_[i].index].key));
      if (((i - wish) & mask_) >= ((i - hole) & mask_)) {
        slots_[hole] = slots_[i];
        hole = i;
      }
    }
    slots_[hole] = Slot{};
  }

 private:
  struct Slot {
    std::uint32_t tag = 0;
    std::uint32_t index = kNone;
  };
  static std::uint64_t mix(std::uint64_t key) { return key * 0x9e3779b97f4a7c15ULL; }
  [[nodiscard]] std::uint32_t home(std::uint64_t hash) const {
    return static_cast<std::uint32_t>(hash >> shift_);
  }
  // Bits that the slot's place doesn't already tell.
  static std::uint32_t tag(std::uint64_t hash) { return static_cast<std::uint32_t>(hash); }

  std::unique_ptr<Slot[]> slots_;
  unsigned shift_ = 0;
  std::uint32_t mask_ = 0;
};

}  // namespace penstock
