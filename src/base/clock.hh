// The seams to time and chance (ARCHITECTURE §1). Protocol code takes an Instant as an argument
// instead; only what drives it (a shard's runner, a test world) holds a Clock.
#pragma once

#include <cstddef>
#include <span>

#include "base/time.hh"

namespace penstock {

class Clock {
 public:
  virtual ~Clock() = default;
  // Monotonic; comparable only with instants of the same clock.
  virtual Instant now() = 0;
};

class Entropy {
 public:
  virtual ~Entropy() = default;
  // Fills the span with unpredictable bytes (getrandom), or with a seed's in tests.
  virtual void fill(std::span<std::byte> out) = 0;
};

}  // namespace penstock
