// The drivers of a shard with a TCP of its own: net::Stack over nic_tap, files as always.
#pragma once

#include "app/shard_io.hh"

namespace penstock::app {

// options.tap is set. On the shard's thread.
Result<std::unique_ptr<ShardIo>> make_tap_io(const IoOptions& options);

}  // namespace penstock::app
