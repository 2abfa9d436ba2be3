#include "cli/seed.hh"

#include <filesystem>
#include <map>
#include <memory>

#include <nlohmann/json.hpp>

#include "base/units.hh"
#include "cli/cpu_list.hh"
#include "cli/network_options.hh"
#include "cli/seed_source.hh"
#include "cli/torrent_file.hh"
#include "control/log.hh"
#include "wire/magnet.hh"

namespace penstock::cli {
namespace {

using control::EngineOptions;
using control::EngineSnapshot;
using nlohmann::ordered_json;

constexpr int kStatusPeriodMs = 1000;

struct SeedOptions {
  std::vector<std::string> paths;
  std::string data;
  std::string state;
  std::vector<std::string> listen;
  std::uint32_t shards = 1;
  std::string cpus;
  std::string cache = "256MiB";
  std::string io = "direct";
  std::string verify = "lazy";
  std::string upload_limit;
  std::uint32_t max_peers = 4096;
  std::string idle = "adaptive";
  control::NetworkWords network;
};

Result<EngineOptions> engine_options(const SeedOptions& options, const std::string& state) {
  EngineOptions engine;
  for (const std::string& text : options.listen) {
    auto endpoint = parse_endpoint(text, true);
    if (!endpoint) return tl::unexpected(std::move(endpoint).error().context("--listen"));
    engine.listen.push_back(*endpoint);
  }
  if (engine.listen.empty()) engine.listen.push_back(Endpoint{IpAddress{}, 6881});
  auto cpus = parse_cpu_list(options.cpus);
  if (!cpus) return tl::unexpected(std::move(cpus).error().context("--cpus"));
  engine.cpus = std::move(*cpus);
  engine.shards = options.shards;
  auto cache = parse_size(options.cache);
  if (!cache) return tl::unexpected(std::move(cache).error().context("--cache"));
  engine.cache_bytes = *cache;
  engine.io_direct = options.io == "direct";
  engine.idle = options.idle == "spin" ? control::IdleMode::spin : control::IdleMode::adaptive;
  engine.limits.peers_max = options.max_peers;
  if (!options.upload_limit.empty()) {
    auto rate = parse_rate(options.upload_limit);
    if (!rate) return tl::unexpected(std::move(rate).error().context("--upload-limit"));
    engine.limits.upload_rate = *rate;
  }
  engine.state_directory = state;
  auto network = own_network(options.network, engine.listen);
  if (!network) return tl::unexpected(std::move(network).error());
  engine.network = std::move(*network);
  return engine;
}

control::VerifyChoice verify_choice(const std::string& word) {
  if (word == "full") return control::VerifyChoice::full;
  if (word == "trust") return control::VerifyChoice::trust;
  return control::VerifyChoice::lazy;
}

struct Totals {
  std::uint64_t payload = 0;
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  std::uint64_t cross_shard = 0;
  std::uint64_t system_calls = 0;
  std::uint64_t sheds = 0;
  std::uint64_t needs = 0;
  std::uint64_t accepted = 0;
  std::uint64_t connections = 0;
  std::uint64_t zero_copy = 0;
  std::map<std::string, std::uint64_t> copied;  // by reason
  double busy_seconds = 0;
  std::uint64_t checking = 0;         // torrents that are being hashed before they are served
  std::uint64_t pieces_verified = 0;  // now
  std::uint64_t pieces_lost = 0;      // now
  StoreCounters store;
};

Totals add_up(const EngineSnapshot& snapshot) {
  Totals totals;
  for (const control::ShardSnapshot& shard : snapshot.shards) {
    totals.payload += shard.payload_bytes;
    totals.sent += shard.sent_bytes;
    totals.received += shard.received_bytes;
    totals.cross_shard += shard.cross_shard_wants;
    totals.system_calls += shard.system_calls;
    totals.sheds += shard.sheds;
    totals.zero_copy += shard.payload.zero_copy;
    if (shard.payload.copied > 0) totals.copied[shard.payload.reason] += shard.payload.copied;
    totals.needs += shard.needs;
    totals.accepted += shard.accepted;
    totals.connections += shard.connections;
    totals.busy_seconds += static_cast<double>(shard.busy_ns) * 1e-9;
    totals.store.hits += shard.store.hits;
    totals.store.misses += shard.store.misses;
    totals.store.bytes_wanted += shard.store.bytes_wanted;
    totals.store.bytes_read += shard.store.bytes_read;
    totals.store.reads += shard.store.reads;
    totals.store.bytes_hashed += shard.store.bytes_hashed;
    totals.store.checksum_mismatches += shard.store.checksum_mismatches;
    totals.store.read_errors += shard.store.read_errors;
    totals.store.evictions += shard.store.evictions;
    totals.store.gathered_blocks += shard.store.gathered_blocks;
  }
  for (const control::TorrentSnapshot& torrent : snapshot.torrents) {
    totals.checking += torrent.state == control::TorrentState::checking ? 1 : 0;
    totals.pieces_verified += torrent.pieces_verified;
    totals.pieces_lost += torrent.pieces_lost;
  }
  return totals;
}

double ratio(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

ordered_json as_json(const Totals& t, const EngineSnapshot& snapshot, double seconds, double rate) {
  ordered_json closes = ordered_json::object();
  for (std::size_t i = 0; i < snapshot.close_reasons.size(); ++i) {
    std::uint64_t n = 0;
    for (const auto& shard : snapshot.shards)
      n += i < shard.closes.size() ? shard.closes[i] : 0;
    if (n > 0) closes[snapshot.close_reasons[i]] = n;
  }
  return {{"seconds", seconds},
          {"rate_bytes_per_second", rate},
          {"uploaded_bytes", t.payload},
          {"sent_bytes", t.sent},
          {"received_bytes", t.received},
          {"peers", t.connections},
          {"accepted", t.accepted},
          {"cache_hits", t.store.hits},
          {"cache_misses", t.store.misses},
          {"bytes_read", t.store.bytes_read},
          {"reads", t.store.reads},
          {"bytes_hashed", t.store.bytes_hashed},
          {"checksum_mismatches", t.store.checksum_mismatches},
          {"pieces_verified", t.pieces_verified},
          {"pieces_lost", t.pieces_lost},
          {"torrents_checking", t.checking},
          {"read_errors", t.store.read_errors},
          {"gathered_blocks", t.store.gathered_blocks},
          {"evictions", t.store.evictions},
          {"cross_shard_fetches", t.cross_shard},
          {"system_calls", t.system_calls},
          {"sheds", t.sheds},
          {"needs", t.needs},
          {"payload_bytes_zero_copy", t.zero_copy},
          {"payload_bytes_copied", t.copied},
          {"busy_seconds", t.busy_seconds},
          {"closes", std::move(closes)}};
}

std::string status_line(const Totals& t, double rate) {
  char text[256];
  std::snprintf(text, sizeof text, "%s  %llu peers  sent %s  hits %.1f%%  read amplification %.2f",
                format_rate(rate).c_str(), static_cast<unsigned long long>(t.connections),
                format_size(t.payload).c_str(),
                100 * ratio(t.store.hits, t.store.hits + t.store.misses),
                ratio(t.store.bytes_read, t.payload));
  std::string line = text;
  if (t.checking > 0) line += "  hashing " + std::to_string(t.checking) + " torrents";
  if (t.pieces_lost > 0) line += "  LOST " + std::to_string(t.pieces_lost) + " pieces";
  return line;
}

// Until the first signal.
void watch(Context& context, control::EngineApi& engine) {
  EngineSnapshot snapshot;
  const Instant start = steady_now();
  Instant last = start;
  std::uint64_t last_payload = 0;
  double rate = 0;
  for (bool interrupted = false; !interrupted;) {
    interrupted = context.interrupt.wait_for_ms(kStatusPeriodMs);
    engine.snapshot(snapshot);
    const Totals totals = add_up(snapshot);
    const Instant now = steady_now();
    const double elapsed = (now - last).as_seconds();
    if (elapsed > 0) rate = static_cast<double>(totals.payload - last_payload) / elapsed;
    last = now;
    last_payload = totals.payload;
    const double seconds = (now - start).as_seconds();
    if (interrupted) {
      context.console.clear_status();
      const double mean = seconds > 0 ? static_cast<double>(totals.payload) / seconds : 0;
      context.report.finish(ExitStatus::done, as_json(totals, snapshot, seconds, mean));
      context.console.note("sent " + format_size(totals.payload) + " to " +
                           std::to_string(totals.accepted) + " connections; stopped");
    } else {
      context.console.status(status_line(totals, rate));
      if (context.report.enabled()) {
        ordered_json fields{{"event", "status"}};
        fields.update(as_json(totals, snapshot, seconds, rate));
        context.report.event(fields);
      }
    }
  }
}

// Adds a torrent and says so.
Result<void> serve_source(Context& context, const SeedOptions& options, control::EngineApi& engine,
                          const SeedSource& source) {
  const Metainfo& metainfo = *source.metainfo;
  auto pool = engine.open_pool(source.data);
  if (!pool) return tl::unexpected(std::move(pool).error());
  auto id = engine.add_torrent({source.metainfo, *pool, verify_choice(options.verify)});
  if (!id) return tl::unexpected(std::move(id).error());
  const std::string magnet = format_magnet(magnet_of(metainfo));
  context.console.note("seeding " + metainfo.name + "  " + magnet);
  context.report.event({{"event", "torrent"},
                        {"name", metainfo.name},
                        {"info_hash", metainfo.wire_hash().hex()},
                        {"magnet", magnet},
                        {"files", count_files(metainfo)},
                        {"files_lacking", source.files_lacking}});
  return {};
}

Result<ExitStatus> seed(Context& context, SeedOptions options,
                        const control::EngineFactory& factory) {
  const std::string chosen = choose_backend(options.network, control::kOptionNames);
  // stdout is the report's alone.
  control::set_up_log(control::LogFormat::text, control::LogLevel::info, context.console.live());
  auto state = open_state_directory(options.state);
  if (!state) return tl::unexpected(std::move(state).error());
  auto engine_settings = engine_options(options, *state);
  if (!engine_settings) return tl::unexpected(std::move(engine_settings).error());
  for (const std::string& path : options.paths) {
    std::error_code error;
    if (!std::filesystem::exists(path, error)) {
      return fail("\"" + path +
                  "\": " + (error ? error.message() : "there is no such file or directory"));
    }
  }
  // Before anything is hashed: a port that is taken is not to be learnt of an hour later.
  auto engine = factory(*engine_settings);
  if (!engine) return tl::unexpected(std::move(engine).error());
  for (const std::string& path : options.paths) {
    const auto source = open_source(context, path, options.data, *state);
    if (!source) return tl::unexpected(source.error());
    if (!*source) return ExitStatus::interrupted;
    if (auto served = serve_source(context, options, **engine, **source); !served) {
      return tl::unexpected(std::move(served).error());
    }
  }
  if (!chosen.empty()) context.console.note(chosen);
  ordered_json addresses = ordered_json::array();
  for (const Endpoint& endpoint : (*engine)->listening()) {
    context.console.note("listening on " + endpoint.to_string());
    addresses.push_back(endpoint.to_string());
  }
  // With --verify full, peers are let in when all is hashed.
  context.report.event({{"event", "listening"},
                        {"backend", options.network.backend},
                        {"addresses", std::move(addresses)}});
  watch(context, **engine);
  return ExitStatus::done;
}

}  // namespace

void register_seed(Program& program, control::EngineFactory factory) {
  auto options = std::make_shared<SeedOptions>();
  CLI::App& app = program.add_command(
      "seed", "Serve files or torrents to every BitTorrent client",
      "Examples:\n"
      "  penstock seed ~/datasets/climate-2026\n"
      "  penstock seed debian.torrent --data /srv/iso --listen 0.0.0.0:6881 --shards 4\n"
      "\n"
      "A PATH that is no .torrent is hashed first; its torrent is kept in the state directory.\n"
      "Without --data the data is looked for beside the .torrent.",
      [options, factory = std::move(factory)](Context& context) {
        return seed(context, *options, factory);
      });
  app.add_option("PATH", options->paths, "Files, directories or .torrent files")
      ->required()
      ->type_name("PATH");
  app.add_option("--data", options->data, "Directory that contains the torrents' names")
      ->type_name("DIR");
  app.add_option("--state", options->state,
                 "Where torrents and verification results are kept "
                 "(default: $XDG_STATE_HOME/penstock)")
      ->type_name("DIR");
  app.add_option("--listen", options->listen,
                 "Where to listen; once per address (default: all, port 6881)")
      ->type_name("ADDR:PORT")
      ->allow_extra_args(false);
  app.add_option("--shards", options->shards, "Data-plane threads")
      ->type_name("N")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--cpus", options->cpus, "The CPU of each shard, such as 0,2-3")
      ->type_name("LIST");
  app.add_option("--cache", options->cache, "Memory for content")
      ->type_name("SIZE")
      ->capture_default_str();
  app.add_option("--io", options->io, "Past the page cache, or through it")
      ->type_name("direct|buffered")
      ->check(CLI::IsMember({"direct", "buffered"}))
      ->capture_default_str();
  app.add_option("--verify", options->verify,
                 "Hash pieces when first asked for, all before serving, or never")
      ->type_name("lazy|full|trust")
      ->check(CLI::IsMember({"lazy", "full", "trust"}))
      ->capture_default_str();
  app.add_option("--upload-limit", options->upload_limit,
                 "Rate over all peers, such as 1Gbps or 20MiB/s (default: none)")
      ->type_name("RATE");
  app.add_option("--max-peers", options->max_peers, "Connections at once")
      ->type_name("N")
      ->check(CLI::Range(1u, 1000000u))
      ->capture_default_str();
  app.add_option("--idle", options->idle, "Sleep when there is nothing to do, or keep the cores")
      ->type_name("adaptive|spin")
      ->check(CLI::IsMember({"adaptive", "spin"}))
      ->capture_default_str();
  add_network_options(app, options->network);
}

}  // namespace penstock::cli
