// The connections of a stack and their handles.
//
// Owner: net::Stack. Slots are allocated once; a Connection is built in its slot and destroyed
// there. A slot's generation moves on when its connection is gone, so that a handle never names a
// later stream. A slot is *orphaned* when its handle ended before its connection did: what was
// accepted is still delivered, `released` and `need` still come, nothing else.
#pragma once

#include <cstdint>
#include <memory>
#include <new>

#include "base/assert.hh"
#include "base/fine_wheel.hh"
#include "base/intrusive_list.hh"
#include "net/frame_writer.hh"
#include "net/neighbours.hh"
#include "stream/byte_stream.hh"
#include "tcp/connection.hh"
#include "tcp/flow.hh"

namespace penstock::net {

struct OutputTag;
struct EventTag;

// First what a look-up and a segment touch.
struct Slot : Hook<OutputTag>, Hook<EventTag>, FineTimer {
  tcp::Flow flow;
  std::uint32_t hash = 0;
  std::uint32_t generation = 1;
  bool used = false;
  bool orphan = false;
  bool announced = false;  // the application knows the handle
  bool keeps = false;      // in the list of those that memory can be taken from (stall_list.hh)
  bool waiting = false;    // its Output hook is in the list of its neighbour
  // Overrides what the connection says in `closed`.
  StreamError failure = StreamError::none;
  NeighbourId neighbour = kNoNeighbour;
  std::uint32_t next_free = 0;
  std::uint32_t stall_before = 0;
  std::uint32_t stall_next = 0;
  std::uint32_t stall_tick = 0;
  HeaderTemplate header;
  alignas(tcp::Connection) std::byte connection[sizeof(tcp::Connection)];

  [[nodiscard]] tcp::Connection& tcp() {
    DCHECK(used);
    return *std::launder(reinterpret_cast<tcp::Connection*>(connection));
  }
  [[nodiscard]] const tcp::Connection& tcp() const {
    DCHECK(used);
    return *std::launder(reinterpret_cast<const tcp::Connection*>(connection));
  }
  [[nodiscard]] bool in_output_list() const { return Hook<OutputTag>::linked(); }
  [[nodiscard]] bool in_event_list() const { return Hook<EventTag>::linked(); }
};

class Slots {
 public:
  static constexpr std::uint32_t kNone = ~0u;

  explicit Slots(std::uint32_t count) : count_(count), slots_(std::make_unique<Slot[]>(count)) {
    for (std::uint32_t i = count; i-- > 0;) {
      slots_[i].next_free = free_;
      free_ = i;
    }
  }
  ~Slots() {
    for (Slot& slot : *this) {
      if (slot.used) slot.tcp().~Connection();
    }
  }
  Slots(const Slots&) = delete;
  Slots& operator=(const Slots&) = delete;

  [[nodiscard]] Slot& operator[](std::uint32_t index) { return slots_[index]; }
  [[nodiscard]] const Slot& operator[](std::uint32_t index) const { return slots_[index]; }
  [[nodiscard]] Slot* begin() const { return slots_.get(); }
  [[nodiscard]] Slot* end() const { return slots_.get() + count_; }
  [[nodiscard]] std::uint32_t size() const { return used_; }
  [[nodiscard]] bool full() const { return free_ == kNone; }

  [[nodiscard]] std::uint32_t index_of(const Slot& slot) const {
    return static_cast<std::uint32_t>(&slot - slots_.get());
  }
  [[nodiscard]] StreamHandle handle_of(const Slot& slot) const {
    return StreamHandle(std::uint64_t{slot.generation} << 32 | index_of(slot));
  }
  // nullptr: the connection is gone.
  [[nodiscard]] Slot* find(StreamHandle stream) {
    const std::uint32_t index = stream_index(stream);
    if (index >= count_) return nullptr;
    Slot& slot = slots_[index];
    return slot.used && slot.generation == stream.value >> 32 ? &slot : nullptr;
  }

  // With a new connection in it. nullptr: all are in use.
  [[nodiscard]] Slot* take(tcp::Shared& shared) {
    if (full()) return nullptr;
    Slot& slot = slots_[free_];
    free_ = slot.next_free;
    slot.used = true;
    slot.orphan = slot.announced = slot.waiting = slot.keeps = false;
    slot.failure = StreamError::none;
    slot.neighbour = kNoNeighbour;
    new (slot.connection) tcp::Connection(shared);
    ++used_;
    return &slot;
  }
  // It is in no list, and its timer isn't armed.
  void give_back(Slot& slot) {
    DCHECK(!slot.armed() && !slot.in_output_list() && !slot.in_event_list() && !slot.keeps);
    slot.tcp().~Connection();
    slot.used = false;
    if (++slot.generation == 0) slot.generation = 1;
    slot.next_free = free_;
    free_ = index_of(slot);
    --used_;
  }

 private:
  std::uint32_t count_;
  std::uint32_t used_ = 0;
  std::uint32_t free_ = kNone;
  std::unique_ptr<Slot[]> slots_;
};

}  // namespace penstock::net
