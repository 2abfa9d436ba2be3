// What a want costs when its block is in memory: find, test, pin, release. Target: 100 ns for a
// torrent of one file with the table in the processor's cache.
#include <benchmark/benchmark.h>

#include "test_torrent.hh"

namespace penstock {
namespace {

// Everything verified and in memory.
struct Warm {
  explicit Warm(std::uint32_t slabs, const std::vector<TestFile>& files, StoreLimits::Policy policy)
      : world(slabs, limits_of(policy)) {
    world.validating = false;
    torrent = make_torrent(world.disk, "t", 262144, files, Hashes::v1, world.random);
    const BlockInfo& blocks = torrent.content->blocks;
    for (std::uint32_t p = 0; p < blocks.piece_count(); ++p) {
      for (std::uint32_t begin = 0; begin < blocks.piece_length(PieceIndex(p));
           begin += kBlockSize) {
        const std::uint32_t length =
            std::min(kBlockSize, blocks.piece_length(PieceIndex(p)) - begin);
        if (world.fetch(torrent, PieceIndex(p), begin, length).status != WantStatus::ready)
          std::abort();
        wants.push_back({torrent.content.get(), PieceIndex(p), begin, length, 0});
      }
    }
    for (std::size_t i = wants.size() - 1; i > 0; --i)
      std::swap(wants[i], wants[world.random.below(i + 1)]);
  }
  static StoreLimits limits_of(StoreLimits::Policy policy) {
    StoreLimits limits;
    limits.policy = policy;
    return limits;
  }
  StoreWorld world;
  TestTorrent torrent;
  std::vector<BlockWant> wants;
};

void run(benchmark::State& state, Warm& warm) {
  std::size_t i = 0;
  Block block;
  for (auto _ : state) {
    if (warm.world.store->want(warm.world.now, warm.wants[i], block) != WantStatus::ready)
      state.SkipWithError("a miss");
    benchmark::DoNotOptimize(block);
    warm.world.store->release(block, false);
    if (++i == warm.wants.size()) i = 0;
  }
  state.SetItemsProcessed(state.iterations());
}

void BM_HitOneFile(benchmark::State& state) {
  Warm warm(static_cast<std::uint32_t>(state.range(0)) * 20 + 64,
            {{static_cast<std::uint64_t>(state.range(0)) << 20}}, StoreLimits::Policy::s3fifo);
  run(state, warm);
}
BENCHMARK(BM_HitOneFile)->Arg(4)->Arg(64)->Arg(512);

void BM_HitOneFileLru(benchmark::State& state) {
  Warm warm(1400, {{64 << 20}}, StoreLimits::Policy::lru);
  run(state, warm);
}
BENCHMARK(BM_HitOneFileLru);

void BM_HitOddFiles(benchmark::State& state) {
  std::vector<TestFile> files;
  for (std::uint64_t i = 0; i < 200; ++i)
    files.push_back({100'000 + i * 2'777});
  Warm warm(2000, files, StoreLimits::Policy::s3fifo);
  run(state, warm);
}
BENCHMARK(BM_HitOddFiles);

void BM_HitTinyFiles(benchmark::State& state) {
  std::vector<TestFile> files;
  for (std::uint64_t i = 0; i < 2000; ++i)
    files.push_back({100 + i * 10});
  Warm warm(2000, files, StoreLimits::Policy::s3fifo);
  run(state, warm);
}
BENCHMARK(BM_HitTinyFiles);

// A cold block: slab, read (a copy in memory), checksum, answer.
void BM_MissOneBlock(benchmark::State& state) {
  StoreWorld world(64);
  world.validating = false;
  TestTorrent torrent =
      make_torrent(world.disk, "t", 262144, {{64 << 20}}, Hashes::v1, world.random);
  for (std::uint32_t p = 0; p < torrent.content->blocks.piece_count(); ++p)
    world.fetch(torrent, PieceIndex(p), 0, 1);
  StorageOp op;
  StorageCompletion done[8];
  BlockReady ready;
  Block block;
  for (auto _ : state) {
    const PieceIndex piece(static_cast<std::uint32_t>(world.random.below(256)));
    const auto begin = static_cast<std::uint32_t>(world.random.below(16)) * kBlockSize;
    if (world.store->want(world.now, {torrent.content.get(), piece, begin, kBlockSize, 0}, block) ==
        WantStatus::ready) {
      world.store->release(block, false);
      continue;
    }
    while (world.store->poll_io(op))
      world.disk.try_submit(op);
    const std::size_t n = world.disk.poll_completions(done);
    for (std::size_t i = 0; i < n; ++i)
      world.store->on_completion(world.now, done[i]);
    world.store->do_work(world.now);
    while (world.store->poll_ready(ready))
      world.store->release(ready.block, false);
  }
}
BENCHMARK(BM_MissOneBlock);

}  // namespace
}  // namespace penstock

BENCHMARK_MAIN();
