// Random ranks by Zipf's law: some pieces of a dataset, or some datasets, are asked for far more
// often than others.
//
// Rejection-inversion (W. Hörmann, G. Derflinger, "Rejection-inversion to generate variates from
// monotone discrete distributions", 1996): no table, and fewer than two tries a rank in the mean.
#pragma once

#include <cstdint>

#include "base/random.hh"

namespace penstock {

class ZipfRanks {
 public:
  // Rank r, from 0 to count - 1, comes with a probability in proportion to (r + 1) ^ -exponent.
  // count > 0; exponent > 0, which 1 is about what caches on the Internet see.
  ZipfRanks(std::uint32_t count, double exponent);

  [[nodiscard]] std::uint32_t draw(Random& random) const;

 private:
  [[nodiscard]] double area(double x) const;  // below the density, from 1 to x
  [[nodiscard]] double area_inverse(double a) const;
  [[nodiscard]] double density(double x) const;

  double count_;
  double exponent_;
  double area_first_;  // where the area begins that is drawn from, and
  double area_last_;   // where it ends
  double sure_;        // so near below its rank a point needs no second look
};

}  // namespace penstock
