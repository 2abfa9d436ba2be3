// Integers that can't be mistaken for one another.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace penstock {

template <class Tag, class Rep>
struct Strong {
  using rep = Rep;
  Rep value{};

  constexpr Strong() = default;
  constexpr explicit Strong(Rep v) : value(v) {}
  auto operator<=>(const Strong&) const = default;
  constexpr Strong next() const { return Strong(static_cast<Rep>(value + 1)); }
};

using PieceIndex = Strong<struct PieceIndexTag, std::uint32_t>;  // BEP 3 piece
using FileIndex = Strong<struct FileIndexTag, std::uint32_t>;  // file of a torrent, metainfo order
using ShardId = Strong<struct ShardIdTag, std::uint16_t>;      // 0 … shards - 1
// A torrent's place in the process-wide table of published torrents. Reused after a grace period.
using TorrentSlot = Strong<struct TorrentSlotTag, std::uint32_t>;

}  // namespace penstock

template <class Tag, class Rep>
struct std::hash<penstock::Strong<Tag, Rep>> {
  std::size_t operator()(const penstock::Strong<Tag, Rep>& s) const noexcept {
    return std::hash<Rep>()(s.value);
  }
};
