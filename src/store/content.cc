#include "store/content.hh"

#include <algorithm>

#include "store/shard_content.hh"

namespace penstock {

void ShardContentDeleter::operator()(ShardContent* content) const {
  delete content;
}

std::uint32_t TorrentContent::file_at(std::uint64_t offset) const {
  const auto behind =
      std::upper_bound(files.begin(), files.end(), offset,
                       [](std::uint64_t at, const ContentFile& file) { return at < file.offset; });
  auto i = static_cast<std::uint32_t>(behind - files.begin());
  while (i > 0) {
    if (files[--i].length > 0) return i;
  }
  return static_cast<std::uint32_t>(files.size());
}

ShardId TorrentContent::home(PieceIndex piece, std::uint32_t shard_count) const {
  if (shard_count <= 1) return ShardId(0);
  const std::uint64_t pieces_per_region =
      blocks.piece_size >= kHomeRegionSize
          ? 1
          : (kHomeRegionSize + blocks.piece_size - 1) / blocks.piece_size;
  // A multiplicative mix of (torrent, region); the high half decides (Fibonacci hashing).
  std::uint64_t mixed = (std::uint64_t{slot.value} << 32) ^ (piece.value / pieces_per_region);
  mixed *= 0x9e3779b97f4a7c15ULL;
  mixed ^= mixed >> 29;
  mixed *= 0xbf58476d1ce4e5b9ULL;
  return ShardId(static_cast<std::uint16_t>(((mixed >> 32) * shard_count) >> 32));
}

}  // namespace penstock
