#include "control/metrics.hh"

#include <algorithm>
#include <fstream>
#include <initializer_list>
#include <utility>
#include <vector>

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>
#include <unistd.h>

namespace penstock::control {
namespace {

using Labels = std::initializer_list<std::pair<const char*, std::string>>;

class Families {
 public:
  void counter(const char* name, const char* help) { open(name, help, true); }
  void gauge(const char* name, const char* help) { open(name, help, false); }
  void value(double number, Labels labels = {}) {
    prometheus::MetricFamily& family = families_.back();
    prometheus::ClientMetric metric;
    for (const auto& [name, text] : labels)
      metric.label.push_back({name, text});
    if (family.type == prometheus::MetricType::Counter) {
      metric.counter.value = number;
    } else {
      metric.gauge.value = number;
    }
    family.metric.push_back(std::move(metric));
  }
  void value(std::uint64_t number, Labels labels = {}) {
    value(static_cast<double>(number), labels);
  }
  [[nodiscard]] std::string text() const {
    return prometheus::TextSerializer().prometheus::Serializer::Serialize(families_);
  }

 private:
  void open(const char* name, const char* help, bool is_counter) {
    prometheus::MetricFamily family;
    family.name = std::string("penstock_") + name;
    family.help = help;
    family.type = is_counter ? prometheus::MetricType::Counter : prometheus::MetricType::Gauge;
    families_.push_back(std::move(family));
  }
  std::vector<prometheus::MetricFamily> families_;
};

// Counters that a shard or its store has one of: family, help, where the number is.
struct ShardCounter {
  const char* name;
  const char* help;
  std::uint64_t ShardSnapshot::*number;
};
constexpr ShardCounter kShardCounters[] = {
    {"connections_accepted_total", "Connections taken from the listeners",
     &ShardSnapshot::accepted},
    {"received_bytes_total", "Bytes received from peers, protocol and payload",
     &ShardSnapshot::received_bytes},
    {"sent_bytes_total", "Bytes sent to peers, protocol and payload", &ShardSnapshot::sent_bytes},
    {"uploaded_bytes_total", "Payload bytes sent to peers", &ShardSnapshot::payload_bytes},
    {"shard_parks_total", "Times that a shard went to sleep", &ShardSnapshot::parks},
    {"shard_cross_wants_total", "Blocks asked of another shard", &ShardSnapshot::cross_shard_wants},
    {"shard_system_calls_total", "System calls of the data plane", &ShardSnapshot::system_calls},
};

struct StoreCounter {
  const char* name;
  const char* help;
  std::uint64_t StoreCounters::*number;
};
constexpr StoreCounter kStoreCounters[] = {
    {"cache_hits_total", "Blocks that were in memory", &StoreCounters::hits},
    {"cache_misses_total", "Blocks that were not", &StoreCounters::misses},
    {"cache_evictions_total", "Extents thrown out of memory", &StoreCounters::evictions},
    {"cache_ghost_hits_total", "Misses of extents that were thrown out lately",
     &StoreCounters::ghost_hits},
    {"store_wanted_bytes_total", "Payload bytes asked of the store", &StoreCounters::bytes_wanted},
    {"store_gathered_blocks_total", "Blocks copied together from tiny files",
     &StoreCounters::gathered_blocks},
    {"disk_read_bytes_total", "Bytes read from files, padding to alignment included",
     &StoreCounters::bytes_read},
    {"disk_reads_total", "Reads of files", &StoreCounters::reads},
    {"disk_read_errors_total", "Reads of files that failed", &StoreCounters::read_errors},
    {"verify_hashed_bytes_total", "Bytes hashed to verify pieces", &StoreCounters::bytes_hashed},
    {"verify_checked_bytes_total", "Bytes compared with their checksum",
     &StoreCounters::bytes_checked},
    {"verify_checksum_mismatches_total", "Blocks that changed on disk since they were verified",
     &StoreCounters::checksum_mismatches},
    {"verify_pieces_verified_total", "Pieces that matched their hash",
     &StoreCounters::pieces_verified},
    {"verify_pieces_lost_total", "Pieces found wrong, missing or unreadable",
     &StoreCounters::pieces_lost},
};

constexpr double kNanosecond = 1e-9;

// How content went to a device of own TCP that tells.
void add_payload(Families& families, const EngineSnapshot& engine) {
  const auto tells = [](const ShardSnapshot& shard) { return *shard.payload.reason != 0; };
  if (std::none_of(engine.shards.begin(), engine.shards.end(), tells)) return;
  families.counter("payload_zero_copy_bytes_total",
                   "Payload bytes that the device took by reference, sent again included");
  for (std::size_t i = 0; i < engine.shards.size(); ++i)
    families.value(engine.shards[i].payload.zero_copy, {{"shard", std::to_string(i)}});
  families.counter("payload_copied_bytes_total",
                   "Payload bytes that were copied for it, by reason");
  for (std::size_t i = 0; i < engine.shards.size(); ++i) {
    const PayloadBytes& payload = engine.shards[i].payload;
    families.value(payload.copied, {{"shard", std::to_string(i)}, {"reason", payload.reason}});
  }
}

void add_shards(Families& families, const EngineSnapshot& engine) {
  const auto each = [&](auto&& number) {
    for (std::size_t i = 0; i < engine.shards.size(); ++i) {
      families.value(number(engine.shards[i]), {{"shard", std::to_string(i)}});
    }
  };
  for (const ShardCounter& counter : kShardCounters) {
    families.counter(counter.name, counter.help);
    each([&](const ShardSnapshot& shard) { return shard.*counter.number; });
  }
  for (const StoreCounter& counter : kStoreCounters) {
    families.counter(counter.name, counter.help);
    each([&](const ShardSnapshot& shard) { return shard.store.*counter.number; });
  }
  families.gauge("connections", "Connections to peers");
  each([](const ShardSnapshot& shard) { return std::uint64_t{shard.connections}; });
  families.counter("shard_busy_seconds_total", "Time in cycles that found work");
  each([](const ShardSnapshot& s) { return static_cast<double>(s.busy_ns) * kNanosecond; });
  families.counter("shard_idle_seconds_total", "Time in cycles that found none, and asleep");
  each([](const ShardSnapshot& s) { return static_cast<double>(s.idle_ns) * kNanosecond; });
  families.counter("shard_cycles_total", "Duty cycles");
  for (std::size_t i = 0; i < engine.shards.size(); ++i) {
    const std::string shard = std::to_string(i);
    families.value(engine.shards[i].cycles_busy, {{"shard", shard}, {"kind", "busy"}});
    families.value(engine.shards[i].cycles_idle, {{"shard", shard}, {"kind", "idle"}});
  }
  add_payload(families, engine);
  families.counter("connections_closed_total", "Connections that ended, by reason");
  for (std::size_t reason = 0; reason < engine.close_reasons.size(); ++reason) {
    std::uint64_t sum = 0;
    for (const ShardSnapshot& shard : engine.shards) {
      if (reason < shard.closes.size()) sum += shard.closes[reason];
    }
    families.value(sum, {{"reason", engine.close_reasons[reason]}});
  }
}

void add_torrents(Families& families, const EngineSnapshot& engine,
                  const ApplianceCounters& appliance) {
  constexpr const char* kStates[] = {"checking", "seeding", "degraded", "stopping"};
  std::uint64_t counts[std::size(kStates)] = {};
  std::uint64_t lost = 0;
  for (const TorrentSnapshot& torrent : engine.torrents) {
    ++counts[static_cast<std::size_t>(torrent.state)];
    lost += torrent.pieces_lost;
  }
  families.gauge("torrents", "Torrents of the engine, by state");
  for (std::size_t i = 0; i < std::size(kStates); ++i) {
    families.value(counts[i], {{"state", kStates[i]}});
  }
  families.gauge("pieces_lost", "Pieces that can't be served now");
  families.value(lost);
  families.gauge("torrent_files", "Torrent files in the watched folders");
  families.value(appliance.torrents, {{"state", "served"}});
  families.value(appliance.broken_files, {{"state", "broken"}});
}

void add_announces(Families& families, const discovery::AnnouncerCounters& announces) {
  families.counter("announces_total", "Announces sent to trackers, by event");
  families.value(announces.started, {{"event", "started"}});
  families.value(announces.regular, {{"event", "none"}});
  families.value(announces.stopped, {{"event", "stopped"}});
  families.counter("announce_results_total", "What became of announces");
  families.value(announces.accepted, {{"outcome", "accepted"}});
  families.value(announces.refused, {{"outcome", "refused"}});
  families.value(announces.unreachable, {{"outcome", "unreachable"}});
  families.gauge("announces_in_flight", "Announces under way");
  families.value(announces.in_flight);
  families.gauge("announced_swarms", "Info-hashes that are announced");
  families.value(announces.swarms);
}

// Resident memory, bytes; 0 when it can't be told.
std::uint64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::uint64_t size = 0;
  std::uint64_t resident = 0;
  if (!(statm >> size >> resident)) return 0;
  return resident * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

void add_process(Families& families, const ApplianceCounters& appliance) {
  families.gauge("build_info", "The version that runs; always 1");
  families.value(1.0, {{"version", PENSTOCK_VERSION}});
  families.gauge("start_time_seconds", "When it was started, since 1970");
  families.value(appliance.start_time_s);
  families.gauge("ready", "1 when all watched folders have been gone through");
  families.value(appliance.ready ? 1.0 : 0.0);
  families.gauge("resident_memory_bytes", "Memory of the process");
  families.value(resident_bytes());
  families.gauge("cache_limit_bytes", "Memory for data at most");
  families.value(appliance.cache_limit_bytes);
  families.counter("config_reloads_total", "Reloads of the configuration");
  families.value(appliance.reloads_good, {{"result", "good"}});
  families.value(appliance.reloads_bad, {{"result", "refused"}});
  families.gauge("config_last_reload_good", "1 unless the last reload was refused");
  families.value(appliance.last_reload_good ? 1.0 : 0.0);
}

}  // namespace

std::string metrics_text(const EngineSnapshot& engine, const ApplianceCounters& appliance) {
  Families families;
  add_process(families, appliance);
  add_torrents(families, engine, appliance);
  add_shards(families, engine);
  add_announces(families, appliance.announces);
  return families.text();
}

}  // namespace penstock::control
