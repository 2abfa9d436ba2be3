#include "net/flow_table.hh"

#include <map>

#include <gtest/gtest.h>

#include "base/random.hh"

namespace penstock::net {
namespace {

// Values are unique; `hashes` is what the owner knows of them.
void against_a_map(std::uint64_t seed, std::uint32_t flows_max, std::uint32_t hash_mask) {
  Random random(seed);
  FlowTable table(flows_max);
  std::map<std::uint32_t, std::uint32_t> hashes;
  for (int step = 0; step < 3'000; ++step) {
    const auto value = static_cast<std::uint32_t>(random.below(flows_max));
    const auto it = hashes.find(value);
    if (it == hashes.end()) {
      // Few hashes: long runs and runs that wrap around the end of the table.
      const auto hash = static_cast<std::uint32_t>(random.next()) & hash_mask;
      table.insert(hash, value);
      hashes[value] = hash;
    } else {
      table.erase(it->second, value);
      hashes.erase(it);
    }
    ASSERT_EQ(table.size(), hashes.size());
    for (const auto& [v, hash] : hashes)
      ASSERT_EQ(table.find(hash, [v = v](std::uint32_t found) { return found == v; }), v);
    const auto other = static_cast<std::uint32_t>(random.next()) & hash_mask;
    const bool some = std::any_of(hashes.begin(), hashes.end(),
                                  [&](const auto& entry) { return entry.second == other; });
    ASSERT_EQ(table.peek(other) != FlowTable::kNone, some);
    if (step % 100 == 0) table.validate();
  }
}

TEST(FlowTable, EqualsAMapWhateverComesAndGoes) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    against_a_map(seed, 40, 0xffffffff);
    against_a_map(seed, 40, 0x3f);
    against_a_map(seed, 17, 0xf0000003);
    against_a_map(seed, 1, 0);
  }
}

TEST(FlowTable, HoldsAsManyAsWasSaid) {
  FlowTable table(1'000);
  for (std::uint32_t i = 0; i < 1'000; ++i)
    table.insert(7, i);
  for (std::uint32_t i = 0; i < 1'000; ++i)
    EXPECT_EQ(table.find(7, [i](std::uint32_t v) { return v == i; }), i);
  EXPECT_EQ(table.find(7, [](std::uint32_t) { return false; }), FlowTable::kNone);
  for (std::uint32_t i = 0; i < 1'000; ++i)
    table.erase(7, i);
  EXPECT_EQ(table.size(), 0U);
  table.validate();
}

}  // namespace
}  // namespace penstock::net
