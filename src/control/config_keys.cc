#include "control/config_keys.hh"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "base/units.hh"

namespace penstock::control {
namespace {

using Kind = ConfigValue::Kind;
using Complaint = std::optional<std::string>;

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = kKiB * 1024;
constexpr std::uint64_t kTiB = kMiB * 1024 * 1024;

Complaint expected(std::string_view what, const ConfigValue& value) {
  return "expected " + std::string(what) + ", got " + describe(value);
}

// The class a pointer to member belongs to, and what it points to.
template <class T>
struct MemberOf;
template <class Owner, class Value>
struct MemberOf<Value Owner::*> {
  using OwnerType = Owner;
  using ValueType = Value;
};

template <auto Member>
auto& member(void* owner) {
  return static_cast<typename MemberOf<decltype(Member)>::OwnerType*>(owner)->*Member;
}
template <auto Member>
const auto& member(const void* owner) {
  return static_cast<const typename MemberOf<decltype(Member)>::OwnerType*>(owner)->*Member;
}

// A number as the largest unit that holds it exactly.
struct ExactUnit {
  const char* name;
  std::uint64_t factor;
};
template <std::size_t N>
std::string in_units(std::uint64_t value, const std::array<ExactUnit, N>& units) {
  for (const ExactUnit& unit : units) {
    if (value % unit.factor == 0 && value != 0) {
      return std::to_string(value / unit.factor) + unit.name;
    }
  }
  return std::to_string(value) + units.back().name;
}
constexpr std::array kSizes{ExactUnit{"TiB", kTiB}, ExactUnit{"GiB", kMiB * 1024},
                            ExactUnit{"MiB", kMiB}, ExactUnit{"KiB", kKiB}, ExactUnit{"B", 1}};
constexpr std::array kRates{ExactUnit{"Gbps", 125'000'000}, ExactUnit{"MiB/s", kMiB},
                            ExactUnit{"Mbps", 125'000}, ExactUnit{"KiB/s", kKiB},
                            ExactUnit{"B/s", 1}};
constexpr std::array kTimes{ExactUnit{"h", 3'600'000'000'000}, ExactUnit{"m", 60'000'000'000},
                            ExactUnit{"s", 1'000'000'000}, ExactUnit{"ms", 1'000'000},
                            ExactUnit{"us", 1'000}};

std::string quoted_time(std::uint64_t ns) {
  return "\"" + in_units(ns, kTimes) + "\"";
}

// Each kind of key: set() and print() for a member, beside copy().
template <auto Member>
struct Any {
  static void copy(void* to, const void* from) { member<Member>(to) = member<Member>(from); }
};

template <auto Member, std::uint64_t Min, std::uint64_t Max>
struct Count : Any<Member> {
  static Complaint set(void* owner, const ConfigValue& value, const ConfigScope&) {
    const bool fits = value.kind == Kind::integer && value.integer >= 0 &&
                      static_cast<std::uint64_t>(value.integer) >= Min &&
                      static_cast<std::uint64_t>(value.integer) <= Max;
    if (!fits) {
      return expected("a whole number from " + std::to_string(Min) + " to " + std::to_string(Max),
                      value);
    }
    member<Member>(owner) = static_cast<std::uint64_t>(value.integer);
    return {};
  }
  static std::string print(const void* owner) { return std::to_string(member<Member>(owner)); }
};

template <auto Member, std::uint64_t Min, std::uint64_t Max>
struct Size : Any<Member> {
  static Complaint set(void* owner, const ConfigValue& value, const ConfigScope&) {
    if (value.kind != Kind::text) return expected("a size in quotes, such as \"10GiB\"", value);
    const auto bytes = parse_size(value.text);
    if (!bytes) return bytes.error().message;
    if (*bytes < Min || *bytes > Max) {
      return expected("a size from " + in_units(Min, kSizes) + " to " + in_units(Max, kSizes),
                      value);
    }
    member<Member>(owner) = *bytes;
    return {};
  }
  static std::string print(const void* owner) {
    return "\"" + in_units(member<Member>(owner), kSizes) + "\"";
  }
};

// 0 is "unlimited".
template <auto Member>
struct Rate : Any<Member> {
  static constexpr std::uint64_t kMin = 16 * kKiB;  // a block a second
  static Complaint set(void* owner, const ConfigValue& value, const ConfigScope&) {
    if (value.kind != Kind::text) {
      return expected("a rate in quotes, such as \"10Gbps\" or \"20MiB/s\", or \"unlimited\"",
                      value);
    }
    if (value.text == "unlimited") {
      member<Member>(owner) = 0;
      return {};
    }
    const auto rate = parse_rate(value.text);
    if (!rate) return rate.error().message + ", or \"unlimited\"";
    if (*rate < kMin) {
      return expected("a rate of at least " + in_units(kMin, kRates) + ", or \"unlimited\"", value);
    }
    member<Member>(owner) = *rate;
    return {};
  }
  static std::string print(const void* owner) {
    const std::uint64_t rate = member<Member>(owner);
    return rate == 0 ? "\"unlimited\"" : "\"" + in_units(rate, kRates) + "\"";
  }
};

template <auto Member, std::int64_t MinMs, std::int64_t MaxMs>
struct Time : Any<Member> {
  static Complaint set(void* owner, const ConfigValue& value, const ConfigScope&) {
    if (value.kind != Kind::text) return expected("a time in quotes, such as \"30s\"", value);
    const auto time = parse_duration(value.text);
    if (!time) return time.error().message;
    if (*time < Duration::milliseconds(MinMs) || *time > Duration::milliseconds(MaxMs)) {
      return expected(
          "a time from " + quoted_time(MinMs * 1'000'000) + " to " + quoted_time(MaxMs * 1'000'000),
          value);
    }
    member<Member>(owner) = *time;
    return {};
  }
  static std::string print(const void* owner) {
    return quoted_time(static_cast<std::uint64_t>(member<Member>(owner).ns));
  }
};

template <auto Member>
struct Switch : Any<Member> {
  static Complaint set(void* owner, const ConfigValue& value, const ConfigScope&) {
    if (value.kind != Kind::boolean) return expected("true or false (no quotes)", value);
    member<Member>(owner) = value.boolean;
    return {};
  }
  static std::string print(const void* owner) { return member<Member>(owner) ? "true" : "false"; }
};

// "\"a\", \"b\" or \"c\""
template <class Words>
std::string any_of(const Words& words) {
  std::string list;
  for (std::size_t i = 0; i < std::size(words); ++i) {
    if (i > 0) list += i + 1 == std::size(words) ? " or " : ", ";
    list += toml_string(words[i]);
  }
  return list;
}

// The words of an enumeration, in its order.
template <class T>
constexpr std::array<std::string_view, 0> kWords{};
template <>
constexpr std::array<std::string_view, 3> kWords<VerifyChoice>{"lazy", "full", "trust"};
template <>
constexpr std::array<std::string_view, 2> kWords<IdleMode>{"adaptive", "spin"};
template <>
constexpr std::array<std::string_view, 2> kWords<StoreLimits::Policy>{"s3fifo", "lru"};
template <>
constexpr std::array<std::string_view, 2> kWords<DiskIo>{"direct", "buffered"};
template <>
constexpr std::array<std::string_view, 4> kWords<LogLevel>{"debug", "info", "warning", "error"};
template <>
constexpr std::array<std::string_view, 2> kWords<LogFormat>{"text", "json"};

template <auto Member>
struct Choice : Any<Member> {
  using Value = typename MemberOf<decltype(Member)>::ValueType;
  static Complaint set(void* owner, const ConfigValue& value, const ConfigScope&) {
    const auto& words = kWords<Value>;
    const auto found = std::find(words.begin(), words.end(), value.text);
    if (value.kind != Kind::text || found == words.end()) return expected(any_of(words), value);
    member<Member>(owner) = static_cast<Value>(found - words.begin());
    return {};
  }
  static std::string print(const void* owner) {
    return toml_string(kWords<Value>[static_cast<std::size_t>(member<Member>(owner))]);
  }
};

// A word of a list, kept as it is.
template <auto Member, auto& Words>
struct Word : Any<Member> {
  static Complaint set(void* owner, const ConfigValue& value, const ConfigScope&) {
    if (value.kind != Kind::text ||
        std::find(std::begin(Words), std::end(Words), value.text) == std::end(Words)) {
      return expected(any_of(Words), value);
    }
    member<Member>(owner) = value.text;
    return {};
  }
  static std::string print(const void* owner) { return toml_string(member<Member>(owner)); }
};

template <auto Member>
struct Text : Any<Member> {
  static Complaint set(void* owner, const ConfigValue& value, const ConfigScope&) {
    if (value.kind != Kind::text || value.text.empty()) {
      return expected("a name in quotes, not empty", value);
    }
    member<Member>(owner) = value.text;
    return {};
  }
  static std::string print(const void* owner) { return toml_string(member<Member>(owner)); }
};

template <auto Member>
struct Path : Any<Member> {
  static Complaint set(void* owner, const ConfigValue& value, const ConfigScope& scope) {
    if (value.kind != Kind::text || value.text.empty()) {
      return expected("a path in quotes", value);
    }
    auto path = expand_path(value.text, scope.directory);
    if (!path) return path.error().message;
    member<Member>(owner) = std::move(*path);
    return {};
  }
  static std::string print(const void* owner) { return toml_string(member<Member>(owner)); }
};

template <auto Member>
struct Address : Any<Member> {
  static Complaint set(void* owner, const ConfigValue& value, const ConfigScope&) {
    if (value.kind != Kind::text) return expected("an address such as \"127.0.0.1:7881\"", value);
    auto endpoint = parse_endpoint(value.text, /*zero_port_ok=*/true);
    if (!endpoint) return endpoint.error().message;
    member<Member>(owner) = *endpoint;
    return {};
  }
  static std::string print(const void* owner) {
    return toml_string(member<Member>(owner).to_string());
  }
};

// A list; Item says how one element is read and written.
template <auto Member, class Item>
struct List : Any<Member> {
  static constexpr std::size_t kItemsMax = 1024;
  static Complaint set(void* owner, const ConfigValue& value, const ConfigScope&) {
    if (value.kind != Kind::list || value.items.size() > kItemsMax ||
        value.items.size() < Item::kAtLeast) {
      return expected(Item::kExpected, value);
    }
    typename MemberOf<decltype(Member)>::ValueType list;
    for (const ConfigValue& item : value.items) {
      if (Complaint complaint = Item::read(item, list)) return complaint;
    }
    member<Member>(owner) = std::move(list);
    return {};
  }
  static std::string print(const void* owner) {
    std::string text = "[";
    for (const auto& item : member<Member>(owner)) {
      if (text.size() > 1) text += ", ";
      text += Item::write(item);
    }
    return text + "]";
  }
};

struct EndpointItem {
  static constexpr std::size_t kAtLeast = 1;
  static constexpr std::string_view kExpected =
      "a list of at least one address, such as [\":6881\"] or [\"192.0.2.1:6881\"]";
  static Complaint read(const ConfigValue& value, std::vector<Endpoint>& list) {
    if (value.kind != Kind::text) return expected("an address such as \":6881\"", value);
    const auto endpoint = parse_endpoint(value.text, /*zero_port_ok=*/true);
    if (!endpoint) return endpoint.error().message;
    if (std::find(list.begin(), list.end(), *endpoint) != list.end()) {
      return toml_string(value.text) + " stands here twice";
    }
    list.push_back(*endpoint);
    return {};
  }
  static std::string write(const Endpoint& endpoint) { return toml_string(endpoint.to_string()); }
};

struct CpuItem {
  static constexpr std::size_t kAtLeast = 0;
  static constexpr std::string_view kExpected = "a list of processor numbers, such as [2, 3]";
  static constexpr std::int64_t kCpuMax = 4095;
  static Complaint read(const ConfigValue& value, std::vector<std::uint32_t>& list) {
    if (value.kind != Kind::integer || value.integer < 0 || value.integer > kCpuMax) {
      return expected("a processor number from 0 to " + std::to_string(kCpuMax), value);
    }
    list.push_back(static_cast<std::uint32_t>(value.integer));
    return {};
  }
  static std::string write(std::uint32_t cpu) { return std::to_string(cpu); }
};

struct TextItem {
  static constexpr std::size_t kAtLeast = 0;
  static constexpr std::string_view kExpected = "a list of addresses in quotes";
  static Complaint read(const ConfigValue& value, std::vector<std::string>& list) {
    if (value.kind != Kind::text || value.text.empty())
      return expected("an address in quotes", value);
    list.push_back(value.text);
    return {};
  }
  static std::string write(const std::string& text) { return toml_string(text); }
};

struct HostItem {
  static constexpr std::size_t kAtLeast = 0;
  static constexpr std::string_view kExpected = "a list of host names, such as [\"seed.example\"]";
  static Complaint read(const ConfigValue& value, std::vector<std::string>& list) {
    if (value.kind != Kind::text || value.text.empty()) {
      return expected("a host name in quotes", value);
    }
    list.push_back(value.text);
    return {};
  }
  static std::string write(const std::string& host) { return toml_string(host); }
};

template <class How>
constexpr KeySpec key(std::string_view section, std::string_view name, std::string_view help,
                      bool restart, std::string_view example = "", bool required = false) {
  return KeySpec{section, name, help, example, restart, required, How::set, How::print, How::copy};
}

constexpr bool kRestart = true;
constexpr bool kRunning = false;
constexpr bool kRequired = true;

constexpr std::array kSections{
    SectionSpec{"", "", false},
    SectionSpec{"listen", "Where BitTorrent clients reach us.", false},
    SectionSpec{"network", "Whose TCP clients talk to: the kernel's, or our own over a device.",
                false},
    SectionSpec{"shards", "The data plane: one shard a processor core.", false},
    SectionSpec{"cache", "Data kept in memory.", false},
    SectionSpec{"disk", "How data is read.", false},
    SectionSpec{"limits", "What clients may take.", false},
    SectionSpec{"announce", "Telling the torrents' trackers that we are here.", false},
    SectionSpec{"http", "Metrics, health and the API.", false},
    SectionSpec{"log", "The log, on standard error.", false},
    SectionSpec{"pool", "A directory of data. Any number of them.", true},
    SectionSpec{"watch",
                "A directory of .torrent files: what lies in it is served. Any number of them.",
                true},
};

constexpr std::array kKeys{
    key<Path<&Config::state>>(
        "", "state",
        "Directory for what must outlive a restart (verification state). Made when missing.",
        kRestart, "\"${HOME}/.local/state/penstock\""),

    key<List<&Config::listen_addresses, EndpointItem>>(
        "listen", "addresses", "\":PORT\" is every IPv4 and IPv6 address; port 0 is any free port.",
        kRestart),

    key<Word<&Config::network_backend, kBackends>>(
        "network", "backend",
        "\"kernel\"; \"dpdk\" (a device of its own), \"xdp\" (an interface shared with the "
        "kernel) or \"tap\"; \"auto\": dpdk if a device is named, else xdp if an interface is, "
        "else kernel.",
        kRestart),
    key<Text<&Config::network_interface>>("network", "interface",
                                          "For xdp, and tap (where it is tap0 if not named).",
                                          kRestart, "\"eth1\""),
    key<Text<&Config::network_device>>(
        "network", "device", "For dpdk: a PCI address, or a virtual device and its arguments.",
        kRestart, "\"0000:01:00.0\""),
    key<List<&Config::network_addresses, TextItem>>(
        "network", "addresses",
        "For dpdk and tap: addresses of our own, with the length of the network's prefix. For xdp: "
        "those of the interface that clients use; empty: all.",
        kRestart, "[\"192.0.2.2/24\", \"2001:db8::2/64\"]"),
    key<List<&Config::network_gateways, TextItem>>("network", "gateways",
                                                   "The way to other networks, one a family.",
                                                   kRestart, "[\"192.0.2.1\"]"),
    key<Switch<&Config::network_offload>>(
        "network", "offload", "Let the device add up and cut segments, where it can.", kRestart),
    key<Count<&Config::network_mtu, 0, kMtuMax>>(
        "network", "mtu",
        "For dpdk: the largest IP packet, bytes; 0: as the device has it. All on the link must "
        "take it.",
        kRestart),

    key<Count<&Config::shards_count, 1, 64>>("shards", "count",
                                             "One a core that the data plane may use.", kRestart),
    key<List<&Config::shards_cpus, CpuItem>>(
        "shards", "cpus", "The processor each shard is pinned to; empty: none is.", kRestart),
    key<Choice<&Config::shards_idle>>(
        "shards", "idle", "\"adaptive\" sleeps when there is nothing to do, \"spin\" never.",
        kRestart),

    key<Size<&Config::cache_size, 16 * kMiB, 64 * kTiB>>(
        "cache", "size", "Memory for data, over all shards: a hard limit.", kRestart),
    key<Choice<&Config::cache_policy>>("cache", "policy",
                                       "What is thrown out: \"s3fifo\" or \"lru\".", kRestart),

    key<Choice<&Config::disk_io>>(
        "disk", "io",
        "\"direct\" goes past the page cache where the file system can; \"buffered\" uses it.",
        kRestart),

    key<Rate<&Config::limits_upload>>("limits", "upload", "All uploads together.", kRunning),
    key<Rate<&Config::limits_upload_per_torrent>>(
        "limits", "upload_per_torrent",
        "Uploads of each torrent; a [[watch]] may say less for its own.", kRunning),
    key<Count<&Config::limits_max_peers, 1, 1'000'000>>(
        "limits", "max_peers",
        "Connections in all; more than at the start takes a "
        "restart.",
        kRunning),
    key<Count<&Config::limits_max_peers_per_ip, 0, 1'000'000>>(
        "limits", "max_peers_per_ip", "Connections from one address to one shard; 0: no limit.",
        kRunning),

    key<Switch<&Config::announce_enabled>>("announce", "enabled", "Announce at all.", kRestart),
    key<Count<&Config::announce_port, 0, 65535>>(
        "announce", "port", "The port that trackers tell others; 0: the one we listen on.",
        kRestart),
    key<Count<&Config::announce_per_tracker, 1, 64>>(
        "announce", "per_tracker", "Announces under way at one tracker host at once.", kRunning),
    key<Time<&Config::announce_timeout, 1'000, 120'000>>(
        "announce", "timeout", "How long a tracker may take to answer.", kRunning),
    key<Time<&Config::announce_stop_timeout, 0, 60'000>>(
        "announce", "stop_timeout", "How long a stop waits to tell the trackers.", kRunning),
    key<Time<&Config::announce_min_interval, 1'000, 86'400'000>>(
        "announce", "min_interval", "Never announce a torrent to a tracker more often.", kRunning),

    key<Switch<&Config::http_enabled>>("http", "enabled", "Serve HTTP at all.", kRestart),
    key<Address<&Config::http_listen>>(
        "http", "listen",
        "Anybody who can connect can read: leave it on loopback, or see to a firewall.", kRestart),
    key<List<&Config::http_hosts, HostItem>>(
        "http", "hosts",
        "Names that a request's Host header may carry besides addresses and \"localhost\".",
        kRestart),

    key<Choice<&Config::log_level>>("log", "level",
                                    "\"debug\", \"info\", \"warning\" or \"error\".", kRunning),
    key<Choice<&Config::log_format>>("log", "format", "\"text\", or \"json\": one object a line.",
                                     kRunning),

    key<Text<&PoolConfig::name>>("pool", "name", "What [[watch]] calls it.", kRestart, "\"main\"",
                                 kRequired),
    key<Path<&PoolConfig::path>>("pool", "path",
                                 "The directory that contains the torrents' files and directories.",
                                 kRestart, "\"/srv/data\"", kRequired),
    key<Switch<&PoolConfig::create>>("pool", "create", "Make the directory when it is missing.",
                                     kRunning),

    key<Path<&WatchConfig::directory>>("watch", "directory", "Where the .torrent files lie.",
                                       kRunning, "\"/srv/torrents\"", kRequired),
    key<Text<&WatchConfig::pool>>("watch", "pool", "The pool that has their data.", kRunning,
                                  "\"main\"", kRequired),
    key<Choice<&WatchConfig::verify>>(
        "watch", "verify",
        "\"lazy\": hashed before the first byte is served; \"full\": hashed first; \"trust\": not.",
        kRunning),
    key<Rate<&WatchConfig::upload_per_torrent>>(
        "watch", "upload_per_torrent",
        "Uploads of each of its torrents; limits.upload_per_torrent holds too.", kRunning),
    key<Switch<&WatchConfig::create>>("watch", "create", "Make the directory when it is missing.",
                                      kRunning),
};

}  // namespace

std::span<const SectionSpec> config_sections() {
  return kSections;
}
std::span<const KeySpec> config_keys() {
  return kKeys;
}

std::string describe(const ConfigValue& value) {
  switch (value.kind) {
    case Kind::text:
      return value.text.size() <= 80 ? toml_string(value.text) : "a long string";
    case Kind::integer:
      return "the number " + std::to_string(value.integer);
    case Kind::floating: {
      char text[64];
      std::snprintf(text, sizeof text, "%g", value.floating);
      return std::string("the number ") + text;
    }
    case Kind::boolean:
      return value.boolean ? "true" : "false";
    case Kind::list:
      return value.items.empty() ? "an empty list" : "a list";
    case Kind::table:
      return "a table";
    case Kind::time:
      return "a date or time";
  }
  return "something else";
}

std::string toml_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\u%04X", byte);
      out += escaped;
    } else {
      out += c;
    }
  }
  return out + "\"";
}

Result<std::string> expand_path(std::string_view text, const std::string& directory) {
  std::string path;
  if (text == "~" || text.starts_with("~/")) {
    const char* home = std::getenv("HOME");
    if (home == nullptr || *home != '/') {
      return fail("\"~\" stands for $HOME, which is not set: write the whole path",
                  ErrorKind::usage);
    }
    path = home;
    text.remove_prefix(1);
  }
  while (!text.empty()) {
    if (!text.starts_with("${")) {
      path += text.front();
      text.remove_prefix(1);
      continue;
    }
    const std::size_t end = text.find('}');
    if (end == std::string_view::npos) {
      return fail("\"${\" without \"}\": expected \"${NAME}\", an environment variable",
                  ErrorKind::usage);
    }
    const std::string name(text.substr(2, end - 2));
    const char* value = std::getenv(name.c_str());
    if (value == nullptr || *value == 0) {
      return fail("the environment variable " + name + " is not set", ErrorKind::usage);
    }
    path += value;
    text.remove_prefix(end + 1);
  }
  if (path.find('\0') != std::string::npos) {
    return fail("a path can't contain a NUL byte", ErrorKind::usage);
  }
  if (!path.starts_with('/')) path = directory + "/" + path;
  while (path.size() > 1 && path.ends_with('/'))
    path.pop_back();
  return path;
}

Result<std::string> default_state_directory() {
  // systemd's, of a unit with StateDirectory=: several are divided by colons.
  const char* service = std::getenv("STATE_DIRECTORY");
  if (service != nullptr && *service == '/') {
    return std::string(service, std::strcspn(service, ":"));
  }
  const char* state = std::getenv("XDG_STATE_HOME");
  if (state != nullptr && *state == '/') return std::string(state) + "/penstock";
  const char* home = std::getenv("HOME");
  if (home != nullptr && *home == '/') return std::string(home) + "/.local/state/penstock";
  return fail("neither XDG_STATE_HOME nor HOME is set: say where with state = \"DIRECTORY\"",
              ErrorKind::usage);
}

}  // namespace penstock::control
