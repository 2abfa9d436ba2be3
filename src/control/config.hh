// The appliance's configuration as values, and how a TOML file becomes it.
//
// A file is taken whole or not at all: every error of it is reported, each with file, line, column
// and what was expected. What the keys are, their defaults and their help: config_keys.cc, the one
// table. How paths are written: README.md.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/address.hh"
#include "base/result.hh"
#include "base/time.hh"
#include "control/engine_api.hh"
#include "control/network_words.hh"

namespace penstock::control {

enum class LogFormat : std::uint8_t { text, json };
enum class LogLevel : std::uint8_t { debug, info, warning, error };
enum class DiskIo : std::uint8_t { direct, buffered };

struct PoolConfig {
  std::string name;     // unique
  std::string path;     // absolute
  bool create = false;  // made when it isn't there
};

struct WatchConfig {
  std::string directory;  // absolute; unique
  std::string pool;       // names a pool
  VerifyChoice verify = VerifyChoice::lazy;
  std::uint64_t upload_per_torrent = 0;  // bytes per second of each; 0: unlimited
  bool create = false;
};

struct Config {
  std::string state;  // absolute; resolved by load_config

  std::vector<Endpoint> listen_addresses{Endpoint{IpAddress{}, 6881}};

  std::string network_backend = "auto";  // of kBackends
  std::string network_interface;
  std::string network_device;
  std::vector<std::string> network_addresses;
  std::vector<std::string> network_gateways;
  bool network_offload = true;
  std::uint64_t network_mtu = 0;  // 0: as the device has it

  std::uint64_t shards_count = 1;
  std::vector<std::uint32_t> shards_cpus;
  IdleMode shards_idle = IdleMode::adaptive;

  std::uint64_t cache_size = 256u << 20;  // bytes
  StoreLimits::Policy cache_policy = StoreLimits::Policy::s3fifo;

  DiskIo disk_io = DiskIo::direct;

  std::uint64_t limits_upload = 0;              // bytes per second; 0: unlimited
  std::uint64_t limits_upload_per_torrent = 0;  // the same, of each torrent
  std::uint64_t limits_max_peers = 4096;
  std::uint64_t limits_max_peers_per_ip = 0;  // 0: unlimited

  bool announce_enabled = true;
  std::uint64_t announce_port = 0;  // 0: the first listen address's
  std::uint64_t announce_per_tracker = 4;
  Duration announce_timeout = Duration::seconds(30);
  Duration announce_stop_timeout = Duration::seconds(3);
  Duration announce_min_interval = Duration::seconds(60);

  bool http_enabled = true;
  Endpoint http_listen{IpAddress::v4(127, 0, 0, 1), 7881};
  std::vector<std::string> http_hosts;

  LogLevel log_level = LogLevel::info;
  LogFormat log_format = LogFormat::text;

  std::vector<PoolConfig> pools;
  std::vector<WatchConfig> watches;
};

struct ConfigError {
  std::string file;
  std::uint32_t line = 0;  // from 1; 0: the file as a whole
  std::uint32_t column = 0;
  std::string message;

  // "penstock.toml:3:8: what is wrong"
  [[nodiscard]] std::string to_string() const;
};

struct ConfigErrors {
  std::vector<ConfigError> list;  // at most kConfigErrorsMax; never empty
  // One a line.
  [[nodiscard]] std::string to_string() const;
};
inline constexpr std::size_t kConfigErrorsMax = 50;

struct LoadedConfig {
  Config config;
  std::vector<std::string> files;  // that it came from, the main one first
};

// The main file, then conf.d/*.toml beside it in the order of their names: a later value replaces
// an earlier one, [[pool]] and [[watch]] add up.
tl::expected<LoadedConfig, ConfigErrors> load_config(const std::string& path);
// The same from memory, without conf.d; `name` is what errors call it. For tests.
tl::expected<LoadedConfig, ConfigErrors> parse_config(const std::string& text,
                                                      const std::string& name);

// Every key with its help and default, as a file that load_config accepts.
std::string default_config_text();

// What a reload would change.
struct ConfigChange {
  std::string key;       // "cache.size", "pool \"main\""
  bool restart = false;  // takes effect at the next start only
};
std::vector<ConfigChange> changes_between(const Config& from, const Config& to);
// `from` with those values of `to` that may change while the appliance runs.
Config apply_running_changes(const Config& from, const Config& to);

EngineLimits engine_limits(const Config& config);
// The folders with the limits that hold for their torrents: of two, the lower one.
std::vector<WatchConfig> limited_watches(const Config& config);
// Of a configuration that load_config has accepted.
EngineOptions engine_options(const Config& config);
NetworkWords network_words(const Config& config);

}  // namespace penstock::control
