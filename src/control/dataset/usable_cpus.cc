#include "control/dataset/usable_cpus.hh"

#include <algorithm>
#include <thread>

#include <sched.h>

namespace penstock::control {

std::vector<unsigned> usable_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<unsigned> cpus;
  // EINVAL: a machine with more processors than the set has room for.
  if (::sched_getaffinity(0, sizeof set, &set) == 0) {
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
    }
  }
  if (!cpus.empty()) return cpus;
  for (unsigned cpu = 0; cpu < std::max(1u, std::thread::hardware_concurrency()); ++cpu)
    cpus.push_back(cpu);
  return cpus;
}

}  // namespace penstock::control
