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
  // Piece 3 begins in the file before.
  for (const StoreEvent& event : world.events) {
    EXPECT_EQ(event.file, FileIndex(1));
    EXPECT_EQ(event.error, IoError::forbidden);
    EXPECT_EQ(event.cause, StoreEvent::Cause::no_file);
  }
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
  for (const StoreEvent& event : world.events)
    EXPECT_EQ(event.cause, StoreEvent::Cause::wrong_bytes);
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

// A read that ends badly after its torrent was forgotten: the torrent is freed next, and nothing
// may remember its files.
TEST(StoreFault, ReadsThatFailAfterTheTorrentWasForgotten) {
  for (const bool packed : {false, true}) {
    for (const IoError error :
         {IoError::media, IoError::exhausted, IoError::stale, IoError::none}) {
      SCOPED_TRACE(static_cast<int>(error));
      StoreWorld world;
      const std::vector<TestFile> files =
          packed ? std::vector<TestFile>(20, {3'000}) : std::vector<TestFile>{{300'000}};
      TestTorrent torrent = make_torrent(world.disk, "t", 32768, files, Hashes::v1, world.random);
      TestTorrent other =
          make_torrent(world.disk, "o", 32768, {{100'000}}, Hashes::v1, world.random);
      if (error == IoError::none) world.disk.files.at("t/0").bytes.resize(100);
      ASSERT_EQ(world.ask(torrent, PieceIndex(0), 0, kBlockSize, 1), WantStatus::pending);
      world.store->do_work(world.now);
      world.submit();  // the open
      world.disk.fail_at = error == IoError::none ? 0 : world.disk.submitted + 1;
      world.disk.fail_error = error;
      world.complete(1);
      world.store->do_work(world.now);
      ASSERT_TRUE(world.submit());  // the read
      world.store->forget(torrent.content.get());
      world.events.clear();
      world.advance(Duration::seconds(1));
      ASSERT_TRUE(world.store->forgotten(torrent.content.get()));
      torrent.content.reset();
      world.advance(Duration::seconds(200));
      EXPECT_TRUE(world.events.empty());
      EXPECT_EQ(world.fetch(other, PieceIndex(0), 0, kBlockSize).status, WantStatus::ready);
    }
  }
}

// A missing file comes back while the process is out of descriptors: nobody wants its lost pieces,
// so only its timer can try again.
TEST(StoreFault, AFileThatComesBackWhileDescriptorsRunOut) {
  StoreWorld world;
  TestTorrent torrent = make_torrent(world.disk, "t", 32768, {{100'000}}, Hashes::v1, world.random);
  world.disk.open_errors["t/0"] = IoError::not_found;
  ASSERT_EQ(world.fetch(torrent, PieceIndex(0), 0, kBlockSize).status, WantStatus::lost);
  world.disk.open_errors.clear();
  world.disk.fail_at = world.disk.submitted + 2;  // the check finds it, the open doesn't
  world.disk.fail_error = IoError::exhausted;
  world.advance(Duration::seconds(30));
  EXPECT_EQ(world.count(StoreEvent::Kind::piece_recovered), 4u);
  EXPECT_EQ(world.fetch(torrent, PieceIndex(0), 0, kBlockSize).status, WantStatus::ready);
}

// The keys that a changed file gets may follow its old ones: a read of its old end must not run on
// into its new beginning.
TEST(StoreFault, AReadOfTheOldVersionEndsWhereTheFileEnds) {
  StoreLimits limits;
  limits.open_files_max = 1;
  limits.policy = StoreLimits::Policy::lru;
  StoreWorld world(160, limits);
  TestTorrent other = make_torrent(world.disk, "o", 65536, {{16 << 20}}, Hashes::v1, world.random);
  ASSERT_EQ(world.fetch(other, PieceIndex(0), 0, kBlockSize).status, WantStatus::ready);
  TestTorrent torrent = make_torrent(world.disk, "t", 65536, {{2 << 20}}, Hashes::v1, world.random);
  const auto fetch_all = [&] {
    for (std::uint32_t piece = 0; piece < 32; ++piece)
      EXPECT_EQ(world.fetch(torrent, PieceIndex(piece), 0, kBlockSize).status, WantStatus::ready);
  };
  fetch_all();
  // Its handle is closed and its bytes leave the cache.
  for (std::uint32_t piece = 0; piece < 256; ++piece)
    ASSERT_EQ(world.fetch(other, PieceIndex(piece), 0, kBlockSize).status, WantStatus::ready);
  world.disk.touch("t/0");
  std::uint64_t token = 0;
  for (std::uint32_t begin = 0; begin < 65536; begin += kBlockSize)
    ASSERT_EQ(world.ask(torrent, PieceIndex(31), begin, kBlockSize, ++token), WantStatus::pending);
  ASSERT_EQ(world.ask(torrent, PieceIndex(0), 0, kBlockSize, ++token), WantStatus::pending);
  world.advance(Duration::seconds(1));
  EXPECT_EQ(world.count(StoreEvent::Kind::file_changed), 1u);
  EXPECT_EQ(world.count(StoreEvent::Kind::piece_lost), 0u);
  for (std::uint64_t t = 1; t <= token; ++t)
    EXPECT_EQ(world.answers.at(t).status, WantStatus::ready);
  fetch_all();
}

// Pages that went out by reference, and a read into them that fails before they were renewed.
TEST(StoreFault, ExposedPagesStayExposedWhenAReadFails) {
  for (const IoError error : {IoError::stale, IoError::exhausted}) {
    for (std::uint64_t n = 1; n < 40; n += 2) {
      SCOPED_TRACE("operation " + std::to_string(n));
      StoreLimits limits;
      limits.policy = StoreLimits::Policy::lru;
      limits.frame_after = 0;
      StoreWorld world(20, limits);
      TestTorrent torrent =
          make_torrent(world.disk, "t", 65536, {{3 << 20}}, Hashes::v1, world.random);
      for (std::uint32_t piece = 0; piece < 48; ++piece)
        ASSERT_EQ(world.fetch(torrent, PieceIndex(piece), 0, kBlockSize).status, WantStatus::ready);
      Block block;
      ASSERT_EQ(world.fetch(torrent, PieceIndex(5), 0, kBlockSize).status, WantStatus::ready);
      for (int i = 0; i < 4; ++i) {
        ASSERT_EQ(world.store->want(
                      world.now, {torrent.content.get(), PieceIndex(5), 0, kBlockSize, 1}, block),
                  WantStatus::ready);
        if (i < 3) world.store->release(block, false);
      }
      ASSERT_TRUE(block.parts[0].hot);
      world.disk.expose(block.parts[0].data, kBlockSize);
      world.store->release(block, true);
      world.disk.fail_at = world.disk.submitted + n;
      world.disk.fail_error = error;
      for (std::uint32_t piece = 8; piece < 48; ++piece)
        world.fetch(torrent, PieceIndex(piece), 0, kBlockSize);
      ASSERT_FALSE(world.disk.overwrote_exposed());
    }
  }
}

// A pool hangs with all its torrents, more than one: those of another pool are served and repaired.
class HangingPool : public testing::TestWithParam<bool> {};

TEST_P(HangingPool, StopsNobodyElse) {
  const bool packed = GetParam();
  StoreLimits limits;
  limits.wants_max = 512;
  StoreWorld world(256, limits);
  const std::vector<TestFile> files =
      packed ? std::vector<TestFile>(150, {20'000}) : std::vector<TestFile>(40, {100'000});
  std::vector<TestTorrent> sick;
  for (int i = 0; i < 6; ++i) {
    sick.push_back(make_torrent(world.disk, "sick" + std::to_string(i), 32768, files, Hashes::v1,
                                world.random, VerifyMode::lazy, PoolIndex(1)));
  }
  TestTorrent well = make_torrent(world.disk, "well", 32768, files, Hashes::v1, world.random);
  TestTorrent hurt = make_torrent(world.disk, "hurt", 32768, {{100'000}}, Hashes::v1, world.random);
  // A piece of theirs is wrong, and hangs when it is proven again in the background.
  world.disk.files.at("sick0/39").bytes[5] ^= std::byte{1};
  const ContentFile& wrong = sick[0].content->files[39];
  const PieceIndex lost = sick[0].content->blocks.piece_at(wrong.offset + 5);
  ASSERT_EQ(world.fetch(sick[0], lost, 0, 100).status, WantStatus::lost);
  // Some of it is verified before the disk hangs, some is not.
  for (TestTorrent& torrent : sick) {
    for (std::uint32_t piece = 0; piece < 60; ++piece)
      world.fetch(torrent, PieceIndex(piece), 0, 100);
  }
  world.disk.files.at("hurt/0").bytes[40'000] ^= std::byte{1};
  ASSERT_EQ(world.fetch(hurt, PieceIndex(1), 0, 100).status, WantStatus::lost);

  for (const auto& [path, file] : world.disk.files) {
    if (path.starts_with("sick")) world.disk.hanging.insert(path);
  }
  world.disk.hanging.erase("sick0/39");  // its check says that it changed
  world.disk.touch("sick0/39");
  std::uint64_t token = 0;
  for (int round = 0; round < 20; ++round) {
    for (TestTorrent& torrent : sick) {
      const std::uint32_t pieces = torrent.content->blocks.piece_count();
      for (std::uint32_t i = 0; i < pieces; ++i)
        world.ask(torrent, PieceIndex((i * 7 + static_cast<std::uint32_t>(round)) % pieces), 0, 100,
                  ++token);
    }
    world.advance(Duration::milliseconds(500));
  }
  for (std::uint32_t i = 0; i < well.content->blocks.piece_count(); ++i) {
    const std::uint32_t length =
        std::min(kBlockSize, well.content->blocks.piece_length(PieceIndex(i)));
    ASSERT_EQ(world.fetch(well, PieceIndex(i), 0, length).status, WantStatus::ready) << i;
  }
  // What was wrong is repaired, in the background.
  world.disk.files.at("hurt/0").bytes = hurt.file_bytes(0);
  world.disk.touch("hurt/0");
  world.advance(Duration::seconds(10));
  EXPECT_TRUE(hurt.content->pieces->offered(PieceIndex(1)));
  world.disk.hanging.clear();
  world.advance(Duration::seconds(5));
  for (TestTorrent& torrent : sick)
    EXPECT_EQ(world.fetch(torrent, PieceIndex(40), 0, 100).status, WantStatus::ready);
}

INSTANTIATE_TEST_SUITE_P(Layouts, HangingPool, testing::Bool());

}  // namespace
}  // namespace penstock
