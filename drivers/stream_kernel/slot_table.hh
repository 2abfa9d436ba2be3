// The streams of a port, whatever the flavour: their slots, handles, and the two lists they wait
// in.
//
// Owner: a stream driver; one thread. Slot derives from StreamSlot. Nothing is allocated after
// construction. Invariant: a slot's generation moves on when its handle ends, so that a handle
// never names a later stream.
#pragma once

#include <cstdint>
#include <vector>

#include "base/assert.hh"
#include "base/time.hh"
#include "stream/byte_stream.hh"

namespace penstock::stream_kernel {

struct StreamSlot {
  static constexpr std::uint32_t kNone = ~0u;

  int fd = -1;
  std::uint32_t generation = 1;
  bool in_todo = false;
  std::uint32_t next_free = kNone;
  std::uint32_t next_todo = kNone;
  std::uint32_t linger_next = kNone, linger_previous = kNone;
  Instant linger_until{};
};

template <class Slot>
class SlotTable {
 public:
  static constexpr std::uint32_t kNone = StreamSlot::kNone;

  explicit SlotTable(std::uint32_t count) : slots_(count) {
    for (std::uint32_t i = count; i-- > 0;)
      push_free(slots_[i]);
  }

  [[nodiscard]] Slot& operator[](std::uint32_t index) { return slots_[index]; }
  [[nodiscard]] auto begin() { return slots_.begin(); }
  [[nodiscard]] auto end() { return slots_.end(); }
  [[nodiscard]] auto begin() const { return slots_.begin(); }
  [[nodiscard]] auto end() const { return slots_.end(); }

  [[nodiscard]] std::uint32_t index_of(const Slot& slot) const {
    return static_cast<std::uint32_t>(&slot - slots_.data());
  }
  [[nodiscard]] StreamHandle handle_of(const Slot& slot) const {
    return StreamHandle(std::uint64_t{slot.generation} << 32 | index_of(slot));
  }
  // nullptr: the handle has ended.
  [[nodiscard]] Slot* find(StreamHandle stream) {
    const std::uint32_t index = stream_index(stream);
    if (index >= slots_.size()) return nullptr;
    Slot& slot = slots_[index];
    return slot.generation == stream.value >> 32 ? &slot : nullptr;
  }
  // nullptr: all are in use.
  [[nodiscard]] Slot* take() {
    if (free_head_ == kNone) return nullptr;
    Slot& slot = slots_[free_head_];
    free_head_ = slot.next_free;
    return &slot;
  }
  static void end_handle(Slot& slot) {
    if (++slot.generation == 0) slot.generation = 1;
  }
  // As new, but that it leaves the list of things to do in its turn.
  void give_back(Slot& slot) {
    const StreamSlot before = slot;
    slot = Slot{};
    slot.generation = before.generation;
    slot.in_todo = before.in_todo;
    slot.next_todo = before.next_todo;
    push_free(slot);
  }

  // Slots with something to say or to do, first in first out; each once.
  void add_todo(Slot& slot) {
    if (slot.in_todo) return;
    slot.in_todo = true;
    slot.next_todo = kNone;
    (todo_tail_ == kNone ? todo_head_ : slots_[todo_tail_].next_todo) = index_of(slot);
    todo_tail_ = index_of(slot);
    ++todo_count_;
  }
  [[nodiscard]] std::uint32_t todo_count() const { return todo_count_; }
  [[nodiscard]] Slot& todo_front() {
    DCHECK(todo_count_ > 0);
    return slots_[todo_head_];
  }
  void pop_todo() {
    Slot& slot = todo_front();
    todo_head_ = slot.next_todo;
    if (todo_head_ == kNone) todo_tail_ = kNone;
    slot.in_todo = false;
    --todo_count_;
  }

  // Slots whose peers may still read what was sent, in the order of their deadlines: `until` never
  // comes before an earlier one's.
  void add_lingering(Slot& slot, Instant until) {
    slot.linger_until = until;
    slot.linger_previous = linger_tail_;
    slot.linger_next = kNone;
    (linger_tail_ == kNone ? linger_head_ : slots_[linger_tail_].linger_next) = index_of(slot);
    linger_tail_ = index_of(slot);
  }
  void remove_lingering(Slot& slot) {
    (slot.linger_previous == kNone ? linger_head_ : slots_[slot.linger_previous].linger_next) =
        slot.linger_next;
    (slot.linger_next == kNone ? linger_tail_ : slots_[slot.linger_next].linger_previous) =
        slot.linger_previous;
    slot.linger_next = slot.linger_previous = kNone;
  }
  // The next whose deadline comes; nullptr when none lingers.
  [[nodiscard]] Slot* first_lingering() {
    return linger_head_ == kNone ? nullptr : &slots_[linger_head_];
  }

  // How many linger, and whether the counts are right; aborts on a contradiction. For tests.
  [[nodiscard]] std::uint32_t validate() const {
    std::uint32_t todo = 0;
    for (const Slot& slot : slots_)
      todo += slot.in_todo ? 1 : 0;
    ASSERT(todo == todo_count_);
    std::uint32_t lingering = 0;
    for (std::uint32_t i = linger_head_; i != kNone; i = slots_[i].linger_next)
      ++lingering;
    return lingering;
  }

 private:
  void push_free(Slot& slot) {
    slot.next_free = free_head_;
    free_head_ = index_of(slot);
  }

  std::vector<Slot> slots_;
  std::uint32_t free_head_ = kNone;
  std::uint32_t todo_head_ = kNone, todo_tail_ = kNone, todo_count_ = 0;
  std::uint32_t linger_head_ = kNone, linger_tail_ = kNone;
};

}  // namespace penstock::stream_kernel
