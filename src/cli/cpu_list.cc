#include "cli/cpu_list.hh"

#include <algorithm>
#include <charconv>
#include <string_view>

#include "control/dataset/usable_cpus.hh"

namespace penstock::cli {
namespace {

// Beyond any machine's; bounds the walk over a range.
constexpr unsigned kCpuMax = 4095;

bool parse_number(std::string_view text, unsigned& number) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  return error == std::errc{} && stop == end && !text.empty();
}

}  // namespace

Result<std::vector<unsigned>> parse_cpu_list(const std::string& text) {
  std::vector<unsigned> cpus;
  const std::vector<unsigned> usable = control::usable_cpus();
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::size_t comma = rest.find(',');
    const std::string_view item = rest.substr(0, comma);
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
    const std::size_t dash = item.find('-');
    unsigned first = 0;
    unsigned last = 0;
    if (!parse_number(item.substr(0, dash), first) ||
        !parse_number(dash == std::string_view::npos ? item : item.substr(dash + 1), last) ||
        first > last || last > kCpuMax) {
      return fail("\"" + text + "\" is no list of CPUs such as \"0,2-3\"", ErrorKind::usage);
    }
    for (unsigned cpu = first; cpu <= last; ++cpu) {
      if (!std::binary_search(usable.begin(), usable.end(), cpu)) {
        return fail("CPU " + std::to_string(cpu) +
                        " is not there or not for this process: \"taskset -cp $$\" shows which are",
                    ErrorKind::usage);
      }
      if (std::find(cpus.begin(), cpus.end(), cpu) == cpus.end()) cpus.push_back(cpu);
    }
  }
  return cpus;
}

}  // namespace penstock::cli
