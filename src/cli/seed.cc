#include "cli/seed.hh"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>

#include <nlohmann/json.hpp>

#include "base/units.hh"
#include "cli/cpu_list.hh"
#include "cli/torrent_file.hh"
#include "control/dataset/make_torrent.hh"
#include "wire/magnet.hh"

namespace penstock::cli {
namespace {

namespace fs = std::filesystem;
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
};

// What is served: a torrent and the directory that holds its data.
struct Seeding {
  std::shared_ptr<const Metainfo> metainfo;
  std::string data;
  control::TorrentId id;
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
  return engine;
}

Result<std::string> state_directory(const std::string& given) {
  std::string path = given;
  if (path.empty()) {
    const char* xdg = std::getenv("XDG_STATE_HOME");
    const char* home = std::getenv("HOME");
    if (xdg != nullptr && *xdg == '/') {
      path = std::string(xdg) + "/penstock";
    } else if (home != nullptr && *home == '/') {
      path = std::string(home) + "/.local/state/penstock";
    } else {
      return fail("neither XDG_STATE_HOME nor HOME is set: name a directory with --state",
                  ErrorKind::usage);
    }
  }
  std::error_code error;
  fs::create_directories(path, error);
  if (error) {
    return fail("state directory " + path + ": " + error.message() +
                ": name a writable one with --state");
  }
  return path;
}

control::VerifyChoice verify_choice(const std::string& word) {
  if (word == "full") return control::VerifyChoice::full;
  if (word == "trust") return control::VerifyChoice::trust;
  return control::VerifyChoice::lazy;
}

Result<Seeding> open_torrent(const std::string& path, const std::string& data) {
  auto metainfo = load_torrent_file(path);
  if (!metainfo) return tl::unexpected(std::move(metainfo).error());
  Seeding seeding;
  seeding.metainfo = std::make_shared<const Metainfo>(std::move(*metainfo));
  seeding.data = data.empty() ? fs::absolute(path).parent_path().string() : data;
  return seeding;
}

// Whether an earlier run's torrent still names what is there: the same files with the same sizes,
// none written since.
bool still_valid(const std::string& torrent, const Metainfo& metainfo,
                 const control::ScannedTree& tree, const fs::path& source) {
  std::error_code error;
  const auto made_at = fs::last_write_time(torrent, error);
  if (error || count_files(metainfo) != tree.files.size()) return false;
  std::map<std::string, std::uint64_t> lengths;
  for (const FileEntry& file : metainfo.files) {
    if (!file.padding) lengths[file.path] = file.length;
  }
  for (const control::ScannedFile& file : tree.files) {
    const auto known = lengths.find(tree.single_file ? metainfo.name : file.path);
    if (known == lengths.end() || known->second != file.length) return false;
    const fs::path path = tree.single_file ? source : source / file.path;
    if (fs::last_write_time(path, error) > made_at || error) return false;
  }
  return true;
}

// A directory or file to serve: its torrent is made in the state directory first, or found there
// from an earlier run.
Result<Seeding> make_from_path(Context& context, const std::string& path,
                               const std::string& state) {
  fs::path source = fs::absolute(path).lexically_normal();
  if (source.filename().empty()) source = source.parent_path();
  auto tree = control::scan_tree(source.string());
  if (!tree) return tl::unexpected(std::move(tree).error());
  Seeding seeding;
  seeding.data = source.parent_path().string();
  const std::string torrent = (fs::path(state) / (tree->name + ".torrent")).string();
  if (fs::exists(torrent)) {
    auto known = load_torrent_file(torrent);
    if (known && still_valid(torrent, *known, *tree, source)) {
      context.console.note("torrent " + torrent + " (from an earlier run)");
      seeding.metainfo = std::make_shared<const Metainfo>(std::move(*known));
      return seeding;
    }
  }
  Progress progress(context.console, "hashing", tree->total_bytes);
  auto made = control::make_torrent(*tree, {}, [&](std::uint64_t bytes) {
    progress.update(bytes);
    return !context.interrupt.requested();
  });
  context.console.clear_status();
  if (!made) return tl::unexpected(std::move(made).error());
  if (made->stopped) return fail("interrupted while hashing: nothing is served");
  if (auto written = write_file(torrent, made->file, true); !written) {
    return tl::unexpected(std::move(written).error());
  }
  context.console.note("torrent " + torrent);
  seeding.metainfo = std::make_shared<const Metainfo>(std::move(made->metainfo));
  return seeding;
}

bool looks_like_torrent(const std::string& path) {
  return fs::path(path).extension() == ".torrent" && fs::is_regular_file(path);
}

struct Totals {
  std::uint64_t payload = 0;
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  std::uint64_t cross_shard = 0;
  std::uint64_t system_calls = 0;
  std::uint64_t accepted = 0;
  std::uint64_t connections = 0;
  double busy_seconds = 0;
  std::uint64_t checking = 0;     // torrents that are being hashed before they are served
  std::uint64_t pieces_lost = 0;  // now
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
    totals.store.pieces_verified += shard.store.pieces_verified;
    totals.store.pieces_lost += shard.store.pieces_lost;
    totals.store.read_errors += shard.store.read_errors;
    totals.store.evictions += shard.store.evictions;
    totals.store.gathered_blocks += shard.store.gathered_blocks;
  }
  for (const control::TorrentSnapshot& torrent : snapshot.torrents) {
    totals.checking += torrent.state == control::TorrentState::checking ? 1 : 0;
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
          {"pieces_verified", t.store.pieces_verified},
          {"pieces_lost", t.pieces_lost},
          {"torrents_checking", t.checking},
          {"read_errors", t.store.read_errors},
          {"gathered_blocks", t.store.gathered_blocks},
          {"evictions", t.store.evictions},
          {"cross_shard_fetches", t.cross_shard},
          {"system_calls", t.system_calls},
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
        ordered_json fields = as_json(totals, snapshot, seconds, rate);
        fields["event"] = "status";
        context.report.event(fields);
      }
    }
  }
}

Result<ExitStatus> seed(Context& context, const SeedOptions& options,
                        const control::EngineFactory& factory) {
  auto state = state_directory(options.state);
  if (!state) return tl::unexpected(std::move(state).error());
  auto engine_settings = engine_options(options, *state);
  if (!engine_settings) return tl::unexpected(std::move(engine_settings).error());
  std::vector<Seeding> all;
  for (const std::string& path : options.paths) {
    auto seeding = looks_like_torrent(path) ? open_torrent(path, options.data)
                                            : make_from_path(context, path, *state);
    if (!seeding) return tl::unexpected(std::move(seeding).error().context(path));
    all.push_back(std::move(*seeding));
  }
  auto engine = factory(*engine_settings);
  if (!engine) return tl::unexpected(std::move(engine).error());
  for (Seeding& seeding : all) {
    auto pool = (*engine)->open_pool(seeding.data);
    if (!pool) return tl::unexpected(std::move(pool).error());
    auto id = (*engine)->add_torrent({seeding.metainfo, *pool, verify_choice(options.verify)});
    if (!id) return tl::unexpected(std::move(id).error());
    seeding.id = *id;
    const std::string magnet = format_magnet(magnet_of(*seeding.metainfo));
    context.console.note("seeding " + printable(seeding.metainfo->name) + "  " + magnet);
    context.report.event({{"event", "torrent"},
                          {"name", seeding.metainfo->name},
                          {"info_hash", seeding.metainfo->wire_hash().hex()},
                          {"magnet", magnet}});
  }
  ordered_json addresses = ordered_json::array();
  for (const Endpoint& endpoint : (*engine)->listening()) {
    context.console.note("listening on " + endpoint.to_string());
    addresses.push_back(endpoint.to_string());
  }
  // With --verify full, peers are let in when all is hashed.
  context.report.event({{"event", "listening"}, {"addresses", std::move(addresses)}});
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
  app.add_option("path", options->paths, "files, directories or .torrent files")
      ->required()
      ->type_name("PATH|TORRENT");
  app.add_option("--data", options->data, "directory that contains the torrents' names")
      ->type_name("DIR");
  app.add_option("--state", options->state,
                 "where torrents and verification results are kept "
                 "[$XDG_STATE_HOME/penstock]")
      ->type_name("DIR");
  app.add_option("--listen", options->listen, "addresses to listen on [all, port 6881]")
      ->type_name("ADDR:PORT");
  app.add_option("--shards", options->shards, "data-plane threads")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--cpus", options->cpus, "pin the shards to these cores")->type_name("LIST");
  app.add_option("--cache", options->cache, "memory for content")
      ->type_name("SIZE")
      ->capture_default_str();
  app.add_option("--io", options->io, "past the page cache, or through it")
      ->check(CLI::IsMember({"direct", "buffered"}))
      ->capture_default_str();
  app.add_option("--verify", options->verify,
                 "hash pieces when first asked for, all before serving, or never")
      ->check(CLI::IsMember({"lazy", "full", "trust"}))
      ->capture_default_str();
  app.add_option("--upload-limit", options->upload_limit, "rate over all peers, such as 1Gbps")
      ->type_name("RATE");
  app.add_option("--max-peers", options->max_peers, "connections at once")
      ->check(CLI::Range(1u, 1000000u))
      ->capture_default_str();
  app.add_option("--idle", options->idle, "sleep when there is nothing to do, or keep the cores")
      ->check(CLI::IsMember({"adaptive", "spin"}))
      ->capture_default_str();
}

}  // namespace penstock::cli
