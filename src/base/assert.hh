// Assertions for programmers' errors. Input from outside never reaches one.
#pragma once

namespace penstock {

// Prints "file:line: expression" and aborts. Never returns, never allocates.
[[noreturn]] void assert_failed(const char* expression, const char* file, int line) noexcept;

}  // namespace penstock

// Cheap; on in every build.
#define ASSERT(expression)             \
  (__builtin_expect(!!(expression), 1) \
       ? static_cast<void>(0)          \
       : ::penstock::assert_failed(#expression, __FILE__, __LINE__))

// On in debug builds, under sanitizers, in the simulator and in fuzzing.
#ifdef PENSTOCK_DCHECK
#define DCHECK(expression) ASSERT(expression)
#else
#define DCHECK(expression) static_cast<void>(sizeof(!!(expression)))
#endif

#define UNREACHABLE() ::penstock::assert_failed("unreachable", __FILE__, __LINE__)
