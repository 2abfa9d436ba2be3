// What the machine lets this process have, found out before the shards start.
#pragma once

#include <cstdint>
#include <span>

#include "base/address.hh"
#include "base/result.hh"

namespace penstock::app {

// How open files are shared out between connections and the stores.
struct DescriptorPlan {
  std::uint32_t peers_max = 0;        // connections, over all shards: what was wanted, or less
  std::uint32_t files_per_shard = 0;  // that a store keeps open
};

// limit: of open files. A quarter at most goes to files, so that a crowd of peers never leaves none
// to read from.
DescriptorPlan plan_descriptors(std::uint64_t limit, std::uint32_t peers_wanted,
                                std::uint32_t shards);

// Raises the limit of open files as far as an ordinary user may (Debian's soft limit is 1,024) and
// returns it.
std::uint64_t raise_descriptor_limit();

// Whether nobody listens there yet. Shards share their ports (SO_REUSEPORT), and so would a second
// process of the same user, unnoticed: each would get half of the peers. Port 0 is always free.
Result<void> check_ports_free(std::span<const Endpoint> endpoints);

}  // namespace penstock::app
