#include "host/cpu.hh"

#include <algorithm>
#include <cerrno>
#include <charconv>

#include <pthread.h>
#include <sched.h>

#include "host/errors.hh"

namespace penstock::host {
namespace {

bool read_number(std::string_view text, unsigned& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return !text.empty() && error == std::errc{} && end == text.data() + text.size() &&
         out < CPU_SETSIZE;
}

}  // namespace

std::vector<unsigned> usable_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<unsigned> out;
  // EINVAL: a machine with more than CPU_SETSIZE processors; then only the first is named.
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return {0};
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) out.push_back(cpu);
  }
  return out;
}

Result<std::vector<unsigned>> parse_cpu_list(std::string_view text) {
  const std::vector<unsigned> usable = usable_cpus();
  const std::string quoted = "\"" + std::string(text) + "\"";
  std::vector<unsigned> out;
  for (;;) {
    const std::size_t comma = text.find(',');
    const std::string_view item = text.substr(0, comma);
    const std::size_t dash = item.find('-');
    unsigned first = 0;
    unsigned last = 0;
    if (!read_number(item.substr(0, dash), first) ||
        !read_number(dash == std::string_view::npos ? item : item.substr(dash + 1), last) ||
        last < first) {
      return fail(quoted + " is not a list of processors such as \"0,2-5\"", ErrorKind::usage);
    }
    for (unsigned cpu = first; cpu <= last; ++cpu) {
      if (std::find(out.begin(), out.end(), cpu) != out.end()) {
        return fail(quoted + ": processor " + std::to_string(cpu) + " is named twice",
                    ErrorKind::usage);
      }
      if (std::find(usable.begin(), usable.end(), cpu) == usable.end()) {
        return fail(quoted + ": processor " + std::to_string(cpu) +
                        " does not exist or is not allowed to this process",
                    ErrorKind::usage);
      }
      out.push_back(cpu);
    }
    if (comma == std::string_view::npos) return out;
    text.remove_prefix(comma + 1);
  }
}

Result<void> pin_to_cpu(unsigned cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (::sched_setaffinity(0, sizeof set, &set) != 0) {
    return os_error("pinning a shard to processor " + std::to_string(cpu), errno);
  }
  return {};
}

void name_thread(const std::string& name) {
  ::pthread_setname_np(::pthread_self(), name.substr(0, 15).c_str());
}

}  // namespace penstock::host
