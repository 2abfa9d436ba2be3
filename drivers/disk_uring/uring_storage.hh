// Storage through the shard's io_uring.
//
// Owner: the shard's runner; used on the ring's thread, destroyed before the ring, after its last
// operation completed (segments and paths belong to the caller until then). Nothing is allocated
// after construction.
//
// An operation is a slot that walks through phases, one ring operation each: open is openat2 then
// statx, check the same and a close, read as many reads as it takes to fill the segments or to meet
// the end of the file.
//
// Invariants: a file's descriptor is closed when its last read ended, not before; a slot is free,
// in the ring, stalled (the ring took no more), or done and waiting to be polled.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "base/result.hh"
#include "host/arena_mapping.hh"
#include "host/fd.hh"
#include "store/storage.hh"
#include "uring/ring.hh"

namespace penstock::disk_uring {

struct StorageOptions {
  std::uint32_t ops_max = 512;                       // in flight and waiting to be polled
  std::uint32_t files_max = 4096;                    // open at once; ≤ 65,536
  bool direct = false;                               // O_DIRECT where the file system does it
  host::PageChoice pages = host::PageChoice::small;  // of the memory that is read into
};

struct StorageCounters {
  std::uint64_t reads = 0;  // operations given to the kernel, continuations included
  std::uint64_t bytes_read = 0;
  std::uint64_t opens = 0;
  std::uint64_t renewals = 0;        // segments whose pages were replaced
  std::uint64_t direct_refused = 0;  // files read buffered although O_DIRECT was set: EINVAL
  std::uint64_t short_reads = 0;     // continued
  std::uint64_t other_calls = 0;     // system calls beside the ring's: madvise, fcntl
};

class UringStorage final : public Storage, private uring::CompletionSink {
 public:
  // Attaches itself to the ring as Tag::storage.
  UringStorage(uring::Ring& ring, const StorageOptions& options);
  ~UringStorage();

  // A directory below which `open` finds files. Indices count up from 0. On the ring's thread.
  [[nodiscard]] Result<PoolIndex> open_pool(const std::string& path);

  bool try_submit(const StorageOp& op) override;
  std::size_t poll_completions(std::span<StorageCompletion> out) override;

  [[nodiscard]] const StorageCounters& counters() const { return counters_; }
  [[nodiscard]] std::uint32_t in_flight() const { return in_flight_; }
  // Re-derives the counts; aborts on a contradiction. For tests.
  void validate() const;

 private:
  enum class Phase : std::uint8_t { free, open, stat, close, read, wait_for_reads };
  static constexpr std::uint32_t kNone = ~0u;

  struct File {
    int fd = -1;
    std::uint16_t generation = 0;
    bool direct = false;
    bool closing = false;
    bool blocking = false;           // reads block whoever submits them: kernel threads do
    std::uint32_t reads = 0;         // in flight
    std::uint32_t close_op = kNone;  // waits for them
    std::uint32_t next_free = kNone;
    std::uint64_t size = 0;  // when it was opened
  };
  struct Op {
    StorageOp asked;
    StorageCompletion answer;
    Phase phase = Phase::free;
    std::uint8_t tries = 0;
    bool noatime = true;
    bool in_ring = false;
    std::uint32_t wanted = 0;  // bytes of a read
    int fd = -1;
    std::uint32_t next = kNone;  // in the free, stalled or done list
    open_how how{};
    struct statx facts {};
    std::array<iovec, kReadSegmentsMax> iov{};
  };
  struct List {
    std::uint32_t head = kNone, tail = kNone;
  };

  void on_completions(std::span<const uring::Completion> completions) override;
  void begin(std::uint32_t index);
  void advance(std::uint32_t index);
  bool prepare(std::uint32_t index);
  void on_opened(std::uint32_t index, std::int32_t result);
  void on_stat(std::uint32_t index, std::int32_t result);
  void on_read(std::uint32_t index, std::int32_t result);
  void finish(std::uint32_t index, IoError error);
  void end_read(std::uint32_t index, IoError error);
  void release_file(std::uint32_t file);
  File* find(FileHandle handle);
  void push(List& list, std::uint32_t index);
  std::uint32_t pop(List& list);

  uring::Ring& ring_;
  const StorageOptions options_;
  StorageCounters counters_;
  std::vector<host::Fd> pools_;
  std::vector<File> files_;
  std::uint32_t free_file_;
  std::vector<Op> ops_;
  List free_, stalled_, done_;
  std::uint32_t in_flight_ = 0;  // ops that are neither free nor done
};

}  // namespace penstock::disk_uring
