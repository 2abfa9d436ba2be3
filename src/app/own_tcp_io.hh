// The drivers of a shard with a TCP of its own: net::Stack over a NicDevice, files as always.
#pragma once

#include "app/shard_io.hh"

namespace penstock::app {

// options.own_tcp is set. On the shard's thread.
Result<std::unique_ptr<ShardIo>> make_own_tcp_io(const IoOptions& options);

}  // namespace penstock::app
