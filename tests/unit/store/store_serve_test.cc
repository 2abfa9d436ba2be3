// Serving: whatever the layout, every byte that comes out is the torrent's.
#include <gtest/gtest.h>

#include "test_torrent.hh"

namespace penstock {
namespace {

void serve_all(StoreWorld& world, TestTorrent& torrent) {
  const BlockInfo& blocks = torrent.content->blocks;
  for (std::uint32_t p = 0; p < blocks.piece_count(); ++p) {
    const PieceIndex piece(p);
    for (std::uint32_t begin = 0; begin < blocks.piece_length(piece); begin += kBlockSize) {
      const std::uint32_t length = std::min(kBlockSize, blocks.piece_length(piece) - begin);
      const auto answer = world.fetch(torrent, piece, begin, length);
      ASSERT_EQ(answer.status, WantStatus::ready) << "piece " << p << " begin " << begin;
      ASSERT_EQ(std::memcmp(answer.bytes.data(), torrent.at(piece, begin), length), 0);
      ASSERT_EQ(answer.bytes.size(), length);
    }
    ASSERT_EQ(torrent.content->pieces->get(piece), PieceState::verified);
  }
}

struct Case {
  const char* name;
  std::uint32_t piece_size;
  std::vector<TestFile> files;
  Hashes hashes;
};

class Serve : public testing::TestWithParam<Case> {};

TEST_P(Serve, EveryBlockOfATorrent) {
  StoreWorld world;
  const Case& c = GetParam();
  TestTorrent torrent =
      make_torrent(world.disk, "t", c.piece_size, c.files, c.hashes, world.random);
  serve_all(world, torrent);
  EXPECT_TRUE(world.events.empty());
  EXPECT_EQ(world.store->counters().pieces_verified, torrent.content->blocks.piece_count());
  // And again, out of memory or not.
  serve_all(world, torrent);
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, Serve,
    testing::Values(
        Case{"one_file", 262144, {{3 * 1024 * 1024 + 777}}, Hashes::v1},
        Case{"one_tiny_file", 16384, {{5}}, Hashes::v1},
        Case{"odd_piece_size", 100'000, {{1'000'000}, {77'777}, {333'333}}, Hashes::v1},
        Case{"tiny_pieces", 1000, {{70'001}, {3}, {150'000}}, Hashes::v1},
        Case{"big_files", 65536, {{200'001}, {70'000}, {65536}, {131'073}}, Hashes::v1},
        Case{"tiny_files",
             65536,
             {{1}, {2}, {0}, {4095}, {4097}, {16384}, {7}, {60'000}, {9}},
             Hashes::v1},
        Case{"tiny_between_big",
             32768,
             {{100'001}, {10}, {0}, {20}, {200'003}, {5}, {66'000}},
             Hashes::v1},
        Case{"padded",
             65536,
             {{100'000}, {31'072, true}, {3'000}, {62'536, true}, {70'000}},
             Hashes::v1},
        Case{"large_padding", 262144, {{10}, {262'134, true}, {300'000}}, Hashes::v1},
        Case{"v2_one_file", 32768, {{1'000'000}}, Hashes::v2},
        Case{"v2_small_file", 1 << 20, {{50'000}}, Hashes::v2},
        Case{"v2_many", 32768, {{100'000}, {5}, {32768}, {32769}, {0}, {65'535}}, Hashes::v2},
        Case{"v2_big_pieces", 1 << 20, {{3'000'000}, {5}, {1'000'000}}, Hashes::v2},
        Case{"hybrid", 32768, {{100'000}, {5}, {32768}, {32769}, {0}, {65'535}}, Hashes::hybrid},
        Case{"hybrid_big_pieces", 1 << 18, {{700'000}, {5}, {300'000}}, Hashes::hybrid}),
    [](const auto& of) { return std::string(of.param.name); });

TEST(StoreServe, PieceLargerThanTheCache) {
  StoreWorld world(32);
  TestTorrent torrent =
      make_torrent(world.disk, "t", 8 << 20, {{(16 << 20) + 5}}, Hashes::v1, world.random);
  const auto answer = world.fetch(torrent, PieceIndex(1), 5 * kBlockSize, kBlockSize);
  ASSERT_EQ(answer.status, WantStatus::ready);
  EXPECT_EQ(std::memcmp(answer.bytes.data(), torrent.at(PieceIndex(1), 5 * kBlockSize), kBlockSize),
            0);
}

TEST(StoreServe, UnalignedAndShortWants) {
  StoreWorld world;
  TestTorrent torrent =
      make_torrent(world.disk, "t", 65536, {{100'001}, {10}, {200'003}}, Hashes::v1, world.random);
  for (int i = 0; i < 500; ++i)
    ASSERT_TRUE(world.serves_random_range(torrent)) << i;
}

TEST(StoreServe, HitsNeedNoDisk) {
  StoreWorld world;
  TestTorrent torrent = make_torrent(world.disk, "t", 65536, {{65536}}, Hashes::v1, world.random);
  ASSERT_EQ(world.fetch(torrent, PieceIndex(0), 0, kBlockSize).status, WantStatus::ready);
  const std::uint64_t submitted = world.disk.submitted;
  for (std::uint32_t i = 0; i < 4; ++i)
    ASSERT_EQ(world.ask(torrent, PieceIndex(0), i * kBlockSize, kBlockSize, i), WantStatus::ready);
  EXPECT_EQ(world.disk.submitted, submitted);
  EXPECT_EQ(world.store->counters().hits, 4u);
}

}  // namespace
}  // namespace penstock
