// PENSTOCK_DISABLE=uring,splice,…: capabilities that are switched off although the machine has
// them, so that the paths without them are tested too (ARCHITECTURE §7).
#pragma once

#include <string_view>

#include "base/result.hh"

namespace penstock::host {

struct Capabilities {
  bool uring = true;      // io_uring, for sockets and files
  bool splice = true;     // sending pages by reference
  bool hugepages = true;  // transparent huge pages for the arena
  bool direct = true;     // O_DIRECT
  bool openat2 = true;    // the kernel's confined path look-up
};

// A comma-separated list of the names above. "dpdk" and "avx512" are known and ignored here: others
// ask for them. An unknown name is an error, because a misspelt switch would test nothing.
[[nodiscard]] Result<Capabilities> parse_disabled(std::string_view list);
// parse_disabled of the environment's PENSTOCK_DISABLE; all on when there is none.
[[nodiscard]] Result<Capabilities> capabilities_from_environment();

}  // namespace penstock::host
