#include "cli/leech_run.hh"

#include <algorithm>
#include <cstdio>

#include <sys/resource.h>

#include "base/units.hh"

namespace penstock::cli {
namespace {

using Json = nlohmann::ordered_json;

// How long the first connection may take to be unchoked: seeds that look for whom to unchoke every
// ten seconds get two rounds.
constexpr Duration kFirstUnchokeMax = Duration::seconds(25);

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

void add_zipf_option(CLI::App& app, double& exponent) {
  app.add_option(
         "--zipf", exponent,
         "Pieces of unequal demand, by Zipf's law with this exponent (caches see 0.6 to 1.2)")
      ->type_name("S")
      ->check(CLI::Range(0.01, 10.0));
}

bool LeechRun::warm_up(Duration duration) {
  Duration passed{};
  while (passed < duration || (now_.active == 0 && plan_.depth > 0 && passed < kFirstUnchokeMax)) {
    passed = passed + load_.run(Duration::milliseconds(50));
    load_.snapshot(now_);
    if (context_.interrupt.requested()) return false;
  }
  return true;
}

bool LeechRun::measure(Duration duration) {
  context_.report.event({{"event", "window"}, {"active", now_.active}});
  load_.begin_window();
  load_.snapshot(begin_);
  now_ = begin_;
  const double cpu = cpu_seconds();
  const Duration batch = duration / static_cast<std::int64_t>(kLoadBatches);
  for (std::size_t i = 0; i < kLoadBatches; ++i) {
    if (!run_batch(batch)) return false;
  }
  cpu_seconds_ = cpu_seconds() - cpu;
  context_.report.event({{"event", "window_end"}, {"active", now_.active}});
  return true;
}

bool LeechRun::run_batch(Duration batch) {
  const std::uint64_t before = now_.counters.payload_bytes;
  Duration passed{};
  while (passed < batch) {
    const Duration slice = std::min(batch - passed, Duration::seconds(1) - since_line_);
    const Duration ran = load_.run(std::max(slice, Duration::microseconds(1)));
    passed = passed + ran;
    since_line_ = since_line_ + ran;
    if (since_line_ >= Duration::seconds(1)) say_second();
    if (context_.interrupt.requested()) return false;
  }
  load_.snapshot(now_);
  seconds_ += passed.as_seconds();
  rates_.push_back(static_cast<double>(now_.counters.payload_bytes - before) / passed.as_seconds());
  return true;
}

void LeechRun::say_second() {
  load_.snapshot(now_);
  const std::uint64_t bytes = now_.counters.payload_bytes - line_bytes_;
  const double rate = static_cast<double>(bytes) / since_line_.as_seconds();
  context_.report.event({{"event", "second"},
                         {"bytes", bytes},
                         {"rate_bytes_per_second", rate},
                         {"active", now_.active},
                         {"overdue", now_.counters.overdue}});
  context_.console.status(format_rate(rate) + "  " + std::to_string(now_.active) + " of " +
                          std::to_string(plan_.connections) + " connections");
  line_bytes_ = now_.counters.payload_bytes;
  since_line_ = Duration{};
}

void LeechRun::close() {
  load_.snapshot(now_);
  summary_ = summarise(rates_, now_.connection_bytes);
}

ExitStatus LeechRun::status() const {
  if (context_.interrupt.requested()) return ExitStatus::interrupted;
  if (now_.counters.pieces_bad > 0) {
    context_.console.error("pieces arrived whose hash is not the torrent's");
    return ExitStatus::failed;
  }
  if (now_.active < plan_.connections && plan_.depth > 0 &&
      (plan_.churn == 0 || now_.active == 0)) {
    context_.console.warn(std::to_string(plan_.connections - now_.active) +
                          " connections are not being served");
    return now_.active == 0 ? ExitStatus::failed : ExitStatus::partial;
  }
  return ExitStatus::done;
}

Json LeechRun::results() const {
  const LoadCounters& c = now_.counters;
  const LoadCounters& b = begin_.counters;
  const auto quantile = [&](double share) { return now_.latency.quantile(share).as_seconds(); };
  Json closes = Json::object();
  for (const auto& close : now_.closes)
    closes[close.reason] = close.count;
  return {{"peer", plan_.peer.to_string()},
          {"protocol", plan_.http_path.empty() ? "bittorrent" : "http"},
          {"connections", plan_.connections},
          {"connections_active", now_.active},
          {"depth", plan_.depth},
          {"seconds", seconds_},
          {"bytes", bytes()},
          {"received_bytes", c.received_bytes - b.received_bytes},
          {"rate_bytes_per_second", summary_.rate},
          {"rate_ci95_bytes_per_second", summary_.rate_ci95},
          {"jain", summary_.jain},
          {"connection_bytes_min", summary_.least},
          {"connection_bytes_max", summary_.most},
          {"latency_p50_seconds", quantile(0.5)},
          {"latency_p99_seconds", quantile(0.99)},
          {"latency_p999_seconds", quantile(0.999)},
          {"latency_max_seconds", now_.latency.max().as_seconds()},
          {"requests", c.requests - b.requests},
          {"blocks", c.blocks - b.blocks},
          {"rejects", c.rejects - b.rejects},
          {"chokes", c.chokes - b.chokes},
          {"overdue", c.overdue},
          {"connects", c.connects},
          {"closes", std::move(closes)},
          {"pieces_good", c.pieces_good},
          {"pieces_bad", c.pieces_bad},
          {"system_calls", now_.system_calls - begin_.system_calls},
          {"cpu_seconds", cpu_seconds_},
          {"busy_seconds", busy_seconds()},
          {"backend", backend_},
          {"io", load_.io_name()}};
}

void LeechRun::print() const {
  const auto us = [&](double share) {
    char text[32];
    std::snprintf(text, sizeof text, "%.0f us", now_.latency.quantile(share).as_seconds() * 1e6);
    return std::string(text);
  };
  char jain[16];
  std::snprintf(jain, sizeof jain, "%.3f", summary_.jain);
  std::string closes;
  for (const auto& close : now_.closes)
    closes += " " + std::string(close.reason) + " " + std::to_string(close.count);
  context_.console.print("rate         " + format_rate(summary_.rate) + " +- " +
                         format_rate(summary_.rate_ci95) + "\nconnections  " +
                         std::to_string(now_.active) + " of " + std::to_string(plan_.connections) +
                         " active, Jain " + jain + ", " + format_size(summary_.least) + " to " +
                         format_size(summary_.most) + " each\nlatency      p50 " + us(0.5) +
                         ", p99 " + us(0.99) + ", p99.9 " + us(0.999) + "\n");
  if (!closes.empty()) context_.console.print("closed      " + closes + "\n");
  if (plan_.verify) {
    context_.console.print("pieces       " + std::to_string(now_.counters.pieces_good) + " good, " +
                           std::to_string(now_.counters.pieces_bad) + " bad\n");
  }
}

}  // namespace penstock::cli
