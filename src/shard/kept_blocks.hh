// Blocks that streams keep by reference until they are acknowledged, by the pins that name them
// (StreamPort::keeps_payload).
//
// Each part of a block has a pin of its own, never used twice: a pin that was released may be named
// again by a `need` much later. The block goes back to the store when the last of its parts is
// released. A hash table with linear probing, at most half full; nothing is allocated after
// construction.
//
// Owner: a shard. Invariant: a block has as many pins in the table as parts that are kept.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/strong.hh"
#include "store/store.hh"

namespace penstock {

class KeptBlocks {
 public:
  // pins_max: parts kept at once; 0: the port keeps nothing.
  explicit KeptBlocks(std::uint32_t pins_max);

  [[nodiscard]] std::uint64_t new_pin() { return ++last_pin_; }
  // Pins that there is room for.
  [[nodiscard]] std::uint32_t room() const { return pins_max_ - pins_; }
  void keep(ShardId home, const Block& block, std::span<const std::uint64_t> pins);

  struct Kept {
    Block block;
    ShardId home;
    std::uint32_t parts = 0;  // still kept; 0: the slot is free
  };
  // True with the block when nothing of it is kept any more.
  bool release(std::uint64_t pin, Kept& out);

  [[nodiscard]] std::uint32_t pins() const { return pins_; }
  void validate() const;

 private:
  struct Entry {
    std::uint64_t pin = 0;  // 0: empty
    std::uint32_t slot = 0;
  };
  [[nodiscard]] std::size_t home_of(std::uint64_t pin) const {
    // Fibonacci hashing: neighbours are spread over the table.
    return static_cast<std::size_t>(pin * 0x9e3779b97f4a7c15ULL >> shift_);
  }
  void insert(std::uint64_t pin, std::uint32_t slot);
  std::uint32_t erase(std::uint64_t pin);

  const std::uint32_t pins_max_;
  std::uint64_t last_pin_ = 0;
  std::uint32_t pins_ = 0;
  unsigned shift_ = 0;
  std::vector<Entry> table_;  // a power of two
  std::vector<Kept> slots_;
  std::vector<std::uint32_t> free_;
};

}  // namespace penstock
