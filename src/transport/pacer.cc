#include "transport/pacer.hh"

#include <algorithm>

namespace penstock::transport {
namespace {

constexpr std::int64_t kQuantumNs = 1'000'000;
constexpr std::uint64_t kQuantumMost = 64 * 1024;
// 10 ms a byte: keeps cost × 64 KiB, and × 2 MSS, far from 2^63.
constexpr std::uint64_t kCostMost = std::uint64_t{10'000'000} << 20;

}  // namespace

void Pacer::set_rate(std::uint32_t window, Duration srtt, bool slow_start, std::uint16_t mss) {
  stale_ = false;
  if (srtt.ns <= 0 || window == 0) {
    cost_ = 0;
    return;
  }
  // ns of a byte = srtt / (gain × window). srtt < 2^39 ns (rtt.cc), shifted by 20: fits. The 1 ns
  // at least is for a path without delay.
  const std::uint64_t srtt_ns = std::min<std::uint64_t>(srtt.ns, std::uint64_t{1} << 39);
  const std::uint64_t gain_window = std::uint64_t{window} * (slow_start ? 20 : 12);
  cost_ = std::clamp<std::uint64_t>((srtt_ns << kShift) * 10 / gain_window, 1, kCostMost);
  // cost_ <= 2^44, so the quotient is at least 2^-4 ms / 2^20.
  const std::uint64_t per_ms = (static_cast<std::uint64_t>(kQuantumNs) << kShift) / cost_;
  quantum_ = static_cast<std::uint32_t>(std::clamp(per_ms, std::uint64_t{2} * mss, kQuantumMost));
}

std::uint64_t Pacer::rate() const {
  return cost_ == 0 ? 0 : (std::uint64_t{1'000'000'000} << kShift) / cost_;
}

}  // namespace penstock::transport
