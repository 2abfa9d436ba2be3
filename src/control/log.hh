// The appliance's log: lines on standard error, as text for people or JSON for machines.
#pragma once

#include "control/config.hh"

namespace penstock::control {

// Before the first line, and again at every reload. Makes spdlog's default logger ours.
// over_status: standard error is a terminal with a status line at its bottom, which text lines
// replace; it is drawn anew below them.
void set_up_log(LogFormat format, LogLevel level, bool over_status = false);

}  // namespace penstock::control
