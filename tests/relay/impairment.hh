// One direction of a bad link, for real time: decides when each frame comes out at the other end,
// if at all. Sans-IO; the same seed and arrivals give the same fates.
//
// The way of a frame: queue (dropped when it doesn't fit) → rate → loss, corruption, duplication →
// delay and jitter → out, in order but for those that are made to overtake or to fall behind.
//
// Frames are copied into slots of one stretch of memory, the last one freed first, so that a short
// link stays in the cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/random.hh"
#include "base/time.hh"

namespace penstock::relay {

// Chances are per million frames.
struct LinkOptions {
  std::uint64_t rate = 0;   // bytes per second of Ethernet frames without FCS; 0: unlimited
  std::uint64_t queue = 0;  // bytes that wait for the rate; 0: 100 ms of it, at least 64 KiB
  Duration delay{};
  Duration jitter{};  // 0 … jitter more; order is kept
  std::uint32_t loss = 0;
  std::uint32_t loss_run = 1;  // mean length of a run of lost frames; `loss` stays the mean chance
  std::uint32_t duplicate = 0;
  std::uint32_t corrupt = 0;  // one bit behind the Ethernet header flips
  std::uint32_t reorder = 0;
  Duration reorder_by = Duration::milliseconds(5);  // 0 … so much later, past the others
  std::uint32_t frame_max = 1518;                   // larger ones are dropped and counted
  std::uint32_t frames_max = 65536;                 // on the way at once
};

struct LinkCounters {
  std::uint64_t frames = 0, bytes = 0;          // came in
  std::uint64_t frames_out = 0, bytes_out = 0;  // went out
  std::uint64_t lost = 0, queue_drops = 0, duplicated = 0, reordered = 0, corrupted = 0;
  std::uint64_t too_large = 0;
  std::uint64_t no_slot = 0;  // more than frames_max on the way: the figures aren't to be trusted
  std::uint64_t queue_bytes_max = 0;
};

class Link {
 public:
  Link(const LinkOptions& options, std::uint64_t seed);

  void on_frame(Instant now, std::span<const std::byte> frame);
  // The next frame that is due; valid until the next call of either. Empty: none.
  std::span<const std::byte> poll_due(Instant now, Instant& due);
  [[nodiscard]] Instant next_due() const {
    return heap_.empty() ? Instant::never() : heap_.front().due;
  }
  [[nodiscard]] std::size_t on_the_way() const { return heap_.size(); }
  [[nodiscard]] const LinkCounters& counters() const { return counters_; }

 private:
  struct Flight {
    Instant due;
    std::uint64_t order;
    std::uint32_t slot;
    std::uint32_t length;
    // For a heap with the earliest in front.
    bool operator<(const Flight& other) const {
      return due != other.due ? due > other.due : order > other.order;
    }
  };

  bool hit(std::uint32_t chance) { return chance > 0 && random_.below(1'000'000) < chance; }
  bool loses();
  void launch(Instant due, std::span<const std::byte> frame);

  const LinkOptions options_;
  std::uint64_t queue_;
  Random random_;
  LinkCounters counters_;
  Instant busy_until_{};
  Instant last_due_{};
  bool losing_ = false;
  std::uint64_t order_ = 0;
  std::uint32_t lent_;  // the slot that poll_due gave out
  std::vector<Flight> heap_;
  std::vector<std::uint32_t> free_;
  std::unique_ptr<std::byte[]> memory_;
};

}  // namespace penstock::relay
