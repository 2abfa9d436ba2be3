// A torrent as sessions and shards see it.
//
// Built by control, published to the shards, immutable but for `withdrawn` and what it points at;
// freed when every shard has forgotten it. Everything it refers to lives as long.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/block_info.hh"
#include "base/digest.hh"
#include "base/piece_states.hh"
#include "base/strong.hh"

namespace penstock {

class HashForest;  // swarm/hash_forest.hh

struct Torrent {
  TorrentSlot slot;
  // What handshakes may name it by: SHA-1 of the info dictionary (v1), its truncated SHA-256 (v2),
  // or both (hybrid: v1 first).
  std::array<WireInfoHash, 2> hash_list{};
  std::uint8_t hash_count = 0;  // 1 or 2
  bool has_v2 = false;          // BEP 52; then the last of the hashes is the v2 one
  bool is_private = false;      // BEP 27
  BlockInfo blocks;
  const PieceStates* pieces = nullptr;    // count() == blocks.piece_count()
  std::span<const std::byte> info_bytes;  // the info dictionary (BEP 9); empty: not offered
  const HashForest* forest = nullptr;     // of v2; null rejects all hash requests
  // Set by control, read by shards (relaxed; mailboxes give the order): sessions are closed and
  // new ones refused.
  std::atomic<bool> withdrawn{false};

  [[nodiscard]] std::span<const WireInfoHash> hashes() const {
    return std::span(hash_list).first(hash_count);
  }
  [[nodiscard]] bool answers_to(const WireInfoHash& hash) const {
    for (const WireInfoHash& own : hashes()) {
      if (own == hash) return true;
    }
    return false;
  }
};

}  // namespace penstock
