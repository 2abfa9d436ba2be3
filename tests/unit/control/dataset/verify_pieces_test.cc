#include "control/dataset/verify_pieces.hh"

#include <filesystem>
#include <mutex>
#include <set>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/dataset/make_torrent.hh"
#include "temp_tree.hh"

namespace penstock::control {
namespace {

// 16 KiB pieces; "set/a" has 7, then "b" is short, "empty" empty, "z" has 4.
struct World {
  explicit World(TorrentFormat format) {
    tree.write("set/a", 100'000, 1);
    tree.write("set/b", 5, 2);
    tree.write("set/empty", 0);
    tree.write("set/z", 60'000, 3);
    auto scanned = scan_tree(tree.path("set"));
    MakeTorrentOptions options;
    options.format = format;
    options.piece_size = 16384;
    auto made = make_torrent(*scanned, options, {});
    if (!made) std::abort();
    metainfo = std::move(made->metainfo);
  }
  VerifyOutcome verify(BlockSink* sink = nullptr) {
    VerifyOptions options;
    options.block_checks = sink != nullptr;
    auto outcome = verify_pieces(metainfo, tree.path(), options, sink, {});
    EXPECT_TRUE(outcome);
    return *outcome;
  }
  void flip(const std::string& below, off_t offset) {
    const int fd = ::open(tree.path(below).c_str(), O_RDWR);
    char byte = 0;
    ASSERT_EQ(::pread(fd, &byte, 1, offset), 1);
    byte = static_cast<char>(byte ^ 1);
    ASSERT_EQ(::pwrite(fd, &byte, 1, offset), 1);
    ::close(fd);
  }
  // Of the piece space.
  std::uint32_t piece_of(const std::string& path, std::uint64_t offset) const {
    for (const FileEntry& file : metainfo.files) {
      if (!file.padding && file.path == path) {
        return metainfo.blocks.piece_at(file.offset + offset).value;
      }
    }
    return ~0u;
  }
  TempTree tree;
  Metainfo metainfo;
};

class VerifyEach : public testing::TestWithParam<TorrentFormat> {};
INSTANTIATE_TEST_SUITE_P(Formats, VerifyEach,
                         testing::Values(TorrentFormat::v1, TorrentFormat::v2,
                                         TorrentFormat::hybrid));

TEST_P(VerifyEach, FindsEverythingRight) {
  World world(GetParam());
  const VerifyOutcome outcome = world.verify();
  EXPECT_TRUE(outcome.complete());
  EXPECT_EQ(outcome.good, world.metainfo.blocks.piece_count());
  EXPECT_TRUE(outcome.files.empty());
}

TEST_P(VerifyEach, FindsOneFlippedBit) {
  for (const auto& [path, offset] :
       std::vector<std::pair<std::string, int>>{{"a", 0}, {"a", 99'999}, {"b", 4}, {"z", 20'000}}) {
    World world(GetParam());
    world.flip("set/" + path, offset);
    const VerifyOutcome outcome = world.verify();
    EXPECT_FALSE(outcome.complete());
    EXPECT_EQ(outcome.bad, 1u);
    EXPECT_EQ(outcome.pieces[world.piece_of(path, static_cast<std::uint64_t>(offset))],
              PieceVerdict::bad);
    EXPECT_TRUE(outcome.files.empty());
  }
}

TEST_P(VerifyEach, NamesFilesThatAreMissingOrCut) {
  World world(GetParam());
  std::filesystem::remove(world.tree.path("set/b"));
  std::filesystem::remove(world.tree.path("set/empty"));
  std::filesystem::resize_file(world.tree.path("set/z"), 40'000);
  const VerifyOutcome outcome = world.verify();
  ASSERT_EQ(outcome.files.size(), 3u);
  EXPECT_EQ(outcome.files[0].kind, FileProblem::Kind::missing);
  EXPECT_EQ(outcome.files[1].kind, FileProblem::Kind::missing);
  EXPECT_EQ(outcome.files[2].kind, FileProblem::Kind::too_short);
  EXPECT_EQ(outcome.files[2].size, 40'000u);
  EXPECT_EQ(world.metainfo.files[outcome.files[2].file.value].path, "z");
  EXPECT_EQ(outcome.pieces[world.piece_of("b", 0)], PieceVerdict::unreadable);
  EXPECT_EQ(outcome.pieces[world.piece_of("z", 59'999)], PieceVerdict::unreadable);
  EXPECT_EQ(outcome.pieces[0], PieceVerdict::good);
  EXPECT_EQ(outcome.bad, 0u);
}

TEST_P(VerifyEach, IsNotCompleteWithoutAnEmptyFile) {
  World world(GetParam());
  std::filesystem::remove(world.tree.path("set/empty"));
  const VerifyOutcome outcome = world.verify();
  EXPECT_EQ(outcome.good, world.metainfo.blocks.piece_count());
  EXPECT_FALSE(outcome.complete());
}

TEST_P(VerifyEach, DoesNotMindAFileThatIsTooLong) {
  World world(GetParam());
  std::filesystem::resize_file(world.tree.path("set/z"), 70'000);
  const VerifyOutcome outcome = world.verify();
  EXPECT_TRUE(outcome.complete());
  ASSERT_EQ(outcome.files.size(), 1u);
  EXPECT_EQ(outcome.files[0].kind, FileProblem::Kind::too_long);
}

TEST_P(VerifyEach, DeliversBlockChecksOfGoodPiecesOnly) {
  World world(GetParam());
  world.flip("set/a", 20'000);
  class Sink : public BlockSink {
   public:
    void on_good_piece(PieceIndex piece, std::span<const std::uint32_t> checks) override {
      const std::lock_guard lock(mutex);
      pieces.insert(piece.value);
      blocks += checks.size();
    }
    std::mutex mutex;
    std::set<std::uint32_t> pieces;
    std::size_t blocks = 0;
  } sink;
  const VerifyOutcome outcome = world.verify(&sink);
  EXPECT_EQ(sink.pieces.size(), outcome.good);
  EXPECT_EQ(outcome.good + 1, world.metainfo.blocks.piece_count());
  EXPECT_FALSE(sink.pieces.contains(world.piece_of("a", 20'000)));
  EXPECT_EQ(sink.blocks, sink.pieces.size());  // pieces of one block each
}

// A hybrid's data must satisfy both halves: it is served to both swarms.
TEST(Verify, ChecksBothHashesOfAHybrid) {
  World world(TorrentFormat::hybrid);
  world.metainfo.v1_pieces[2].bytes[0] ^= std::byte{1};
  EXPECT_EQ(world.verify().bad, 1u);
  world.metainfo.v1_pieces[2].bytes[0] ^= std::byte{1};
  world.metainfo.files[0].piece_layer[3].bytes[0] ^= std::byte{1};
  const VerifyOutcome outcome = world.verify();
  EXPECT_EQ(outcome.bad, 1u);
  EXPECT_EQ(outcome.pieces[3], PieceVerdict::bad);
}

TEST(Verify, FailsWithoutTheDirectoryOrThePieceLayers) {
  World world(TorrentFormat::v2);
  EXPECT_FALSE(verify_pieces(world.metainfo, world.tree.path("none"), {}, nullptr, {}));
  world.metainfo.piece_layers_missing = true;
  EXPECT_FALSE(verify_pieces(world.metainfo, world.tree.path(), {}, nullptr, {}));
}

TEST(Verify, NamesTheFilesOfAPiece) {
  World world(TorrentFormat::v1);
  const PieceLayout layout(world.metainfo.files, world.metainfo.blocks);
  // The piece in which a ends, b lies and z begins.
  const auto files = files_of_piece(layout, PieceIndex(world.piece_of("b", 0)));
  ASSERT_EQ(files.size(), 3u);
  EXPECT_EQ(world.metainfo.files[files[0].value].path, "a");
  EXPECT_EQ(world.metainfo.files[files[1].value].path, "b");
  EXPECT_EQ(world.metainfo.files[files[2].value].path, "z");
}

}  // namespace
}  // namespace penstock::control
