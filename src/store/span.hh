// Which parts of which extents a range of the piece space consists of.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "store/extent.hh"
#include "store/shard_content.hh"

namespace penstock {

// A range of up to two blocks touches at most so many extents: layout.cc builds no two
// neighbouring regions that are both shorter than an extent.
inline constexpr std::size_t kPartsMax = 4;
inline constexpr std::uint32_t kSpanRangeMax = 2 * kBlockSize;

// A run of bytes inside one extent, or of padding. Not initialised: lists of them are made for
// every block, and only resolve() fills one.
struct Span {
  std::uint64_t key;
  std::uint64_t first_byte;  // in the piece space
  std::uint64_t offset;      // of the extent in its region
  std::uint32_t region;
  std::uint32_t begin;  // in the extent, bytes
  std::uint32_t length;
  bool zero;

  [[nodiscard]] std::uint16_t pages() const { return page_mask(begin, length); }
};

struct SpanList {
  std::array<Span, kPartsMax> spans;
  std::uint32_t count = 0;
};

// [offset, offset + length) of the piece space, inside `piece` and not longer than kSpanRangeMax.
inline void resolve(const ShardContent& content, PieceIndex piece, std::uint64_t offset,
                    std::uint32_t length, SpanList& out) {
  DCHECK(length > 0 && length <= kSpanRangeMax);
  out.count = 0;
  std::uint32_t index = content.region_count == 1 ? 0 : content.region_at(piece, offset);
  while (length > 0) {
    const RegionState& region = content.regions[index];
    const std::uint64_t in_region = offset - region.offset;
    const auto in_extent = static_cast<std::uint32_t>(in_region % kExtentSize);
    auto run =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(length, region.length - in_region));
    const bool zero = region.kind == RegionKind::zero;
    if (!zero) run = std::min(run, kExtentSize - in_extent);
    ASSERT(out.count < kPartsMax);
    Span& span = out.spans[out.count++];
    span.key = content.key_base + region.key + in_region / kExtentSize;
    span.first_byte = offset;
    span.offset = in_region - in_extent;
    span.region = index;
    span.begin = in_extent;
    span.length = run;
    span.zero = zero;
    offset += run;
    length -= run;
    if (in_region + run == region.length) ++index;
  }
}

// A range of blocks of one piece, as numbers (piece × blocks_per_piece + block).
struct BlockRange {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
};

// The blocks that [begin, begin + length) of a piece touches; length > 0.
inline BlockRange blocks_of(const TorrentContent& content, PieceIndex piece, std::uint32_t begin,
                            std::uint32_t length) {
  const std::uint64_t base = std::uint64_t{piece.value} * content.blocks_per_piece;
  return {base + begin / kBlockSize, base + (begin + length - 1) / kBlockSize};
}

// The same of a span that lies in the piece.
inline BlockRange blocks_of(const TorrentContent& content, PieceIndex piece, const Span& span) {
  return blocks_of(content, piece,
                   static_cast<std::uint32_t>(span.first_byte - content.blocks.piece_offset(piece)),
                   span.length);
}

}  // namespace penstock
