// penstock bench leech: load for any BitTorrent seed.
#pragma once

#include "cli/program.hh"
#include "control/load_api.hh"

namespace penstock::cli {

// group: "bench".
void register_bench_leech(Program& program, CLI::App& group, control::LoadFactory factory);

}  // namespace penstock::cli
