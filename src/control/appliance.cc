#include "control/appliance.hh"

#include <chrono>
#include <cstring>

#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>
#include <sys/random.h>

#include "control/log.hh"

namespace penstock::control {
namespace {

constexpr Duration kFresh = Duration::milliseconds(20);
// Announces may say a slightly old byte count: with thousands of torrents a snapshot each is dear.
constexpr Duration kFreshEnoughToAnnounce = Duration::seconds(1);

const char* name_of(TorrentState state) {
  switch (state) {
    case TorrentState::checking:
      return "checking";
    case TorrentState::seeding:
      return "seeding";
    case TorrentState::degraded:
      return "degraded";
    case TorrentState::stopping:
      return "stopping";
  }
  return "seeding";
}

std::array<std::byte, 20> new_peer_id() {
  // BEP 20. The rest is random, of URL-safe letters.
  static constexpr char kPrefix[] = "-PS0100-";
  static constexpr char kLetters[] =
      "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";
  std::array<std::byte, 20> id{};
  if (getrandom(id.data(), id.size(), 0) != static_cast<ssize_t>(id.size())) id.fill({});
  for (std::byte& b : id)
    b = static_cast<std::byte>(kLetters[static_cast<unsigned>(b) & 63]);
  std::memcpy(id.data(), kPrefix, sizeof kPrefix - 1);
  return id;
}

discovery::AnnounceSettings announce_settings(const Config& config) {
  discovery::AnnounceSettings settings;
  settings.limits.per_host_max = static_cast<std::uint32_t>(config.announce_per_tracker);
  settings.limits.interval_min = config.announce_min_interval;
  settings.timeout = config.announce_timeout;
  return settings;
}

}  // namespace

Appliance::Appliance(const Config& config, EngineApi& engine)
    : config_(config),
      engine_(engine),
      view_(engine),
      cache_limit_(config.cache_size),
      peers_at_start_(config.limits_max_peers) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  start_time_s_ = std::chrono::duration<double>(now).count();
}

Appliance::~Appliance() {
  http_.reset();
  library_.reset();
  announces_.reset();
}

Result<std::unique_ptr<Appliance>> Appliance::start(const Config& config, EngineApi& engine) {
  std::unique_ptr<Appliance> appliance(new Appliance(config, engine));
  if (auto started = appliance->start_parts(); !started) return tl::unexpected(started.error());
  return appliance;
}

// Trackers are reached by the kernel's TCP, which doesn't have the addresses of a device of ours.
std::vector<Endpoint> Appliance::announce_sources() const {
  std::vector<Endpoint> sources = engine_.listening();
  NetworkWords network = network_words(config_);
  choose_backend(network, kConfigNames);
  if (network.backend != "tap" && network.backend != "dpdk") return sources;
  spdlog::warn(
      "announces go out by the kernel's TCP: trackers tell clients an address of the kernel's, not "
      "{} (backend xdp shares the kernel's)",
      config_.network_addresses.front());
  for (Endpoint& source : sources)
    source.ip = source.ip.is_v4() ? IpAddress::v4(0, 0, 0, 0) : IpAddress{};
  return sources;
}

Result<void> Appliance::start_parts() {
  if (config_.announce_enabled) {
    discovery::AnnounceOptions options;
    options.settings = announce_settings(config_);
    discovery::set_sources(options, announce_sources(),
                           static_cast<std::uint16_t>(config_.announce_port));
    options.peer_id = new_peer_id();
    options.user_agent = "Penstock/" PENSTOCK_VERSION;
    options.uploaded = [this](std::uint64_t key) -> std::uint64_t {
      const auto reading = view_.read(kFreshEnoughToAnnounce);
      const TorrentSnapshot* torrent = reading->find(TorrentId{key});
      return torrent == nullptr ? 0 : torrent->uploaded_bytes;
    };
    auto manager = discovery::AnnounceManager::start(std::move(options));
    if (!manager) return tl::unexpected(manager.error());
    announces_ = std::move(*manager);
  }
  library_ = std::make_unique<Library>(engine_, static_cast<LibraryListener&>(*this));
  if (auto applied = library_->apply(config_.pools, limited_watches(config_)); !applied)
    return applied;
  if (config_.http_enabled) {
    auto server = HttpServer::start(config_.http_listen, config_.http_hosts,
                                    [this](std::string_view path) { return answer(path); });
    if (!server) return tl::unexpected(server.error());
    http_ = std::move(*server);
  }
  return {};
}

Endpoint Appliance::http_listening() const {
  return http_ ? http_->listening() : Endpoint{};
}

void Appliance::on_added(const TorrentInfo& torrent, const Metainfo& metainfo) {
  if (announces_) announces_->add(torrent.id.value, torrent.swarms, metainfo.tracker_tiers);
}

void Appliance::on_removed(const TorrentInfo& torrent) {
  if (announces_) announces_->remove(torrent.swarms);
}

// All of what may change, or nothing.
Result<void> Appliance::apply(const Config& next) {
  if (auto limited = engine_.set_limits(engine_limits(next)); !limited) return limited;
  if (auto applied = library_->apply(next.pools, limited_watches(next)); !applied) {
    // What was in force was accepted once, so it is again.
    if (auto back = engine_.set_limits(engine_limits(config_)); !back) {
      spdlog::error("going back to the old limits: {}", back.error().message);
    }
    return applied;
  }
  if (announces_) announces_->set_settings(announce_settings(next));
  set_up_log(next.log_format, next.log_level);
  config_ = next;
  return {};
}

bool Appliance::reload(const tl::expected<LoadedConfig, ConfigErrors>& loaded) {
  const auto refuse = [this] {
    ++reloads_bad_;
    last_reload_good_ = false;
    spdlog::error("reload: nothing was changed");
    return false;
  };
  if (!loaded) {
    for (const ConfigError& error : loaded.error().list) {
      spdlog::error("reload: {}", error.to_string());
    }
    return refuse();
  }
  const auto changes = changes_between(config_, loaded->config);
  const Config next = apply_running_changes(config_, loaded->config);
  if (auto applied = apply(next); !applied) {
    spdlog::error("reload: {}", applied.error().message);
    return refuse();
  }
  for (const ConfigChange& change : changes) {
    const bool beyond = change.key == "limits.max_peers" && next.limits_max_peers > peers_at_start_;
    if (change.restart || beyond) {
      spdlog::warn("reload: {} changed, which takes a restart", change.key);
    } else {
      spdlog::info("reload: {} changed", change.key);
    }
  }
  if (changes.empty()) spdlog::info("reload: nothing is different");
  ++reloads_good_;
  last_reload_good_ = true;
  return true;
}

void Appliance::stop() {
  http_.reset();
  library_.reset();
  if (!announces_) return;
  const std::uint64_t unsaid = announces_->stop(config_.announce_stop_timeout);
  if (unsaid > 0) {
    spdlog::warn("{} swarms' trackers were not told that we stop: no answer in time", unsaid);
  }
}

ApplianceCounters Appliance::counters() const {
  ApplianceCounters counters;
  counters.start_time_s = start_time_s_;
  counters.torrents = library_->torrent_count();
  counters.broken_files = library_->broken_files();
  counters.ready = library_->settled();
  counters.reloads_good = reloads_good_;
  counters.reloads_bad = reloads_bad_;
  counters.last_reload_good = last_reload_good_;
  counters.cache_limit_bytes = cache_limit_;
  if (announces_) counters.announces = announces_->counters();
  return counters;
}

std::string Appliance::torrents_json() {
  const auto reading = view_.read(kFresh);
  auto torrents = nlohmann::ordered_json::array();
  for (const TorrentInfo& info : library_->list()) {
    nlohmann::ordered_json torrent{{"info_hash", info.wire_hash.hex()}};
    if (!info.v1_hash.empty()) torrent["info_hash_v1"] = info.v1_hash;
    if (!info.v2_hash.empty()) torrent["info_hash_v2"] = info.v2_hash;
    torrent["name"] = info.name;
    torrent["size"] = info.size;
    const TorrentSnapshot none{};
    const TorrentSnapshot* found = reading->find(info.id);
    const TorrentSnapshot& now = found == nullptr ? none : *found;
    torrent["state"] = name_of(now.state);
    torrent["uploaded"] = now.uploaded_bytes;
    torrent["upload_limit"] = info.upload_rate;
    torrent["peers"] = now.peers;
    torrent["pieces"] = info.pieces;
    torrent["verified_pieces"] = now.pieces_verified;
    torrent["bad_pieces"] = now.pieces_lost;
    torrent["private"] = info.is_private;
    torrent["file"] = info.file;
    torrent["pool"] = info.pool;
    if (announces_) {
      if (const auto status = announces_->status(info.wire_hash)) {
        torrent["tracker"] = {{"url", status->tracker},
                              {"knows_us", status->known_to_tracker},
                              {"error", status->error}};
      }
    }
    torrents.push_back(std::move(torrent));
  }
  const nlohmann::ordered_json object{{"schema", "penstock.api.torrents/1"},
                                      {"torrents", std::move(torrents)}};
  return object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

HttpAnswer Appliance::answer(std::string_view path) {
  constexpr const char* kText = "text/plain; charset=utf-8";
  constexpr const char* kJson = "application/json; charset=utf-8";
  if (path == "/healthz") return {200, kText, "ok\n"};
  if (path == "/readyz") {
    const bool ready = library_->settled();
    return {ready ? 200u : 503u, kText, ready ? "ready\n" : "going through the folders\n"};
  }
  if (path == "/version") {
    const nlohmann::ordered_json object{{"name", "penstock"}, {"version", PENSTOCK_VERSION}};
    return {200, kJson, object.dump() + "\n"};
  }
  if (path == "/metrics") {
    const auto reading = view_.read(kFresh);
    return {200, "text/plain; version=0.0.4; charset=utf-8",
            metrics_text(reading->snapshot, counters())};
  }
  if (path == "/api/v1/torrents") return {200, kJson, torrents_json()};
  return {404, kText, "there are /healthz /readyz /version /metrics /api/v1/torrents\n"};
}

}  // namespace penstock::control
