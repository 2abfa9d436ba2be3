// Watches the data plane's threads ("shard-…") for what they may not do after start: take memory
// from the allocator or give it back, take a lock. Links only into a program of its own, since it
// stands in for malloc and the pthread functions, and not into a sanitized one, which does that
// itself.
#pragma once

#include <cstdint>

namespace penstock::test {

struct GuardReport {
  std::uint64_t allocations = 0;
  std::uint64_t releases = 0;
  std::uint64_t locks = 0;
  std::uint64_t threads = 0;  // of the data plane, since the program began

  [[nodiscard]] std::uint64_t total() const { return allocations + releases + locks; }
};

// From here on what the data plane does is counted.
void arm_guard();
// What it did since arm_guard(); the first places go to stderr (addr2line reads them).
GuardReport disarm_guard();

}  // namespace penstock::test
