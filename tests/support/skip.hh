// A test that can't run here: skipped, and failed under STRICT=1 (continuous integration).
#pragma once

#include <cstdlib>
#include <string_view>

#include <gtest/gtest.h>

namespace penstock::support {

inline bool strict() {
  const char* const value = std::getenv("STRICT");
  return value != nullptr && std::string_view(value) == "1";
}

}  // namespace penstock::support

// Returns from the function. Two statements: use it in a block.
#define PENSTOCK_SKIP(why)                            \
  if (::penstock::support::strict()) FAIL() << (why); \
  GTEST_SKIP() << (why)
