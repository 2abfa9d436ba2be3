// Timers that are precise enough for a transport: a hierarchical wheel.
//
// Purpose: arm and disarm in O(1) at any distance, find what is due in time proportional to what is
// due, whatever time has passed. The coarse timer_wheel.hh (64 ms) is for sessions; pacing, RACK
// and delayed ACKs need microseconds.
//
// Algorithm (Varghese and Lauck 1987, scheme 7): time in ticks of 2^kTickShift ns, read as digits
// of 6 bits. A timer lies in the list of the highest digit in which its tick differs from the
// wheel's, at the value of that digit; when the wheel reaches that value, the list moves down a
// level. So a timer moves at most kLevels - 1 times. A bitmap a level finds the next list that
// isn't empty: steps of time cost nothing.
//
// Precision: a timer fires within one tick after its instant, never before. Timers further away
// than the wheel reaches wait in a list of their own until its end. Owner: one shard; nodes are
// embedded in their owners and must be disarmed before those go away.
//
// Invariants: lists of ticks before tick_ are empty; at a level above 0, so is the list at the
// digit of tick_; bit s of maps_[l] is set iff list (l, s) has nodes.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/assert.hh"
#include "base/time.hh"

namespace penstock {

struct FineTimerLink {
  FineTimerLink* prev = nullptr;
  FineTimerLink* next = nullptr;
};

struct FineTimer : FineTimerLink {
  Instant when = Instant::never();
  std::uint8_t level = 0;
  std::uint8_t slot = 0;

  FineTimer() = default;
  FineTimer(const FineTimer&) = delete;
  FineTimer& operator=(const FineTimer&) = delete;
  [[nodiscard]] bool armed() const { return next != nullptr; }
};

template <int kTickShift, int kLevels = 6>
class FineWheel {
 public:
  static constexpr std::int64_t kTickNs = std::int64_t{1} << kTickShift;

  explicit FineWheel(Instant now) : tick_(now.ns >> kTickShift) {
    for (auto& level : heads_) {
      for (FineTimerLink& head : level)
        make_empty(head);
    }
    make_empty(beyond_);
  }
  FineWheel(const FineWheel&) = delete;
  FineWheel& operator=(const FineWheel&) = delete;

  // Arms or re-arms. never() disarms.
  void arm(FineTimer& timer, Instant when) {
    if (timer.armed()) {
      if (timer.when == when) return;
      disarm(timer);
    }
    if (when == Instant::never()) return;
    timer.when = when;
    link(timer);
    ++armed_;
  }

  void disarm(FineTimer& timer) {
    if (!timer.armed()) return;
    unlink(timer);
    --armed_;
  }

  // A timer whose instant has come, disarmed; nullptr when there is none. Call until it says so.
  // Of timers in different ticks the earlier comes first.
  FineTimer* poll_expired(Instant now) {
    const std::int64_t now_tick = now.ns >> kTickShift;
    while (tick_ <= now_tick) {
      FineTimerLink& head = heads_[0][digit(tick_, 0)];
      if (head.next != &head) {
        auto& timer = static_cast<FineTimer&>(*head.next);
        DCHECK(timer.when <= now);
        unlink(timer);
        --armed_;
        return &timer;
      }
      const std::int64_t next_tick = earliest();
      advance_to(next_tick <= now_tick ? next_tick : now_tick + 1);
    }
    return nullptr;
  }

  // No timer fires before this; one may fire at it.
  [[nodiscard]] Instant next() const {
    const std::int64_t tick = earliest();
    return tick == kNone ? Instant::never() : Instant{tick << kTickShift};
  }

  [[nodiscard]] std::size_t armed() const { return armed_; }

 private:
  static constexpr int kDigitBits = 6;
  static constexpr std::size_t kSlots = 1 << kDigitBits;
  static constexpr std::int64_t kNone = Instant::never().ns;
  static_assert(kTickShift + kLevels * kDigitBits < 63);

  static constexpr std::size_t digit(std::int64_t tick, int level) {
    return static_cast<std::size_t>(tick >> (level * kDigitBits)) % kSlots;
  }
  static void make_empty(FineTimerLink& head) { head.prev = head.next = &head; }
  FineTimerLink& head_of(int level, std::size_t slot) {
    return level == kLevels ? beyond_ : heads_[static_cast<std::size_t>(level)][slot];
  }
  // The highest digit in which they differ.
  static constexpr int level_of(std::int64_t a, std::int64_t b) {
    const auto differ = static_cast<std::uint64_t>(a ^ b) | 1;
    return (63 - std::countl_zero(differ)) / kDigitBits;
  }

  void link(FineTimer& timer) {
    // Rounded up, so that the whole tick has passed when it fires. never() - 1 must not overflow.
    std::int64_t tick = (timer.when.ns >> kTickShift) + ((timer.when.ns & (kTickNs - 1)) != 0);
    if (tick < tick_) tick = tick_;
    const int differs = level_of(tick, tick_);
    const int level = differs < kLevels ? differs : kLevels;
    const std::size_t slot = level == kLevels ? 0 : digit(tick, level);
    timer.level = static_cast<std::uint8_t>(level);
    timer.slot = static_cast<std::uint8_t>(slot);
    FineTimerLink& head = head_of(level, slot);
    timer.prev = head.prev;
    timer.next = &head;
    head.prev->next = &timer;
    head.prev = &timer;
    maps_[static_cast<std::size_t>(level)] |= std::uint64_t{1} << slot;
  }

  void unlink(FineTimer& timer) {
    timer.prev->next = timer.next;
    timer.next->prev = timer.prev;
    timer.prev = timer.next = nullptr;
    FineTimerLink& head = head_of(timer.level, timer.slot);
    if (head.next == &head) maps_[timer.level] &= ~(std::uint64_t{1} << timer.slot);
  }

  // The first tick whose list isn't empty, or at which one moves down.
  [[nodiscard]] std::int64_t earliest() const {
    const std::uint64_t now_or_later = ~std::uint64_t{0} << digit(tick_, 0);
    if (const std::uint64_t rest = maps_[0] & now_or_later; rest != 0) {
      return (tick_ & ~std::int64_t{kSlots - 1}) | std::countr_zero(rest);
    }
    for (int level = 1; level < kLevels; ++level) {
      const std::uint64_t later = ~std::uint64_t{0} << digit(tick_, level) << 1;
      const std::uint64_t rest = maps_[static_cast<std::size_t>(level)] & later;
      if (rest == 0) continue;
      const int shift = level * kDigitBits;
      const std::int64_t above = tick_ >> (shift + kDigitBits) << kDigitBits;
      return (above | std::countr_zero(rest)) << shift;
    }
    if (maps_[kLevels] == 0) return kNone;
    return ((tick_ >> (kLevels * kDigitBits)) + 1) << (kLevels * kDigitBits);
  }

  // No list before `tick` has nodes.
  void advance_to(std::int64_t tick) {
    const int differs = level_of(tick, tick_);
    tick_ = tick;
    if (differs >= kLevels) link_again(beyond_, kLevels, 0);
    for (int level = differs < kLevels ? differs : kLevels - 1; level > 0; --level)
      link_again(head_of(level, digit(tick, level)), level, digit(tick, level));
  }

  // Moves the nodes of a list to where they belong by now.
  void link_again(FineTimerLink& head, int level, std::size_t slot) {
    if (head.next == &head) return;
    FineTimerLink* node = head.next;
    head.prev->next = nullptr;
    make_empty(head);
    maps_[static_cast<std::size_t>(level)] &= ~(std::uint64_t{1} << slot);
    while (node != nullptr) {
      auto& timer = static_cast<FineTimer&>(*node);
      node = node->next;
      link(timer);
    }
  }

  std::int64_t tick_;
  std::size_t armed_ = 0;
  std::array<std::uint64_t, kLevels + 1> maps_{};
  std::array<std::array<FineTimerLink, kSlots>, kLevels> heads_;
  FineTimerLink beyond_;
};

}  // namespace penstock
