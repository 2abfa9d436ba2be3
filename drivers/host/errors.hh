// errno in words, for Result<T>.
#pragma once

#include <string>
#include <string_view>

#include "base/result.hh"

namespace penstock::host {

// "what: No space left on device".
[[nodiscard]] tl::unexpected<Error> os_error(std::string_view what, int error);

}  // namespace penstock::host
