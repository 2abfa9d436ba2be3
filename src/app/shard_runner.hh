// A shard's thread: its drivers, its loop, its sleep.
//
// The thread makes what must be made on it (the ring, the stores), says whether that worked, then cycles until
// ControlMessage::stop has been obeyed. Owner: the engine.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>

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
  IoOptions io;
};

class ShardRunner {
 public:
  // Returns when the shard runs, or with the reason why it can't. exchange outlives the runner.
  static Result<std::unique_ptr<ShardRunner>> start(RunnerOptions options, Exchange& exchange);
  // ControlMessage::stop has been posted: waits for the thread's end.
  void join();
  ~ShardRunner();
  ShardRunner(const ShardRunner&) = delete;
  ShardRunner& operator=(const ShardRunner&) = delete;

  // Any thread, while the runner lives.
  void read_counters(control::ShardSnapshot& out) const;
  // What the drivers chose: "io_uring", "epoll"; "cubic".
  [[nodiscard]] const std::string& io_name() const { return io_name_; }
  [[nodiscard]] const std::string& congestion() const { return congestion_; }

 private:
  ShardRunner(RunnerOptions options, Exchange& exchange);
  void run(std::atomic<int>& state, Error& error);
  void loop(ShardIo& io, Shard& shard);

  RunnerOptions options_;
  Exchange& exchange_;
  std::string io_name_;
  std::string congestion_;
  std::unique_ptr<Shard> shard_;
  std::unique_ptr<ShardIo> io_;
  std::unique_ptr<Store> store_;
  std::atomic<std::uint64_t> system_calls_{0};
  std::thread thread_;
};

}  // namespace penstock::app
