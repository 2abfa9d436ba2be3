#include "disk_posix/posix_storage.hh"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <system_error>

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/arena.hh"
#include "base/assert.hh"
#include "host/cpu.hh"
#include "host/errors.hh"
#include "host/files.hh"
#include "host/io_error.hh"
#include "host/wake_event.hh"

namespace penstock::disk_posix {

void PosixStorage::Queue::push(std::uint32_t index) {
  DCHECK(count < items.size());
  items[(head + count++) % items.size()] = index;
}

std::uint32_t PosixStorage::Queue::pop() {
  if (count == 0) return kNone;
  const std::uint32_t index = items[head];
  head = (head + 1) % items.size();
  --count;
  return index;
}

Result<std::unique_ptr<PosixStorage>> PosixStorage::create(const StorageOptions& options) {
  std::unique_ptr<PosixStorage> out(new PosixStorage(options));
  // Signals are the main thread's.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = 0;
  try {
    for (std::uint32_t i = 0; i < options.threads; ++i)
      out->threads_.emplace_back([storage = out.get()] { storage->work(); });
  } catch (const std::system_error& e) {  // the only way std::thread reports it
    error = e.code().value();
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (out->threads_.empty()) return host::os_error("starting a thread for reading", error);
  return out;
}

PosixStorage::PosixStorage(const StorageOptions& options)
    : options_(options),
      openat2_(options.openat2),
      files_(options.files_max),
      ops_(options.ops_max) {
  ASSERT(options.files_max <= 65536 && options.ops_max > 0 && options.threads > 0);
  for (std::uint32_t i = options.files_max; i-- > 0;) {
    files_[i].next_free = free_file_;
    free_file_ = i;
  }
  free_.reserve(options.ops_max);
  for (std::uint32_t i = options.ops_max; i-- > 0;)
    free_.push_back(i);
  for (Queue* queue : {&ready_, &work_, &done_})
    queue->items.resize(options.ops_max);
}

PosixStorage::~PosixStorage() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  work_there_.notify_all();
  for (std::thread& thread : threads_)
    thread.join();
  // What was opened for answers that nobody polled.
  for (std::uint32_t index = done_.pop(); index != kNone; index = done_.pop())
    take_in(index);
  for (const File& file : files_) {
    if (file.fd >= 0) ::close(file.fd);
  }
}

Result<PoolIndex> PosixStorage::open_pool(const std::string& path) {
  auto fd = host::open_pool_directory(path);
  if (!fd) return tl::unexpected(std::move(fd).error());
  if (openat2_ && !host::has_openat2(fd->get())) openat2_ = false;
  pools_.push_back(std::move(*fd));
  return PoolIndex(static_cast<std::uint32_t>(pools_.size() - 1));
}

PosixStorage::File* PosixStorage::find(FileHandle handle) {
  const std::uint32_t index = handle.value & 0xffff;
  if (index >= files_.size()) return nullptr;
  File& file = files_[index];
  const bool same = file.generation == handle.value >> 16;
  return file.fd >= 0 && !file.closing && same ? &file : nullptr;
}

bool PosixStorage::try_submit(const StorageOp& op) {
  if (free_.empty()) return false;
  const std::uint32_t index = free_.back();
  free_.pop_back();
  ops_[index] = Op{};
  ops_[index].asked = op;
  ops_[index].answer.kind = op.kind;
  ops_[index].answer.token = op.token;
  ops_[index].phase = Phase::working;
  begin(index);
  return true;
}

void PosixStorage::begin(std::uint32_t index) {
  Op& op = ops_[index];
  switch (op.asked.kind) {
    case StorageOp::Kind::open:
    case StorageOp::Kind::check:
      if (op.asked.pool.value >= pools_.size()) return finish(index, IoError::not_found);
      ++counters_.opens;
      counters_.calls += 3;
      op.pool_fd = pools_[op.asked.pool.value].get();
      op.direct = options_.direct;
      break;
    case StorageOp::Kind::read: {
      File* const file = find(op.asked.file);
      if (file == nullptr) return finish(index, IoError::stale);
      ASSERT(op.asked.segment_count > 0 && op.asked.segment_count <= kReadSegmentsMax);
      ASSERT(op.asked.offset % kPageSize == 0);
      for (std::size_t i = 0; i < op.asked.segment_count; ++i) {
        ASSERT(op.asked.segments[i].length % kPageSize == 0);
        if (op.asked.segments[i].renew) ++counters_.renewals;
      }
      ++file->reads;
      ++counters_.reads;
      ++counters_.calls;
      op.fd = file->fd;
      op.direct = file->direct;
      break;
    }
    case StorageOp::Kind::close: {
      File* const file = find(op.asked.file);
      if (file == nullptr) return finish(index, IoError::stale);
      file->closing = true;
      if (file->reads > 0) {
        file->close_op = index;
        op.phase = Phase::waiting_for_reads;
        return;
      }
      op.fd = file->fd;
      release_file(op.asked.file.value & 0xffff);
      break;
    }
    case StorageOp::Kind::renew:
      counters_.renewals += op.asked.segment_count;
      break;
  }
  hand_to_worker(index);
}

void PosixStorage::hand_to_worker(std::uint32_t index) {
  {
    const std::lock_guard lock(mutex_);
    work_.push(index);
  }
  work_there_.notify_one();
}

void PosixStorage::finish(std::uint32_t index, IoError error) {
  ops_[index].answer.error = error;
  ops_[index].phase = Phase::done;
  ready_.push(index);
  // A runner that parks after submitting would otherwise sleep over it.
  if (options_.wake_fd >= 0) host::WakeEvent::ring(options_.wake_fd);
}

// A worker's answer: the file table follows.
void PosixStorage::take_in(std::uint32_t index) {
  Op& op = ops_[index];
  op.phase = Phase::done;
  ready_.push(index);
  if (op.asked.kind == StorageOp::Kind::open && op.answer.error == IoError::none) {
    if (free_file_ == kNone) {
      ::close(op.fd);
      op.answer.error = IoError::exhausted;
      return;
    }
    const std::uint32_t slot = free_file_;
    File& file = files_[slot];
    free_file_ = file.next_free;
    file.fd = op.fd;
    file.direct = op.answer.facts.direct;
    op.answer.file = FileHandle(std::uint32_t{file.generation} << 16 | slot);
  }
  if (op.asked.kind == StorageOp::Kind::read) {
    const std::uint32_t slot = op.asked.file.value & 0xffff;
    File& file = files_[slot];
    counters_.bytes_read += op.answer.bytes;
    if (op.direct_refused && file.direct) {
      file.direct = false;
      ++counters_.direct_refused;
    }
    DCHECK(file.reads > 0);
    if (--file.reads == 0 && file.close_op != kNone) {
      const std::uint32_t closer = file.close_op;
      ops_[closer].fd = file.fd;
      ops_[closer].phase = Phase::working;
      release_file(slot);
      hand_to_worker(closer);
    }
  }
}

void PosixStorage::release_file(std::uint32_t slot) {
  File& file = files_[slot];
  file.fd = -1;
  ++file.generation;
  file.close_op = kNone;
  file.closing = false;
  file.next_free = free_file_;
  free_file_ = slot;
}

std::size_t PosixStorage::poll_completions(std::span<StorageCompletion> out) {
  // Pairs with the worker's exchange: what was pushed before it set the flag is seen under the
  // lock.
  if (done_there_.exchange(false, std::memory_order_acq_rel)) {
    std::array<std::uint32_t, 64> taken;
    std::size_t n = 0;
    do {
      n = 0;
      {
        const std::lock_guard lock(mutex_);
        while (n < taken.size() && done_.count > 0)
          taken[n++] = done_.pop();
      }
      for (std::size_t i = 0; i < n; ++i)
        take_in(taken[i]);
    } while (n == taken.size());
  }
  std::size_t count = 0;
  while (count < out.size() && ready_.count > 0) {
    const std::uint32_t index = ready_.pop();
    out[count++] = ops_[index].answer;
    ops_[index].phase = Phase::free;
    free_.push_back(index);
  }
  // Left over: the runner's wait must not sleep.
  if (ready_.count > 0 && options_.wake_fd >= 0) host::WakeEvent::ring(options_.wake_fd);
  return count;
}

// --- in the workers ---

void PosixStorage::work() {
  host::name_thread("penstock-read");
  for (;;) {
    std::uint32_t index = kNone;
    {
      std::unique_lock lock(mutex_);
      work_there_.wait(lock, [this] { return stop_ || work_.count > 0; });
      index = work_.pop();
      if (index == kNone) return;
    }
    execute(ops_[index]);
    {
      const std::lock_guard lock(mutex_);
      done_.push(index);
    }
    if (!done_there_.exchange(true, std::memory_order_acq_rel) && options_.wake_fd >= 0) {
      host::WakeEvent::ring(options_.wake_fd);
    }
  }
}

void PosixStorage::execute(Op& op) const {
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
      if (!host::renew_segments(op.asked, true, options_.pages))
        op.answer.error = IoError::exhausted;
      return;
  }
}

void PosixStorage::execute_open(Op& op) const {
  const bool check = op.asked.kind == StorageOp::Kind::check;
  bool noatime = !check;
  int error = 0;
  host::Fd fd;
  // openat2 with RESOLVE_BENEATH answers EAGAIN when a rename raced with it.
  for (int tries = 0; tries < 6; ++tries) {
    const open_how how = check ? host::content_check_how() : host::content_open_how(noatime);
    fd = host::open_beneath(op.pool_fd, op.asked.path, how, openat2_, error);
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

void PosixStorage::execute_read(Op& op) const {
  if (!host::renew_segments(op.asked, false, options_.pages)) {
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

void PosixStorage::validate() const {
  std::uint32_t free = 0;
  for (const Op& op : ops_)
    free += op.phase == Phase::free ? 1 : 0;
  ASSERT(free == free_.size());
  for (const File& file : files_)
    ASSERT(file.fd >= 0 || (file.reads == 0 && file.close_op == kNone));
}

}  // namespace penstock::disk_posix
