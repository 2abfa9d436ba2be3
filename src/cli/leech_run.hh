// A load that runs, and what is said of it: shared by `bench leech` and `bench stack`.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/load_plan.hh"
#include "cli/load_summary.hh"
#include "cli/program.hh"
#include "control/load_api.hh"

namespace penstock::cli {

// --zipf, for LoadPlan::zipf.
void add_zipf_option(CLI::App& app, double& exponent);

// Runs the load in slices: a batch of the window, at most a second, so that reports come in time.
// warm_up, measure, close; each false when interrupted.
class LeechRun {
 public:
  LeechRun(Context& context, const LoadPlan& plan, std::string backend, control::LoadApi& load)
      : context_(context), plan_(plan), backend_(std::move(backend)), load_(load) {}

  // At least this long, and until a connection is served.
  bool warm_up(Duration duration);
  bool measure(Duration duration);
  // After the last slice: what follows is of it.
  void close();

  [[nodiscard]] ExitStatus status() const;  // warns of what it means
  [[nodiscard]] nlohmann::ordered_json results() const;
  void print() const;
  [[nodiscard]] double rate() const { return summary_.rate; }  // bytes per second
  [[nodiscard]] double rate_ci95() const { return summary_.rate_ci95; }
  // Of the window.
  [[nodiscard]] std::uint64_t bytes() const {
    return now_.counters.payload_bytes - begin_.counters.payload_bytes;
  }
  [[nodiscard]] double busy_seconds() const {
    return static_cast<double>(now_.busy_ns - begin_.busy_ns) * 1e-9;
  }

 private:
  bool run_batch(Duration batch);
  void say_second();

  Context& context_;
  const LoadPlan& plan_;
  const std::string backend_;
  control::LoadApi& load_;
  control::LoadSnapshot begin_, now_;
  LoadSummary summary_;
  std::vector<double> rates_;
  double seconds_ = 0;
  double cpu_seconds_ = 0;
  Duration since_line_{};
  std::uint64_t line_bytes_ = 0;
};

}  // namespace penstock::cli
