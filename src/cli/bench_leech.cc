#include "cli/bench_leech.hh"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/units.hh"
#include "cli/leech_run.hh"
#include "cli/network_options.hh"
#include "cli/torrent_file.hh"

namespace penstock::cli {
namespace {

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
  double zipf = 0;
  std::string http;
  std::string range = "1MiB";
  control::NetworkWords network;
};

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
  plan.zipf = options.zipf;
  if (plan.zipf > 0 && plan.pattern == LoadPattern::sequential) {
    return fail("--zipf has no say in --pattern sequential", ErrorKind::usage);
  }
  if (plan.verify && (plan.pattern == LoadPattern::blocks || !plan.http_path.empty())) {
    return fail("--verify needs whole pieces: not with --pattern blocks nor --http",
                ErrorKind::usage);
  }
  return plan;
}

Result<ExitStatus> leech(Context& context, LeechOptions options,
                         const control::LoadFactory& factory) {
  auto plan = plan_of(options);
  if (!plan) return tl::unexpected(std::move(plan).error());
  choose_backend(options.network, control::kOptionNames);
  auto network = own_network(options.network, {});
  if (!network) return tl::unexpected(std::move(network).error());
  if (*network && !options.source.empty())
    return fail("--source is for --backend kernel: own TCP connects from its first --address",
                ErrorKind::usage);
  const auto duration = parse_duration(options.duration);
  if (!duration) return tl::unexpected(duration.error().context("--duration"));
  const auto warmup = parse_duration(options.warmup);
  if (!warmup) return tl::unexpected(warmup.error().context("--warmup"));
  if (duration->ns <= 0) return fail("--duration: more than nothing", ErrorKind::usage);
  auto metainfo = load_torrent_file(options.torrent);
  if (!metainfo) return tl::unexpected(std::move(metainfo).error());
  auto load = factory(*plan, std::make_shared<const Metainfo>(std::move(*metainfo)), *network);
  if (!load) return tl::unexpected(std::move(load).error());
  LeechRun run(context, *plan, options.network.backend, **load);
  if (run.warm_up(*warmup)) run.measure(*duration);
  run.close();
  const ExitStatus status = run.status();
  if (!context.report.enabled()) run.print();
  context.report.finish(status, run.results());
  return status;
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
  add_zipf_option(app, options->zipf);
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
