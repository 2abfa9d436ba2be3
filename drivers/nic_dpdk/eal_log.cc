#include "nic_dpdk/eal_log.hh"

#include <cstdio>
#include <deque>
#include <mutex>
#include <string_view>

#include <rte_log.h>

namespace penstock::nic_dpdk {
namespace {

// A handful says what went wrong; the rest follows from it.
constexpr std::size_t kLinesMax = 4;

struct Complaints {
  std::mutex mutex;
  std::deque<std::string> lines;
};

// For as long as the process lives: rte_log may be called at any time.
Complaints& complaints() {
  static auto* const kept = new Complaints;
  return *kept;
}

ssize_t on_write(void*, const char* text, std::size_t size) {
  if (rte_log_cur_msg_loglevel() > static_cast<int>(RTE_LOG_WARNING)) {
    return static_cast<ssize_t>(size);
  }
  std::string_view line(text, size);
  while (!line.empty() && (line.back() == '\n' || line.back() == ' '))
    line.remove_suffix(1);
  if (line.empty()) return static_cast<ssize_t>(size);
  Complaints& kept = complaints();
  const std::lock_guard lock(kept.mutex);
  if (kept.lines.size() == kLinesMax) kept.lines.pop_front();
  kept.lines.emplace_back(line);
  return static_cast<ssize_t>(size);
}

}  // namespace

void catch_log() {
  static std::FILE* const stream = [] {
    cookie_io_functions_t functions{};
    functions.write = on_write;
    return ::fopencookie(nullptr, "w", functions);
  }();
  if (stream != nullptr) rte_openlog_stream(stream);
}

std::string take_complaints() {
  Complaints& kept = complaints();
  const std::lock_guard lock(kept.mutex);
  std::string text;
  for (const std::string& line : kept.lines)
    text += (text.empty() ? "" : "; ") + line;
  kept.lines.clear();
  return text;
}

}  // namespace penstock::nic_dpdk
