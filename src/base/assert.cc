#include "base/assert.hh"

#include <cstdio>
#include <cstdlib>

#include <unistd.h>

namespace penstock {

void assert_failed(const char* expression, const char* file, int line) noexcept {
  char text[512];
  const int n = std::snprintf(text, sizeof text, "penstock: %s:%d: assertion failed: %s\n", file,
                              line, expression);
  if (n > 0) {
    const auto length =
        static_cast<std::size_t>(n) < sizeof text ? static_cast<std::size_t>(n) : sizeof text - 1;
    [[maybe_unused]] const auto written = ::write(2, text, length);
  }
  std::abort();
}

}  // namespace penstock
