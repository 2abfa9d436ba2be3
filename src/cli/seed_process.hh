// `penstock seed --json` as a child of this process: the other side of `bench stack`. EAL can be
// started once in a process, and each side is to have its own clock and its own processor.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <nlohmann/json.hpp>
#include <sched.h>
#include <sys/types.h>

#include "base/result.hh"

namespace penstock::cli {

class SeedProcess {
 public:
  // arguments: those behind "seed --json". cpus: what it may use, not what the calling thread was
  // given. Returns when it listens, or with what it said instead.
  static Result<std::unique_ptr<SeedProcess>> start(const std::vector<std::string>& arguments,
                                                    const cpu_set_t& cpus);
  // Ends it, within seconds.
  ~SeedProcess();
  SeedProcess(const SeedProcess&) = delete;
  SeedProcess& operator=(const SeedProcess&) = delete;

  // What it said of itself last, once a second: the fields of penstock.seed's "status".
  [[nodiscard]] nlohmann::json status() const;
  // It ended by itself.
  [[nodiscard]] bool gone() const;

 private:
  SeedProcess(pid_t pid, int output);
  void read_lines();
  void take(const std::string& line);

  const pid_t pid_;
  const int output_;
  mutable std::mutex mutex_;  // guards all below
  std::condition_variable said_;
  nlohmann::json status_ = nlohmann::json::object();
  std::string error_;
  bool listening_ = false;
  bool gone_ = false;
  std::thread reader_;
};

}  // namespace penstock::cli
