// The statistics of a load run: a rate with its confidence interval, and fairness.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace penstock::cli {

// The window is cut into this many batches, whose means are taken as independent samples of the
// rate (batch means): neighbouring milliseconds are not, twentieths of seconds nearly are.
inline constexpr std::size_t kLoadBatches = 20;

struct LoadSummary {
  double rate = 0;          // bytes per second, mean of the batches
  double rate_ci95 = 0;     // half width of its 95 % confidence interval; 0 with one batch
  double jain = 0;          // Jain's index of the connections' bytes: 1 all equal, 1/n one has all
  std::uint64_t least = 0;  // bytes of the connection that got least
  std::uint64_t most = 0;
};

// rates: of the batches. Either may be empty.
LoadSummary summarise(std::span<const double> rates, std::span<const std::uint64_t> bytes);

}  // namespace penstock::cli
