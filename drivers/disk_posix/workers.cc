#include "disk_posix/workers.hh"

#include <bit>
#include <cerrno>
#include <csignal>
#include <system_error>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "host/cpu.hh"
#include "host/errors.hh"
#include "host/files.hh"
#include "host/io_error.hh"
#include "host/wake_event.hh"

namespace penstock::disk_posix {

// --- the way back ---

Finished::Finished(std::uint32_t capacity, int wake_fd)
    : ring_(std::bit_ceil(std::size_t{capacity})), wake_fd_(wake_fd) {}

void Finished::push(std::uint32_t op) {
  const std::lock_guard lock(mutex_);
  const bool pushed = ring_.try_push(op);
  ASSERT(pushed);
  if (!there_.exchange(true, std::memory_order_acq_rel) && wake_fd_ >= 0) {
    host::WakeEvent::ring(wake_fd_);
  }
}

bool Finished::try_pop(std::uint32_t& op) {
  if (ring_.try_pop(op)) return true;
  if (!there_.exchange(false, std::memory_order_acq_rel)) return false;
  return ring_.try_pop(op);
}

void Finished::abandon() {
  const std::lock_guard lock(mutex_);
  wake_fd_ = -1;
}

// --- the threads ---

Workers::Workers(std::uint32_t capacity, Op* ops, Finished& finished)
    : ops_(ops), finished_(finished), ring_(std::bit_ceil(std::size_t{capacity})) {
  ::sem_init(&there_, 0, 0);
}

Result<std::unique_ptr<Workers>> Workers::start(std::uint32_t threads, std::uint32_t capacity,
                                                Op* ops, Finished& finished) {
  std::unique_ptr<Workers> out(new Workers(capacity, ops, finished));
  // Signals are the main thread's.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = 0;
  try {
    for (std::uint32_t i = 0; i < threads; ++i)
      out->threads_.emplace_back([workers = out.get()] { workers->work(); });
  } catch (const std::system_error& e) {  // the only way std::thread reports it
    error = e.code().value();
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (out->threads_.empty()) return host::os_error("starting a thread for reading", error);
  return out;
}

Workers::~Workers() {
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
  ::sem_destroy(&there_);
}

void Workers::push(std::uint32_t op) {
  const bool pushed = ring_.try_push(op);
  ASSERT(pushed);
  ::sem_post(&there_);
}

void Workers::stop() {
  stop_.store(true, std::memory_order_release);
  for (std::size_t i = 0; i < threads_.size(); ++i)
    ::sem_post(&there_);
}

void Workers::detach() {
  for (std::thread& thread : threads_)
    thread.detach();
}

void Workers::work() {
  host::name_thread("penstock-read");
  for (;;) {
    while (::sem_wait(&there_) != 0) {
    }
    std::uint32_t op = 0;
    bool got = false;
    {
      const std::lock_guard lock(mutex_);
      got = ring_.try_pop(op);
    }
    if (!got) {
      ASSERT(stop_.load(std::memory_order_acquire));
      break;
    }
    execute(ops_[op]);
    finished_.push(op);
  }
  ended_.fetch_add(1, std::memory_order_release);
}

// --- what they do ---

namespace {

void execute_open(Op& op) {
  const bool check = op.asked.kind == StorageOp::Kind::check;
  bool noatime = !check;
  int error = 0;
  host::Fd fd;
  // openat2 with RESOLVE_BENEATH answers EAGAIN when a rename raced with it.
  for (int tries = 0; tries < 6; ++tries) {
    const open_how how = check ? host::content_check_how() : host::content_open_how(noatime);
    fd = host::open_beneath(op.pool_fd, op.asked.path, how, op.openat2, error);
    if (fd.valid()) break;
    if (error == EPERM && noatime) {
      noatime = false;
    } else if (error != EAGAIN && error != EINTR) {
      break;
    }
  }
  if (!fd.valid()) {
    op.answer.error = host::open_error(error);
    return;
  }
  struct statx facts {};
  if (::statx(fd.get(), "", AT_EMPTY_PATH, host::kStatxMask, &facts) != 0) {
    op.answer.error = host::open_error(errno);
    return;
  }
  if (!host::is_regular(facts)) {
    op.answer.error = IoError::not_a_file;
    return;
  }
  op.answer.facts = host::facts_of(facts);
  if (check) return;
  op.answer.facts.direct = host::settle_flags(fd.get(), facts, noatime, op.direct);
  op.fd = fd.release();
}

void execute_read(Op& op) {
  if (!host::renew_segments(op.asked, false, op.pages)) {
    op.answer.error = IoError::exhausted;
    return;
  }
  std::uint32_t wanted = 0;
  for (std::size_t i = 0; i < op.asked.segment_count; ++i)
    wanted += op.asked.segments[i].length;
  while (op.answer.bytes < wanted) {
    std::array<iovec, kReadSegmentsMax> iov;
    const std::size_t count = host::rest_of(op.asked, op.answer.bytes, iov);
    const auto offset = static_cast<off_t>(op.asked.offset + op.answer.bytes);
    const ssize_t n = ::preadv(op.fd, iov.data(), static_cast<int>(count), offset);
    if (n > 0) {
      op.answer.bytes += static_cast<std::uint32_t>(n);
      // A direct read can't go on from an unaligned place, nor needs to: the end is there.
      if (op.direct && (op.asked.offset + op.answer.bytes) % 512 != 0) return;
      continue;
    }
    if (n == 0) return;
    if (errno == EINTR) continue;
    if (errno == EINVAL && op.direct && !op.direct_refused) {
      // The file system takes O_DIRECT at open and refuses it here.
      host::stop_direct(op.fd);
      op.direct_refused = true;
      continue;
    }
    op.answer.error = host::read_error(errno);
    op.answer.bytes = 0;
    return;
  }
}

}  // namespace

void execute(Op& op) {
  switch (op.asked.kind) {
    case StorageOp::Kind::open:
    case StorageOp::Kind::check:
      return execute_open(op);
    case StorageOp::Kind::read:
      return execute_read(op);
    case StorageOp::Kind::close:
      // Linux frees the descriptor whatever close says, and nothing was written.
      ::close(op.fd);
      return;
    case StorageOp::Kind::renew:
      UNREACHABLE();  // on the shard's thread
  }
}

}  // namespace penstock::disk_posix
