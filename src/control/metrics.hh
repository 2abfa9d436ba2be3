// What /metrics says: everything countable, as Prometheus families (prefix penstock_, base units,
// no label whose values are unbounded).
#pragma once

#include <cstdint>
#include <string>

#include "base/time.hh"
#include "control/engine_view.hh"
#include "discovery/announcer.hh"

namespace penstock::control {

// What isn't the engine's.
struct ApplianceCounters {
  double start_time_s = 0;         // seconds since 1970
  std::uint64_t torrents = 0;      // now
  std::uint64_t broken_files = 0;  // .torrent files that can't be served, now
  bool ready = false;
  std::uint64_t reloads_good = 0;
  std::uint64_t reloads_bad = 0;
  bool last_reload_good = true;
  std::uint64_t cache_limit_bytes = 0;
  discovery::AnnouncerCounters announces;
};

// The text of an exposition, version 0.0.4.
std::string metrics_text(const EngineSnapshot& engine, const ApplianceCounters& appliance);

}  // namespace penstock::control
