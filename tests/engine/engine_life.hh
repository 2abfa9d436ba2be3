// A life of the engine in short: cold and hot blocks, more data than memory, peers that come and
// go, stop reading and break off, content from another shard, limits, a torrent that comes and
// goes, a bit that rots and is mended, a file that vanishes and returns.
#pragma once

#include <cstdint>

#include "engine_world.hh"

namespace penstock::test {

struct Lived {
  std::uint64_t blocks = 0;  // that peers got; every piece of them was hashed
  std::uint64_t misses = 0;
  std::uint64_t hits = 0;
  std::uint64_t evictions = 0;
  std::uint64_t cross_shard_wants = 0;
  std::uint64_t accepted = 0;
};

// What it works on, made before: making it allocates.
struct LifeData {
  explicit LifeData(EngineWorld& world);
  std::shared_ptr<const Metainfo> cold, hot, late;
};

// Flavours of drivers.
struct Flavour {
  const char* name;
  const char* disable;
  bool direct;
};
inline constexpr Flavour kFlavours[] = {{"uring_direct", "", true},
                                        {"uring_buffered", "", false},
                                        {"epoll_direct", "uring", true},
                                        {"epoll_copying", "uring,splice", false}};

// Fails the test on wrong bytes.
Lived live(EngineWorld& world, const LifeData& data, Duration turn);

}  // namespace penstock::test
