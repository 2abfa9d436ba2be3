#include "shard/load/zipf.hh"

#include <algorithm>
#include <cmath>

namespace penstock {
namespace {

// (e^x - 1) / x and ln(1 + x) / x, also at 0 and near it.
double exp_ratio(double x) {
  return std::abs(x) > 1e-8 ? std::expm1(x) / x : 1 + x / 2;
}
double log_ratio(double x) {
  return std::abs(x) > 1e-8 ? std::log1p(x) / x : 1 - x / 2;
}

}  // namespace

ZipfRanks::ZipfRanks(std::uint32_t count, double exponent)
    : count_(count),
      exponent_(exponent),
      area_first_(area(1.5) - 1),
      area_last_(area(count + 0.5)),
      sure_(2 - area_inverse(area(2.5) - density(2))) {}

// The integral of t ^ -exponent, for an exponent of 1 as well.
double ZipfRanks::area(double x) const {
  const double log_x = std::log(x);
  return exp_ratio((1 - exponent_) * log_x) * log_x;
}

double ZipfRanks::area_inverse(double a) const {
  const double t = std::max(a * (1 - exponent_), -1.0);
  return std::exp(log_ratio(t) * a);
}

double ZipfRanks::density(double x) const {
  return std::exp(-exponent_ * std::log(x));
}

std::uint32_t ZipfRanks::draw(Random& random) const {
  for (;;) {
    const double a = area_last_ + random.unit() * (area_first_ - area_last_);
    const double x = area_inverse(a);
    const double rank = std::clamp(std::floor(x + 0.5), 1.0, count_);
    if (rank - x <= sure_ || a >= area(rank + 0.5) - density(rank))
      return static_cast<std::uint32_t>(rank) - 1;
  }
}

}  // namespace penstock
