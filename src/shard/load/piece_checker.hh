// Assembles the pieces that one connection of the load generator gets, and checks their hashes.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "crypto/merkle.hh"
#include "crypto/sha.hh"
#include "peer/request_queue.hh"
#include "shard/load/block_source.hh"
#include "wire/metainfo.hh"

namespace penstock {

class PieceChecker {
 public:
  // Both outlive it. begun_max: pieces under way at once; of more the oldest is given up (its rest
  // was rejected or forgotten by a choke).
  PieceChecker(const Metainfo& metainfo, const BlockMap& map, std::size_t begun_max);

  enum class Verdict : std::uint8_t { incomplete, good, bad };
  // Bytes of a block, from `offset` of it on; `last`: the block is complete.
  Verdict on_bytes(const Request& request, std::uint32_t offset, std::span<const std::byte> data,
                   bool last);
  // The connection is new: what was begun will not be finished.
  void restart() { begun_.clear(); }

 private:
  struct Begun {
    PieceIndex piece;
    std::uint32_t blocks_left = 0;
    std::vector<bool> here;        // one a block: a piece may be asked for again meanwhile
    std::vector<std::byte> bytes;  // padding stays zero
  };
  Begun& find(PieceIndex piece);
  [[nodiscard]] bool is_good(const Begun& piece);
  [[nodiscard]] bool is_good_v2(const Begun& piece);

  const Metainfo& metainfo_;
  const BlockMap& map_;
  const std::size_t begun_max_;
  std::vector<Begun> begun_;  // oldest first
  MerkleHasher hasher_;
};

}  // namespace penstock
