#include "control/dataset/hash_pieces.hh"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <mutex>
#include <optional>

#include <gtest/gtest.h>
#include <xxhash.h>

#include "control/dataset/usable_cpus.hh"
#include "crypto/sha.hh"
#include "temp_tree.hh"

namespace penstock::control {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

struct Kept {
  bool read = false;
  ReadFailure failure;
  Sha1Digest v1;
  Sha256Digest v2;
  std::vector<std::uint32_t> checks;
};

class KeepAll : public PieceSink {
 public:
  explicit KeepAll(std::uint32_t pieces) : kept(pieces) {}
  void on_piece(const HashedPiece& piece) override {
    const std::lock_guard lock(mutex_);
    std::optional<Kept>& slot = kept[piece.piece.value];
    EXPECT_FALSE(slot.has_value()) << "piece " << piece.piece.value << " came twice";
    slot = Kept{piece.read,
                piece.failure,
                piece.v1,
                piece.v2,
                {piece.block_checks.begin(), piece.block_checks.end()}};
  }
  std::vector<std::optional<Kept>> kept;

 private:
  std::mutex mutex_;
};

// A v1 torrent of files whose sizes are nothing to a piece.
struct World {
  World(std::initializer_list<std::size_t> sizes, std::uint32_t piece_size) {
    for (const std::size_t size : sizes) {
      FileEntry file;
      file.path = "f" + std::to_string(files.size());
      file.length = size;
      file.offset = all.size();
      all += tree.write(file.path, size, files.size());
      paths.push_back(file.path);
      files.push_back(file);
    }
    blocks = {all.size(), piece_size};
  }
  std::string_view piece(std::uint32_t index) const {
    return std::string_view(all).substr(std::size_t{index} * blocks.piece_size, blocks.piece_size);
  }
  bool run(const HashOptions& options, PieceSink& sink, const HashProgress& progress = {}) {
    const auto directory = DataDirectory::open(tree.path());
    return hash_pieces(PieceLayout(files, blocks), paths, *directory, options, sink, progress);
  }

  TempTree tree;
  std::vector<FileEntry> files;
  std::vector<std::string> paths;
  std::string all;
  BlockInfo blocks;
};

HashOptions with_v1(unsigned jobs) {
  HashOptions options;
  options.v1 = true;
  options.jobs = jobs;
  return options;
}

TEST(HashPieces, HashesAcrossFilesWithAnyNumberOfThreads) {
  // Pieces below and above the read buffer, and one that is no multiple of a block.
  for (const std::uint32_t piece_size : {16384u, 50'000u, 300'000u, 1'048'576u}) {
    World world({100'000, 0, 1, 700'000, 16384, 999'999}, piece_size);
    for (const unsigned jobs : {1u, 3u, 64u}) {
      HashOptions options = with_v1(jobs);
      options.block_checks = true;
      KeepAll sink(world.blocks.piece_count());
      ASSERT_TRUE(world.run(options, sink));
      for (std::uint32_t i = 0; i < world.blocks.piece_count(); ++i) {
        ASSERT_TRUE(sink.kept[i] && sink.kept[i]->read);
        EXPECT_EQ(sink.kept[i]->v1, sha1(bytes_of(world.piece(i)))) << i;
        std::vector<std::uint32_t> checks;
        for (std::string_view rest = world.piece(i); !rest.empty();) {
          const std::size_t size = std::min<std::size_t>(rest.size(), kBlockSize);
          checks.push_back(static_cast<std::uint32_t>(XXH3_64bits(rest.data(), size)));
          rest.remove_prefix(size);
        }
        EXPECT_EQ(sink.kept[i]->checks, checks) << i;
      }
    }
  }
}

TEST(HashPieces, NamesTheFileAndThePlaceThatCanNotBeRead) {
  World world({50'000, 50'000, 50'000}, 32768);
  std::filesystem::resize_file(world.tree.path("f1"), 20'000);
  KeepAll sink(world.blocks.piece_count());
  ASSERT_TRUE(world.run(with_v1(2), sink));
  // Bytes 70,000 to 100,000 are missing: pieces 2 (65,536 …) and 3 (98,304 …).
  EXPECT_TRUE(sink.kept[0]->read);
  EXPECT_TRUE(sink.kept[1]->read);
  ASSERT_FALSE(sink.kept[2]->read);
  EXPECT_EQ(sink.kept[2]->failure.file, FileIndex(1));
  EXPECT_EQ(sink.kept[2]->failure.error, 0);
  EXPECT_FALSE(sink.kept[3]->read);
  EXPECT_TRUE(sink.kept[4]->read);

  std::filesystem::remove(world.tree.path("f0"));
  KeepAll again(world.blocks.piece_count());
  ASSERT_TRUE(world.run(with_v1(1), again));
  EXPECT_EQ(again.kept[0]->failure.error, ENOENT);
  EXPECT_EQ(again.kept[0]->failure.file, FileIndex(0));
}

TEST(HashPieces, CountsAllBytesForProgressAndStopsWhenAsked) {
  World world({500'000}, 16384);
  KeepAll sink(world.blocks.piece_count());
  std::uint64_t last = 0;
  ASSERT_TRUE(world.run(with_v1(1), sink, [&](std::uint64_t bytes) {
    EXPECT_GE(bytes, last);
    last = bytes;
    return true;
  }));
  EXPECT_EQ(last, 500'000u);
}

// A sparse file that no machine hashes before it is told to stop.
TEST(HashPieces, StopsWhenProgressSaysSo) {
  World world({1}, 16 << 20);
  constexpr std::uint64_t kHuge = std::uint64_t{1} << 40;
  std::filesystem::resize_file(world.tree.path("f0"), kHuge);
  world.files[0].length = kHuge;
  world.blocks.total_size = kHuge;
  KeepAll sink(world.blocks.piece_count());
  EXPECT_FALSE(world.run(with_v1(2), sink, [](std::uint64_t) { return false; }));
  EXPECT_FALSE(sink.kept.back().has_value());
}

TEST(HashPieces, CountsTheCpusItMayUse) {
  EXPECT_FALSE(usable_cpus().empty());
}

}  // namespace
}  // namespace penstock::control
