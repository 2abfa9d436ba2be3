#include "engine_life.hh"

#include <cstdio>

namespace penstock::test {

using control::TorrentFormat;

LifeData::LifeData(EngineWorld& world)
    : cold(world.make("cold", {24 << 20, 300, 5000, 2'000'001, 0, 70'001, 8 << 20},
                      TorrentFormat::hybrid, 256 * 1024)),
      hot(world.make("hot", {1 << 20}, TorrentFormat::v1, 64 * 1024)),
      late(world.make("late", {3 << 20, 17}, TorrentFormat::v2, 16 * 1024)) {}

Lived live(EngineWorld& world, const LifeData& data, Duration turn) {
  Lived lived;
  auto downloads =
      world.peers({.connections = 10, .depth = 16, .churn = 40, .verify = true}, data.cold);
  auto blocks =
      world.peers({.connections = 6, .depth = 40, .pattern = LoadPattern::blocks}, data.cold);
  auto spliced = world.peers({.connections = 4, .depth = 64, .verify = true}, data.hot);
  auto latecomers = world.peers({.connections = 4, .depth = 8, .verify = true}, data.late);
  if (::testing::Test::HasFailure()) return lived;
  control::EngineApi& engine = world.engine();
  for (int i = 0; i < 4; ++i) {
    // Those whose turn it isn't read nothing meanwhile.
    downloads->run(turn);
    blocks->run(turn);
    spliced->run(turn);
  }
  EXPECT_TRUE(engine.set_limits({.upload_rate = 20 << 20, .peers_max = 64}));
  downloads->run(turn);
  EXPECT_TRUE(engine.set_limits({}));
  const control::TorrentId late = world.add(data.late);
  latecomers->run(turn * 2);
  EXPECT_TRUE(engine.remove_torrent(late));
  latecomers->run(turn);

  // Piece 20 of file 0, and a piece of file 3.
  world.flip("cold/0", 5 << 20);
  fs::rename(world.folder() / "cold/3", world.folder() / "away");
  const auto lost = [&] { return world.snapshot().torrents[0].pieces_lost; };
  for (int i = 0; i < 100 && lost() < 2; ++i) {
    downloads->run(turn);
    blocks->run(turn);
  }
  EXPECT_GE(lost(), 2u);
  world.flip("cold/0", 5 << 20);
  fs::rename(world.folder() / "away", world.folder() / "cold/3");
  for (int i = 0; i < 100 && lost() >= 2; ++i)
    downloads->run(turn);
  EXPECT_LT(lost(), 2u) << "the file is back and nobody noticed";

  control::LoadSnapshot load;
  for (const auto* peers : {&downloads, &blocks, &spliced, &latecomers}) {
    (*peers)->snapshot(load);
    EXPECT_EQ(load.counters.pieces_bad, 0u);
    EXPECT_GT(load.counters.blocks, 0u);
    lived.blocks += load.counters.blocks;
  }
  for (const control::ShardSnapshot& shard : world.snapshot().shards) {
    lived.misses += shard.store.misses;
    lived.hits += shard.store.hits;
    lived.evictions += shard.store.evictions;
    lived.cross_shard_wants += shard.cross_shard_wants;
    lived.accepted += shard.accepted;
  }
  std::printf(
      "%ju blocks, %ju hits, %ju misses, %ju evictions, %ju from another shard, %ju peers\n",
      std::uintmax_t{lived.blocks}, std::uintmax_t{lived.hits}, std::uintmax_t{lived.misses},
      std::uintmax_t{lived.evictions}, std::uintmax_t{lived.cross_shard_wants},
      std::uintmax_t{lived.accepted});
  return lived;
}

}  // namespace penstock::test
