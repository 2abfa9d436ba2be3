// What is known of each piece of a torrent, shared by all shards.
//
// Owner: the torrent object; lives until QSBR has let it go. One writer a piece: the shard that is
// the piece's home (and control, before publication). Readers anywhere: a stale value is harmless,
// since the home shard decides again before a byte is sent.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "base/assert.hh"
#include "base/strong.hh"

namespace penstock {

enum class PieceState : std::uint8_t {
  unverified,  // claimed (lazy verification: hashed before its first byte is served)
  verified,    // its bytes matched its hash
  lost,        // its bytes are wrong, missing or unreadable: not offered
};

class PieceStates {
 public:
  PieceStates(std::uint32_t piece_count, PieceState initial)
      : count_(piece_count), states_(std::make_unique<std::atomic<PieceState>[]>(piece_count)) {
    for (std::uint32_t i = 0; i < count_; ++i) {
      states_[i].store(initial, std::memory_order_relaxed);
    }
    if (initial == PieceState::lost) {
      lost_count_.store(static_cast<std::int32_t>(count_), std::memory_order_relaxed);
    }
  }
  [[nodiscard]] PieceState get(PieceIndex piece) const {
    DCHECK(piece.value < count_);
    return states_[piece.value].load(std::memory_order_relaxed);
  }
  void set(PieceIndex piece, PieceState state) {
    DCHECK(piece.value < count_);
    const PieceState before = states_[piece.value].load(std::memory_order_relaxed);
    states_[piece.value].store(state, std::memory_order_relaxed);
    const int change = (state == PieceState::lost) - (before == PieceState::lost);
    // Pieces have one writer each, the count has them all.
    if (change != 0) lost_count_.fetch_add(change, std::memory_order_relaxed);
  }
  // Pieces that are lost; as stale as get() may be.
  [[nodiscard]] std::uint32_t lost_count() const {
    return static_cast<std::uint32_t>(lost_count_.load(std::memory_order_relaxed));
  }
  [[nodiscard]] std::uint32_t count() const { return count_; }
  [[nodiscard]] std::uint32_t count_of(PieceState state) const {
    std::uint32_t n = 0;
    for (std::uint32_t i = 0; i < count_; ++i) {
      n += states_[i].load(std::memory_order_relaxed) == state ? 1 : 0;
    }
    return n;
  }
  // What a BITFIELD says: everything that isn't known to be lost.
  [[nodiscard]] bool offered(PieceIndex piece) const { return get(piece) != PieceState::lost; }

 private:
  std::uint32_t count_;
  std::unique_ptr<std::atomic<PieceState>[]> states_;
  std::atomic<std::int32_t> lost_count_{0};
};

}  // namespace penstock
