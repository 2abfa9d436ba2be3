// A hash request that waits for its answer. Private to peer/.
#pragma once

#include "peer/request_queue.hh"
#include "peer/session.hh"
#include "swarm/hash_forest.hh"
#include "wire/peer_wire.hh"

namespace penstock {

struct Session::HashJob {
  enum class State : std::uint8_t {
    ready,             // answered from the forest, or from leaf_hashes_
    needs_leaves,      // the shard is to be asked, when it is this one's turn
    waits_for_leaves,  // the shard was asked
    reject,
  };
  wire::HashQuery query;
  const HashedFile* file = nullptr;  // not of `reject`
  PieceIndex piece;                  // whose leaves are needed
  State state = State::reject;
  bool from_leaves = false;
};

// More than any client has under way (libtorrent: 2).
inline constexpr std::uint32_t kHashJobsMax = 12;
static_assert(kHashJobsMax * sizeof(wire::HashQuery) < kSessionPageSize);

// Hashes above the base of an answer: the uncles, one for each layer from the one that the hashes
// themselves do not lead to (BEP 52: the first log2(length) - 1 proof layers are left out).
struct ProofLayers {
  std::uint32_t first = 0;  // layer of the first uncle
  std::uint32_t count = 0;
};
[[nodiscard]] inline ProofLayers proof_layers(const wire::HashQuery& query) {
  const std::uint32_t own = merkle_height(query.length);
  if (query.proof_layers + 1 <= own) return {};
  return {query.base_layer + own, query.proof_layers + 1 - own};
}

}  // namespace penstock
