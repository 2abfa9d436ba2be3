// Storage by blocking calls in a few threads: for kernels and containers without io_uring.
//
// Owner: the shard's runner, on whose thread everything but the calls themselves happens: the
// threads see one Op at a time and no file table. Each pool has its own threads, and a file's reads
// occupy at most half of them: what hangs holds up its own kind.
//
// Destroyed after its last operation completed; if a disk doesn't answer, a few seconds later all
// the same, leaving the threads that wait for it behind: the process is about to end.
//
// Invariants: an Op is the shard's, or one worker's (workers.hh); a descriptor is closed when its
// last read ended, not before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.hh"
#include "disk_posix/workers.hh"
#include "host/arena_mapping.hh"
#include "host/fd.hh"
#include "store/storage.hh"

namespace penstock::disk_posix {

struct StorageOptions {
  std::uint32_t ops_max = 512;                       // in flight and waiting to be polled
  std::uint32_t files_max = 4096;                    // open at once; ≤ 65,536
  bool direct = false;                               // O_DIRECT where the file system does it
  host::PageChoice pages = host::PageChoice::small;  // of the memory that is read into
  bool openat2 = true;         // false: walk the path by hand, refusing every symbolic link
  std::uint32_t threads = 16;  // a pool; half of them reads of one file
  int wake_fd = -1;  // rung (host::WakeEvent::ring) when completions are there; outlives this
};

struct StorageCounters {
  std::uint64_t reads = 0;
  std::uint64_t bytes_read = 0;
  std::uint64_t opens = 0;
  std::uint64_t renewals = 0;        // segments whose pages were replaced
  std::uint64_t direct_refused = 0;  // files read buffered although O_DIRECT was set: EINVAL
  std::uint64_t calls = 0;           // system calls, about: one a read, three an open
};

class PosixStorage final : public Storage {
 public:
  [[nodiscard]] static Result<std::unique_ptr<PosixStorage>> create(const StorageOptions& options);
  ~PosixStorage() override;

  // A directory below which `open` finds files, and its threads. Indices count up from 0.
  [[nodiscard]] Result<PoolIndex> open_pool(const std::string& path);

  bool try_submit(const StorageOp& op) override;
  std::size_t poll_completions(std::span<StorageCompletion> out) override;

  [[nodiscard]] const StorageCounters& counters() const { return counters_; }
  // Re-derives the counts; aborts on a contradiction. For tests.
  void validate() const;

 private:
  static constexpr std::uint32_t kNone = ~0u;
  using Phase = Op::Phase;

  struct File {
    int fd = -1;
    std::uint16_t generation = 0;
    bool direct = false;
    bool closing = false;
    std::uint32_t pool = 0;
    std::uint32_t reads = 0;    // submitted
    std::uint32_t working = 0;  // of these with the workers
    std::uint32_t waiting_head = kNone, waiting_tail = kNone;
    std::uint32_t close_op = kNone;
    std::uint32_t next_free = kNone;
  };
  struct Pool {
    host::Fd directory;
    bool openat2 = true;
    std::unique_ptr<Workers> workers;
  };
  // Indices of ops, first in first out; never more than ops_max.
  struct Queue {
    std::vector<std::uint32_t> items;
    std::size_t head = 0, count = 0;
    void push(std::uint32_t index);
    std::uint32_t pop();
  };
  // What the threads touch: left behind with those that don't come back.
  struct Shared {
    Shared(std::uint32_t ops_max, int wake_fd) : ops(ops_max), finished(ops_max, wake_fd) {}
    std::vector<Op> ops;
    Finished finished;
    std::vector<Pool> pools;
  };

  explicit PosixStorage(const StorageOptions& options);
  Op& op_of(std::uint32_t index) { return shared_->ops[index]; }
  File* find(FileHandle handle);
  void begin(std::uint32_t index);
  void start_read(std::uint32_t index, File& file);
  void start_close(std::uint32_t index, File& file);
  void finish(std::uint32_t index, IoError error);
  void take_in(std::uint32_t index);
  void take_in_read(std::uint32_t index);
  void release_file(File& file);
  [[nodiscard]] bool threads_ended() const;

  const StorageOptions options_;
  const std::uint32_t file_share_;  // reads of one file with the workers
  StorageCounters counters_;
  std::unique_ptr<Shared> shared_;
  std::vector<File> files_;
  std::uint32_t free_file_ = kNone;
  std::vector<std::uint32_t> free_;
  Queue ready_;  // finished, waiting to be polled
};

}  // namespace penstock::disk_posix
