#include "base/units.hh"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace penstock {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

constexpr double kKi = 1024.0;
constexpr std::array kSizeUnits{
    Unit{"KiB", kKi},
    Unit{"MiB", kKi* kKi},
    Unit{"GiB", kKi* kKi* kKi},
    Unit{"TiB", kKi* kKi* kKi* kKi},
    Unit{"KB", 1e3},
    Unit{"MB", 1e6},
    Unit{"GB", 1e9},
    Unit{"TB", 1e12},
    Unit{"B", 1},
};
constexpr std::array kRateUnits{
    Unit{"Gbps", 1e9 / 8}, Unit{"Mbps", 1e6 / 8},   Unit{"Kbps", 1e3 / 8},
    Unit{"KiB/s", kKi},    Unit{"MiB/s", kKi* kKi}, Unit{"GiB/s", kKi* kKi* kKi},
    Unit{"KB/s", 1e3},     Unit{"MB/s", 1e6},       Unit{"GB/s", 1e9},
    Unit{"B/s", 1},
};
constexpr std::array kTimeUnits{
    Unit{"ms", 1e6}, Unit{"us", 1e3}, Unit{"s", 1e9}, Unit{"m", 60e9}, Unit{"h", 3600e9},
};

std::string_view trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ')
    text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ')
    text.remove_suffix(1);
  return text;
}

template <class Units>
Result<double> parse_with(std::string_view text, const Units& units, const char* expected) {
  text = trim(text);
  double number = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (error != std::errc{} || number < 0 || !std::isfinite(number)) {
    return fail("\"" + std::string(text) + "\" is not " + expected, ErrorKind::usage);
  }
  const std::string_view suffix = trim(text.substr(static_cast<std::size_t>(end - text.data())));
  for (const Unit& unit : units) {
    if (suffix == unit.name) {
      const double value = number * unit.factor;
      if (value >= 9.0e18) {
        return fail("\"" + std::string(text) + "\" is too large", ErrorKind::usage);
      }
      return value;
    }
  }
  return fail("\"" + std::string(text) + "\" " +
                  (suffix.empty() ? "has no unit" : "has an unknown unit") + ": expected " +
                  expected,
              ErrorKind::usage);
}

}  // namespace

Result<std::uint64_t> parse_size(std::string_view text) {
  auto value = parse_with(text, kSizeUnits, "a size such as \"64KiB\" or \"10GiB\"");
  if (!value) return tl::unexpected(value.error());
  return static_cast<std::uint64_t>(*value + 0.5);
}

Result<std::uint64_t> parse_rate(std::string_view text) {
  auto value = parse_with(text, kRateUnits, "a rate such as \"25Gbps\" or \"20MiB/s\"");
  if (!value) return tl::unexpected(value.error());
  return static_cast<std::uint64_t>(*value + 0.5);
}

Result<Duration> parse_duration(std::string_view text) {
  auto value = parse_with(text, kTimeUnits, "a time such as \"250ms\", \"30s\" or \"5m\"");
  if (!value) return tl::unexpected(value.error());
  return Duration::nanoseconds(static_cast<std::int64_t>(*value + 0.5));
}

std::string format_size(std::uint64_t bytes) {
  static constexpr const char* kNames[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  if (bytes < 1024) return std::to_string(bytes) + " B";
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kNames)) {
    value /= 1024;
    ++unit;
  }
  char text[64];
  std::snprintf(text, sizeof text, "%.*f %s",
                value < 10    ? 2
                : value < 100 ? 1
                              : 0,
                value, kNames[unit]);
  return text;
}

std::string format_rate(double bytes_per_second) {
  return format_size(static_cast<std::uint64_t>(bytes_per_second)) + "/s";
}

std::string format_time_left(double seconds) {
  const auto whole = static_cast<std::uint64_t>(seconds < 0 ? 0 : seconds + 0.5);
  char text[64];
  if (whole >= 3600) {
    std::snprintf(text, sizeof text, "%llu:%02llu:%02llu",
                  static_cast<unsigned long long>(whole / 3600),
                  static_cast<unsigned long long>(whole / 60 % 60),
                  static_cast<unsigned long long>(whole % 60));
  } else {
    std::snprintf(text, sizeof text, "%llu:%02llu", static_cast<unsigned long long>(whole / 60),
                  static_cast<unsigned long long>(whole % 60));
  }
  return text;
}

}  // namespace penstock
