#include "disk_uring/uring_storage.hh"

#include <algorithm>
#include <cerrno>

#include <fcntl.h>
#include <unistd.h>

#include "base/arena.hh"
#include "base/assert.hh"
#include "host/files.hh"
#include "host/io_error.hh"

namespace penstock::disk_uring {
namespace {

// openat2 with RESOLVE_BENEATH answers EAGAIN when a rename raced with it.
constexpr std::uint8_t kOpenTriesMax = 5;

}  // namespace

UringStorage::UringStorage(uring::Ring& ring, const StorageOptions& options)
    : ring_(ring),
      options_(options),
      files_(options.files_max),
      free_file_(kNone),
      ops_(options.ops_max) {
  ASSERT(options.files_max <= 65536 && options.ops_max > 0);
  for (std::uint32_t i = options.files_max; i-- > 0;) {
    files_[i].next_free = free_file_;
    free_file_ = i;
  }
  for (std::uint32_t i = 0; i < options.ops_max; ++i)
    push(free_, i);
  ring_.attach(uring::Tag::storage, this);
}

UringStorage::~UringStorage() {
  // The kernel may still write into segments: they are the caller's, who must not have left.
  for (int turn = 0; turn < 10'000 && in_flight_ > 0; ++turn) {
    StorageCompletion ignored;
    while (poll_completions({&ignored, 1}) > 0) {
    }
    ring_.wait(Duration::milliseconds(1));
  }
  ring_.attach(uring::Tag::storage, nullptr);
  for (const File& file : files_) {
    if (file.fd >= 0) ::close(file.fd);
  }
}

Result<PoolIndex> UringStorage::open_pool(const std::string& path) {
  auto fd = host::open_pool_directory(path);
  if (!fd) return tl::unexpected(std::move(fd).error());
  pools_.push_back(std::move(*fd));
  return PoolIndex(static_cast<std::uint32_t>(pools_.size() - 1));
}

void UringStorage::push(List& list, std::uint32_t index) {
  ops_[index].next = kNone;
  (list.tail == kNone ? list.head : ops_[list.tail].next) = index;
  list.tail = index;
}

std::uint32_t UringStorage::pop(List& list) {
  const std::uint32_t index = list.head;
  if (index == kNone) return kNone;
  list.head = ops_[index].next;
  if (list.head == kNone) list.tail = kNone;
  return index;
}

UringStorage::File* UringStorage::find(FileHandle handle) {
  const std::uint32_t index = handle.value & 0xffff;
  if (index >= files_.size()) return nullptr;
  File& file = files_[index];
  const bool same = file.generation == handle.value >> 16;
  return file.fd >= 0 && !file.closing && same ? &file : nullptr;
}

bool UringStorage::try_submit(const StorageOp& op) {
  const std::uint32_t index = pop(free_);
  if (index == kNone) return false;
  ops_[index] = Op{};
  ops_[index].asked = op;
  ops_[index].answer.kind = op.kind;
  ops_[index].answer.token = op.token;
  ++in_flight_;
  begin(index);
  if (done_.head != kNone) ring_.hurry();  // refused at once: the wait must not sleep over it
  return true;
}

void UringStorage::begin(std::uint32_t index) {
  Op& op = ops_[index];
  switch (op.asked.kind) {
    case StorageOp::Kind::open:
    case StorageOp::Kind::check:
      if (op.asked.pool.value >= pools_.size()) return finish(index, IoError::not_found);
      ++counters_.opens;
      op.phase = Phase::open;
      break;
    case StorageOp::Kind::read: {
      File* const file = find(op.asked.file);
      if (file == nullptr) return finish(index, IoError::stale);
      ASSERT(op.asked.segment_count > 0 && op.asked.segment_count <= kReadSegmentsMax);
      ASSERT(op.asked.offset % kPageSize == 0);
      std::uint64_t renewed = 0;
      for (std::size_t i = 0; i < op.asked.segment_count; ++i) {
        ASSERT(op.asked.segments[i].length % kPageSize == 0);
        op.wanted += op.asked.segments[i].length;
        renewed += op.asked.segments[i].renew ? 1 : 0;
      }
      counters_.renewals += renewed;
      if (renewed > 0) counters_.other_calls += host::renew_calls(options_.pages);
      if (!host::renew_segments(op.asked, false, options_.pages))
        return finish(index, IoError::exhausted);
      ++file->reads;
      op.fd = file->fd;
      op.phase = Phase::read;
      break;
    }
    case StorageOp::Kind::close: {
      File* const file = find(op.asked.file);
      if (file == nullptr) return finish(index, IoError::stale);
      file->closing = true;
      if (file->reads > 0) {
        file->close_op = index;
        op.phase = Phase::wait_for_reads;
        return;
      }
      op.fd = file->fd;
      release_file(op.asked.file.value & 0xffff);
      op.phase = Phase::close;
      break;
    }
    case StorageOp::Kind::renew:
      counters_.renewals += op.asked.segment_count;
      counters_.other_calls += host::renew_calls(options_.pages);
      return finish(index, host::renew_segments(op.asked, true, options_.pages)
                               ? IoError::none
                               : IoError::exhausted);
  }
  advance(index);
}

// The next ring operation of the slot's phase, now or when the ring has room.
void UringStorage::advance(std::uint32_t index) {
  if (!prepare(index)) {
    push(stalled_, index);
    ring_.hurry();
  }
}

bool UringStorage::prepare(std::uint32_t index) {
  Op& op = ops_[index];
  io_uring_sqe* const sqe = ring_.try_prepare();
  if (sqe == nullptr) return false;
  switch (op.phase) {
    case Phase::open: {
      const bool check = op.asked.kind == StorageOp::Kind::check;
      op.how = check ? host::content_check_how() : host::content_open_how(op.noatime);
      io_uring_prep_openat2(sqe, pools_[op.asked.pool.value].get(), op.asked.path, &op.how);
      // A path that the kernel knows is opened at once by whoever submits, and a file system in
      // user space or on a network may make that wait.
      sqe->flags |= IOSQE_ASYNC;
      break;
    }
    case Phase::stat:
      io_uring_prep_statx(sqe, op.fd, "", AT_EMPTY_PATH, host::kStatxMask, &op.facts);
      break;
    case Phase::close:
      io_uring_prep_close(sqe, op.fd);
      break;
    case Phase::read: {
      const std::size_t count = host::rest_of(op.asked, op.answer.bytes, op.iov);
      const std::uint64_t offset = op.asked.offset + op.answer.bytes;
      if (count == 1) {
        io_uring_prep_read(sqe, op.fd, op.iov[0].iov_base, static_cast<unsigned>(op.iov[0].iov_len),
                           offset);
      } else {
        io_uring_prep_readv(sqe, op.fd, op.iov.data(), static_cast<unsigned>(count), offset);
      }
      if (files_[op.asked.file.value & 0xffff].blocking) sqe->flags |= IOSQE_ASYNC;
      ++counters_.reads;
      break;
    }
    case Phase::free:
    case Phase::wait_for_reads:
      UNREACHABLE();
  }
  sqe->user_data = uring::user_data(uring::Tag::storage, index);
  op.in_ring = true;
  return true;
}

void UringStorage::on_completions(std::span<const uring::Completion> completions) {
  for (const uring::Completion& c : completions) {
    const auto index = static_cast<std::uint32_t>(c.own);
    Op& op = ops_[index];
    DCHECK(op.in_ring);
    op.in_ring = false;
    switch (op.phase) {
      case Phase::open:
        on_opened(index, c.result);
        break;
      case Phase::stat:
        on_stat(index, c.result);
        break;
      case Phase::read:
        on_read(index, c.result);
        break;
      case Phase::close:
        // Linux frees the descriptor whatever close says, and nothing was written.
        finish(index, op.answer.error);
        break;
      case Phase::free:
      case Phase::wait_for_reads:
        UNREACHABLE();
    }
  }
}

void UringStorage::on_opened(std::uint32_t index, std::int32_t result) {
  Op& op = ops_[index];
  if (result >= 0) {
    op.fd = result;
    op.phase = Phase::stat;
    return advance(index);
  }
  const bool raced = (result == -EAGAIN || result == -EINTR) && ++op.tries < kOpenTriesMax;
  const bool not_ours = result == -EPERM && op.noatime && op.asked.kind == StorageOp::Kind::open;
  if (not_ours) op.noatime = false;
  if (raced || not_ours) return advance(index);
  finish(index, host::open_error(-result));
}

void UringStorage::on_stat(std::uint32_t index, std::int32_t result) {
  Op& op = ops_[index];
  const bool check = op.asked.kind == StorageOp::Kind::check;
  IoError error = result < 0 ? host::open_error(-result) : IoError::none;
  if (error == IoError::none && !host::is_regular(op.facts)) error = IoError::not_a_file;
  if (error == IoError::none && !check && free_file_ == kNone) error = IoError::exhausted;
  if (error == IoError::none) op.answer.facts = host::facts_of(op.facts);
  if (error != IoError::none || check) {
    op.answer.error = error;
    op.phase = Phase::close;
    return advance(index);
  }
  const std::uint32_t slot = free_file_;
  File& file = files_[slot];
  free_file_ = file.next_free;
  file.fd = op.fd;
  file.blocking = host::reads_block(op.fd);
  file.direct = host::settle_flags(op.fd, op.facts, op.noatime, options_.direct);
  counters_.other_calls += 2;
  file.closing = false;
  file.size = op.facts.stx_size;
  op.answer.facts.direct = file.direct;
  op.answer.file = FileHandle(std::uint32_t{file.generation} << 16 | slot);
  finish(index, IoError::none);
}

void UringStorage::on_read(std::uint32_t index, std::int32_t result) {
  Op& op = ops_[index];
  File& file = files_[op.asked.file.value & 0xffff];
  if (result < 0) {
    if (result == -EINTR) return advance(index);
    if (result == -EINVAL && file.direct) {
      // The file system takes O_DIRECT at open and refuses it here.
      file.direct = false;
      host::stop_direct(op.fd);
      ++counters_.direct_refused;
      counters_.other_calls += 2;
      return advance(index);
    }
    // A read that was on its way when another one turned direct reads off.
    if (result == -EINVAL && op.tries++ == 0) return advance(index);
    return end_read(index, host::read_error(-result));
  }
  op.answer.bytes += static_cast<std::uint32_t>(result);
  counters_.bytes_read += static_cast<std::uint64_t>(result);
  const std::uint64_t reached = op.asked.offset + op.answer.bytes;
  // Short of what was asked: the end of the file, or a read cut short. A direct read can't go on
  // from an unaligned place, nor needs to: only the end of the file is there.
  const bool at_end = result == 0 || reached >= file.size || (file.direct && reached % 512 != 0);
  if (op.answer.bytes < op.wanted && !at_end) {
    ++counters_.short_reads;
    return advance(index);
  }
  end_read(index, IoError::none);
}

void UringStorage::end_read(std::uint32_t index, IoError error) {
  const std::uint32_t slot = ops_[index].asked.file.value & 0xffff;
  File& file = files_[slot];
  if (error != IoError::none) ops_[index].answer.bytes = 0;
  DCHECK(file.reads > 0);
  --file.reads;
  finish(index, error);
  if (file.reads == 0 && file.close_op != kNone) {
    const std::uint32_t closer = file.close_op;
    ops_[closer].fd = file.fd;
    ops_[closer].phase = Phase::close;
    release_file(slot);
    advance(closer);
  }
}

// The handle ends; the descriptor is closed by the op that holds it.
void UringStorage::release_file(std::uint32_t slot) {
  File& file = files_[slot];
  file.fd = -1;
  ++file.generation;
  file.close_op = kNone;
  file.closing = false;
  file.next_free = free_file_;
  free_file_ = slot;
}

void UringStorage::finish(std::uint32_t index, IoError error) {
  Op& op = ops_[index];
  op.answer.error = error;
  op.phase = Phase::free;
  --in_flight_;
  push(done_, index);
}

std::size_t UringStorage::poll_completions(std::span<StorageCompletion> out) {
  while (stalled_.head != kNone) {
    if (!prepare(stalled_.head)) {
      ring_.hurry();
      break;
    }
    pop(stalled_);
  }
  std::size_t count = 0;
  while (count < out.size()) {
    const std::uint32_t index = pop(done_);
    if (index == kNone) break;
    out[count++] = ops_[index].answer;
    push(free_, index);
  }
  if (done_.head != kNone) ring_.hurry();
  return count;
}

void UringStorage::validate() const {
  std::uint32_t busy = 0;
  for (const Op& op : ops_)
    busy += op.phase != Phase::free ? 1 : 0;
  ASSERT(busy == in_flight_);
  std::uint32_t reads = 0;
  std::uint32_t counted = 0;
  for (const Op& op : ops_)
    reads += op.phase == Phase::read ? 1 : 0;
  for (const File& file : files_)
    counted += file.reads;
  ASSERT(reads == counted);
}

}  // namespace penstock::disk_uring
