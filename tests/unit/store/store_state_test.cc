// Layout, homes, and what is kept across restarts.
#include <gtest/gtest.h>

#include "store/verify_state.hh"
#include "test_torrent.hh"

namespace penstock {
namespace {

TEST(Layout, SafePaths) {
  for (const char* good : {"a", "a/b", "a..b", "...", "a/ b", "\xc3\xa4/\xe6\x97\xa5"})
    EXPECT_TRUE(is_safe_path(good)) << good;
  for (const char* bad : {"", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/..", "./a"})
    EXPECT_FALSE(is_safe_path(bad)) << bad;
  EXPECT_FALSE(is_safe_path(std::string_view("a\0b", 3)));
  EXPECT_FALSE(is_safe_path(std::string(5000, 'a')));
}

Metainfo two_files() {
  Metainfo metainfo;
  metainfo.name = "set";
  metainfo.blocks = {100'000, 32768};
  metainfo.has_v1 = true;
  metainfo.v1_pieces.resize(4);
  metainfo.files.resize(2);
  metainfo.files[0].path = "a/one";
  metainfo.files[0].length = 70'000;
  metainfo.files[1].path = "two";
  metainfo.files[1].length = 30'000;
  metainfo.files[1].offset = 70'000;
  return metainfo;
}

TEST(Layout, PathsAreBelowTheName) {
  const auto content = make_content(two_files(), TorrentSlot(3), PoolIndex(1), VerifyMode::lazy, 2);
  ASSERT_TRUE(content) << content.error().message;
  EXPECT_EQ((*content)->files[0].path, "set/a/one");
  EXPECT_EQ((*content)->files[1].path, "set/two");
  EXPECT_EQ((*content)->shard_state.size(), 2u);
  EXPECT_EQ((*content)->regions.size(), 2u);
}

TEST(Layout, RefusesWhatWouldLeaveTheDirectory) {
  Metainfo metainfo = two_files();
  metainfo.files[1].path = "../two";
  const auto content = make_content(metainfo, TorrentSlot(), PoolIndex(), VerifyMode::lazy, 1);
  ASSERT_FALSE(content);
  EXPECT_EQ(content.error().kind, ErrorKind::usage);
}

TEST(Layout, RefusesV2WithoutLayers) {
  Metainfo metainfo = two_files();
  metainfo.has_v2 = true;
  metainfo.piece_layers_missing = true;
  EXPECT_FALSE(make_content(metainfo, TorrentSlot(), PoolIndex(), VerifyMode::lazy, 1));
}

// 256 TiB is what metainfo allows: an error, whatever there is of memory, and no crash.
TEST(Layout, RefusesWhatIsTooLargeToServe) {
  Metainfo metainfo = two_files();
  metainfo.blocks = {std::uint64_t{1} << 48, 1u << 29};
  metainfo.v1_pieces.resize(std::size_t{1} << 19);
  metainfo.files[1].length = metainfo.blocks.total_size - metainfo.files[1].offset;
  const auto content = make_content(metainfo, TorrentSlot(), PoolIndex(), VerifyMode::lazy, 1);
  ASSERT_FALSE(content);
  EXPECT_EQ(content.error().message,
            "a torrent of 256 TiB is larger than this machine can keep checksums of");
}

TEST(Homes, WholeRegionsEvenlySpread) {
  TorrentContent content;
  content.blocks = {std::uint64_t{100} << 30, 262144};
  std::array<int, 4> count{};
  for (std::uint32_t i = 0; i < content.blocks.piece_count(); ++i) {
    const ShardId home = content.home(PieceIndex(i), 4);
    ASSERT_LT(home.value, 4);
    ++count[home.value];
    if (i % 16 != 0) {
      EXPECT_EQ(home, content.home(PieceIndex(i - 1), 4));
    }
    EXPECT_EQ(content.home(PieceIndex(i), 1), ShardId(0));
  }
  for (const int of : count)
    EXPECT_NEAR(of, 102400, 10000);
}

struct Saved {
  TestDisk disk;
  Random random{5};
  TestTorrent torrent;
  std::vector<std::byte> state;
  WireInfoHash hash;
};

// A torrent of which pieces 0 … 5 were verified, and its state.
void save(StoreWorld& world, TestTorrent& torrent, const WireInfoHash& hash,
          std::vector<std::byte>& state) {
  for (std::uint32_t i = 0; i < 6; ++i)
    ASSERT_EQ(world.fetch(torrent, PieceIndex(i), 0, kBlockSize).status, WantStatus::ready);
  world.store->forget(torrent.content.get());
  world.advance(Duration::seconds(1));
  ASSERT_TRUE(world.store->forgotten(torrent.content.get()));
  state = encode_verify_state(*torrent.content, hash);
}

// The same torrent after a restart: same seed, same files.
TestTorrent again(StoreWorld& world) {
  world.random = Random(77);
  return make_torrent(world.disk, "t", 65536, {{300'000}, {200'001}}, Hashes::v1, world.random);
}

class VerifyState : public testing::Test {
 protected:
  void SetUp() override {
    hash_.bytes[0] = std::byte{7};
    TestTorrent before = again(world_);
    files_ = world_.disk.files;
    save(world_, before, hash_, state_);
    torrent_ = again(world_);
    world_.disk.files = files_;
  }

  StoreWorld world_;
  WireInfoHash hash_;
  std::map<std::string, TestDisk::File> files_;
  std::vector<std::byte> state_;
  TestTorrent torrent_;
};

TEST_F(VerifyState, SurvivesARestart) {
  const auto applied = apply_verify_state(*torrent_.content, hash_, state_);
  ASSERT_TRUE(applied) << applied.error().message;
  // Piece 4 touches the second file, which was opened for it too.
  EXPECT_EQ(*applied, 6u);
  const std::uint64_t hashed = world_.store->counters().bytes_hashed;
  for (std::uint32_t i = 0; i < 6; ++i)
    EXPECT_EQ(world_.fetch(torrent_, PieceIndex(i), 0, kBlockSize).status, WantStatus::ready);
  EXPECT_EQ(world_.store->counters().bytes_hashed, hashed) << "nothing is hashed again";
  EXPECT_EQ(torrent_.content->pieces->get(PieceIndex(6)), PieceState::unverified);
}

TEST_F(VerifyState, AChangedFileIsVerifiedAnew) {
  ASSERT_TRUE(apply_verify_state(*torrent_.content, hash_, state_));
  world_.disk.touch("t/0");
  const std::uint64_t hashed = world_.store->counters().bytes_hashed;
  EXPECT_EQ(world_.fetch(torrent_, PieceIndex(0), 0, kBlockSize).status, WantStatus::ready);
  EXPECT_EQ(world_.store->counters().bytes_hashed, hashed + 65536);
  EXPECT_EQ(world_.count(StoreEvent::Kind::file_changed), 1u);
  EXPECT_EQ(torrent_.content->pieces->get(PieceIndex(1)), PieceState::unverified);
}

TEST_F(VerifyState, AnyDamageIsRefused) {
  for (std::size_t i = 0; i < state_.size(); ++i) {
    std::vector<std::byte> damaged = state_;
    damaged[i] ^= std::byte{16};
    EXPECT_FALSE(apply_verify_state(*torrent_.content, hash_, damaged)) << "byte " << i;
  }
  for (std::size_t size = 0; size < state_.size(); ++size) {
    EXPECT_FALSE(apply_verify_state(*torrent_.content, hash_, std::span(state_).first(size)));
  }
  std::vector<std::byte> longer = state_;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(apply_verify_state(*torrent_.content, hash_, longer));
  WireInfoHash other;
  EXPECT_FALSE(apply_verify_state(*torrent_.content, other, state_));
  EXPECT_EQ(torrent_.content->pieces->get(PieceIndex(0)), PieceState::unverified);
}

}  // namespace
}  // namespace penstock
