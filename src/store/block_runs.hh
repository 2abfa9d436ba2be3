// The bytes of a block, in order, wherever they lie.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "store/extent_cache.hh"
#include "store/span.hh"

namespace penstock {

class BlockRuns {
 public:
  void add(const std::byte* data, std::uint32_t length) { runs_[count_++] = {data, length}; }
  void add(const ExtentCache& cache, const Extent& extent, const Span& span) {
    cache.for_each_run(extent, span.begin, span.length,
                       [this](const std::byte* data, std::uint32_t length) { add(data, length); });
  }
  [[nodiscard]] std::span<const std::span<const std::byte>> list() const {
    return std::span(runs_).first(count_);
  }

 private:
  // Of a block, the end of a framed extent's slab is in at most every other part.
  std::array<std::span<const std::byte>, 2 * kPartsMax> runs_;
  std::size_t count_ = 0;
};

}  // namespace penstock
