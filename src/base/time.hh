// Time as protocol code sees it: a number that is handed in, never read from a clock.
//
// Instant counts nanoseconds from an arbitrary origin (a driver's monotonic clock, or zero in
// virtual time).
#pragma once

#include <compare>
#include <cstdint>
#include <limits>

namespace penstock {

struct Duration {
  std::int64_t ns = 0;

  static constexpr Duration nanoseconds(std::int64_t n) { return {n}; }
  static constexpr Duration microseconds(std::int64_t n) { return {n * 1'000}; }
  static constexpr Duration milliseconds(std::int64_t n) { return {n * 1'000'000}; }
  static constexpr Duration seconds(std::int64_t n) { return {n * 1'000'000'000}; }
  static constexpr Duration max() { return {std::numeric_limits<std::int64_t>::max()}; }

  [[nodiscard]] constexpr double as_seconds() const { return static_cast<double>(ns) * 1e-9; }
  auto operator<=>(const Duration&) const = default;
  constexpr Duration operator+(Duration d) const { return {ns + d.ns}; }
  constexpr Duration operator-(Duration d) const { return {ns - d.ns}; }
  constexpr Duration operator*(std::int64_t n) const { return {ns * n}; }
  constexpr Duration operator/(std::int64_t n) const { return {ns / n}; }
};

struct Instant {
  std::int64_t ns = 0;

  // Later than every other instant: "no timer is armed".
  static constexpr Instant never() { return {std::numeric_limits<std::int64_t>::max()}; }

  auto operator<=>(const Instant&) const = default;
  constexpr Duration operator-(Instant earlier) const { return {ns - earlier.ns}; }
  // Saturates at never().
  constexpr Instant operator+(Duration d) const {
    if (ns > 0 && d.ns > std::numeric_limits<std::int64_t>::max() - ns) return never();
    return {ns + d.ns};
  }
  constexpr Instant operator-(Duration d) const { return {ns - d.ns}; }
};

constexpr Instant earlier(Instant a, Instant b) {
  return a < b ? a : b;
}

}  // namespace penstock
