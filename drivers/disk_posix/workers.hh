// The threads that make the blocking calls of PosixStorage: every pool has its own, so that a disk
// that hangs holds up nobody but itself.
//
// An Op goes from the shard to a pool's workers and back through rings. The shard's ends are free
// of locks; the workers share theirs under mutexes that the shard never takes.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <semaphore.h>

#include "base/result.hh"
#include "base/spsc_ring.hh"
#include "host/arena_mapping.hh"
#include "store/storage.hh"

namespace penstock::disk_posix {

// An operation. Its phase and list are the shard's; the rest is too, but for the time between the
// push into Workers and the pop from Finished, when it is one worker's.
struct Op {
  enum class Phase : std::uint8_t {
    free,
    working,            // with the workers
    waiting_for_turn,   // a read: its file has its share of workers
    waiting_for_reads,  // a close
    done,               // to be polled
  };
  StorageOp asked;
  StorageCompletion answer;
  Phase phase = Phase::free;
  std::uint32_t next = ~0u;     // of the file's reads that wait for their turn
  bool direct = false;          // open: wanted; read: the descriptor has it
  bool direct_refused = false;  // read: EINVAL, now buffered
  host::PageChoice pages = host::PageChoice::small;
  bool openat2 = true;  // open, check
  int fd = -1;          // open: out; read, close: in
  int pool_fd = -1;     // open, check
};

// Does what is asked, however long it takes.
void execute(Op& op);

// Ops that workers are done with.
class Finished {
 public:
  // capacity: of all ops. wake_fd: as StorageOptions.
  Finished(std::uint32_t capacity, int wake_fd);
  // A worker.
  void push(std::uint32_t op);
  // The shard. None: false; the next one that comes rings.
  bool try_pop(std::uint32_t& op);
  // The shard: nobody listens any more.
  void abandon();

 private:
  std::mutex mutex_;  // the workers' ends of ring_, and wake_fd_
  SpscRing<std::uint32_t> ring_;
  int wake_fd_;
  // Set by a worker after it pushed, cleared by the shard before it looks: spares the shard a look
  // when nothing came, and the workers all rings but the first.
  std::atomic<bool> there_{false};
};

// The threads of one pool.
class Workers {
 public:
  // ops and finished outlive the last thread. capacity: of all ops.
  static Result<std::unique_ptr<Workers>> start(std::uint32_t threads, std::uint32_t capacity,
                                                Op* ops, Finished& finished);
  // After all_ended(), or detach().
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  // The shard.
  void push(std::uint32_t op);
  // Nothing is pushed after this; the threads end when they have done what was.
  void stop();
  [[nodiscard]] bool all_ended() const {
    return ended_.load(std::memory_order_acquire) == threads_.size();
  }
  // Leaves threads that don't come back to themselves: this object must live on, too.
  void detach();

 private:
  Workers(std::uint32_t capacity, Op* ops, Finished& finished);
  void work();

  Op* const ops_;
  Finished& finished_;
  SpscRing<std::uint32_t> ring_;
  sem_t there_;       // items in the ring, and one a thread once stopped
  std::mutex mutex_;  // the workers' end of ring_
  std::atomic<bool> stop_{false};
  std::atomic<std::size_t> ended_{0};  // release: the thread touches nothing more
  std::vector<std::thread> threads_;
};

}  // namespace penstock::disk_posix
