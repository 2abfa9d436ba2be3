#include "control/dataset/piece_layout.hh"

#include <gtest/gtest.h>

namespace penstock::control {
namespace {

FileEntry file(std::string path, std::uint64_t offset, std::uint64_t length, bool padding = false) {
  FileEntry entry;
  entry.path = std::move(path);
  entry.offset = offset;
  entry.length = length;
  entry.padding = padding;
  return entry;
}

TEST(PieceLayout, CutsPiecesAcrossFilesAndPassesOverEmptyOnes) {
  const std::vector<FileEntry> files{file("a", 0, 30), file("empty", 30, 0), file("b", 30, 5),
                                     file("c", 35, 100)};
  const PieceLayout layout(files, {135, 40});
  std::vector<Segment> segments;
  layout.segments(PieceIndex(0), segments);
  ASSERT_EQ(segments.size(), 3u);
  EXPECT_EQ(segments[0].file, FileIndex(0));
  EXPECT_EQ(segments[0].length, 30u);
  EXPECT_EQ(segments[1].file, FileIndex(2));
  EXPECT_EQ(segments[1].length, 5u);
  EXPECT_EQ(segments[2].file, FileIndex(3));
  EXPECT_EQ(segments[2].length, 5u);
  layout.segments(PieceIndex(3), segments);
  ASSERT_EQ(segments.size(), 1u);
  EXPECT_EQ(segments[0].offset, 85u);
  EXPECT_EQ(segments[0].length, 15u);
  EXPECT_EQ(layout.total_bytes(), 135u);
}

TEST(PieceLayout, KnowsThePartOfAFileThatAV2PieceIs) {
  constexpr std::uint64_t kPiece = 16384;
  const std::vector<FileEntry> files{file("a", 0, kPiece + 1),
                                     file(".pad", kPiece + 1, kPiece - 1, true),
                                     file("b", 2 * kPiece, 7)};
  const PieceLayout layout(files, {2 * kPiece + 7, kPiece});
  const PiecePart second = layout.part(PieceIndex(1));
  EXPECT_EQ(second.file, FileIndex(0));
  EXPECT_EQ(second.index, 1u);
  EXPECT_EQ(second.length, 1u);
  EXPECT_EQ(second.file_length, kPiece + 1);
  EXPECT_EQ(layout.part(PieceIndex(2)).file, FileIndex(2));
  EXPECT_EQ(layout.part(PieceIndex(2)).length, 7u);

  std::vector<Segment> segments;
  layout.segments(PieceIndex(1), segments);
  ASSERT_EQ(segments.size(), 2u);
  EXPECT_TRUE(segments[1].padding);
  EXPECT_EQ(segments[0].length + segments[1].length, kPiece);
}

TEST(PieceLayout, EndsAPieceWhereAGapBegins) {
  // The same torrent with its padding left implicit.
  const std::vector<FileEntry> files{file("a", 0, 16385), file("b", 32768, 7)};
  const PieceLayout layout(files, {32775, 16384});
  std::vector<Segment> segments;
  layout.segments(PieceIndex(1), segments);
  ASSERT_EQ(segments.size(), 1u);
  EXPECT_EQ(segments[0].length, 1u);
}

TEST(PieceLayout, PutsFilesBelowTheName) {
  Metainfo metainfo;
  metainfo.name = "set";
  EXPECT_EQ(path_below_data(metainfo, file("a/b", 0, 1)), "set/a/b");
  metainfo.single_file = true;
  EXPECT_EQ(path_below_data(metainfo, file("set", 0, 1)), "set");
}

}  // namespace
}  // namespace penstock::control
