#include "disk_posix/posix_storage.hh"

#include <algorithm>
#include <chrono>

#include <unistd.h>

#include "base/arena.hh"
#include "base/assert.hh"
#include "host/files.hh"
#include "host/wake_event.hh"

namespace penstock::disk_posix {
namespace {

// How long an end waits for disks that don't answer.
constexpr auto kPatience = std::chrono::seconds(3);

}  // namespace

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
  return std::unique_ptr<PosixStorage>(new PosixStorage(options));
}

PosixStorage::PosixStorage(const StorageOptions& options)
    : options_(options),
      file_share_(std::max(options.threads / 2, 1u)),
      shared_(std::make_unique<Shared>(options.ops_max, options.wake_fd)),
      files_(options.files_max) {
  ASSERT(options.files_max <= 65536 && options.ops_max > 0 && options.threads > 0);
  for (std::uint32_t i = options.files_max; i-- > 0;) {
    files_[i].next_free = free_file_;
    free_file_ = i;
  }
  free_.reserve(options.ops_max);
  for (std::uint32_t i = options.ops_max; i-- > 0;)
    free_.push_back(i);
  ready_.items.resize(options.ops_max);
}

PosixStorage::~PosixStorage() {
  for (const Pool& pool : shared_->pools)
    pool.workers->stop();
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (!threads_ended() && std::chrono::steady_clock::now() < until)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  if (!threads_ended()) {
    shared_->finished.abandon();
    for (const Pool& pool : shared_->pools)
      pool.workers->detach();
    static_cast<void>(shared_.release());
    return;
  }
  // What was opened for answers that nobody polled.
  for (std::uint32_t index = 0; shared_->finished.try_pop(index);)
    take_in(index);
  for (const File& file : files_) {
    if (file.fd >= 0) ::close(file.fd);
  }
}

bool PosixStorage::threads_ended() const {
  return std::all_of(shared_->pools.begin(), shared_->pools.end(),
                     [](const Pool& pool) { return pool.workers->all_ended(); });
}

Result<PoolIndex> PosixStorage::open_pool(const std::string& path) {
  auto fd = host::open_pool_directory(path);
  if (!fd) return tl::unexpected(std::move(fd).error());
  auto workers =
      Workers::start(options_.threads, options_.ops_max, shared_->ops.data(), shared_->finished);
  if (!workers) return tl::unexpected(std::move(workers).error());
  const bool openat2 = options_.openat2 && host::has_openat2(fd->get());
  shared_->pools.push_back({std::move(*fd), openat2, std::move(*workers)});
  return PoolIndex(static_cast<std::uint32_t>(shared_->pools.size() - 1));
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
  op_of(index) = Op{};
  op_of(index).asked = op;
  op_of(index).pages = options_.pages;
  op_of(index).answer.kind = op.kind;
  op_of(index).answer.token = op.token;
  begin(index);
  return true;
}

void PosixStorage::begin(std::uint32_t index) {
  Op& op = op_of(index);
  switch (op.asked.kind) {
    case StorageOp::Kind::open:
    case StorageOp::Kind::check: {
      if (op.asked.pool.value >= shared_->pools.size()) return finish(index, IoError::not_found);
      const Pool& pool = shared_->pools[op.asked.pool.value];
      ++counters_.opens;
      counters_.calls += 3;
      op.pool_fd = pool.directory.get();
      op.openat2 = pool.openat2;
      op.direct = options_.direct;
      op.phase = Phase::working;
      return pool.workers->push(index);
    }
    case StorageOp::Kind::read: {
      File* const file = find(op.asked.file);
      if (file == nullptr) return finish(index, IoError::stale);
      ASSERT(op.asked.segment_count > 0 && op.asked.segment_count <= kReadSegmentsMax);
      ASSERT(op.asked.offset % kPageSize == 0);
      std::uint64_t renewed = 0;
      for (std::size_t i = 0; i < op.asked.segment_count; ++i) {
        ASSERT(op.asked.segments[i].length % kPageSize == 0);
        renewed += op.asked.segments[i].renew ? 1 : 0;
      }
      counters_.renewals += renewed;
      if (renewed > 0) counters_.calls += host::renew_calls(options_.pages);
      ++file->reads;
      ++counters_.reads;
      ++counters_.calls;
      if (file->working < file_share_) return start_read(index, *file);
      op.phase = Phase::waiting_for_turn;
      (file->waiting_head == kNone ? file->waiting_head : op_of(file->waiting_tail).next) = index;
      file->waiting_tail = index;
      return;
    }
    case StorageOp::Kind::close: {
      File* const file = find(op.asked.file);
      if (file == nullptr) return finish(index, IoError::stale);
      file->closing = true;
      if (file->reads == 0) return start_close(index, *file);
      file->close_op = index;
      op.phase = Phase::waiting_for_reads;
      return;
    }
    case StorageOp::Kind::renew:
      counters_.renewals += op.asked.segment_count;
      counters_.calls += host::renew_calls(options_.pages);
      return finish(index, host::renew_segments(op.asked, true, options_.pages)
                               ? IoError::none
                               : IoError::exhausted);
  }
}

void PosixStorage::start_read(std::uint32_t index, File& file) {
  Op& op = op_of(index);
  ++file.working;
  op.fd = file.fd;
  op.direct = file.direct;
  op.phase = Phase::working;
  shared_->pools[file.pool].workers->push(index);
}

void PosixStorage::start_close(std::uint32_t index, File& file) {
  Op& op = op_of(index);
  op.fd = file.fd;
  op.phase = Phase::working;
  const std::uint32_t pool = file.pool;
  release_file(file);
  shared_->pools[pool].workers->push(index);
}

void PosixStorage::finish(std::uint32_t index, IoError error) {
  op_of(index).answer.error = error;
  op_of(index).phase = Phase::done;
  ready_.push(index);
  // A runner that parks after submitting would otherwise sleep over it.
  if (options_.wake_fd >= 0) host::WakeEvent::ring(options_.wake_fd);
}

// A worker's answer: the file table follows.
void PosixStorage::take_in(std::uint32_t index) {
  Op& op = op_of(index);
  op.phase = Phase::done;
  ready_.push(index);
  if (op.asked.kind == StorageOp::Kind::read) return take_in_read(index);
  if (op.asked.kind != StorageOp::Kind::open || op.answer.error != IoError::none) return;
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
  file.pool = op.asked.pool.value;
  op.answer.file = FileHandle(std::uint32_t{file.generation} << 16 | slot);
}

void PosixStorage::take_in_read(std::uint32_t index) {
  Op& op = op_of(index);
  File& file = files_[op.asked.file.value & 0xffff];
  counters_.bytes_read += op.answer.bytes;
  if (op.direct_refused && file.direct) {
    file.direct = false;
    ++counters_.direct_refused;
  }
  DCHECK(file.reads > 0 && file.working > 0);
  --file.reads;
  --file.working;
  if (file.waiting_head != kNone) {
    const std::uint32_t waiting = file.waiting_head;
    file.waiting_head = op_of(waiting).next;
    start_read(waiting, file);
  } else if (file.reads == 0 && file.close_op != kNone) {
    start_close(file.close_op, file);
  }
}

void PosixStorage::release_file(File& file) {
  file.fd = -1;
  ++file.generation;
  file.close_op = kNone;
  file.closing = false;
  file.next_free = free_file_;
  free_file_ = static_cast<std::uint32_t>(&file - files_.data());
}

std::size_t PosixStorage::poll_completions(std::span<StorageCompletion> out) {
  for (std::uint32_t index = 0; shared_->finished.try_pop(index);)
    take_in(index);
  std::size_t count = 0;
  while (count < out.size() && ready_.count > 0) {
    const std::uint32_t index = ready_.pop();
    out[count++] = op_of(index).answer;
    op_of(index).phase = Phase::free;
    free_.push_back(index);
  }
  // Left over: the runner's wait must not sleep.
  if (ready_.count > 0 && options_.wake_fd >= 0) host::WakeEvent::ring(options_.wake_fd);
  return count;
}

void PosixStorage::validate() const {
  std::uint32_t free = 0;
  for (const Op& op : shared_->ops)
    free += op.phase == Phase::free ? 1 : 0;
  ASSERT(free == free_.size());
  for (const File& file : files_) {
    ASSERT(file.fd >= 0 || (file.reads == 0 && file.close_op == kNone));
    std::uint32_t waiting = 0;
    for (std::uint32_t i = file.waiting_head; i != kNone; i = shared_->ops[i].next)
      ++waiting;
    ASSERT(file.working <= file_share_ && file.working + waiting == file.reads);
    ASSERT(waiting == 0 || file.working == file_share_);
  }
}

}  // namespace penstock::disk_posix
