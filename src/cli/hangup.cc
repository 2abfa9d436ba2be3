#include "cli/hangup.hh"

#include <atomic>
#include <cerrno>
#include <cstdint>

#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/assert.hh"

namespace penstock::cli {
namespace {

// A signal handler has no argument of ours, hence a global.
std::atomic<int> g_fd{-1};
static_assert(std::atomic<int>::is_always_lock_free);

void on_signal(int) {
  const int error = errno;
  const std::uint64_t one = 1;
  // An eventfd takes a one unless 2^64 - 1 signals wait in it.
  [[maybe_unused]] const ssize_t written = ::write(g_fd.load(), &one, sizeof one);
  errno = error;
}

}  // namespace

Hangup::Hangup() {
  const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  ASSERT(fd >= 0 && g_fd.load() == -1);
  g_fd = fd;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGHUP, &action, nullptr);
}

Hangup::~Hangup() {
  ::signal(SIGHUP, SIG_DFL);
  ::close(g_fd.exchange(-1));
}

bool Hangup::take() {
  eventfd_t count = 0;
  return ::eventfd_read(fd(), &count) == 0 && count > 0;
}

int Hangup::fd() const {
  return g_fd.load();
}

}  // namespace penstock::cli
