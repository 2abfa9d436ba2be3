#include "cli/interrupt.hh"

#include <atomic>
#include <cstdint>

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/assert.hh"
#include "cli/exit_status.hh"

namespace penstock::cli {
namespace {

// A signal handler has no argument of ours, hence globals. The handler writes, everyone reads.
std::atomic<bool> g_requested{false};
std::atomic<int> g_fd{-1};
static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<int>::is_always_lock_free);

void on_signal(int) {
  if (g_requested.exchange(true)) ::_exit(static_cast<int>(ExitStatus::interrupted));
  const std::uint64_t one = 1;
  // An eventfd at zero always takes a one; nothing could be done here if it did not.
  [[maybe_unused]] const ssize_t written = ::write(g_fd.load(), &one, sizeof one);
}

}  // namespace

Interrupt::Interrupt() {
  const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  ASSERT(fd >= 0 && g_fd.load() == -1);
  g_fd = fd;
  g_requested = false;
  struct sigaction action {};
  action.sa_handler = on_signal;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  action.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &action, nullptr);
}

Interrupt::~Interrupt() {
  ::signal(SIGINT, SIG_DFL);
  ::signal(SIGTERM, SIG_DFL);
  ::signal(SIGPIPE, SIG_DFL);
  ::close(g_fd.exchange(-1));
}

bool Interrupt::requested() const {
  return g_requested.load(std::memory_order_relaxed);
}

int Interrupt::fd() const {
  return g_fd.load();
}

bool Interrupt::wait_for_ms(int timeout_ms) const {
  pollfd entry{fd(), POLLIN, 0};
  // EINTR is the signal itself: the flag says so.
  ::poll(&entry, 1, timeout_ms);
  return requested();
}

}  // namespace penstock::cli
