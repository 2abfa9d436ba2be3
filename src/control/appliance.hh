// The appliance: library, announces, HTTP and reloads around an engine. What `penstock serve` runs.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>

#include "control/config.hh"
#include "control/engine_view.hh"
#include "control/http_server.hh"
#include "control/library.hh"
#include "control/metrics.hh"
#include "discovery/announce_manager.hh"

namespace penstock::control {

class Appliance final : private LibraryListener {
 public:
  // Serves when it returns; the watched folders are gone through in the background. The engine must
  // outlive the appliance.
  static Result<std::unique_ptr<Appliance>> start(const Config& config, EngineApi& engine);
  // Without telling the trackers, unless stop() was called.
  ~Appliance() override;
  Appliance(const Appliance&) = delete;
  Appliance& operator=(const Appliance&) = delete;

  // All or nothing, and logged: what was applied, what waits for a restart, or why nothing was.
  // False when nothing was.
  bool reload(const tl::expected<LoadedConfig, ConfigErrors>& loaded);
  // Tells the trackers that we go, within the configuration's bound.
  void stop();

  // Where HTTP is; port 0 when it is off.
  [[nodiscard]] Endpoint http_listening() const;
  [[nodiscard]] std::size_t torrent_count() const { return library_->torrent_count(); }

 private:
  Appliance(const Config& config, EngineApi& engine);
  [[nodiscard]] std::vector<Endpoint> announce_sources() const;
  Result<void> start_parts();
  void on_added(const TorrentInfo& torrent, const Metainfo& metainfo) override;
  void on_removed(const TorrentInfo& torrent) override;
  Result<void> apply(const Config& next);
  HttpAnswer answer(std::string_view path);
  [[nodiscard]] ApplianceCounters counters() const;
  [[nodiscard]] std::string torrents_json();

  Config config_;  // what is in force; the main thread's
  EngineApi& engine_;
  EngineView view_;
  double start_time_s_ = 0;
  std::uint64_t cache_limit_ = 0;
  std::uint64_t peers_at_start_ = 0;  // what the shards have memory for
  std::atomic<std::uint64_t> reloads_good_{0};
  std::atomic<std::uint64_t> reloads_bad_{0};
  std::atomic<bool> last_reload_good_{true};
  // Ended in this order's reverse: HTTP asks the library, the library announces.
  std::unique_ptr<discovery::AnnounceManager> announces_;
  std::unique_ptr<Library> library_;
  std::unique_ptr<HttpServer> http_;
};

}  // namespace penstock::control
