// One fault at every point: the same scenario is run with the Nth operation failing, the file cut
// or a bit flipped before it, for every N. Nothing wrong is given out, every want is answered, and
// two minutes later, the fault being over, everything is served.
#include <gtest/gtest.h>

#include "test_torrent.hh"

namespace penstock {
namespace {

class Scenario {
 public:
  Scenario() : world_(48, small_limits()) {
    torrents_.push_back(make_torrent(world_.disk, "a", 65536,
                                     {{150'000}, {300}, {0}, {5'000}, {70'001}}, Hashes::v1,
                                     world_.random));
    torrents_.push_back(make_torrent(world_.disk, "b", 32768, {{40'000}, {7}, {33'000}},
                                     Hashes::hybrid, world_.random));
  }

  // Wants everything twice, some of it at once. Returns how many operations that took.
  std::uint64_t run(const std::function<void(std::uint64_t)>& before_operation = {}) {
    world_.before_submit = before_operation;
    for (int round = 0; round < 2; ++round) {
      for (std::size_t t = 0; t < torrents_.size(); ++t)
        want_all(t);
      world_.advance(Duration::seconds(1));
    }
    for (const auto& [token, asked] : asked_) {
      const auto answer = world_.answers.find(token);
      EXPECT_NE(answer, world_.answers.end()) << "never answered";
      if (answer == world_.answers.end() || answer->second.status != WantStatus::ready) continue;
      EXPECT_EQ(answer->second.bytes, asked);
    }
    world_.before_submit = {};
    return world_.disk.submitted;
  }

  void repair() {
    for (const TestTorrent& torrent : torrents_) {
      for (std::uint32_t i = 0; i < torrent.content->files.size(); ++i) {
        const ContentFile& file = torrent.content->files[i];
        if (file.padding || world_.disk.files.at(file.path).bytes == torrent.file_bytes(i))
          continue;
        world_.disk.files.at(file.path).bytes = torrent.file_bytes(i);
        world_.disk.touch(file.path);
      }
    }
  }

  void expect_all_served() {
    world_.advance(Duration::seconds(120));
    for (TestTorrent& torrent : torrents_) {
      const BlockInfo& blocks = torrent.content->blocks;
      for (std::uint32_t i = 0; i < blocks.piece_count(); ++i) {
        const std::uint32_t length = std::min(kBlockSize, blocks.piece_length(PieceIndex(i)));
        const auto answer = world_.fetch(torrent, PieceIndex(i), 0, length);
        ASSERT_EQ(answer.status, WantStatus::ready)
            << "torrent " << &torrent - torrents_.data() << " piece " << i;
        ASSERT_EQ(std::memcmp(answer.bytes.data(), torrent.at(PieceIndex(i), 0), length), 0);
      }
    }
  }

  StoreWorld& world() { return world_; }
  const std::vector<TestTorrent>& torrents() const { return torrents_; }

 private:
  static StoreLimits small_limits() {
    StoreLimits limits;
    limits.open_files_max = 4;
    limits.reads_in_flight_max = 8;
    limits.wants_max = 128;
    return limits;
  }

  void want_all(std::size_t t) {
    TestTorrent& torrent = torrents_[t];
    const BlockInfo& blocks = torrent.content->blocks;
    for (std::uint32_t p = 0; p < blocks.piece_count(); ++p) {
      const PieceIndex piece(p);
      for (std::uint32_t begin = 0; begin < blocks.piece_length(piece); begin += kBlockSize) {
        const std::uint32_t length = std::min(kBlockSize, blocks.piece_length(piece) - begin);
        const std::uint64_t token = ++token_;
        if (world_.ask(torrent, piece, begin, length, token) == WantStatus::busy) continue;
        asked_[token] = {torrent.at(piece, begin), torrent.at(piece, begin) + length};
      }
      if (p % 3 == 2) world_.pump();
    }
  }

  StoreWorld world_;
  std::vector<TestTorrent> torrents_;
  std::unordered_map<std::uint64_t, std::vector<std::byte>> asked_;
  std::uint64_t token_ = 0;
};

std::uint64_t operations_of_a_run() {
  Scenario scenario;
  return scenario.run();
}

class FailNth : public testing::TestWithParam<IoError> {};

TEST_P(FailNth, ForAllN) {
  const std::uint64_t operations = operations_of_a_run();
  ASSERT_GT(operations, 20u);
  for (std::uint64_t n = 1; n <= operations && !HasFailure(); ++n) {
    SCOPED_TRACE("operation " + std::to_string(n));
    Scenario scenario;
    scenario.world().disk.fail_at = n;
    scenario.world().disk.fail_error = GetParam();
    scenario.run();
    scenario.expect_all_served();
  }
}

INSTANTIATE_TEST_SUITE_P(Errors, FailNth,
                         testing::Values(IoError::not_found, IoError::forbidden, IoError::media,
                                         IoError::exhausted, IoError::stale, IoError::not_a_file));

// What happens to a file of torrent "a" or "b" before the Nth operation.
void damage_before_every_operation(const std::function<void(TestDisk&, const std::string&)>& damage,
                                   const std::string& path) {
  const std::uint64_t operations = operations_of_a_run();
  for (std::uint64_t n = 1; n <= operations && !testing::Test::HasFailure(); n += 2) {
    SCOPED_TRACE(path + " before operation " + std::to_string(n));
    Scenario scenario;
    TestDisk& disk = scenario.world().disk;
    scenario.run([&](std::uint64_t submitted) {
      if (submitted + 1 == n) damage(disk, path);
    });
    scenario.world().advance(Duration::seconds(5));
    scenario.repair();
    scenario.expect_all_served();
  }
}

TEST(StoreFault, CutAtEveryPoint) {
  for (const char* path : {"a/0", "a/3", "b/2"}) {
    damage_before_every_operation(
        [](TestDisk& disk, const std::string& of) {
          disk.files.at(of).bytes.resize(disk.files.at(of).bytes.size() / 3);
          disk.touch(of);
        },
        path);
  }
}

TEST(StoreFault, FlippedAtEveryPoint) {
  for (const char* path : {"a/0", "a/1", "b/2"}) {
    damage_before_every_operation(
        [](TestDisk& disk, const std::string& of) {
          std::vector<std::byte>& bytes = disk.files.at(of).bytes;
          bytes[bytes.size() / 2] ^= std::byte{1};
        },
        path);
  }
}

TEST(StoreFault, ReplacedAtEveryPoint) {
  damage_before_every_operation(
      [](TestDisk& disk, const std::string& of) {
        disk.put(of, std::vector<std::byte>(disk.files.at(of).bytes.size(), std::byte{9}));
      },
      "a/4");
}

TEST(StoreFault, QueueFullAtEveryPoint) {
  const std::uint64_t operations = operations_of_a_run();
  for (std::uint64_t n = 1; n <= operations && !HasFailure(); ++n) {
    Scenario scenario;
    TestDisk& disk = scenario.world().disk;
    bool refused = false;
    scenario.run([&](std::uint64_t submitted) {
      if (submitted + 1 == n && !refused) disk.refuse_next = 1;
      refused |= submitted + 1 == n;
    });
    ASSERT_TRUE(refused);
    scenario.expect_all_served();
  }
}

// Reads of one file never come back: the other files, of that torrent and of others, go on.
TEST(StoreFault, HangingFileStopsNobodyElse) {
  StoreLimits limits;
  limits.reads_in_flight_max = 16;
  limits.wants_max = 256;
  StoreWorld world(128, limits);
  TestTorrent sick =
      make_torrent(world.disk, "sick", 32768, {{4 << 20}, {200'000}}, Hashes::v1, world.random);
  TestTorrent well = make_torrent(world.disk, "well", 32768, {{2 << 20}, {100}, {3'000}},
                                  Hashes::v1, world.random);
  world.disk.hanging.insert("sick/0");
  std::uint64_t token = 0;
  for (std::uint32_t i = 0; i < 100; ++i)
    world.ask(sick, PieceIndex(i % 60), 0, kBlockSize, ++token);
  world.advance(Duration::seconds(1));
  const BlockInfo& blocks = well.content->blocks;
  for (std::uint32_t i = 0; i < blocks.piece_count(); ++i) {
    const std::uint32_t length = std::min(kBlockSize, blocks.piece_length(PieceIndex(i)));
    ASSERT_EQ(world.fetch(well, PieceIndex(i), 0, length).status, WantStatus::ready);
  }
  world.disk.hanging.clear();
  world.advance(Duration::seconds(1));
  EXPECT_EQ(world.fetch(sick, PieceIndex(0), 0, kBlockSize).status, WantStatus::ready);
}

// A verified torrent whose disk then hangs.
TEST(StoreFault, HangingReadsOfVerifiedPieces) {
  StoreLimits limits;
  limits.reads_in_flight_max = 16;
  limits.wants_max = 512;
  StoreWorld world(96, limits);
  TestTorrent sick =
      make_torrent(world.disk, "sick", 65536, {{16 << 20}}, Hashes::v1, world.random);
  TestTorrent well = make_torrent(world.disk, "well", 65536, {{2 << 20}}, Hashes::v1, world.random);
  for (std::uint32_t i = 0; i < 256; ++i)
    ASSERT_EQ(world.fetch(sick, PieceIndex(i), 0, kBlockSize).status, WantStatus::ready);
  world.disk.hanging.insert("sick/0");
  std::uint64_t token = 0;
  for (std::uint32_t i = 0; i < 256; ++i)
    world.ask(sick, PieceIndex(i), 16384, kBlockSize, ++token);
  world.pump();
  for (std::uint32_t i = 0; i < 32; ++i)
    ASSERT_EQ(world.fetch(well, PieceIndex(i), 0, kBlockSize).status, WantStatus::ready);
}

TEST(StoreFault, ErrorsNameFileAndPiece) {
  StoreWorld world;
  TestTorrent torrent =
      make_torrent(world.disk, "t", 32768, {{100'000}, {200'000}}, Hashes::v1, world.random);
  world.disk.open_errors["t/1"] = IoError::forbidden;
  ASSERT_EQ(world.fetch(torrent, PieceIndex(5), 0, kBlockSize).status, WantStatus::lost);
  ASSERT_EQ(world.count(StoreEvent::Kind::file_error), 1u);
  EXPECT_EQ(world.events[0].file, FileIndex(1));
  EXPECT_EQ(world.events[0].error, IoError::forbidden);
  // Pieces 3 … 9 touch the file: none of them is offered.
  EXPECT_EQ(world.count(StoreEvent::Kind::piece_lost), 7u);
  EXPECT_FALSE(torrent.content->pieces->offered(PieceIndex(3)));
  EXPECT_TRUE(torrent.content->pieces->offered(PieceIndex(2)));
  world.events.clear();
  world.disk.open_errors.clear();
  world.advance(Duration::seconds(3));
  EXPECT_EQ(world.count(StoreEvent::Kind::piece_recovered), 7u);
  EXPECT_EQ(world.fetch(torrent, PieceIndex(5), 0, kBlockSize).status, WantStatus::ready);
}

TEST(StoreFault, ThreeBadPiecesLaterRepaired) {
  StoreWorld world;
  TestTorrent torrent =
      make_torrent(world.disk, "t", 32768, {{1'000'000}}, Hashes::v1, world.random);
  std::vector<std::byte>& bytes = world.disk.files.at("t/0").bytes;
  for (const std::size_t at : {40'000u, 500'000u, 900'000u})
    bytes[at] ^= std::byte{32};
  std::uint32_t lost = 0;
  for (std::uint32_t i = 0; i < torrent.content->blocks.piece_count(); ++i)
    lost += world.fetch(torrent, PieceIndex(i), 0, 1000).status == WantStatus::lost;
  EXPECT_EQ(lost, 3u);
  EXPECT_EQ(world.count(StoreEvent::Kind::piece_lost), 3u);
  bytes = torrent.file_bytes(0);
  world.disk.touch("t/0");
  // Nobody has to ask: they are proven in the background.
  world.advance(Duration::seconds(10));
  EXPECT_EQ(world.count(StoreEvent::Kind::piece_recovered), 3u);
  for (std::uint32_t i = 0; i < torrent.content->blocks.piece_count(); ++i)
    EXPECT_EQ(world.fetch(torrent, PieceIndex(i), 0, 1000).status, WantStatus::ready);
}

TEST(StoreFault, BitRotBehindAVerifiedPieceIsNeverServed) {
  StoreWorld world(20);
  TestTorrent torrent = make_torrent(world.disk, "t", 65536, {{4 << 20}}, Hashes::v2, world.random);
  for (std::uint32_t i = 0; i < 64; ++i)
    ASSERT_EQ(world.fetch(torrent, PieceIndex(i), 0, kBlockSize).status, WantStatus::ready);
  // Piece 0 has left the small cache; its bytes rot, and nothing tells.
  world.disk.files.at("t/0").bytes[20'000] ^= std::byte{1};
  EXPECT_EQ(world.fetch(torrent, PieceIndex(0), 0, kBlockSize).status, WantStatus::ready);
  EXPECT_EQ(world.fetch(torrent, PieceIndex(0), kBlockSize, kBlockSize).status, WantStatus::lost);
  EXPECT_EQ(world.store->counters().checksum_mismatches, 1u);
  EXPECT_FALSE(torrent.content->pieces->offered(PieceIndex(0)));
}

}  // namespace
}  // namespace penstock
