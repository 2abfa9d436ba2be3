// The connections of a stack and their handles.
//
// Owner: net::Stack. Slots are allocated once, and those that were never needed are never touched;
// a Connection is built in its slot and destroyed there. A slot's generation moves on when its
// connection is gone, so that a handle never names a later stream. A slot is *orphaned* when its
// handle ended before its connection did: what was accepted is still delivered, `released` and
// `need` still come, nothing else.
#pragma once

#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <type_traits>

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

// First what a look-up, a timer and a turn to send touch, then the connection; prefetched together.
struct alignas(32) Slot : Hook<OutputTag>, Hook<EventTag>, FineTimer {
  tcp::Flow flow;
  FlowSums sums;
  std::uint32_t hash = 0;
  std::uint32_t generation = 1;
  bool used = false;
  bool orphan : 1 = false;
  bool announced : 1 = false;  // the application knows the handle
  bool keeps : 1 = false;      // in the list of those that memory can be taken from (stall_list.hh)
  bool waiting : 1 = false;    // its Output hook is in the list of its neighbour
  // Overrides what the connection says in `closed`.
  StreamError failure = StreamError::none;
  NeighbourId neighbour = kNoNeighbour;
  std::uint32_t stall_before = 0;
  std::uint32_t stall_next = ~0u;  // unused slots: the next one of them
  std::uint32_t stall_tick = 0;
  alignas(tcp::Connection) std::byte connection[sizeof(tcp::Connection)];

  [[nodiscard]] tcp::Connection& tcp() {
    DCHECK(used);
    return *std::launder(reinterpret_cast<tcp::Connection*>(connection));
  }
  [[nodiscard]] const tcp::Connection& tcp() const {
    DCHECK(used);
    return *std::launder(reinterpret_cast<const tcp::Connection*>(connection));
  }
  void prefetch() const {
    const auto* line = reinterpret_cast<const std::byte*>(this);
    for (std::size_t i = 0; i < sizeof(Slot); i += 64)
      __builtin_prefetch(line + i);
  }
  [[nodiscard]] bool in_output_list() const { return Hook<OutputTag>::linked(); }
  [[nodiscard]] bool in_event_list() const { return Hook<EventTag>::linked(); }
};

// An idle connection costs 1 KiB at most, its share of the flow table in: at most four entries.
static_assert(sizeof(Slot) == 128 + sizeof(tcp::Connection));
static_assert(sizeof(Slot) + 4 * 8 <= 1024);

class Slots {
 public:
  static constexpr std::uint32_t kNone = ~0u;

  explicit Slots(std::uint32_t count)
      : count_(count),
        slots_(static_cast<Slot*>(
            ::operator new (std::size_t{count} * sizeof(Slot), std::align_val_t{alignof(Slot)}))) {}
  ~Slots() {
    for (Slot& slot : *this) {
      if (slot.used) slot.tcp().~Connection();
    }
  }
  Slots(const Slots&) = delete;
  Slots& operator=(const Slots&) = delete;

  [[nodiscard]] Slot& operator[](std::uint32_t index) { return slots_.get()[index]; }
  [[nodiscard]] const Slot& operator[](std::uint32_t index) const { return slots_.get()[index]; }
  // Those that were ever in use.
  [[nodiscard]] Slot* begin() const { return slots_.get(); }
  [[nodiscard]] Slot* end() const { return slots_.get() + made_; }
  [[nodiscard]] std::uint32_t size() const { return used_; }
  [[nodiscard]] bool full() const { return free_ == kNone && made_ == count_; }
  [[nodiscard]] std::span<std::byte> memory() const {
    return {reinterpret_cast<std::byte*>(slots_.get()), count_ * sizeof(Slot)};
  }

  [[nodiscard]] std::uint32_t index_of(const Slot& slot) const {
    return static_cast<std::uint32_t>(&slot - slots_.get());
  }
  [[nodiscard]] StreamHandle handle_of(const Slot& slot) const {
    return StreamHandle(std::uint64_t{slot.generation} << 32 | index_of(slot));
  }
  // nullptr: the connection is gone.
  [[nodiscard]] Slot* find(StreamHandle stream) {
    const std::uint32_t index = stream_index(stream);
    if (index >= made_) return nullptr;
    Slot& slot = (*this)[index];
    return slot.used && slot.generation == stream.value >> 32 ? &slot : nullptr;
  }

  // With a new connection in it. nullptr: all are in use.
  [[nodiscard]] Slot* take(tcp::Shared& shared) {
    if (full()) return nullptr;
    if (free_ == kNone) {
      new (slots_.get() + made_) Slot;
      free_ = made_++;
    }
    Slot& slot = (*this)[free_];
    free_ = slot.stall_next;
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
    slot.stall_next = free_;
    free_ = index_of(slot);
    --used_;
  }

 private:
  struct Free {
    void operator()(Slot* slots) const {
      ::operator delete (slots, std::align_val_t{alignof(Slot)});
    }
  };
  static_assert(std::is_trivially_destructible_v<Slot>);

  std::uint32_t count_;
  std::uint32_t made_ = 0;  // slots from here on were never used
  std::uint32_t used_ = 0;
  std::uint32_t free_ = kNone;
  std::unique_ptr<Slot, Free> slots_;
};

}  // namespace penstock::net
