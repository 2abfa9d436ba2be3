#include "swarm/admission.hh"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/assert.hh"

namespace penstock {

Admission::Admission(std::uint32_t total_max, std::uint32_t per_address_max, std::uint64_t seed)
    : capacity_(total_max), total_max_(total_max), per_address_max_(per_address_max), seed_(seed) {
  // At most half full: probes stay short, and there is always a free slot to end on.
  const std::uint32_t size = std::bit_ceil(std::max<std::uint32_t>(total_max, 1) * 2);
  slots_ = std::make_unique<Slot[]>(size);
  mask_ = size - 1;
}

Admission::Slot Admission::key_of(const IpAddress& ip) {
  Slot key;
  std::memcpy(&key.high, ip.bytes.data(), 8);
  if (ip.is_v4()) std::memcpy(&key.low, ip.bytes.data() + 8, 8);
  return key;
}

std::uint32_t Admission::home_of(const Slot& key) const {
  // Two rounds of a 64 → 64 bit mixer over address and seed.
  std::uint64_t h = (key.high ^ seed_) * 0x9e3779b97f4a7c15ULL;
  h = (h ^ (h >> 32) ^ key.low) * 0xd6e8feb86659fd93ULL;
  h = (h ^ (h >> 32) ^ seed_) * 0xd6e8feb86659fd93ULL;
  return static_cast<std::uint32_t>(h >> 32) & mask_;
}

std::uint32_t Admission::find(const Slot& key) const {
  std::uint32_t i = home_of(key);
  while (slots_[i].count != 0 && (slots_[i].high != key.high || slots_[i].low != key.low))
    i = (i + 1) & mask_;
  return i;
}

Admission::Verdict Admission::try_admit(const IpAddress& ip) {
  if (count_ >= total_max_) return Verdict::too_many;
  const Slot key = key_of(ip);
  Slot& slot = slots_[find(key)];
  if (per_address_max_ != 0 && slot.count >= per_address_max_) {
    return Verdict::too_many_from_address;
  }
  slot.high = key.high;
  slot.low = key.low;
  ++slot.count;
  ++count_;
  return Verdict::admitted;
}

void Admission::release(const IpAddress& ip) {
  std::uint32_t hole = find(key_of(ip));
  ASSERT(slots_[hole].count > 0 && count_ > 0);
  --count_;
  if (--slots_[hole].count > 0) return;
  // Entries that were pushed past the freed slot move up: no tombstones.
  for (std::uint32_t i = (hole + 1) & mask_; slots_[i].count != 0; i = (i + 1) & mask_) {
    const std::uint32_t home = home_of(slots_[i]);
    if (((i - home) & mask_) < ((i - hole) & mask_)) continue;
    slots_[hole] = slots_[i];
    slots_[i].count = 0;
    hole = i;
  }
}

void Admission::set_limits(std::uint32_t total_max, std::uint32_t per_address_max) {
  total_max_ = std::min(total_max, capacity_);
  per_address_max_ = per_address_max;
}

std::uint32_t Admission::count_of(const IpAddress& ip) const {
  return slots_[find(key_of(ip))].count;
}

void Admission::validate() const {
  std::uint32_t sum = 0;
  for (std::uint32_t i = 0; i <= mask_; ++i) {
    if (slots_[i].count == 0) continue;
    sum += slots_[i].count;
    ASSERT(find(slots_[i]) == i);
  }
  ASSERT(sum == count_);
}

}  // namespace penstock
