// How many peers, in all and from one address.
//
// Owner: a shard. A table of fixed size; entries exist only for addresses with connections. An IPv6
// address counts by its /64: that is what one customer has.
#pragma once

#include <cstdint>
#include <memory>

#include "base/address.hh"

namespace penstock {

class Admission {
 public:
  enum class Verdict : std::uint8_t { admitted, too_many, too_many_from_address };

  // total_max: connections at once, also what the table is sized for. per_address_max: 0 is no
  // limit. seed: of the hash, unpredictable, so that nobody can aim at a bucket.
  Admission(std::uint32_t total_max, std::uint32_t per_address_max, std::uint64_t seed);

  // admitted: counted until release().
  Verdict try_admit(const IpAddress& ip);
  void release(const IpAddress& ip);
  // New limits; who is in stays. total_max is capped at what the table was built for.
  void set_limits(std::uint32_t total_max, std::uint32_t per_address_max);

  [[nodiscard]] std::uint32_t count() const { return count_; }
  [[nodiscard]] std::uint32_t count_of(const IpAddress& ip) const;
  void validate() const;

 private:
  struct Slot {
    std::uint64_t high = 0;  // of the address; of IPv4 all 16 bytes matter
    std::uint64_t low = 0;
    std::uint32_t count = 0;  // 0: free
  };
  [[nodiscard]] static Slot key_of(const IpAddress& ip);
  [[nodiscard]] std::uint32_t home_of(const Slot& key) const;
  // The slot of the key, or the free one where it would go.
  [[nodiscard]] std::uint32_t find(const Slot& key) const;

  std::unique_ptr<Slot[]> slots_;
  std::uint32_t mask_;
  std::uint32_t capacity_;
  std::uint32_t total_max_;
  std::uint32_t per_address_max_;
  std::uint64_t seed_;
  std::uint32_t count_ = 0;
};

}  // namespace penstock
