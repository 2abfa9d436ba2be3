// Real time and real chance: the drivers of base/clock.hh.
#pragma once

#include "base/clock.hh"

namespace penstock::host {

// CLOCK_MONOTONIC through the vDSO (no system call on x86-64 and aarch64 with a TSC or CNTVCT clock
// source). Any thread.
class MonotonicClock final : public Clock {
 public:
  Instant now() override;
};

// getrandom(2), which blocks only before the kernel's pool is seeded at boot. Any thread.
class SystemEntropy final : public Entropy {
 public:
  void fill(std::span<std::byte> out) override;
};

}  // namespace penstock::host
