// The appliance's log: lines on standard error, as text for people or JSON for machines.
#pragma once

#include "control/config.hh"

namespace penstock::control {

// Before the first line, and again at every reload. Makes spdlog's default logger ours.
void set_up_log(LogFormat format, LogLevel level);

}  // namespace penstock::control
