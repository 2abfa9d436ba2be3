// penstock serve: the appliance.
#pragma once

#include "cli/program.hh"
#include "control/engine_api.hh"

namespace penstock::cli {

// The factory makes the engine on the drivers that app/ chose.
void register_serve(Program& program, control::EngineFactory factory);

}  // namespace penstock::cli
