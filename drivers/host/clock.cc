#include "host/clock.hh"

#include <cerrno>
#include <ctime>

#include <sys/random.h>

#include "base/assert.hh"

namespace penstock::host {

Instant MonotonicClock::now() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return Instant{t.tv_sec * 1'000'000'000 + t.tv_nsec};
}

void SystemEntropy::fill(std::span<std::byte> out) {
  while (!out.empty()) {
    const ssize_t n = ::getrandom(out.data(), out.size(), 0);
    if (n < 0) {
      ASSERT(errno == EINTR);  // EFAULT and EINVAL are ours; ENOSYS ended with Linux 3.17
      continue;
    }
    out = out.subspan(static_cast<std::size_t>(n));
  }
}

}  // namespace penstock::host
