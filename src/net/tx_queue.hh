// Frames on their way to the port: at most a burst.
//
// What the port doesn't take stays here, in order, and nothing more is made until it does: that is
// the stack's backpressure. Bytes that a waiting frame refers to are marked in use, as the port
// would do it, so that they stay as they are although they may have been acknowledged meanwhile (a
// spurious retransmission). Owner: net::Stack.
#pragma once

#include <cstdint>
#include <memory>

#include "base/assert.hh"
#include "net/nic_port.hh"

namespace penstock::net {

class TxQueue {
 public:
  TxQueue() : frames_(std::make_unique<TxFrame[]>(kFrameBurst)) {}

  // To be written, then push()ed. There must be room.
  [[nodiscard]] TxFrame& next() {
    DCHECK(end_ < kFrameBurst);
    return frames_[end_];
  }
  void push() { ++end_; }
  [[nodiscard]] std::size_t room() const { return kFrameBurst - end_; }
  [[nodiscard]] bool empty() const { return begin_ == end_; }

  // Gives the port what is here; returns how many frames it took.
  std::size_t send(NicPort& port) {
    if (empty()) return 0;
    const std::size_t taken = port.tx_burst({frames_.get() + begin_, end_ - begin_});
    DCHECK(taken <= end_ - begin_);
    const std::size_t sent_until = begin_ + taken;
    for (; begin_ < sent_until; ++begin_) {
      if (begin_ < marked_) mark(frames_[begin_], ~0u);
    }
    if (empty()) {
      begin_ = end_ = marked_ = 0;
      return taken;
    }
    for (marked_ = marked_ < begin_ ? begin_ : marked_; marked_ < end_; ++marked_)
      mark(frames_[marked_], 1);
    return taken;
  }

 private:
  static void mark(const TxFrame& frame, std::uint32_t by) {
    for (std::size_t i = 0; i < frame.part_count; ++i) {
      if (frame.parts[i].in_use != nullptr) *frame.parts[i].in_use += by;
    }
  }

  std::unique_ptr<TxFrame[]> frames_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::size_t marked_ = 0;  // frames before this are marked in use
};

}  // namespace penstock::net
