#include "control/log.hh"

#include <chrono>
#include <ctime>
#include <string_view>

#include <nlohmann/json.hpp>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace penstock::control {
namespace {

// {"time":"2024-01-31T12:00:00.123Z","level":"info","message":"…"}, one a line.
class JsonFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& line, spdlog::memory_buf_t& out) override {
    const auto since_epoch = line.time.time_since_epoch();
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(since_epoch).count();
    const std::time_t seconds = ms / 1000;
    std::tm utc{};
    gmtime_r(&seconds, &utc);
    char time[64];
    std::snprintf(time, sizeof time, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", utc.tm_year + 1900,
                  utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                  static_cast<int>(ms % 1000));
    const auto level = spdlog::level::to_string_view(line.level);
    const nlohmann::ordered_json object{
        {"time", time},
        {"level", std::string(level.data(), level.size())},
        {"message", std::string(line.payload.data(), line.payload.size())}};
    const std::string text =
        object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    out.append(text.data(), text.data() + text.size());
  }
  [[nodiscard]] std::unique_ptr<formatter> clone() const override {
    return std::make_unique<JsonFormatter>();
  }
};

// The pattern's text, with what could drive a terminal escaped: names come from hostile torrents.
class TextFormatter final : public spdlog::formatter {
 public:
  explicit TextFormatter(bool over_status)
      : over_status_(over_status),
        pattern_("%Y-%m-%dT%H:%M:%S.%eZ %l: %v", spdlog::pattern_time_type::utc, "") {}
  void format(const spdlog::details::log_msg& line, spdlog::memory_buf_t& out) override {
    spdlog::memory_buf_t raw;
    pattern_.format(line, raw);
    static constexpr std::string_view kClearLine = "\r\033[K";
    if (over_status_) out.append(kClearLine);
    for (const char c : raw) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte >= 0x20 && byte != 0x7f) {
        out.push_back(c);
        continue;
      }
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\x%02x", byte);
      for (const char* e = escaped; *e != 0; ++e)
        out.push_back(*e);
    }
    out.push_back('\n');
  }
  [[nodiscard]] std::unique_ptr<formatter> clone() const override {
    return std::make_unique<TextFormatter>(over_status_);
  }

 private:
  bool over_status_;
  spdlog::pattern_formatter pattern_;
};

spdlog::level::level_enum spdlog_level(LogLevel level) {
  switch (level) {
    case LogLevel::debug:
      return spdlog::level::debug;
    case LogLevel::info:
      return spdlog::level::info;
    case LogLevel::warning:
      return spdlog::level::warn;
    case LogLevel::error:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

}  // namespace

void set_up_log(LogFormat format, LogLevel level, bool over_status) {
  static const auto logger = [] {
    auto made = std::make_shared<spdlog::logger>("penstock",
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
    spdlog::set_default_logger(made);
    return made;
  }();
  if (format == LogFormat::json) {
    logger->set_formatter(std::make_unique<JsonFormatter>());
  } else {
    logger->set_formatter(std::make_unique<TextFormatter>(over_status));
  }
  logger->set_level(spdlog_level(level));
  logger->flush_on(spdlog::level::debug);
}

}  // namespace penstock::control
