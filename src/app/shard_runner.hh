// A shard's thread: its drivers, its loop, its sleep.
//
// The thread makes what must be made on it (the ring, the store, the shard), says whether that
// worked, then cycles until ControlMessage::stop has been obeyed. Owner: the engine.
#pragma once

#include <atomic>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "app/shard_io.hh"
#include "base/arena.hh"
#include "base/result.hh"
#include "control/engine_api.hh"
#include "shard/mailbox.hh"
#include "shard/shard.hh"

namespace penstock::app {

struct RunnerOptions {
  ShardId id;
  ShardLimits limits;
  SessionLimits session_limits;
  StoreLimits store_limits;
  Arena arena;  // this shard's part
  std::optional<std::uint32_t> cpu;
  control::IdleMode idle = control::IdleMode::adaptive;
  std::uint64_t seed = 0;  // unpredictable
  IoOptions io;
};

class ShardRunner {
 public:
  // Returns when the shard runs, or with the reason why it can't. exchange outlives the runner.
  static Result<std::unique_ptr<ShardRunner>> start(RunnerOptions options, Exchange& exchange);
  ~ShardRunner();
  ShardRunner(const ShardRunner&) = delete;
  ShardRunner& operator=(const ShardRunner&) = delete;

  // Waits until the shard has stopped; ControlMessage::stop must have been posted. Its bell is
  // still there, for the other shards and for control.
  void wait_stopped();
  // Waits for the thread's end, and with it the bell's: nobody rings any more.
  void join();
  // Control: opens a directory on the shard's thread and waits until that is done.
  Result<PoolIndex> open_pool(const std::string& directory);
  // Any thread.
  void read_counters(control::ShardSnapshot& out) const;
  [[nodiscard]] const std::vector<Endpoint>& listening() const { return listening_; }
  // What the drivers chose: "io_uring" or "epoll"; the congestion control of accepted connections.
  [[nodiscard]] const char* io_name() const { return io_name_; }
  [[nodiscard]] const std::string& congestion() const { return congestion_; }
  // ShardIo::splice_trouble, as of the last cycle. Any thread.
  [[nodiscard]] const char* splice_trouble() const {
    return splice_trouble_.load(std::memory_order_relaxed);
  }
  // ShardIo::failure, likewise.
  [[nodiscard]] const char* failure() const { return failure_.load(std::memory_order_relaxed); }

 private:
  ShardRunner(RunnerOptions options, Exchange& exchange);
  // The thread: `started` is told once whether it runs.
  template <class Started>
  void run(Started started);
  void loop(ShardIo& io, Shard& shard);
  void serve_pool_request(ShardIo& io);

  RunnerOptions options_;
  Exchange& exchange_;
  std::vector<Endpoint> listening_;
  const char* io_name_ = "";
  std::string congestion_;
  std::unique_ptr<Shard> shard_;  // made by the thread, freed after its end
  std::unique_ptr<Store> store_;
  std::atomic<std::uint64_t> system_calls_{0};
  // ShardIo::payload, likewise.
  std::atomic<std::uint64_t> zero_copy_{0};
  std::atomic<std::uint64_t> copied_{0};
  std::atomic<const char*> copy_reason_{""};
  std::atomic<const char*> splice_trouble_{""};
  std::atomic<const char*> failure_{""};
  // Set by control (release), taken and cleared by the shard's thread (acquire).
  struct PoolRequest;
  std::atomic<PoolRequest*> pool_request_{nullptr};
  std::promise<void> stopped_;   // the thread has left its loop
  std::promise<void> released_;  // it may end
  std::thread thread_;
};

}  // namespace penstock::app
