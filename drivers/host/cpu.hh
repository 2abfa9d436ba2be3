// Which processors there are and which one a thread runs on.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.hh"

namespace penstock::host {

// Processors this process may run on, ascending.
[[nodiscard]] std::vector<unsigned> usable_cpus();
// "0,2-5" → {0, 2, 3, 4, 5}. Duplicates and processors that may not be used are errors.
[[nodiscard]] Result<std::vector<unsigned>> parse_cpu_list(std::string_view text);
// The calling thread, and the kernel workers made on its behalf afterwards.
[[nodiscard]] Result<void> pin_to_cpu(unsigned cpu);
// For ps, perf and cores; at most 15 characters are kept.
void name_thread(const std::string& name);

}  // namespace penstock::host
