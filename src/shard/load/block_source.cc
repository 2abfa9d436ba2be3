#include "shard/load/block_source.hh"

#include <algorithm>
#include <numeric>

namespace penstock {
namespace {

// Of about the golden section of `count` pieces: so many steps come to every one if the two have no
// divisor in common.
std::uint32_t demand_step(std::uint32_t count) {
  std::uint32_t step = std::max(static_cast<std::uint32_t>(std::uint64_t{count} * 618 / 1000), 1u);
  while (std::gcd(step, count) > 1)
    ++step;
  return step;
}

}  // namespace

BlockMap::BlockMap(const Metainfo& metainfo)
    : blocks_(metainfo.blocks),
      block_size_(kBlockSize),
      demand_step_(demand_step(blocks_.piece_count())) {
  const std::uint32_t count = blocks_.piece_count();
  const std::uint32_t piece_size = blocks_.piece_size;
  if (!metainfo.has_v1) {
    // BEP 52: a file's last piece ends with the file; the rest up to the piece border isn't there.
    lengths_.assign(count, 0);
    for (const FileEntry& file : metainfo.files) {
      for (std::uint64_t at = 0; at < file.length; at += piece_size) {
        lengths_[(file.offset + at) / piece_size] =
            static_cast<std::uint32_t>(std::min<std::uint64_t>(piece_size, file.length - at));
      }
    }
    return;
  }
  const auto padded = [](const FileEntry& file) { return file.padding && file.length > 0; };
  if (std::none_of(metainfo.files.begin(), metainfo.files.end(), padded)) return;
  wanted_.assign(count, 0);
  for (const FileEntry& file : metainfo.files) {
    if (file.padding || file.length == 0) continue;
    const std::uint64_t end = file.offset + file.length;
    for (std::uint64_t p = file.offset / piece_size; p * piece_size < end; ++p) {
      const std::uint64_t inside = std::min<std::uint64_t>(end - p * piece_size, piece_size);
      const auto blocks = static_cast<std::uint32_t>((inside + kBlockSize - 1) / kBlockSize);
      wanted_[p] = std::max(wanted_[p], blocks);
    }
  }
}

BlockMap::BlockMap(std::uint64_t total_size, std::uint32_t range_size)
    : blocks_{total_size, range_size},
      block_size_(range_size),
      demand_step_(demand_step(blocks_.piece_count())) {}

std::uint32_t BlockMap::piece_length(PieceIndex piece) const {
  return lengths_.empty() ? blocks_.piece_length(piece) : lengths_[piece.value];
}

std::uint32_t BlockMap::block_count(PieceIndex piece) const {
  if (!wanted_.empty()) return wanted_[piece.value];
  return (piece_length(piece) + block_size_ - 1) / block_size_;
}

Request BlockMap::block(PieceIndex piece, std::uint32_t index) const {
  const std::uint32_t begin = index * block_size_;
  return {piece, begin, std::min(block_size_, piece_length(piece) - begin)};
}

PieceIndex BlockMap::in_demand(std::uint32_t rank) const {
  return PieceIndex(static_cast<std::uint32_t>(std::uint64_t{rank} * demand_step_ % piece_count()));
}

BlockSource::BlockSource(const BlockMap& map, LoadPattern pattern, std::uint64_t seed,
                         std::uint32_t place, std::uint32_t places, const ZipfRanks* ranks)
    : map_(map),
      pattern_(pattern),
      ranks_(ranks),
      random_(seed),
      next_(static_cast<std::uint32_t>(std::uint64_t{map.piece_count()} * place / places)) {}

void BlockSource::advance() {
  ++block_;
  chosen_ = pattern_ != LoadPattern::blocks && block_ < map_.block_count(piece_);
}

}  // namespace penstock
