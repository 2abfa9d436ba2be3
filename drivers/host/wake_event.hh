// The Parker's bell: another thread rings, the parked shard's wait ends (ARCHITECTURE §3).
//
// An eventfd. The waiting side polls it through its ring or epoll; who rings pays one write(2).
#pragma once

#include "base/result.hh"
#include "host/fd.hh"

namespace penstock::host {

class WakeEvent {
 public:
  [[nodiscard]] static Result<WakeEvent> create();

  // Any thread; async-signal-safe.
  void ring() const noexcept { ring(fd_.get()); }
  static void ring(int fd) noexcept;
  // The waiting thread: back to silence.
  void quiet() const noexcept;
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  Fd fd_;
};

}  // namespace penstock::host
