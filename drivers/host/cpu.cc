#include "host/cpu.hh"

#include <cerrno>

#include <pthread.h>
#include <sched.h>

#include "host/errors.hh"

namespace penstock::host {

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
