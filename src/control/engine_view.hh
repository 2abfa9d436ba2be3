// The engine's snapshot, shared by those who read it often (metrics, API, announces), so that a
// thousand announces don't take a thousand snapshots.
#pragma once

#include <memory>
#include <mutex>
#include <unordered_map>

#include "base/time.hh"
#include "control/engine_api.hh"

namespace penstock::control {

struct EngineReading {
  EngineSnapshot snapshot;
  std::unordered_map<TorrentId, std::size_t> index;  // of snapshot.torrents

  // Null when there is no such torrent.
  [[nodiscard]] const TorrentSnapshot* find(TorrentId id) const {
    const auto found = index.find(id);
    return found == index.end() ? nullptr : &snapshot.torrents[found->second];
  }
};

class EngineView {
 public:
  // The engine must outlive the view.
  explicit EngineView(EngineApi& engine) : engine_(engine) {}

  // Not older than max_age. Any thread.
  std::shared_ptr<const EngineReading> read(Duration max_age);

 private:
  EngineApi& engine_;
  std::mutex mutex_;
  Instant taken_at_{};
  std::shared_ptr<const EngineReading> last_;
};

// CLOCK_MONOTONIC.
Instant monotonic_now();

}  // namespace penstock::control
