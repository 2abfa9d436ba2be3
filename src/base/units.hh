// Sizes, rates and durations as people write them (ARCHITECTURE §7): "10GiB", "25Gbps", "20MiB/s",
// "30s".
//
// A bare number is an error wherever a unit could be meant, except for plain byte counts, which may
// be written "B".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hh"
#include "base/time.hh"

namespace penstock {

// "64KiB", "1.5GiB", "512B" → bytes. KB, MB, GB, TB are powers of 1,000.
Result<std::uint64_t> parse_size(std::string_view text);
// "25Gbps", "100Mbps" (bits), "20MiB/s", "20MB/s", "64KiB/s" (bytes) → bytes per second.
Result<std::uint64_t> parse_rate(std::string_view text);
// "250ms", "30s", "5m", "2h" → Duration.
Result<Duration> parse_duration(std::string_view text);

// For people: "1.50 GiB", "17.2 MiB/s".
std::string format_size(std::uint64_t bytes);
std::string format_rate(double bytes_per_second);
// "1:02:03", "2:03".
std::string format_time_left(double seconds);

}  // namespace penstock
