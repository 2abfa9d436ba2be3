// The store allocates when it is built, and never again: a counting operator new is the guard.
#include <new>

#include <gtest/gtest.h>

#include "support/count_allocations.hh"
#include "test_torrent.hh"

namespace penstock {
namespace {

// Counts only while the store is at work: the disk and the test allocate as they like.
using Guard = support::CountAllocations;

TEST(NoAllocation, TheGuardCounts) {
  const std::uint64_t before = Guard::counted();
  {
    const Guard guard;
    delete new int(3);
  }
  // A compiler may drop a pair of new and delete; not this one.
  void* volatile memory = nullptr;
  {
    const Guard guard;
    memory = ::operator new(10);
  }
  ::operator delete(memory);
  EXPECT_GT(Guard::counted(), before);
}

TEST(NoAllocation, InTheLifeOfAStore) {
  StoreLimits limits;
  limits.wants_max = 200;
  StoreWorld world(40, limits);
  TestTorrent torrents[] = {
      make_torrent(world.disk, "a", 65536, {{3 << 20}, {300}, {5000}, {70'001}}, Hashes::v1,
                   world.random),
      make_torrent(world.disk, "b", 32768, {{400'000}, {7}, {33'000}}, Hashes::hybrid,
                   world.random),
  };
  world.disk.shuffle = true;
  const std::uint64_t before = Guard::counted();
  for (int i = 0; i < 20000; ++i) {
    if (i % 997 == 0) world.disk.touch("a/0");
    if (i % 1500 == 0) world.disk.files.at("a/3").bytes[100] ^= std::byte{1};
    if (i % 3000 == 0) world.disk.open_errors["b/2"] = IoError::not_found;
    if (i % 3000 == 1500) world.disk.open_errors.clear();
    world.now = world.now + Duration::milliseconds(5);
    TestTorrent& torrent = torrents[world.random.below(2)];
    const BlockInfo& blocks = torrent.content->blocks;
    const PieceIndex piece(static_cast<std::uint32_t>(world.random.below(blocks.piece_count())));
    const std::uint32_t length = std::min(kBlockSize, blocks.piece_length(piece));
    StorageOp op;
    Block block;
    BlockReady ready;
    StoreEvent event;
    {
      const Guard guard;
      if (world.store->want(world.now, {torrent.content.get(), piece, 0, length, 1}, block) ==
          WantStatus::ready) {
        world.store->release(block, false);
      }
      world.store->do_work(world.now);
      while (world.store->poll_ready(ready))
        world.store->release(ready.block, true);
      while (world.store->poll_event(event)) {
      }
    }
    for (;;) {
      {
        const Guard guard;
        if (!world.store->poll_io(op)) break;
      }
      ASSERT_TRUE(world.disk.try_submit(op));
    }
    StorageCompletion done[16];
    const std::size_t n = world.disk.poll_completions(done);
    const Guard guard;
    for (std::size_t c = 0; c < n; ++c)
      world.store->on_completion(world.now, done[c]);
  }
  EXPECT_GT(world.store->counters().pieces_verified, 50u);
  EXPECT_GT(world.store->counters().pieces_lost, 0u);
  EXPECT_EQ(Guard::counted(), before);
}

}  // namespace
}  // namespace penstock
