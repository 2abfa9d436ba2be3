// What `penstock bench leech` asks of a load generator. Implemented by app/load_run (the engine of
// shard/load/generator.hh on a real driver) and by a fake in the tests.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/load_plan.hh"
#include "base/log_histogram.hh"
#include "base/result.hh"
#include "base/time.hh"
#include "control/own_network.hh"
#include "wire/metainfo.hh"

namespace penstock::control {

struct LoadSnapshot {
  struct Close {
    const char* reason = "";  // static, snake_case
    std::uint64_t count = 0;
  };
  LoadCounters counters;  // since the start
  LogHistogram latency;   // since begin_window(): from the request to its block's last byte
  std::vector<std::uint64_t> connection_bytes;  // payload since begin_window(), one a connection
  std::uint32_t active = 0;                     // connections that are unchoked, now
  std::vector<Close> closes;                    // those that occurred
  std::uint64_t system_calls = 0;               // of the generator
  std::int64_t busy_ns = 0;                     // in cycles that had something to do
};

class LoadApi {
 public:
  virtual ~LoadApi() = default;
  // Works for this long, on the caller's thread. Returns the time that really passed.
  virtual Duration run(Duration duration) = 0;
  // Forgets latencies and bytes a connection.
  virtual void begin_window() = 0;
  virtual void snapshot(LoadSnapshot& out) = 0;
  // What the streams run on: "io_uring", "epoll", "own TCP and io_uring".
  [[nodiscard]] virtual std::string io_name() const = 0;
};

// Made by app/, which alone names drivers. metainfo: identified. network: none is the kernel's TCP.
using LoadFactory = std::function<Result<std::unique_ptr<LoadApi>>(
    const LoadPlan& plan, std::shared_ptr<const Metainfo> metainfo,
    const std::optional<OwnNetwork>& network)>;

}  // namespace penstock::control
