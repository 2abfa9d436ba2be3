#include "host/wake_event.hh"

#include <cerrno>
#include <cstdint>

#include <sys/eventfd.h>

#include "host/errors.hh"

namespace penstock::host {

Result<WakeEvent> WakeEvent::create() {
  WakeEvent out;
  out.fd_ = Fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!out.fd_.valid()) return os_error("eventfd", errno);
  return out;
}

void WakeEvent::ring(int fd) noexcept {
  const std::uint64_t one = 1;
  // EAGAIN means 2^64 - 1 rings nobody heard: it is ringing already.
  [[maybe_unused]] const auto written = ::write(fd, &one, sizeof one);
}

void WakeEvent::quiet() const noexcept {
  std::uint64_t count = 0;
  [[maybe_unused]] const auto got = ::read(fd_.get(), &count, sizeof count);
}

}  // namespace penstock::host
