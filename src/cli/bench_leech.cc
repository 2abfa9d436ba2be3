#include "cli/bench_leech.hh"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>
#include <sys/resource.h>

#include "base/units.hh"
#include "cli/load_summary.hh"
#include "cli/network_options.hh"
#include "cli/torrent_file.hh"

namespace penstock::cli {
namespace {

using Json = nlohmann::ordered_json;

struct LeechOptions {
  std::string torrent;
  std::string peer;
  std::uint32_t connections = 10;
  std::uint32_t depth = 40;
  std::string duration = "5s";
  std::string warmup = "1s";
  std::string source;
  std::string rate;
  std::uint32_t churn = 0;
  std::string pattern = "pieces";
  std::uint64_t seed = 1;
  bool verify = false;
  std::string http;
  std::string range = "1MiB";
  NetworkOptions network;
};

// How long the first connection may take to be unchoked: seeds that look for whom to unchoke every
// ten seconds get two rounds.
constexpr Duration kFirstUnchokeMax = Duration::seconds(25);

// "127.1.0.0/16", "fd00::/64".
Result<void> parse_prefix(const std::string& text, LoadPlan& plan) {
  const std::size_t slash = text.find('/');
  auto ip = parse_ip(text.substr(0, slash));
  if (!ip) return tl::unexpected(std::move(ip).error().context("--source"));
  const unsigned long most = ip->is_v4() ? 32 : 128;
  unsigned long bits = most;
  if (slash != std::string::npos) {
    const std::string number = text.substr(slash + 1);
    char* end = nullptr;
    bits = std::strtoul(number.c_str(), &end, 10);
    if (number.empty() || *end != '\0' || bits == 0 || bits > most) {
      return fail("--source " + text + ": expected ADDRESS/BITS", ErrorKind::usage);
    }
  }
  plan.source = *ip;
  plan.source_bits = static_cast<std::uint32_t>(bits + (128 - most));
  return {};
}

// "http://127.0.0.1:8080/file"
Result<void> parse_http(const LeechOptions& options, LoadPlan& plan) {
  constexpr std::string_view kScheme = "http://";
  const std::size_t path = options.http.find('/', kScheme.size());
  if (!options.http.starts_with(kScheme) || path == std::string::npos) {
    return fail("--http " + options.http + ": expected http://ADDRESS:PORT/PATH", ErrorKind::usage);
  }
  auto peer = parse_endpoint(options.http.substr(kScheme.size(), path - kScheme.size()));
  if (!peer) return tl::unexpected(std::move(peer).error().context("--http"));
  auto range = parse_size(options.range);
  if (!range) return tl::unexpected(std::move(range).error().context("--range"));
  if (*range == 0 || *range > (1u << 30)) {
    return fail("--range: between 1B and 1GiB", ErrorKind::usage);
  }
  plan.peer = *peer;
  plan.http_path = options.http.substr(path);
  plan.range_size = static_cast<std::uint32_t>(*range);
  return {};
}

Result<LoadPlan> plan_of(const LeechOptions& options) {
  LoadPlan plan;
  if (options.http.empty() == options.peer.empty()) {
    return fail("expected --peer or --http", ErrorKind::usage);
  }
  if (options.http.empty()) {
    auto peer = parse_endpoint(options.peer);
    if (!peer) return tl::unexpected(std::move(peer).error().context("--peer"));
    plan.peer = *peer;
  } else if (auto parsed = parse_http(options, plan); !parsed) {
    return tl::unexpected(std::move(parsed).error());
  }
  if (!options.source.empty()) {
    if (auto parsed = parse_prefix(options.source, plan); !parsed) {
      return tl::unexpected(std::move(parsed).error());
    }
  }
  if (!options.rate.empty()) {
    auto rate = parse_rate(options.rate);
    if (!rate) return tl::unexpected(std::move(rate).error().context("--rate"));
    plan.rate = *rate;
  }
  plan.connections = options.connections;
  plan.depth = options.depth;
  plan.churn = options.churn;
  plan.random_seed = options.seed;
  plan.verify = options.verify;
  plan.pattern = options.pattern == "blocks"       ? LoadPattern::blocks
                 : options.pattern == "sequential" ? LoadPattern::sequential
                                                   : LoadPattern::pieces;
  if (plan.verify && (plan.pattern == LoadPattern::blocks || !plan.http_path.empty())) {
    return fail("--verify needs whole pieces: not with --pattern blocks nor --http",
                ErrorKind::usage);
  }
  return plan;
}

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Runs the load in slices: a batch of the window, at most a second, so that reports come in time.
class Leech {
 public:
  Leech(Context& context, const LoadPlan& plan, std::string backend, control::LoadApi& load)
      : context_(context), plan_(plan), backend_(std::move(backend)), load_(load) {}

  // False: interrupted.
  bool warm_up(Duration duration) {
    Duration passed{};
    while (passed < duration ||
           (now_.active == 0 && plan_.depth > 0 && passed < kFirstUnchokeMax)) {
      passed = passed + load_.run(Duration::milliseconds(50));
      load_.snapshot(now_);
      if (context_.interrupt.requested()) return false;
    }
    return true;
  }

  bool measure(Duration duration) {
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

  ExitStatus finish();

 private:
  bool run_batch(Duration batch) {
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
    rates_.push_back(static_cast<double>(now_.counters.payload_bytes - before) /
                     passed.as_seconds());
    return true;
  }

  void say_second() {
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

  Json results(const LoadSummary& summary) const;
  void print(const LoadSummary& summary) const;

  Context& context_;
  const LoadPlan& plan_;
  const std::string backend_;
  control::LoadApi& load_;
  control::LoadSnapshot begin_, now_;
  std::vector<double> rates_;
  double seconds_ = 0;
  double cpu_seconds_ = 0;
  Duration since_line_{};
  std::uint64_t line_bytes_ = 0;
};

Json Leech::results(const LoadSummary& summary) const {
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
          {"bytes", c.payload_bytes - b.payload_bytes},
          {"received_bytes", c.received_bytes - b.received_bytes},
          {"rate_bytes_per_second", summary.rate},
          {"rate_ci95_bytes_per_second", summary.rate_ci95},
          {"jain", summary.jain},
          {"connection_bytes_min", summary.least},
          {"connection_bytes_max", summary.most},
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
          {"busy_seconds", static_cast<double>(now_.busy_ns - begin_.busy_ns) * 1e-9},
          {"backend", backend_},
          {"io", load_.io_name()}};
}

void Leech::print(const LoadSummary& summary) const {
  const auto us = [&](double share) {
    char text[32];
    std::snprintf(text, sizeof text, "%.0f us", now_.latency.quantile(share).as_seconds() * 1e6);
    return std::string(text);
  };
  char jain[16];
  std::snprintf(jain, sizeof jain, "%.3f", summary.jain);
  std::string closes;
  for (const auto& close : now_.closes)
    closes += " " + std::string(close.reason) + " " + std::to_string(close.count);
  context_.console.print("rate         " + format_rate(summary.rate) + " +- " +
                         format_rate(summary.rate_ci95) + "\nconnections  " +
                         std::to_string(now_.active) + " of " + std::to_string(plan_.connections) +
                         " active, Jain " + jain + ", " + format_size(summary.least) + " to " +
                         format_size(summary.most) + " each\nlatency      p50 " + us(0.5) +
                         ", p99 " + us(0.99) + ", p99.9 " + us(0.999) + "\n");
  if (!closes.empty()) context_.console.print("closed      " + closes + "\n");
  if (plan_.verify) {
    context_.console.print("pieces       " + std::to_string(now_.counters.pieces_good) + " good, " +
                           std::to_string(now_.counters.pieces_bad) + " bad\n");
  }
}

ExitStatus Leech::finish() {
  load_.snapshot(now_);
  const LoadSummary summary = summarise(rates_, now_.connection_bytes);
  ExitStatus status = ExitStatus::done;
  if (context_.interrupt.requested()) {
    status = ExitStatus::interrupted;
  } else if (now_.counters.pieces_bad > 0) {
    context_.console.error("pieces arrived whose hash is not the torrent's");
    status = ExitStatus::failed;
  } else if (now_.active < plan_.connections && plan_.depth > 0 &&
             (plan_.churn == 0 || now_.active == 0)) {
    context_.console.warn(std::to_string(plan_.connections - now_.active) +
                          " connections are not being served");
    status = now_.active == 0 ? ExitStatus::failed : ExitStatus::partial;
  }
  if (!context_.report.enabled()) print(summary);
  context_.report.finish(status, results(summary));
  return status;
}

Result<ExitStatus> leech(Context& context, LeechOptions options,
                         const control::LoadFactory& factory) {
  auto plan = plan_of(options);
  if (!plan) return tl::unexpected(std::move(plan).error());
  choose_backend(options.network);
  auto network = own_network(options.network);
  if (!network) return tl::unexpected(std::move(network).error());
  if (*network && !options.source.empty())
    return fail("--source is for --backend kernel: give an --address for each", ErrorKind::usage);
  const auto duration = parse_duration(options.duration);
  if (!duration) return tl::unexpected(duration.error().context("--duration"));
  const auto warmup = parse_duration(options.warmup);
  if (!warmup) return tl::unexpected(warmup.error().context("--warmup"));
  if (duration->ns <= 0) return fail("--duration: more than nothing", ErrorKind::usage);
  auto metainfo = load_torrent_file(options.torrent);
  if (!metainfo) return tl::unexpected(std::move(metainfo).error());
  auto load = factory(*plan, std::make_shared<const Metainfo>(std::move(*metainfo)), *network);
  if (!load) return tl::unexpected(std::move(load).error());
  Leech run(context, *plan, options.network.backend, **load);
  if (run.warm_up(*warmup)) run.measure(*duration);
  return run.finish();
}

}  // namespace

void register_bench_leech(Program& program, CLI::App& group, control::LoadFactory factory) {
  auto options = std::make_shared<LeechOptions>();
  CLI::App& app = program.add_command(
      group, "leech", "Download from a seed as fast as it can, throwing the data away",
      "Examples:\n"
      "  penstock bench leech --torrent a.torrent --peer 127.0.0.1:6881 --connections 100\n"
      "  penstock bench leech --torrent a.torrent --peer 127.0.0.1:6881 --rate 200MiB/s --verify\n"
      "Any BitTorrent seed will do. Exit status 1 when nothing came or pieces were bad, 3 when "
      "some\n"
      "connections were not served.",
      [options, factory = std::move(factory)](Context& context) {
        return leech(context, *options, factory);
      });
  app.add_option("--torrent", options->torrent, "What to download")->type_name("FILE")->required();
  app.add_option("--peer", options->peer, "The seed")->type_name("ADDR:PORT");
  app.add_option("--connections", options->connections, "Connections at once")
      ->type_name("N")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  app.add_option("--depth", options->depth,
                 "Requests outstanding a connection; 0: connect and stay idle")
      ->type_name("N")
      ->check(CLI::Range(0, 100000))
      ->capture_default_str();
  app.add_option("--duration", options->duration, "Length of the measured window")
      ->type_name("TIME")
      ->capture_default_str();
  app.add_option("--warmup", options->warmup, "Time before it")
      ->type_name("TIME")
      ->capture_default_str();
  app.add_option("--source", options->source, "Gives each connection an address of its own")
      ->type_name("PREFIX");
  app.add_option("--rate", options->rate,
                 "Open loop: requests at this rate, timed from when they were due")
      ->type_name("RATE");
  app.add_option("--churn", options->churn, "Connections closed and opened a second")
      ->type_name("N")
      ->check(CLI::Range(0, 100000));
  app.add_option("--pattern", options->pattern, "Random whole pieces, random blocks, or in order")
      ->type_name("pieces|blocks|sequential")
      ->check(CLI::IsMember({"pieces", "blocks", "sequential"}))
      ->capture_default_str();
  app.add_option("--seed", options->seed, "Of the random order")
      ->type_name("N")
      ->capture_default_str();
  app.add_flag("--verify", options->verify, "Check the hash of every piece");
  app.add_option("--http", options->http, "Load a web server instead, by ranges of this file")
      ->type_name("URL");
  app.add_option("--range", options->range, "Size of --http's ranges")
      ->type_name("SIZE")
      ->capture_default_str();
  add_network_options(app, options->network);
}

}  // namespace penstock::cli
