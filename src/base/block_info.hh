// All arithmetic between bytes, blocks and pieces of a torrent, in one value type.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/strong.hh"

namespace penstock {

// The unit of request (BEP 3 practice) and of the v2 merkle leaf (BEP 52), bytes.
inline constexpr std::uint32_t kBlockSize = 16 * 1024;
// The unit of cache: an aligned part of a file, bytes.
inline constexpr std::uint32_t kExtentSize = 64 * 1024;
// BEP 52 says a power of two, at least 16 KiB; v1 torrents need not obey. Upper limit: what one
// piece may cost to verify before its first byte is served.
inline constexpr std::uint32_t kPieceSizeMax = 1u << 29;

struct BlockInfo {
  std::uint64_t total_size = 0;  // bytes of the torrent's piece space, padding included
  std::uint32_t piece_size = 0;  // bytes, > 0 unless the torrent is empty

  [[nodiscard]] constexpr std::uint32_t piece_count() const {
    if (piece_size == 0) return 0;
    return static_cast<std::uint32_t>((total_size + piece_size - 1) / piece_size);
  }
  [[nodiscard]] constexpr std::uint64_t piece_offset(PieceIndex piece) const {
    return std::uint64_t{piece.value} * piece_size;
  }
  // Bytes in this piece; the last may be shorter. 0 for a piece that does not exist.
  [[nodiscard]] constexpr std::uint32_t piece_length(PieceIndex piece) const {
    const std::uint64_t begin = piece_offset(piece);
    if (begin >= total_size) return 0;
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(piece_size, total_size - begin));
  }
  [[nodiscard]] constexpr std::uint32_t blocks_in_piece(PieceIndex piece) const {
    return (piece_length(piece) + kBlockSize - 1) / kBlockSize;
  }
  [[nodiscard]] constexpr PieceIndex piece_at(std::uint64_t offset) const {
    return PieceIndex(static_cast<std::uint32_t>(offset / piece_size));
  }
  // A REQUEST that lies wholly inside an existing piece.
  [[nodiscard]] constexpr bool contains(PieceIndex piece, std::uint32_t begin,
                                        std::uint32_t length) const {
    const std::uint32_t size = piece_length(piece);
    return length > 0 && begin < size && length <= size - begin;
  }
};

}  // namespace penstock
