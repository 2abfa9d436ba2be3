// Counts what a thread takes from the allocator while a CountAllocations lives. Its .cc stands in
// for operator new, so it links only into programs that ask for it.
#pragma once

#include <cstdint>

namespace penstock::support {

class CountAllocations {
 public:
  CountAllocations();
  ~CountAllocations();
  CountAllocations(const CountAllocations&) = delete;
  CountAllocations& operator=(const CountAllocations&) = delete;

  // Of this thread, since it began.
  static std::uint64_t counted();
};

// Inside a CountAllocations: what a simulated device does isn't the stack's.
class PauseCount {
 public:
  PauseCount();
  ~PauseCount();
  PauseCount(const PauseCount&) = delete;
  PauseCount& operator=(const PauseCount&) = delete;

 private:
  bool was_;
};

}  // namespace penstock::support
