// errno → IoError, per operation, for every driver of Storage. The table is in drivers/README.md.
#pragma once

#include "store/storage.hh"

namespace penstock::host {

// error: errno, > 0. `retry` errors (EINTR; EAGAIN of a look-up that raced with a rename) are the
// driver's to handle before it asks.
[[nodiscard]] IoError open_error(int error);
[[nodiscard]] IoError read_error(int error);

}  // namespace penstock::host
