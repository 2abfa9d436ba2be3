// Lets a wait on the shard's ring end when frames are there: one poll operation, renewed before
// each sleep. A frame that came before the renewal completes it at once, so none is slept over.
//
// Owner: the shard's runner, on its thread; destroyed before the ring and before the port's
// descriptor is closed.
#pragma once

#include "uring/ring.hh"

namespace penstock::nic_tap {

class RingWatch final : public uring::CompletionSink {
 public:
  // Attaches itself to the ring as Tag::nic.
  RingWatch(uring::Ring& ring, int fd);
  ~RingWatch();
  RingWatch(const RingWatch&) = delete;
  RingWatch& operator=(const RingWatch&) = delete;

  // Before a wait that may sleep. False: the kernel takes no operation now; don't sleep long.
  bool arm();
  void on_completions(std::span<const uring::Completion> completions) override;

 private:
  uring::Ring& ring_;
  const int fd_;
  bool armed_ = false;
};

}  // namespace penstock::nic_tap
