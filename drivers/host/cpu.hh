// Which processors there are and which one a thread runs on.
#pragma once

#include <string>
#include <vector>

#include "base/result.hh"

namespace penstock::host {

// Processors this process may run on, ascending.
[[nodiscard]] std::vector<unsigned> usable_cpus();
// The calling thread, and the kernel workers made on its behalf afterwards.
[[nodiscard]] Result<void> pin_to_cpu(unsigned cpu);
// For ps, perf and cores; at most 15 characters are kept.
void name_thread(const std::string& name);

}  // namespace penstock::host
