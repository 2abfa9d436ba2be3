// Storage by blocking calls in a few threads: for kernels and containers without io_uring.
//
// Owner: the shard's runner, on whose thread everything but the calls themselves happens: the
// threads see one Op at a time and no file table. Destroyed after its last operation completed.
//
// Invariants: an Op belongs to the shard's thread, or from the push into the work queue to the push
// into the done queue to one worker (both under the mutex); a descriptor is closed when its last
// read ended, not before.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <sys/stat.h>

#include "base/result.hh"
#include "host/arena_mapping.hh"
#include "host/fd.hh"
#include "store/storage.hh"

namespace penstock::disk_posix {

struct StorageOptions {
  std::uint32_t ops_max = 512;                       // in flight and waiting to be polled
  std::uint32_t files_max = 4096;                    // open at once; ≤ 65,536
  bool direct = false;                               // O_DIRECT where the file system does it
  host::PageChoice pages = host::PageChoice::small;  // of the memory that is read into
  bool openat2 = true;        // false: walk the path by hand, refusing every symbolic link
  std::uint32_t threads = 8;  // reads that can wait for the device at once
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

  // A directory below which `open` finds files. Indices count up from 0. No operation in flight.
  [[nodiscard]] Result<PoolIndex> open_pool(const std::string& path);

  bool try_submit(const StorageOp& op) override;
  std::size_t poll_completions(std::span<StorageCompletion> out) override;

  [[nodiscard]] const StorageCounters& counters() const { return counters_; }
  // Re-derives the counts; aborts on a contradiction. For tests.
  void validate() const;

 private:
  static constexpr std::uint32_t kNone = ~0u;
  enum class Phase : std::uint8_t { free, working, waiting_for_reads, done };

  struct File {
    int fd = -1;
    std::uint16_t generation = 0;
    bool direct = false;
    bool closing = false;
    std::uint32_t reads = 0;
    std::uint32_t close_op = kNone;
    std::uint32_t next_free = kNone;
  };
  struct Op {
    StorageOp asked;
    StorageCompletion answer;
    Phase phase = Phase::free;
    bool direct = false;          // open: wanted; read: the descriptor has it
    bool direct_refused = false;  // read: EINVAL, now buffered
    int fd = -1;                  // open: out; read, close: in
    int pool_fd = -1;
  };
  // Indices of ops, first in first out; never more than ops_max.
  struct Queue {
    std::vector<std::uint32_t> items;
    std::size_t head = 0, count = 0;
    void push(std::uint32_t index);
    std::uint32_t pop();
  };

  explicit PosixStorage(const StorageOptions& options);
  File* find(FileHandle handle);
  void begin(std::uint32_t index);
  void hand_to_worker(std::uint32_t index);
  void finish(std::uint32_t index, IoError error);
  void take_in(std::uint32_t index);
  void release_file(std::uint32_t slot);

  // Workers'.
  void work();
  void execute(Op& op) const;
  void execute_open(Op& op) const;
  void execute_read(Op& op) const;

  const StorageOptions options_;
  StorageCounters counters_;
  bool openat2_ = true;
  std::vector<host::Fd> pools_;
  std::vector<File> files_;
  std::uint32_t free_file_ = kNone;
  std::vector<Op> ops_;
  std::vector<std::uint32_t> free_;
  Queue ready_;  // finished, waiting to be polled

  std::mutex mutex_;
  std::condition_variable work_there_;
  Queue work_;  // guarded by mutex_
  Queue done_;  // guarded by mutex_
  bool stop_ = false;
  // Set by a worker after it pushed into done_, cleared by the shard before it empties it: spares
  // the shard the mutex when nothing came, and the workers all rings but the first.
  std::atomic<bool> done_there_{false};
  std::vector<std::thread> threads_;
};

}  // namespace penstock::disk_posix
