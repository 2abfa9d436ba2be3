#include "shard/kept_blocks.hh"

#include <algorithm>
#include <bit>

#include "base/assert.hh"

namespace penstock {

KeptBlocks::KeptBlocks(std::uint32_t pins_max) : pins_max_(pins_max) {
  if (pins_max == 0) return;
  table_.resize(std::bit_ceil(std::size_t{pins_max} * 2));
  shift_ = 64u - static_cast<unsigned>(std::countr_zero(table_.size()));
  slots_.resize(pins_max);
  free_.reserve(pins_max);
  for (std::uint32_t i = pins_max; i > 0; --i)
    free_.push_back(i - 1);
}

void KeptBlocks::keep(ShardId home, const Block& block, std::span<const std::uint64_t> pins) {
  ASSERT(!pins.empty() && pins.size() <= room());
  const std::uint32_t slot = free_.back();
  free_.pop_back();
  slots_[slot] = {block, home, static_cast<std::uint32_t>(pins.size())};
  for (const std::uint64_t pin : pins)
    insert(pin, slot);
  pins_ += static_cast<std::uint32_t>(pins.size());
}

bool KeptBlocks::release(std::uint64_t pin, Kept& out) {
  const std::uint32_t slot = erase(pin);
  --pins_;
  if (--slots_[slot].parts > 0) return false;
  out = slots_[slot];
  free_.push_back(slot);
  return true;
}

void KeptBlocks::insert(std::uint64_t pin, std::uint32_t slot) {
  const std::size_t mask = table_.size() - 1;
  std::size_t at = home_of(pin);
  while (table_[at].pin != 0) {
    ASSERT(table_[at].pin != pin);
    at = (at + 1) & mask;
  }
  table_[at] = {pin, slot};
}

// Closes the gap, so that no search ends before what it looks for.
std::uint32_t KeptBlocks::erase(std::uint64_t pin) {
  ASSERT(pins_ > 0);
  const std::size_t mask = table_.size() - 1;
  std::size_t at = home_of(pin);
  while (table_[at].pin != pin) {
    ASSERT(table_[at].pin != 0);  // released twice, or never kept
    at = (at + 1) & mask;
  }
  const std::uint32_t slot = table_[at].slot;
  for (std::size_t next = (at + 1) & mask; table_[next].pin != 0; next = (next + 1) & mask) {
    // It may move back to `at` unless its home lies behind that.
    const std::size_t home = home_of(table_[next].pin);
    if (((next - home) & mask) < ((next - at) & mask)) continue;
    table_[at] = table_[next];
    at = next;
  }
  table_[at] = {};
  return slot;
}

void KeptBlocks::validate() const {
  std::vector<std::uint32_t> parts(slots_.size());
  std::uint32_t pins = 0;
  for (std::size_t i = 0; i < table_.size(); ++i) {
    if (table_[i].pin == 0) continue;
    ++pins;
    ++parts[table_[i].slot];
    for (std::size_t at = home_of(table_[i].pin); at != i; at = (at + 1) & (table_.size() - 1))
      ASSERT(table_[at].pin != 0);
  }
  ASSERT(pins == pins_);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    ASSERT(parts[i] == slots_[i].parts);
    kept += slots_[i].parts > 0 ? 1 : 0;
  }
  ASSERT(kept + free_.size() == slots_.size());
}

}  // namespace penstock
