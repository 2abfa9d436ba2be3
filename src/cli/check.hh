// penstock check: is this configuration right, and what are the keys.
#pragma once

#include "cli/program.hh"

namespace penstock::cli {

void register_check(Program& program);

}  // namespace penstock::cli
