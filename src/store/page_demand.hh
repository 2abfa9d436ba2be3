// Finds or makes extents and has their pages read, whatever kind of region they are of.
#pragma once

#include "store/assembler.hh"
#include "store/extent_cache.hh"
#include "store/read_scheduler.hh"
#include "store/span.hh"

namespace penstock {

class PageDemand {
 public:
  PageDemand(ExtentCache& cache, ReadScheduler& scheduler, Assembler& assembler)
      : cache_(cache), scheduler_(scheduler), assembler_(assembler) {}

  // The span's extent, held once more for the caller. nullptr: no slab for it.
  Extent* get(ShardContent& owner, const Span& span) {
    if (Extent* extent = cache_.find(span.key); extent != nullptr) {
      cache_.hold(*extent);
      return extent;
    }
    return cache_.create(owner, span.region, span.key, span.offset);
  }
  // The caller holds the extent. Pages that can't be had are in extent.failed at once.
  void want(Extent& extent, std::uint16_t mask) {
    if (cache_.want_pages(extent, mask) == 0) return;
    if (is_packed(extent)) {
      assembler_.on_wanted(extent);
    } else {
      scheduler_.on_wanted(extent);
    }
    cache_.settle_io(extent);
  }
  // Pages that are not being read yet need not be. May free the extent.
  void cancel(Extent& extent) {
    if (extent.wanted == 0) return;
    if (is_packed(extent)) {
      assembler_.cancel(extent);
    } else {
      scheduler_.cancel(extent);
    }
    cache_.settle_io(extent);
  }

 private:
  static bool is_packed(const Extent& extent) {
    return extent.owner->regions[extent.region].kind == RegionKind::packed;
  }

  ExtentCache& cache_;
  ReadScheduler& scheduler_;
  Assembler& assembler_;
};

}  // namespace penstock
