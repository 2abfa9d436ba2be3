// The connections that keep payload, the longest without progress first: whom to take memory from.
//
// Algorithm: a list in order of the time of the last progress, in ticks of 134 ms: a connection
// moves to the end at most once a tick, so an ACK costs a comparison. Who has nothing left is found
// out, and leaves, when it comes to the front. Links are indices: 8 bytes a connection.
// Invariant: ticks don't fall from the front to the end.
#pragma once

#include <cstdint>

#include "net/slots.hh"

namespace penstock::net {

class StallList {
 public:
  explicit StallList(Slots& slots) : slots_(slots) {}

  // It was given something to keep.
  void on_kept(Instant now, Slot& slot) {
    if (!slot.keeps) append(slot, tick_of(now));
  }
  // It was heard of or sent; perhaps it got on.
  void on_progress(Slot& slot) {
    if (!slot.keeps) return;
    const std::uint32_t tick = tick_of(slot.tcp().progressed_at());
    if (static_cast<std::int32_t>(tick - slot.stall_tick) <= 0) return;
    remove(slot);
    append(slot, tick);
  }
  void on_gone(Slot& slot) {
    if (slot.keeps) remove(slot);
  }
  // Who stands still longest, taken out; nullptr: nobody does.
  Slot* take(Instant now) {
    while (front_ != Slots::kNone) {
      Slot& slot = slots_[front_];
      const bool keeps = slot.tcp().queued() != 0;
      if (keeps && slot.tcp().stalled_for(now).ns <= 0) return nullptr;
      remove(slot);
      if (keeps) return &slot;
    }
    return nullptr;
  }

  void validate() const {
    std::uint32_t before = Slots::kNone;
    for (std::uint32_t at = front_; at != Slots::kNone; at = slots_[at].stall_next) {
      const Slot& slot = slots_[at];
      ASSERT(slot.used && slot.keeps && slot.stall_before == before);
      ASSERT(before == Slots::kNone ||
             static_cast<std::int32_t>(slot.stall_tick - slots_[before].stall_tick) >= 0);
      before = at;
    }
    ASSERT(back_ == before);
  }

 private:
  static std::uint32_t tick_of(Instant at) { return static_cast<std::uint32_t>(at.ns >> 27); }

  void append(Slot& slot, std::uint32_t tick) {
    const std::uint32_t index = slots_.index_of(slot);
    // The time of its progress may be older than what came here since.
    if (back_ != Slots::kNone && static_cast<std::int32_t>(tick - slots_[back_].stall_tick) < 0)
      tick = slots_[back_].stall_tick;
    slot.keeps = true;
    slot.stall_tick = tick;
    slot.stall_before = back_;
    slot.stall_next = Slots::kNone;
    (back_ == Slots::kNone ? front_ : slots_[back_].stall_next) = index;
    back_ = index;
  }
  void remove(Slot& slot) {
    (slot.stall_before == Slots::kNone ? front_ : slots_[slot.stall_before].stall_next) =
        slot.stall_next;
    (slot.stall_next == Slots::kNone ? back_ : slots_[slot.stall_next].stall_before) =
        slot.stall_before;
    slot.keeps = false;
  }

  Slots& slots_;
  std::uint32_t front_ = Slots::kNone;
  std::uint32_t back_ = Slots::kNone;
};

}  // namespace penstock::net
