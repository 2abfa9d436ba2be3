// penstock seed: serve files or torrents until told to stop.
#pragma once

#include "cli/program.hh"
#include "control/engine_api.hh"

namespace penstock::cli {

// factory: makes the engine; app/ alone names its drivers.
void register_seed(Program& program, control::EngineFactory factory);

}  // namespace penstock::cli
