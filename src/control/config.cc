// What is done with the table of keys besides parsing: the dump, the differences, the engine's
// view.
#include "control/config.hh"

#include <algorithm>
#include <map>

#include "control/config_keys.hh"

namespace penstock::control {
namespace {

constexpr std::size_t kDumpColumns = 96;

// A comment, broken at blanks.
void append_comment(std::string& text, std::string_view comment) {
  while (!comment.empty()) {
    std::size_t cut = comment.size();
    if (cut > kDumpColumns) {
      cut = comment.rfind(' ', kDumpColumns);
      if (cut == std::string_view::npos) cut = comment.size();
    }
    text += "# ";
    text += comment.substr(0, cut);
    text += '\n';
    comment.remove_prefix(std::min(comment.size(), cut + 1));
  }
}

void append_key(std::string& text, const KeySpec& key, const void* owner, bool commented) {
  std::string help(key.help);
  help += key.restart ? " (Restart.)" : "";
  append_comment(text, help);
  const std::string value = key.example.empty() ? key.print(owner) : std::string(key.example);
  text += commented ? "# " : "";
  text += std::string(key.name) + " = " + value + "\n";
}

// name → its keys printed, to see what changed.
template <class Entry>
std::map<std::string, std::vector<std::string>> printed(const std::vector<Entry>& entries,
                                                        std::string_view section,
                                                        std::string Entry::*name) {
  std::map<std::string, std::vector<std::string>> all;
  for (const Entry& entry : entries) {
    std::vector<std::string>& values = all[entry.*name];
    for (const KeySpec& key : config_keys()) {
      if (key.section == section) values.push_back(key.print(&entry));
    }
  }
  return all;
}

}  // namespace

std::string ConfigError::to_string() const {
  std::string where = file;
  if (line > 0) where += ":" + std::to_string(line) + ":" + std::to_string(column);
  return where + ": " + message;
}

std::string ConfigErrors::to_string() const {
  std::string text;
  for (const ConfigError& error : list) {
    if (!text.empty()) text += '\n';
    text += error.to_string();
  }
  return text;
}

std::string default_config_text() {
  const Config config;
  const PoolConfig pool;
  const WatchConfig watch;
  std::string text;
  append_comment(text,
                 "Every key of Penstock with its default. Sizes: KiB MiB GiB TiB (KB … are powers "
                 "of 1,000). Rates: Gbps and Mbps are bits, MiB/s and MB/s are bytes, a second. "
                 "Times: ms s m h. Paths: \"~/\" is $HOME, \"${NAME}\" the environment's; relative "
                 "ones begin at this file's directory. What lies in conf.d/*.toml beside this file "
                 "is read after it. SIGHUP reloads; \"(Restart.)\" marks what waits for the next "
                 "start.");
  for (const SectionSpec& section : config_sections()) {
    if (!section.name.empty()) {
      text += '\n';
      append_comment(text, section.help);
      const std::string name(section.name);
      text += section.repeated ? "# [[" + name + "]]\n" : "[" + name + "]\n";
    }
    for (const KeySpec& key : config_keys()) {
      if (key.section != section.name) continue;
      const void* owner = &config;
      if (section.name == "pool") owner = &pool;
      if (section.name == "watch") owner = &watch;
      append_key(text, key, owner, section.repeated || !key.example.empty());
    }
  }
  return text;
}

std::vector<ConfigChange> changes_between(const Config& from, const Config& to) {
  std::vector<ConfigChange> changes;
  for (const KeySpec& key : config_keys()) {
    if (key.section == "pool" || key.section == "watch") continue;
    if (key.print(&from) == key.print(&to)) continue;
    const std::string section = key.section.empty() ? "" : std::string(key.section) + ".";
    changes.push_back({section + std::string(key.name), key.restart});
  }
  const auto pools_from = printed(from.pools, "pool", &PoolConfig::name);
  const auto pools_to = printed(to.pools, "pool", &PoolConfig::name);
  for (const auto& [name, values] : pools_from) {
    const auto other = pools_to.find(name);
    if (other == pools_to.end() || other->second != values) {
      changes.push_back({"pool " + toml_string(name), true});
    }
  }
  for (const auto& [name, values] : pools_to) {
    if (!pools_from.contains(name)) changes.push_back({"pool " + toml_string(name), false});
  }
  const auto watches_from = printed(from.watches, "watch", &WatchConfig::directory);
  const auto watches_to = printed(to.watches, "watch", &WatchConfig::directory);
  for (const auto& [directory, values] : watches_from) {
    const auto other = watches_to.find(directory);
    if (other == watches_to.end() || other->second != values) {
      changes.push_back({"watch " + toml_string(directory), false});
    }
  }
  for (const auto& [directory, values] : watches_to) {
    if (!watches_from.contains(directory)) {
      changes.push_back({"watch " + toml_string(directory), false});
    }
  }
  return changes;
}

Config apply_running_changes(const Config& from, const Config& to) {
  Config result = to;
  for (const KeySpec& key : config_keys()) {
    const bool single = key.section != "pool" && key.section != "watch";
    if (single && key.restart) key.copy(&result, &from);
  }
  // Pools that were there stay as they were; new ones come.
  result.pools = from.pools;
  for (const PoolConfig& pool : to.pools) {
    const bool known = std::any_of(from.pools.begin(), from.pools.end(),
                                   [&](const PoolConfig& old) { return old.name == pool.name; });
    if (!known) result.pools.push_back(pool);
  }
  return result;
}

EngineLimits engine_limits(const Config& config) {
  return {.upload_rate = config.limits_upload,
          .peers_max = static_cast<std::uint32_t>(config.limits_max_peers),
          .peers_per_ip_max = static_cast<std::uint32_t>(config.limits_max_peers_per_ip)};
}

std::vector<WatchConfig> limited_watches(const Config& config) {
  std::vector<WatchConfig> watches = config.watches;
  for (WatchConfig& watch : watches) {
    const std::uint64_t all = config.limits_upload_per_torrent;
    std::uint64_t& own = watch.upload_per_torrent;
    if (own == 0 || (all != 0 && all < own)) own = all;
  }
  return watches;
}

EngineOptions engine_options(const Config& config) {
  EngineOptions options;
  options.listen = config.listen_addresses;
  options.shards = static_cast<std::uint32_t>(config.shards_count);
  options.cpus = config.shards_cpus;
  options.idle = config.shards_idle;
  options.cache_bytes = config.cache_size;
  options.cache_policy = config.cache_policy;
  options.io_direct = config.disk_io == DiskIo::direct;
  options.state_directory = config.state;
  options.limits = engine_limits(config);
  NetworkWords words = network_words(config);
  choose_backend(words, kConfigNames);
  if (auto network = own_network(words, kConfigNames, config.listen_addresses))
    options.network = std::move(*network);
  return options;
}

NetworkWords network_words(const Config& config) {
  return {.backend = config.network_backend,
          .interface = config.network_interface,
          .device = config.network_device,
          .addresses = config.network_addresses,
          .gateways = config.network_gateways,
          .offload = config.network_offload,
          .mtu = static_cast<std::uint32_t>(config.network_mtu)};
}

}  // namespace penstock::control
