// What the cache keeps and what it reads: eviction, coalescing, read amplification, pins, renewal.
#include <gtest/gtest.h>

#include "store/eviction.hh"
#include "store/pool_share.hh"
#include "store/verify_state.hh"
#include "test_torrent.hh"
#include "wire/peer_wire.hh"

namespace penstock {
namespace {

constexpr std::uint32_t kPiece = 65536;

// Every piece verified, nothing of it in memory that the test counts on.
void verify_all(StoreWorld& world, TestTorrent& torrent) {
  const BlockInfo& blocks = torrent.content->blocks;
  for (std::uint32_t i = 0; i < blocks.piece_count(); ++i) {
    ASSERT_EQ(world.fetch(torrent, PieceIndex(i), 0, 1).status, WantStatus::ready);
  }
}

double amplification(StoreWorld& world, TestTorrent& torrent, int wants) {
  const StoreCounters before = world.store->counters();
  std::uint64_t served = 0;
  for (int i = 0; i < wants; ++i) {
    const BlockInfo& blocks = torrent.content->blocks;
    const PieceIndex piece(static_cast<std::uint32_t>(world.random.below(blocks.piece_count())));
    const auto begin =
        static_cast<std::uint32_t>(world.random.below(blocks.blocks_in_piece(piece))) * kBlockSize;
    const std::uint32_t length = std::min(kBlockSize, blocks.piece_length(piece) - begin);
    const std::uint64_t misses = world.store->counters().misses;
    EXPECT_EQ(world.fetch(torrent, piece, begin, length).status, WantStatus::ready);
    if (world.store->counters().misses != misses) served += length;
  }
  return static_cast<double>(world.store->counters().bytes_read - before.bytes_read) /
         static_cast<double>(served);
}

TEST(StoreCache, RandomBlocksOfAnAlignedFileReadOnlyThemselves) {
  StoreWorld world(64);
  world.validating = false;
  TestTorrent torrent =
      make_torrent(world.disk, "t", kPiece, {{32 << 20}}, Hashes::v1, world.random);
  verify_all(world, torrent);
  EXPECT_LE(amplification(world, torrent, 2000), 1.001);
}

TEST(StoreCache, RandomBlocksOfOddFiles) {
  StoreWorld world(64);
  world.validating = false;
  std::vector<TestFile> files;
  for (int i = 0; i < 60; ++i)
    files.push_back({100'000 + world.random.below(1'000'000)});
  TestTorrent torrent = make_torrent(world.disk, "t", kPiece, files, Hashes::v1, world.random);
  verify_all(world, torrent);
  EXPECT_LE(amplification(world, torrent, 2000), 1.35);
}

TEST(StoreCache, NeighboursBecomeOneRead) {
  StoreWorld world(64);
  TestTorrent torrent =
      make_torrent(world.disk, "t", kPiece, {{32 << 20}}, Hashes::v1, world.random);
  verify_all(world, torrent);
  const std::uint64_t reads = world.store->counters().reads;
  std::uint64_t token = 0;
  for (std::uint32_t piece = 40; piece < 48; ++piece) {
    for (std::uint32_t begin = 0; begin < kPiece; begin += kBlockSize)
      world.ask(torrent, PieceIndex(piece), begin, kBlockSize, ++token);
  }
  world.pump();
  EXPECT_EQ(world.answers.size(), 32u);
  EXPECT_EQ(world.store->counters().reads, reads + 1) << "512 KiB are one operation";
}

TEST(StoreCache, TheSameBlockWantedByManyIsReadOnce) {
  StoreWorld world(64);
  TestTorrent torrent =
      make_torrent(world.disk, "t", kPiece, {{32 << 20}}, Hashes::v1, world.random);
  verify_all(world, torrent);
  const std::uint64_t read = world.store->counters().bytes_read;
  for (std::uint64_t token = 1; token <= 50; ++token)
    world.ask(torrent, PieceIndex(9), kBlockSize, kBlockSize, token);
  world.pump();
  EXPECT_EQ(world.answers.size(), 50u);
  EXPECT_EQ(world.store->counters().bytes_read, read + kBlockSize);
}

TEST(StoreCache, AScanLeavesPopularExtentsAlone) {
  StoreWorld world(64);
  TestTorrent torrent =
      make_torrent(world.disk, "t", kPiece, {{32 << 20}}, Hashes::v1, world.random);
  verify_all(world, torrent);
  for (int round = 0; round < 4; ++round) {
    for (std::uint32_t piece = 0; piece < 20; ++piece)
      ASSERT_EQ(world.fetch(torrent, PieceIndex(piece), 0, kBlockSize).status, WantStatus::ready);
  }
  for (std::uint32_t piece = 100; piece < 500; ++piece)
    ASSERT_EQ(world.fetch(torrent, PieceIndex(piece), 0, kBlockSize).status, WantStatus::ready);
  const std::uint64_t misses = world.store->counters().misses;
  for (std::uint32_t piece = 0; piece < 20; ++piece)
    ASSERT_EQ(world.fetch(torrent, PieceIndex(piece), 0, kBlockSize).status, WantStatus::ready);
  EXPECT_EQ(world.store->counters().misses, misses);
}

TEST(StoreCache, LruForgetsWhatWasUsedLongestAgo) {
  StoreLimits limits;
  limits.policy = StoreLimits::Policy::lru;
  StoreWorld world(40, limits);
  TestTorrent torrent =
      make_torrent(world.disk, "t", kPiece, {{32 << 20}}, Hashes::v1, world.random);
  verify_all(world, torrent);
  for (int round = 0; round < 3; ++round) {
    for (std::uint32_t piece = 0; piece < 60; ++piece)
      ASSERT_EQ(world.fetch(torrent, PieceIndex(piece), 0, kBlockSize).status, WantStatus::ready);
  }
  const std::uint64_t misses = world.store->counters().misses;
  ASSERT_EQ(world.fetch(torrent, PieceIndex(59), 0, kBlockSize).status, WantStatus::ready);
  EXPECT_EQ(world.store->counters().misses, misses);
  ASSERT_EQ(world.fetch(torrent, PieceIndex(0), 0, kBlockSize).status, WantStatus::ready);
  EXPECT_EQ(world.store->counters().misses, misses + 1);
}

TEST(StoreCache, PinnedBlocksStayAndAFullCacheIsBusy) {
  StoreWorld world(20);
  TestTorrent torrent =
      make_torrent(world.disk, "t", kPiece, {{8 << 20}}, Hashes::v1, world.random);
  verify_all(world, torrent);
  std::vector<std::pair<Block, std::uint32_t>> held;
  bool busy = false;
  for (std::uint32_t piece = 0; piece < 60 && !busy; ++piece) {
    Block block;
    WantStatus status = world.store->want(
        world.now, {torrent.content.get(), PieceIndex(piece), 0, kBlockSize, piece}, block);
    for (int i = 0; i < 20 && status == WantStatus::pending; ++i) {
      world.store->do_work(world.now);
      world.submit();
      world.complete(64);
      BlockReady ready;
      if (world.store->poll_ready(ready)) {
        status = ready.status;
        block = ready.block;
      }
    }
    if (status == WantStatus::ready) held.push_back({block, piece});
    busy = status == WantStatus::busy;
  }
  EXPECT_TRUE(busy);
  EXPECT_GT(held.size(), 5u);
  for (const auto& [block, piece] : held) {
    EXPECT_EQ(std::memcmp(block.parts[0].data, torrent.at(PieceIndex(piece), 0), kBlockSize), 0);
    world.store->release(block, false);
  }
  world.store->validate();
  EXPECT_EQ(world.fetch(torrent, PieceIndex(100), 0, kBlockSize).status, WantStatus::ready);
}

TEST(StoreCache, ExposedPagesAreRenewedBeforeTheyAreReadInto) {
  StoreLimits limits;
  limits.policy = StoreLimits::Policy::lru;  // else so popular an extent would stay
  limits.frame_after = 0;
  StoreWorld world(20, limits);
  TestTorrent torrent =
      make_torrent(world.disk, "t", kPiece, {{8 << 20}}, Hashes::v1, world.random);
  verify_all(world, torrent);
  Block block;
  ASSERT_EQ(world.fetch(torrent, PieceIndex(5), 0, kBlockSize).status, WantStatus::ready);
  for (int i = 0; i < 4; ++i) {
    ASSERT_EQ(world.store->want(world.now, {torrent.content.get(), PieceIndex(5), 0, kBlockSize, 1},
                                block),
              WantStatus::ready);
    if (i < 3) world.store->release(block, false);
  }
  ASSERT_TRUE(block.parts[0].hot);
  world.disk.expose(block.parts[0].data, kBlockSize);
  world.store->release(block, true);
  for (std::uint32_t piece = 20; piece < 120; ++piece)
    ASSERT_EQ(world.fetch(torrent, PieceIndex(piece), 0, kBlockSize).status, WantStatus::ready);
  EXPECT_FALSE(world.disk.overwrote_exposed());
  EXPECT_EQ(world.disk.renewed_pages, 4u);
}

// Uses every block `times` times, in order; what comes must be right, and framed where it says so.
std::uint32_t use_all(StoreWorld& world, TestTorrent& torrent, int times) {
  std::uint32_t framed = 0;
  const BlockInfo& blocks = torrent.content->blocks;
  for (int i = 0; i < times; ++i) {
    for (PieceIndex piece(0); piece.value < blocks.piece_count();
         piece = PieceIndex(piece.value + 1)) {
      for (std::uint32_t begin = 0; begin < blocks.piece_length(piece); begin += kBlockSize) {
        const std::uint32_t length = std::min(kBlockSize, blocks.piece_length(piece) - begin);
        Block block;
        if (world.store->want(world.now, {torrent.content.get(), piece, begin, length, 1}, block) !=
            WantStatus::ready) {
          world.pump();
          world.answers.clear();
          continue;
        }
        const auto bytes = StoreWorld::bytes_of(block);
        EXPECT_EQ(bytes.size(), length);
        EXPECT_EQ(std::memcmp(bytes.data(), torrent.at(piece, begin), length), 0);
        if (block.framed) {
          ++framed;
          const auto header = wire::encode_piece_header(piece, begin, length);
          EXPECT_EQ(std::memcmp(block.parts[0].data - header.size(), header.data(), header.size()),
                    0);
        }
        world.store->release(block, false);
        world.store->do_work(world.now);
      }
    }
    world.pump();
  }
  return framed;
}

TEST(Framing, WhatIsUsedOftenIsKeptAsItIsSent) {
  StoreLimits limits;
  limits.frame_after = 10;  // four blocks an extent, and the first use of each doesn't count
  StoreWorld world(64, limits);
  TestTorrent torrent =
      make_torrent(world.disk, "t", kPiece, {{2 << 20}}, Hashes::v1, world.random);
  use_all(world, torrent, 3);
  EXPECT_EQ(world.store->counters().framed_extents, 0u);
  use_all(world, torrent, 1);
  EXPECT_EQ(world.store->counters().framed_extents, 32u);
  const std::uint64_t reads = world.disk.reads;
  EXPECT_EQ(use_all(world, torrent, 2), 2 * 128u);
  EXPECT_EQ(world.store->counters().framed_extents, 32u);
  EXPECT_EQ(world.disk.reads, reads);
}

// Blocks that reach over files, end in the middle of extents and begin at any byte of them.
TEST(Framing, HoldsForFilesOfAnyLength) {
  StoreLimits limits;
  limits.frame_after = 4;
  for (const Hashes hashes : {Hashes::v1, Hashes::v2, Hashes::hybrid}) {
    StoreWorld world(96, limits, 7);
    TestTorrent torrent = make_torrent(
        world.disk, "t", kPiece,
        {{300'001}, {65'536}, {16'384 - 46}, {5}, {400'000}, {65'490}, {200'000}, {1'000'003}},
        hashes, world.random);
    verify_all(world, torrent);
    use_all(world, torrent, 4);
    EXPECT_GT(world.store->counters().framed_extents, 20u);
    EXPECT_GT(use_all(world, torrent, 1), 60u);
    // Any range, also one that begins and ends inside of blocks.
    const std::uint64_t reads = world.disk.reads;
    for (int i = 0; i < 2000; ++i)
      ASSERT_TRUE(world.serves_random_range(torrent)) << i;
    EXPECT_EQ(world.disk.reads, reads);
  }
}

TEST(Framing, NeverWritesWhatTheKernelStillRefersTo) {
  StoreLimits limits;
  limits.frame_after = 4;
  limits.policy = StoreLimits::Policy::lru;
  StoreWorld world(24, limits);
  TestTorrent torrent =
      make_torrent(world.disk, "t", kPiece, {{8 << 20}}, Hashes::v1, world.random);
  verify_all(world, torrent);
  // A part at a time gets hot, is framed and goes out; its slabs are then others'.
  for (std::uint32_t first = 0; first + 8 <= torrent.content->blocks.piece_count(); first += 8) {
    for (int i = 0; i < 6; ++i) {
      for (std::uint32_t block = 0; block < 32; ++block) {
        const std::uint32_t at = first * kPiece + block * kBlockSize;
        const BlockWant want{torrent.content.get(), PieceIndex(at / kPiece), at % kPiece,
                             kBlockSize, 1};
        Block out;
        if (world.store->want(world.now, want, out) == WantStatus::ready) {
          for (std::uint8_t p = 0; p < out.part_count; ++p) {
            const std::uint32_t in_front = out.framed && p == 0 ? wire::kPieceHeaderSize : 0u;
            if (out.parts[p].hot)
              world.disk.expose(out.parts[p].data - in_front, out.parts[p].length + in_front);
          }
          world.store->release(out, true);
        }
        world.pump();
        world.answers.clear();
      }
    }
  }
  EXPECT_GT(world.store->counters().framed_extents, 100u);
  EXPECT_GT(world.disk.renewed_pages, 1000u);
  EXPECT_FALSE(world.disk.overwrote_exposed());
}

TEST(PoolShare, HangingPoolsAlwaysLeaveSomething) {
  for (const std::uint32_t total : {8u, 32u, 256u}) {
    PoolShare share(total);
    for (std::uint32_t pool = 0; pool < 2; ++pool) {
      while (share.room(PoolIndex(pool)))
        share.begin(PoolIndex(pool));
    }
    EXPECT_EQ(share.of(PoolIndex(0)), total - total / 4);
    EXPECT_GT(share.of(PoolIndex(1)), 0u);
    EXPECT_TRUE(share.room(PoolIndex(2))) << total;
  }
}

TEST(Ghosts, RememberAsManyAsTheyShould) {
  GhostTable ghosts(100);
  for (std::uint64_t key = 0; key < 1000; ++key)
    ghosts.insert(key);
  int known = 0;
  for (std::uint64_t key = 900; key < 1000; ++key)
    known += ghosts.take(key);
  EXPECT_GE(known, 95);
  for (std::uint64_t key = 0; key < 800; ++key)
    EXPECT_FALSE(ghosts.take(key));
  EXPECT_FALSE(ghosts.take(999)) << "taken once";
}

TEST(ExtentTable, FindsWhatIsThereThroughClusters) {
  constexpr std::uint32_t kEntries = 64;
  ExtentTable table(kEntries);
  std::vector<Extent> extents(kEntries);
  std::map<std::uint64_t, std::uint32_t> model;
  Random random(3);
  for (int i = 0; i < 20000; ++i) {
    const std::uint64_t key = random.below(90);
    const auto known = model.find(key);
    ASSERT_EQ(table.find(key, extents.data()),
              known == model.end() ? ExtentTable::kNone : known->second);
    if (known != model.end()) {
      table.erase(key, extents.data());
      model.erase(known);
      continue;
    }
    std::uint32_t index = 0;
    while (index < kEntries && std::any_of(model.begin(), model.end(),
                                           [&](const auto& e) { return e.second == index; })) {
      ++index;
    }
    if (index == kEntries) continue;
    extents[index].key = key;
    table.insert(key, index);
    model[key] = index;
  }
}

}  // namespace
}  // namespace penstock
