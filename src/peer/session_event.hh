// What a session tells its shard.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/digest.hh"
#include "base/strong.hh"
#include "peer/close_reason.hh"
#include "peer/request_queue.hh"

namespace penstock {

struct SessionEvent {
  enum class Kind : std::uint8_t {
    // The peer asks for `info_hash`: accept_torrent() or refuse_torrent() before the next
    // poll_event (no answer refuses). Only of incoming sessions without a torrent.
    info_hash,
    handshaken,  // both handshakes are through: capabilities are known
    interested,
    not_interested,
    cancel,  // `request` is no longer wanted, and is not in the queue: with the shard, or sent
    // The leaves of `piece` are wanted (BEP 52): on_leaf_hashes() or refuse_leaf_hashes(), later.
    leaf_hashes,
    leaf_hashes_done,  // the span given to on_leaf_hashes is no longer looked at
    closed,            // `reason`: the last event. Close the stream, then reset()

    // Of sessions in the leecher's role:
    choked,    // requests not yet sent wait; without BEP 6 `rejected` follows for all others
    unchoked,  // request() may be called
    have_all,
    have_none,
    have,       // `piece`
    dont_have,  // `piece` (BEP 54)
    bitfield,   // `data`: bits of the pieces from `piece` on, a multiple of 8; `last`: it ends here
    block,      // `data`: bytes of `request` from `offset` on; `last`: the block is complete
    rejected,   // `request` will not be answered (BEP 6)
  };
  Kind kind = Kind::closed;
  CloseReason reason = CloseReason::shutdown;
  bool last = false;
  PieceIndex piece;
  std::uint32_t offset = 0;  // in the block, bytes
  Request request;
  WireInfoHash info_hash;
  std::span<const std::byte> data;  // into the bytes given to on_data
};

}  // namespace penstock
