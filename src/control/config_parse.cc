// From TOML text to a Config: the parser's tree is freed of its types, then the table of keys
// decides. Goes on after an error, so that one run reports all of them.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
#include <toml++/toml.h>

#include "control/config.hh"
#include "control/config_keys.hh"
#include "control/nearest.hh"

namespace penstock::control {
namespace {

// A configuration is written by hand; what is larger was named by mistake.
constexpr std::uintmax_t kFileBytesMax = 4u << 20;
constexpr std::size_t kFragmentsMax = 1000;

struct Place {
  std::string file;
  std::uint32_t line = 0;
  std::uint32_t column = 0;
};

Place place_of(const std::string& file, const toml::source_region& source) {
  return {file, source.begin.line, source.begin.column};
}

ConfigValue convert(const toml::node& node, int depth = 0) {
  ConfigValue value;
  value.line = node.source().begin.line;
  value.column = node.source().begin.column;
  using Kind = ConfigValue::Kind;
  if (const auto* text = node.as_string()) {
    value.kind = Kind::text;
    value.text = text->get();
  } else if (const auto* integer = node.as_integer()) {
    value.kind = Kind::integer;
    value.integer = integer->get();
  } else if (const auto* floating = node.as_floating_point()) {
    value.kind = Kind::floating;
    value.floating = floating->get();
  } else if (const auto* boolean = node.as_boolean()) {
    value.kind = Kind::boolean;
    value.boolean = boolean->get();
  } else if (const auto* list = node.as_array()) {
    value.kind = Kind::list;
    // No key takes a list in a list.
    for (const toml::node& item : *list) {
      if (depth == 0) value.items.push_back(convert(item, depth + 1));
    }
  } else if (node.is_table()) {
    value.kind = Kind::table;
  } else {
    value.kind = Kind::time;
  }
  return value;
}

std::string error_text(int error) {
  return std::error_code(error, std::generic_category()).message();
}

bool is_section(std::string_view name) {
  const auto sections = config_sections().subspan(1);
  return std::any_of(sections.begin(), sections.end(),
                     [&](const SectionSpec& section) { return section.name == name; });
}

class Loader {
 public:
  void load_file(const std::string& path);
  void load_text(const std::string& text, const std::string& name, const std::string& directory);
  void check_relations();
  tl::expected<LoadedConfig, ConfigErrors> finish();

 private:
  void complain(const Place& place, std::string message);
  void load_table(const toml::table& root, const std::string& file, const ConfigScope& scope);
  void load_section(const SectionSpec& section, const toml::node& node, const std::string& file,
                    const ConfigScope& scope);
  void load_keys(const SectionSpec& section, void* owner, const std::string& owner_path,
                 const toml::table& table, const std::string& file, const ConfigScope& scope);
  void unknown_key(const SectionSpec& section, const std::string& name, const Place& place);
  void check_watches();
  void check_network();
  [[nodiscard]] Place place(const std::string& path) const;

  Config config_;
  std::vector<std::string> files_;
  std::vector<ConfigError> errors_;
  std::size_t errors_unsaid_ = 0;
  // "cache.size", "watch[0].pool" → where its value stands.
  std::map<std::string, Place> places_;
};

void Loader::complain(const Place& place, std::string message) {
  if (errors_.size() == kConfigErrorsMax) {
    ++errors_unsaid_;
    return;
  }
  errors_.push_back({place.file, place.line, place.column, std::move(message)});
}

Place Loader::place(const std::string& path) const {
  const auto found = places_.find(path);
  return found != places_.end() ? found->second : Place{files_.front(), 0, 0};
}

void Loader::load_file(const std::string& path) {
  files_.push_back(path);
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  if (error) {
    complain({path, 0, 0}, "can't be read: " + error.message());
    return;
  }
  if (size > kFileBytesMax) {
    complain({path, 0, 0}, "is larger than 4 MiB: no configuration file");
    return;
  }
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream text;
  if (!stream || !(text << stream.rdbuf()).good()) {
    // An empty file also fails the copy, and is fine.
    if (!stream.is_open() || size != 0) {
      complain({path, 0, 0}, "can't be read: " + error_text(errno));
    }
    return;
  }
  load_text(text.str(), path, absolute.parent_path().string());
}

void Loader::load_text(const std::string& text, const std::string& name,
                       const std::string& directory) {
  if (files_.empty()) files_.push_back(name);
  const toml::parse_result parsed = toml::parse(text, name);
  if (!parsed) {
    const toml::parse_error& error = parsed.error();
    complain(place_of(name, error.source()), "not TOML: " + std::string(error.description()));
    return;
  }
  load_table(parsed.table(), name, ConfigScope{directory});
}

void Loader::load_table(const toml::table& root, const std::string& file,
                        const ConfigScope& scope) {
  load_keys(config_sections().front(), &config_, "", root, file, scope);
  for (const SectionSpec& section : config_sections().subspan(1)) {
    if (const toml::node* node = root.get(section.name)) load_section(section, *node, file, scope);
  }
}

void Loader::load_section(const SectionSpec& section, const toml::node& node,
                          const std::string& file, const ConfigScope& scope) {
  const std::string name(section.name);
  if (!section.repeated) {
    if (const toml::table* table = node.as_table()) {
      load_keys(section, &config_, name + ".", *table, file, scope);
    } else {
      complain(place_of(file, node.source()),
               "expected a section [" + name + "], got " + describe(convert(node)));
    }
    return;
  }
  const toml::array* list = node.as_array();
  if (list == nullptr || !std::all_of(list->begin(), list->end(),
                                      [](const toml::node& item) { return item.is_table(); })) {
    complain(place_of(file, node.source()),
             "expected [[" + name + "]] with two brackets, since there may be several");
    return;
  }
  for (const toml::node& item : *list) {
    const std::size_t index =
        section.name == "pool" ? config_.pools.size() : config_.watches.size();
    const std::string path = name + "[" + std::to_string(index) + "]";
    places_[path] = place_of(file, item.source());
    void* owner = section.name == "pool" ? static_cast<void*>(&config_.pools.emplace_back())
                                         : static_cast<void*>(&config_.watches.emplace_back());
    load_keys(section, owner, path + ".", *item.as_table(), file, scope);
    for (const KeySpec& key : config_keys()) {
      if (key.section != section.name || !key.required) continue;
      if (!item.as_table()->contains(key.name)) {
        complain(places_[path], "[[" + name + "]] lacks the key \"" + std::string(key.name) +
                                    "\": expected " + std::string(key.name) + " = " +
                                    std::string(key.example));
      }
    }
  }
}

void Loader::load_keys(const SectionSpec& section, void* owner, const std::string& owner_path,
                       const toml::table& table, const std::string& file,
                       const ConfigScope& scope) {
  for (const auto& [key, node] : table) {
    if (section.name.empty() && is_section(key.str())) continue;
    const auto keys = config_keys();
    const auto spec =
        std::find_if(keys.begin(), keys.end(), [&, name = key.str()](const KeySpec& k) {
          return k.section == section.name && k.name == name;
        });
    if (spec == keys.end()) {
      unknown_key(section, std::string(key.str()), place_of(file, key.source()));
      continue;
    }
    const Place value_place = place_of(file, node.source());
    places_[owner_path + std::string(key.str())] = value_place;
    if (const auto complaint = spec->set(owner, convert(node), scope)) {
      complain(value_place, owner_path + std::string(key.str()) + ": " + *complaint);
    }
  }
}

void Loader::unknown_key(const SectionSpec& section, const std::string& name, const Place& place) {
  const std::string prefix = section.name.empty() ? "" : std::string(section.name) + ".";
  std::string message = "unknown key " + toml_string(prefix + name);
  std::vector<std::string_view> here;
  for (const KeySpec& key : config_keys()) {
    if (key.section == section.name) here.push_back(key.name);
  }
  if (section.name.empty()) {
    for (const SectionSpec& other : config_sections()) {
      if (!other.name.empty()) here.push_back(other.name);
    }
  }
  const std::string_view near = nearest(name, here);
  if (!near.empty()) {
    complain(place, message + ": did you mean " + toml_string(prefix + std::string(near)) + "?");
    return;
  }
  // The right word in the wrong section.
  for (const KeySpec& key : config_keys()) {
    const std::array<std::string_view, 1> word{key.name};
    if (key.section == section.name || nearest(name, word).empty()) continue;
    const std::string of = key.section.empty() ? "" : std::string(key.section) + ".";
    complain(place, message + ": did you mean " + toml_string(of + std::string(key.name)) + "?");
    return;
  }
  std::string list;
  for (const std::string_view word : here)
    list += (list.empty() ? "" : ", ") + std::string(word);
  const std::string where =
      section.name.empty() ? "the top level knows " : "[" + std::string(section.name) + "] knows ";
  complain(place, message + ": " + where + list);
}

void Loader::check_watches() {
  for (std::size_t i = 0; i < config_.watches.size(); ++i) {
    const WatchConfig& watch = config_.watches[i];
    const std::string path = "watch[" + std::to_string(i) + "]";
    if (!watch.pool.empty() &&
        std::none_of(config_.pools.begin(), config_.pools.end(),
                     [&](const PoolConfig& pool) { return pool.name == watch.pool; })) {
      std::vector<std::string_view> names;
      for (const PoolConfig& pool : config_.pools)
        names.push_back(pool.name);
      const std::string_view near = nearest(watch.pool, names);
      complain(place(path + ".pool"),
               path + ".pool: there is no [[pool]] named " + toml_string(watch.pool) +
                   (near.empty() ? "" : ": did you mean " + toml_string(near) + "?"));
    }
    for (std::size_t j = 0; j < i; ++j) {
      if (!watch.directory.empty() && config_.watches[j].directory == watch.directory) {
        complain(place(path + ".directory"),
                 path + ".directory: " + toml_string(watch.directory) + " is watched already");
        break;
      }
    }
  }
}

void Loader::check_network() {
  NetworkWords words = network_words(config_);
  choose_backend(words, kConfigNames);
  const auto network = own_network(words, kConfigNames, config_.listen_addresses);
  if (!network) {
    complain(place(network.error().name), network.error().message);
  } else if (*network && config_.shards_count > 1) {
    complain(place("shards.count"),
             "shards.count: expected 1, since own TCP uses one queue of a device for now, got " +
                 std::to_string(config_.shards_count));
  }
}

void Loader::check_relations() {
  const std::size_t cpus = config_.shards_cpus.size();
  if (cpus != 0 && cpus != config_.shards_count) {
    complain(place("shards.cpus"), "shards.cpus: expected one processor a shard (shards.count = " +
                                       std::to_string(config_.shards_count) + "), got " +
                                       std::to_string(cpus));
  }
  for (std::size_t i = 0; i < config_.pools.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (!config_.pools[i].name.empty() && config_.pools[i].name == config_.pools[j].name) {
        const std::string path = "pool[" + std::to_string(i) + "].name";
        complain(place(path), path + ": there is a [[pool]] named " +
                                  toml_string(config_.pools[i].name) + " already");
        break;
      }
    }
  }
  check_watches();
  check_network();
  if (config_.state.empty()) {
    if (auto state = default_state_directory()) {
      config_.state = std::move(*state);
    } else {
      complain({files_.front(), 0, 0}, state.error().message);
    }
  }
}

tl::expected<LoadedConfig, ConfigErrors> Loader::finish() {
  if (errors_.empty()) return LoadedConfig{std::move(config_), std::move(files_)};
  // The parser's tables are sorted by name; people read a file from its top.
  const auto order = [&](const ConfigError& error) {
    const auto file = std::find(files_.begin(), files_.end(), error.file);
    return std::tuple(file - files_.begin(), error.line, error.column);
  };
  std::stable_sort(errors_.begin(), errors_.end(),
                   [&](const auto& a, const auto& b) { return order(a) < order(b); });
  if (errors_unsaid_ > 0) {
    errors_.push_back(
        {files_.front(), 0, 0, "and " + std::to_string(errors_unsaid_) + " more errors"});
  }
  return tl::unexpected(ConfigErrors{std::move(errors_)});
}

}  // namespace

tl::expected<LoadedConfig, ConfigErrors> load_config(const std::string& path) {
  Loader loader;
  loader.load_file(path);
  std::error_code error;
  const auto directory = std::filesystem::path(path).parent_path() / "conf.d";
  std::vector<std::string> fragments;
  for (auto it = std::filesystem::directory_iterator(directory, error);
       !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    const std::string name = it->path().filename().string();
    const bool counts = it->path().extension() == ".toml" && !name.starts_with('.');
    if (counts && fragments.size() < kFragmentsMax) fragments.push_back(it->path().string());
  }
  std::sort(fragments.begin(), fragments.end());
  for (const std::string& fragment : fragments)
    loader.load_file(fragment);
  loader.check_relations();
  return loader.finish();
}

tl::expected<LoadedConfig, ConfigErrors> parse_config(const std::string& text,
                                                      const std::string& name) {
  Loader loader;
  loader.load_text(text, name, "/");
  loader.check_relations();
  return loader.finish();
}

}  // namespace penstock::control
