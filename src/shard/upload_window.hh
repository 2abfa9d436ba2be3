// The blocks of one peer that are on their way out: between the session's request queue and the
// socket.
//
// Owner: a connection while it has blocks under way; taken from a pool, empty again when given
// back. Slots keep the order of the requests, but whatever is ready goes first; a block of which
// some bytes have been sent goes before all else. Invariant: at most one slot is started; only
// `ready` slots hold pins.
#pragma once

#include <array>
#include <cstdint>
#include <type_traits>

#include "base/assert.hh"
#include "base/strong.hh"
#include "store/store.hh"

namespace penstock {

struct UploadSlot {
  enum class State : std::uint8_t {
    free,
    queued,   // to be wanted (again): its pins were let go because the peer has no room
    pending,  // a want is under way
    ready,    // pinned
  };
  State state = State::free;
  bool cancelled = false;  // dropped when its want is answered
  bool exposed = false;    // pages of the block went out by reference
  std::uint16_t home = 0;  // shard that pins it
  PieceIndex piece;
  std::uint32_t begin = 0;
  std::uint32_t length = 0;
  std::uint32_t sent = 0;  // bytes of header and payload that the stream has taken
  Block block;
};

class UploadWindow {
 public:
  // 768 KiB: what one try_send can carry, with room for headers.
  static constexpr std::uint32_t kSlots = 48;
  static constexpr std::uint8_t kNone = 0xff;

  // A free slot, appended to the order; nullptr when all are in use.
  UploadSlot* append() {
    if (count_ == kSlots) return nullptr;
    for (std::uint32_t i = 0; i < kSlots; ++i) {
      const std::uint32_t at = (hint_ + i) % kSlots;
      if (slots_[at].state == UploadSlot::State::free) {
        hint_ = at + 1;
        slots_[at] = UploadSlot{};
        order_[count_++] = static_cast<std::uint8_t>(at);
        return &slots_[at];
      }
    }
    UNREACHABLE();
  }
  // The slot at this place of the order, 0 … size() - 1.
  UploadSlot& at(std::uint32_t place) {
    DCHECK(place < count_);
    return slots_[order_[place]];
  }
  UploadSlot& by_index(std::uint32_t index) { return slots_[index]; }
  [[nodiscard]] std::uint32_t index_of(const UploadSlot& slot) const {
    return static_cast<std::uint32_t>(&slot - slots_.data());
  }
  // The slot whose header or bytes the stream has taken in part; nullptr when there is none.
  UploadSlot* begun() {
    for (std::uint32_t i = 0; i < count_; ++i) {
      UploadSlot& slot = slots_[order_[i]];
      if (slot.sent > 0 && slot.state != UploadSlot::State::free) return &slot;
    }
    return nullptr;
  }
  // Drops all slots whose state is free from the order.
  void compact() {
    std::uint32_t kept = 0;
    for (std::uint32_t i = 0; i < count_; ++i) {
      if (slots_[order_[i]].state != UploadSlot::State::free) order_[kept++] = order_[i];
    }
    count_ = kept;
  }
  // As it was made, but for what free slots have in them.
  void clear() {
    for (std::uint32_t i = 0; i < count_; ++i)
      slots_[order_[i]].state = UploadSlot::State::free;
    count_ = hint_ = 0;
  }
  [[nodiscard]] std::uint32_t size() const { return count_; }
  [[nodiscard]] bool full() const { return count_ == kSlots; }

 private:
  std::array<UploadSlot, kSlots> slots_{};
  std::array<std::uint8_t, kSlots> order_{};
  std::uint32_t count_ = 0;
  std::uint32_t hint_ = 0;
};

static_assert(std::is_trivially_destructible_v<UploadWindow>);  // pools give them back unmade

}  // namespace penstock
