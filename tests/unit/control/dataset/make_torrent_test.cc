#include "control/dataset/make_torrent.hh"

#include <filesystem>

#include <gtest/gtest.h>

#include "control/dataset/piece_layout.hh"
#include "crypto/metainfo_identity.hh"
#include "temp_tree.hh"

namespace penstock::control {
namespace {

void fill(TempTree& tree) {
  tree.write("set/a", 100'000, 1);
  tree.write("set/b/same", 70'000, 2);
  tree.write("set/b/twin", 70'000, 2);
  tree.write("set/empty", 0);
  tree.write("set/é", 1, 3);
}

Result<MadeTorrent> make(const std::string& path, const MakeTorrentOptions& options) {
  auto tree = scan_tree(path);
  if (!tree) return tl::unexpected(tree.error());
  return make_torrent(*tree, options, {});
}

TEST(MakeTorrent, WritesWhatItReadsBack) {
  TempTree tree;
  fill(tree);
  for (const TorrentFormat format : {TorrentFormat::v1, TorrentFormat::v2, TorrentFormat::hybrid}) {
    MakeTorrentOptions options;
    options.format = format;
    options.trackers = {"http://one.example/announce", "udp://two.example:1"};
    options.web_seeds = {"https://seed.example/files"};
    options.is_private = true;
    options.comment = "a comment";
    options.creation_date = 1'700'000'000;
    const auto made = make(tree.path("set"), options);
    ASSERT_TRUE(made) << made.error().message;
    const auto read = load_metainfo(made->file);
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(read->has_v1, format != TorrentFormat::v2);
    EXPECT_EQ(read->has_v2, format != TorrentFormat::v1);
    EXPECT_EQ(read->name, "set");
    EXPECT_EQ(read->tracker_tiers.size(), 2u);
    // BEP 19: the URL of a directory ends with a slash.
    EXPECT_EQ(read->web_seeds, std::vector<std::string>{"https://seed.example/files/"});
    EXPECT_TRUE(read->is_private);
    EXPECT_EQ(read->comment, "a comment");
    EXPECT_EQ(read->creation_date, 1'700'000'000);
    EXPECT_EQ(read->created_by, "Penstock/" PENSTOCK_VERSION);
    EXPECT_EQ(made->metainfo.v1_hash, read->v1_hash);
    EXPECT_EQ(made->metainfo.v2_hash, read->v2_hash);
  }
}

TEST(MakeTorrent, GivesTheSameBytesForTheSameData) {
  TempTree one;
  TempTree two;
  fill(one);
  fill(two);
  MakeTorrentOptions options;
  options.format = TorrentFormat::hybrid;
  options.jobs = 1;
  const auto first = make(one.path("set"), options);
  options.jobs = 5;
  const auto second = make(two.path("set"), options);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->file, second->file);
}

TEST(MakeTorrent, ChoosesPieceSizesThatMakeOneToTwoThousandPieces) {
  EXPECT_EQ(piece_size_for(1), 16384u);
  EXPECT_EQ(piece_size_for(32ull << 20), 16384u);
  EXPECT_EQ(piece_size_for((32ull << 20) + 1), 32768u);
  EXPECT_EQ(piece_size_for(2ull << 30), 1u << 20);
  EXPECT_EQ(piece_size_for(32ull << 30), 16u << 20);
  EXPECT_EQ(piece_size_for(1ull << 46), 16u << 20);
  for (std::uint64_t size = 40ull << 20; size < 32ull << 30; size = size * 5 / 4) {
    const std::uint64_t pieces = (size + piece_size_for(size) - 1) / piece_size_for(size);
    EXPECT_GE(pieces, 1024u) << size;
    EXPECT_LE(pieces, 2048u) << size;
  }
}

TEST(MakeTorrent, RefusesOptionsThatMakeNoTorrent) {
  for (const std::uint64_t size : {1ull, 16383ull, 8192ull, 100'000ull, 1ull << 30}) {
    MakeTorrentOptions options;
    options.piece_size = size;
    ASSERT_FALSE(check_options(options)) << size;
    EXPECT_EQ(check_options(options).error().kind, ErrorKind::usage);
  }
  MakeTorrentOptions options;
  options.trackers = {"tracker.example"};
  EXPECT_NE(check_options(options).error().message.find("\"tracker.example\""), std::string::npos);
  options.trackers = {"http://"};
  EXPECT_FALSE(check_options(options));
  options.trackers = {};
  options.web_seeds = {"udp://seed.example"};
  EXPECT_FALSE(check_options(options));
}

TEST(MakeTorrent, NamesTheFileThatChangedUnderIt) {
  TempTree tree;
  fill(tree);
  auto scanned = scan_tree(tree.path("set"));
  ASSERT_TRUE(scanned);
  std::filesystem::resize_file(tree.path("set/b/same"), 10);
  const auto shorter = make_torrent(*scanned, {}, {});
  ASSERT_FALSE(shorter);
  EXPECT_NE(shorter.error().message.find("\"b/same\": became shorter"), std::string::npos)
      << shorter.error().message;
  std::filesystem::remove(tree.path("set/a"));
  const auto gone = make_torrent(*scanned, {}, {});
  ASSERT_FALSE(gone);
  EXPECT_NE(gone.error().message.find("\"a\": No such file"), std::string::npos)
      << gone.error().message;
}

// BEP 52 has no place for the difference, and clients take the file for the whole torrent.
TEST(MakeTorrent, ADirectoryOfOneFileInV2IsReadAsThatFile) {
  TempTree tree;
  tree.write("set/only", 20'000);
  tree.write("deep/in/only", 20'000);
  MakeTorrentOptions options;
  options.format = TorrentFormat::v2;
  const auto alone = make(tree.path("set"), options);
  ASSERT_TRUE(alone);
  EXPECT_TRUE(alone->metainfo.single_file);
  EXPECT_EQ(path_below_data(alone->metainfo, alone->metainfo.files[0]), "only");
  const auto deep = make(tree.path("deep"), options);
  ASSERT_TRUE(deep);
  EXPECT_FALSE(deep->metainfo.single_file);
  options.format = TorrentFormat::hybrid;
  const auto hybrid = make(tree.path("set"), options);
  ASSERT_TRUE(hybrid);
  EXPECT_FALSE(hybrid->metainfo.single_file);
  EXPECT_EQ(hybrid->metainfo.files.size(), 1u);  // no padding behind an only file
}

TEST(MakeTorrent, CountsProgressInTheTreesBytes) {
  TempTree tree;
  fill(tree);
  const auto scanned = scan_tree(tree.path("set"));
  ASSERT_TRUE(scanned);
  for (const TorrentFormat format : {TorrentFormat::v1, TorrentFormat::v2, TorrentFormat::hybrid}) {
    MakeTorrentOptions options;
    options.format = format;
    std::uint64_t last = 0;
    ASSERT_TRUE(make_torrent(*scanned, options, [&](std::uint64_t bytes) {
      last = bytes;
      return true;
    }));
    EXPECT_EQ(last, scanned->total_bytes);
  }
}

TEST(MakeTorrent, StopsWhenProgressSaysSo) {
  TempTree tree;
  tree.write("set/a", 1);
  std::filesystem::resize_file(tree.path("set/a"), std::uintmax_t{1} << 40);
  const auto scanned = scan_tree(tree.path("set"));
  ASSERT_TRUE(scanned);
  const auto made = make_torrent(*scanned, {}, [](std::uint64_t) { return false; });
  ASSERT_TRUE(made);
  EXPECT_TRUE(made->stopped);
  EXPECT_TRUE(made->file.empty());
}

}  // namespace
}  // namespace penstock::control
