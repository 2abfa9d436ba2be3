#include "nic_tap/ring_watch.hh"

#include <poll.h>

namespace penstock::nic_tap {

RingWatch::RingWatch(uring::Ring& ring, int fd) : ring_(ring), fd_(fd) {
  ring_.attach(uring::Tag::nic, this);
}

RingWatch::~RingWatch() {
  ring_.attach(uring::Tag::nic, nullptr);
}

bool RingWatch::arm() {
  if (armed_) return true;
  io_uring_sqe* const sqe = ring_.try_prepare();
  if (sqe == nullptr) return false;
  sqe->opcode = IORING_OP_POLL_ADD;
  sqe->fd = fd_;
  sqe->poll32_events = POLLIN;
  sqe->user_data = uring::user_data(uring::Tag::nic, 0);
  armed_ = true;
  return true;
}

void RingWatch::on_completions(std::span<const uring::Completion>) {
  armed_ = false;
}

}  // namespace penstock::nic_tap
