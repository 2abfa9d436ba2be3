// A network of the test's own: user and network namespaces, where it may make interfaces.
#pragma once

#include <string>

namespace penstock::support {

// Moves the process there, once; must be called while it has one thread. Empty, or why it can't.
const std::string& enter_own_network();

// Runs `ip ARGUMENTS`; false with its output on stderr when it failed.
bool ip(const std::string& arguments);

}  // namespace penstock::support
