#include "cli/load_summary.hh"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace penstock::cli {
namespace {

// Student's t, two-sided 95 %, for 1 … 19 degrees of freedom; beyond 19: the normal one's 1.96.
constexpr double kStudent[] = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365,
                               2.306,  2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
                               2.131,  2.120, 2.110, 2.101, 2.093};

}  // namespace

LoadSummary summarise(std::span<const double> rates, std::span<const std::uint64_t> bytes) {
  LoadSummary out;
  const auto n = static_cast<double>(rates.size());
  for (const double rate : rates)
    out.rate += rate / n;
  if (rates.size() > 1) {
    double squares = 0;
    for (const double rate : rates)
      squares += (rate - out.rate) * (rate - out.rate);
    const std::size_t freedom = rates.size() - 1;
    const double t = freedom <= std::size(kStudent) ? kStudent[freedom - 1] : 1.96;
    out.rate_ci95 = t * std::sqrt(squares / (n - 1) / n);
  }
  double sum = 0;
  double squares = 0;
  for (const std::uint64_t b : bytes) {
    const auto value = static_cast<double>(b);
    sum += value;
    squares += value * value;
  }
  if (squares > 0) out.jain = sum * sum / (static_cast<double>(bytes.size()) * squares);
  if (!bytes.empty()) {
    out.least = *std::min_element(bytes.begin(), bytes.end());
    out.most = *std::max_element(bytes.begin(), bytes.end());
  }
  return out;
}

}  // namespace penstock::cli
