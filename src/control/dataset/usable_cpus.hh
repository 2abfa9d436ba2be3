// The processors of this process, for what runs on the control side (the data plane's are the
// drivers': host/cpu.hh).
#pragma once

#include <vector>

namespace penstock::control {

// Those that this process may run on, ascending; at least one.
std::vector<unsigned> usable_cpus();

}  // namespace penstock::control
