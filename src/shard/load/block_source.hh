// Which block a connection of the load generator asks for next. One object a connection.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/block_info.hh"
#include "base/load_plan.hh"
#include "base/random.hh"
#include "peer/request_queue.hh"
#include "shard/load/zipf.hh"
#include "wire/metainfo.hh"

namespace penstock {

// What can be asked for: pieces and their blocks, without padding. Shared by all connections.
class BlockMap {
 public:
  // The torrent's pieces in blocks of 16 KiB.
  explicit BlockMap(const Metainfo& metainfo);
  // Ranges of range_size bytes; each is a "piece" of one block. The last may be shorter.
  BlockMap(std::uint64_t total_size, std::uint32_t range_size);

  [[nodiscard]] std::uint32_t piece_count() const { return blocks_.piece_count(); }
  // Blocks of the piece that hold anything but padding.
  [[nodiscard]] std::uint32_t block_count(PieceIndex piece) const;
  [[nodiscard]] Request block(PieceIndex piece, std::uint32_t index) const;
  // Bytes of the piece that exist: of a v2-only torrent a file's last piece ends with the file.
  [[nodiscard]] std::uint32_t piece_length(PieceIndex piece) const;
  // The pieces in an order of demand that says nothing of their places: the first, the second, …
  // rank: less than piece_count().
  [[nodiscard]] PieceIndex in_demand(std::uint32_t rank) const;

 private:
  BlockInfo blocks_;
  std::uint32_t block_size_;
  std::uint32_t demand_step_;
  // v2-only: of each piece; else empty.
  std::vector<std::uint32_t> lengths_;
  // With padding: of each piece, the blocks before its trailing padding; else empty.
  std::vector<std::uint32_t> wanted_;
};

class BlockSource {
 public:
  // The map and the ranks outlive the source. place, of places: where a sequential one begins.
  // ranks: of the map's pieces in demand; null: all alike.
  BlockSource(const BlockMap& map, LoadPattern pattern, std::uint64_t seed, std::uint32_t place,
              std::uint32_t places, const ZipfRanks* ranks = nullptr);

  // The block to ask for next, or false: the peer has no piece with blocks (after many tries).
  // has(PieceIndex): whether the peer has it.
  template <class Has>
  bool peek(Has has, Request& out) {
    if (!chosen_ && !choose(has)) return false;
    out = map_.block(piece_, block_);
    return true;
  }
  // The peeked one was asked for.
  void advance();

 private:
  template <class Has>
  bool choose(Has has) {
    const std::uint32_t count = map_.piece_count();
    for (std::uint32_t tries = 0; tries < 2 * count + 64; ++tries) {
      if (pattern_ == LoadPattern::sequential) {
        piece_ = PieceIndex(next_);
        next_ = next_ + 1 == count ? 0 : next_ + 1;
      } else if (ranks_ != nullptr) {
        piece_ = map_.in_demand(ranks_->draw(random_));
      } else {
        piece_ = PieceIndex(static_cast<std::uint32_t>(random_.below(count)));
      }
      const std::uint32_t blocks = map_.block_count(piece_);
      if (blocks == 0 || !has(piece_)) continue;
      block_ =
          pattern_ == LoadPattern::blocks ? static_cast<std::uint32_t>(random_.below(blocks)) : 0;
      chosen_ = true;
      return true;
    }
    return false;
  }

  const BlockMap& map_;
  const LoadPattern pattern_;
  const ZipfRanks* const ranks_;
  Random random_;
  std::uint32_t next_;
  PieceIndex piece_;
  std::uint32_t block_ = 0;
  bool chosen_ = false;
};

}  // namespace penstock
