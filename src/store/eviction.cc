#include "store/eviction.hh"

#include <algorithm>

namespace penstock {
namespace {

std::uint64_t mix(std::uint64_t key) {
  key *= 0x9e3779b97f4a7c15ULL;
  key ^= key >> 32;
  return key * 0xbf58476d1ce4e5b9ULL;
}

}  // namespace

GhostTable::GhostTable(std::uint32_t capacity) : capacity_(std::max(capacity, 1u)) {
  std::uint32_t sets = 1;
  while (sets * kWays < capacity_ * 2)
    sets *= 2;
  set_mask_ = sets - 1;
  ghosts_ = std::make_unique<Ghost[]>(std::size_t{sets} * kWays);
}

GhostTable::Ghost* GhostTable::set_of(std::uint64_t hash) const {
  return &ghosts_[std::size_t{static_cast<std::uint32_t>(hash) & set_mask_} * kWays];
}

std::uint32_t GhostTable::fingerprint(std::uint64_t hash) {
  return static_cast<std::uint32_t>(hash >> 32) | 1;
}

void GhostTable::insert(std::uint64_t key) {
  const std::uint64_t hash = mix(key);
  Ghost* set = set_of(hash);
  Ghost* oldest = set;
  for (std::uint32_t i = 0; i < kWays; ++i) {
    if (set[i].fingerprint == 0) {
      oldest = &set[i];
      break;
    }
    if (clock_ - set[i].born > clock_ - oldest->born) oldest = &set[i];
  }
  *oldest = {fingerprint(hash), clock_++};
}

bool GhostTable::take(std::uint64_t key) {
  const std::uint64_t hash = mix(key);
  Ghost* set = set_of(hash);
  for (std::uint32_t i = 0; i < kWays; ++i) {
    if (set[i].fingerprint != fingerprint(hash)) continue;
    const bool known = clock_ - set[i].born <= capacity_;
    set[i] = Ghost{};
    return known;
  }
  return false;
}

Eviction::Eviction(StoreLimits::Policy policy, std::uint32_t slab_count)
    : policy_(policy),
      small_target_(std::max(slab_count / 10, 1u)),
      ghosts_(policy == StoreLimits::Policy::s3fifo ? slab_count : 1) {}

void Eviction::insert(Extent& extent, bool& ghost_hit) {
  ghost_hit = false;
  if (policy_ == StoreLimits::Policy::s3fifo) ghost_hit = ghosts_.take(extent.key);
  if (policy_ == StoreLimits::Policy::lru || ghost_hit) {
    extent.queue = EvictionQueue::main;
    main_.push_back(&extent);
  } else {
    extent.queue = EvictionQueue::small;
    small_.push_back(&extent);
  }
}

void Eviction::remove(Extent& extent) {
  if (extent.queue == EvictionQueue::small) small_.remove(&extent);
  if (extent.queue == EvictionQueue::main) main_.remove(&extent);
  extent.queue = EvictionQueue::none;
}

Extent* Eviction::step_small() {
  Extent* extent = small_.pop_front();
  if (in_use(*extent)) {
    small_.push_back(extent);
    return nullptr;
  }
  if (extent->frequency > 0) {
    extent->frequency = 0;
    extent->queue = EvictionQueue::main;
    main_.push_back(extent);
    return nullptr;
  }
  extent->queue = EvictionQueue::none;
  ghosts_.insert(extent->key);
  return extent;
}

Extent* Eviction::step_main() {
  Extent* extent = main_.pop_front();
  const bool second_chance = policy_ == StoreLimits::Policy::s3fifo && extent->frequency > 0;
  if (in_use(*extent) || second_chance) {
    if (second_chance) --extent->frequency;
    main_.push_back(extent);
    return nullptr;
  }
  extent->queue = EvictionQueue::none;
  return extent;
}

Extent* Eviction::victim() {
  // Whatever the frequencies: each extent of the main queue has at most three chances, and those in
  // use are passed over once.
  std::uint32_t small_left = small_.size();
  const std::uint32_t steps = std::min(small_.size() + 4 * main_.size() + 4, kStepsMax);
  for (std::uint32_t i = 0; i < steps; ++i) {
    const bool from_small = small_left > 0 && (small_.size() > small_target_ || main_.empty());
    Extent* extent = nullptr;
    if (from_small) {
      --small_left;
      extent = step_small();
    } else if (!main_.empty()) {
      extent = step_main();
    } else {
      return nullptr;
    }
    if (extent != nullptr) return extent;
  }
  // Everything in main is in use or popular: the rest of the small queue.
  while (small_left-- > 0 && !small_.empty()) {
    if (Extent* extent = step_small(); extent != nullptr) return extent;
  }
  return nullptr;
}

void Eviction::validate() const {
  for (Extent* e = small_.front(); e != nullptr; e = small_.next(e))
    ASSERT(e->queue == EvictionQueue::small && e->use == SlabUse::extent && !e->orphan);
  for (Extent* e = main_.front(); e != nullptr; e = main_.next(e))
    ASSERT(e->queue == EvictionQueue::main && e->use == SlabUse::extent && !e->orphan);
}

}  // namespace penstock
