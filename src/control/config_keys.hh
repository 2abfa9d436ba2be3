// The one table of configuration keys: drives parsing, the default dump, reloads and help.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "control/config.hh"

namespace penstock::control {

// A TOML value, freed of the parser's types.
struct ConfigValue {
  enum class Kind : std::uint8_t { text, integer, floating, boolean, list, table, time };
  Kind kind = Kind::table;
  std::string text;
  std::int64_t integer = 0;
  double floating = 0;
  bool boolean = false;
  std::vector<ConfigValue> items;
  std::uint32_t line = 0;
  std::uint32_t column = 0;
};

// "the integer 10", "the string \"x\"", "a list".
std::string describe(const ConfigValue& value);

// What a value may refer to: where relative paths begin.
struct ConfigScope {
  std::string directory;  // of the file; absolute
};

struct KeySpec {
  std::string_view section;  // "" for the top level
  std::string_view name;
  std::string_view help;
  std::string_view example;  // shown in the dump when there is no default; TOML
  // Whether a change waits for the next start.
  bool restart = true;
  bool required = false;
  // Sets the member of `owner`, a Config (or PoolConfig, WatchConfig). Returns what was expected
  // when the value is not it.
  std::optional<std::string> (*set)(void* owner, const ConfigValue& value,
                                    const ConfigScope& scope) = nullptr;
  // The member as a TOML value.
  std::string (*print)(const void* owner) = nullptr;
  void (*copy)(void* to, const void* from) = nullptr;
};

struct SectionSpec {
  std::string_view name;
  std::string_view help;
  bool repeated = false;  // [[name]]
};

std::span<const SectionSpec> config_sections();  // in the order of the dump; the top level first
std::span<const KeySpec> config_keys();          // grouped by section, in the same order

// `text` as a TOML basic string.
std::string toml_string(std::string_view text);

// Expands a leading "~/" to $HOME and "${NAME}" anywhere to the environment's value; makes a
// relative path begin at the directory of the file. The error says what was expected.
Result<std::string> expand_path(std::string_view text, const std::string& directory);
// $STATE_DIRECTORY of a service (systemd.exec(5)), else $XDG_STATE_HOME/penstock, else
// ~/.local/state/penstock (XDG Base Directory Specification).
Result<std::string> default_state_directory();

}  // namespace penstock::control
