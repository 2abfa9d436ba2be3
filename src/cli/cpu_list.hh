// "--cpus 0,2-3": which CPUs threads run on.
#pragma once

#include <string>
#include <vector>

#include "base/result.hh"

namespace penstock::cli {

// In the order given, without duplicates; every CPU is one that this process may use. Empty text
// gives an empty list.
Result<std::vector<unsigned>> parse_cpu_list(const std::string& text);

}  // namespace penstock::cli
