// Timers for thousands of connections: a hashed wheel with one list a tick.
//
// Purpose: arm and disarm in O(1), find what is due in time proportional to what is due. A timer
// further away than the wheel's horizon (32 s) waits in the last list and is put back when that
// list comes up; an owner whose deadline moved later need not re-arm: on expiry it looks at its
// real deadline and arms again. Precision: a timer fires within one tick (64 ms) after its instant,
// never before. Owner: one shard. Nodes are embedded in their owners and must be disarmed before
// those go away. Invariants: a node is in the list of slot tick(when) mod kSlots, or in none; bit s
// of the map is set iff list s has nodes.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/assert.hh"
#include "base/time.hh"

namespace penstock {

class TimerWheel {
 public:
  struct Node {
    Node* prev = nullptr;
    Node* next = nullptr;
    Instant when = Instant::never();
    std::uint32_t slot = 0;

    [[nodiscard]] bool armed() const { return prev != nullptr; }
  };

  static constexpr std::int64_t kTickNs = 64'000'000;
  static constexpr std::size_t kSlots = 512;

  explicit TimerWheel(Instant now) : tick_(now.ns / kTickNs) {
    for (Node& head : heads_)
      head.prev = head.next = &head;
  }
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;

  // Arms or re-arms. never() disarms.
  void arm(Node& node, Instant when) {
    if (node.armed() && node.when == when) return;
    disarm(node);
    if (when == Instant::never()) return;
    // Rounded up, so that the whole tick has passed when it fires.
    std::int64_t tick = when.ns / kTickNs + 1;
    if (tick <= tick_) tick = tick_ + 1;
    const std::int64_t horizon = tick_ + static_cast<std::int64_t>(kSlots) - 1;
    if (tick > horizon) tick = horizon;
    node.when = when;
    node.slot = static_cast<std::uint32_t>(tick) % kSlots;
    Node& head = heads_[node.slot];
    node.prev = head.prev;
    node.next = &head;
    head.prev->next = &node;
    head.prev = &node;
    map_[node.slot / 64] |= 1ULL << (node.slot % 64);
  }

  void disarm(Node& node) {
    if (!node.armed()) return;
    node.prev->next = node.next;
    node.next->prev = node.prev;
    node.prev = node.next = nullptr;
    Node& head = heads_[node.slot];
    if (head.next == &head) map_[node.slot / 64] &= ~(1ULL << (node.slot % 64));
  }

  // A node whose instant has come, disarmed; nullptr when there is none. Call until it says so.
  Node* poll_expired(Instant now) {
    const std::int64_t now_tick = now.ns / kTickNs;
    while (tick_ < now_tick || due_now(now_tick)) {
      Node& head = heads_[static_cast<std::size_t>(tick_) % kSlots];
      while (head.next != &head) {
        Node* node = head.next;
        disarm(*node);
        if (node->when <= now) return node;
        arm(*node, node->when);  // it lay beyond the horizon
        if (node->slot == static_cast<std::size_t>(tick_) % kSlots) break;
      }
      if (tick_ >= now_tick) break;
      skip_to(now_tick);
    }
    return nullptr;
  }

  // No timer fires before this.
  [[nodiscard]] Instant next() const {
    const std::size_t start = static_cast<std::size_t>(tick_) % kSlots;
    for (std::size_t i = 0; i < kSlots;) {
      const std::size_t slot = (start + i) % kSlots;
      const std::uint64_t rest = map_[slot / 64] >> (slot % 64);
      if (rest != 0) {
        const std::size_t at = i + static_cast<std::size_t>(std::countr_zero(rest));
        return Instant{(tick_ + static_cast<std::int64_t>(at)) * kTickNs};
      }
      i += 64 - slot % 64;
    }
    return Instant::never();
  }

 private:
  [[nodiscard]] bool due_now(std::int64_t now_tick) const {
    const std::size_t slot = static_cast<std::size_t>(tick_) % kSlots;
    return tick_ == now_tick && (map_[slot / 64] >> (slot % 64) & 1) != 0;
  }
  // Advances past empty lists, at most to now_tick.
  void skip_to(std::int64_t now_tick) {
    ++tick_;
    const Instant first = next();
    const std::int64_t first_tick = first == Instant::never() ? now_tick : first.ns / kTickNs;
    if (first_tick > tick_) tick_ = first_tick < now_tick ? first_tick : now_tick;
  }

  std::int64_t tick_;  // lists before this tick are empty
  std::array<Node, kSlots> heads_;
  std::array<std::uint64_t, kSlots / 64> map_{};
};

}  // namespace penstock
