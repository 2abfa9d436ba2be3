// penstock bench stack: seed and load generator with a TCP of our own, back to back.
#pragma once

#include "cli/program.hh"
#include "control/load_api.hh"

namespace penstock::cli {

// group: "bench".
void register_bench_stack(Program& program, CLI::App& group, control::LoadFactory factory);

}  // namespace penstock::cli
