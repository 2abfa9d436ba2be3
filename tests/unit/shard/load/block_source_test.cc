#include "shard/load/block_source.hh"

#include <map>
#include <set>

#include <gtest/gtest.h>

#include "shard/load/piece_checker.hh"
#include "support.hh"

namespace penstock {
namespace {

constexpr std::uint32_t kPiece = 4 * kBlockSize;
constexpr auto kAll = [](PieceIndex) { return true; };

TEST(BlockMap, TheLastPieceAndBlockMayBeShorter) {
  const Metainfo info = make_v1(kPiece + kBlockSize + 5, kPiece);
  const BlockMap map(info);
  EXPECT_EQ(map.piece_count(), 2u);
  EXPECT_EQ(map.block_count(PieceIndex(1)), 2u);
  EXPECT_EQ(map.block(PieceIndex(1), 1).length, 5u);
}

TEST(BlockMap, PaddingIsNotAskedFor) {
  Metainfo info = make_v1(2 * kPiece, kPiece);
  info.files = {{.path = "a", .length = kBlockSize + 1},
                {.path = ".pad/1", .length = kPiece - kBlockSize - 1, .padding = true},
                {.path = "b", .length = kPiece}};
  info.files[1].offset = info.files[0].length;
  info.files[2].offset = kPiece;
  const BlockMap map(info);
  EXPECT_EQ(map.block_count(PieceIndex(0)), 2u);
  EXPECT_EQ(map.block(PieceIndex(0), 1).length, kBlockSize);  // padding in the same block comes
  EXPECT_EQ(map.block_count(PieceIndex(1)), 4u);
}

TEST(BlockMap, InV2AFileEndsItsPiece) {
  Metainfo info;
  info.has_v2 = true;
  info.blocks = {kPiece + 10, kPiece};
  info.files = {{.path = "a", .length = 7}, {.path = "b", .length = 10}};
  info.files[1].offset = kPiece;
  const BlockMap map(info);
  EXPECT_EQ(map.piece_length(PieceIndex(0)), 7u);
  EXPECT_EQ(map.block(PieceIndex(0), 0).length, 7u);
  EXPECT_EQ(map.block(PieceIndex(1), 0).length, 10u);
}

TEST(BlockSource, RandomBlocksReachAllOfThem) {
  const Metainfo info = make_v1(8 * kPiece, kPiece);
  const BlockMap map(info);
  BlockSource source(map, LoadPattern::blocks, 3, 0, 1);
  std::set<std::uint64_t> seen;
  for (int i = 0; i < 2'000; ++i) {
    Request request;
    ASSERT_TRUE(source.peek(kAll, request));
    source.advance();
    seen.insert(std::uint64_t{request.piece.value} * kPiece + request.begin);
  }
  EXPECT_EQ(seen.size(), 32u);
}

TEST(BlockSource, SequentialGoesRoundFromItsOwnPlace) {
  const Metainfo info = make_v1(8 * kPiece, kPiece);
  const BlockMap map(info);
  BlockSource source(map, LoadPattern::sequential, 3, 3, 4);
  for (std::uint32_t i = 0; i < 40; ++i) {
    Request request;
    ASSERT_TRUE(source.peek(kAll, request));
    source.advance();
    EXPECT_EQ(request.piece.value, (6 + i / 4) % 8);
    EXPECT_EQ(request.begin, i % 4 * kBlockSize);
  }
}

TEST(BlockSource, OnlyWhatThePeerHas) {
  const Metainfo info = make_v1(64 * kPiece, kPiece);
  const BlockMap map(info);
  BlockSource source(map, LoadPattern::pieces, 3, 0, 1);
  Request request;
  EXPECT_FALSE(source.peek([](PieceIndex) { return false; }, request));
  ASSERT_TRUE(source.peek([](PieceIndex piece) { return piece.value == 41; }, request));
  EXPECT_EQ(request.piece.value, 41u);
}

TEST(PieceChecker, JudgesAPieceWhenItsLastBlockIsHere) {
  const Metainfo info = make_v1(2 * kPiece, kPiece);
  const BlockMap map(info);
  PieceChecker checker(info, map, 4);
  for (const bool spoiled : {false, true}) {
    for (const std::uint32_t b : {3u, 0u, 2u, 1u}) {
      const Request request = map.block(PieceIndex(1), b);
      std::vector<std::byte> data = content(kPiece + request.begin, request.length);
      if (spoiled && b == 0) data[7] ^= std::byte{0x10};
      // In two parts.
      const std::span<const std::byte> whole(data);
      EXPECT_EQ(checker.on_bytes(request, 0, whole.first(1000), false),
                PieceChecker::Verdict::incomplete);
      const auto verdict = checker.on_bytes(request, 1000, whole.subspan(1000), true);
      const auto expected = b != 1    ? PieceChecker::Verdict::incomplete
                            : spoiled ? PieceChecker::Verdict::bad
                                      : PieceChecker::Verdict::good;
      EXPECT_EQ(verdict, expected);
    }
  }
}

TEST(PieceChecker, V2PiecesAgainstTheirLayerAndSmallFilesAgainstTheirRoot) {
  Metainfo info;
  info.has_v2 = true;
  info.blocks = {3 * kPiece + 9, kPiece};
  info.files = {{.path = "a", .length = 2 * kPiece + 5}, {.path = "b", .length = 9}};
  info.files[1].offset = 3 * kPiece;
  MerkleHasher hasher;
  const BlockMap map(info);
  const auto leaves_of = [&](PieceIndex piece) {
    std::vector<Sha256Digest> leaves;
    for (std::uint32_t b = 0; b < map.block_count(piece); ++b) {
      const Request r = map.block(piece, b);
      leaves.push_back(sha256(content(std::uint64_t{piece.value} * kPiece + r.begin, r.length)));
    }
    return leaves;
  };
  const MerkleShape shape = MerkleShape::of(info.files[0].length, kPiece);
  for (std::uint32_t p = 0; p < 3; ++p)
    info.files[0].piece_layer.push_back(hasher.root_of_piece(shape, leaves_of(PieceIndex(p))));
  info.files[1].pieces_root =
      hasher.root_of_piece(MerkleShape::of(9, kPiece), leaves_of(PieceIndex(3)));

  PieceChecker checker(info, map, 4);
  int good = 0;
  for (std::uint32_t p = 0; p < 4; ++p) {
    for (std::uint32_t b = 0; b < map.block_count(PieceIndex(p)); ++b) {
      const Request r = map.block(PieceIndex(p), b);
      const std::vector<std::byte> data = content(std::uint64_t{p} * kPiece + r.begin, r.length);
      good += checker.on_bytes(r, 0, data, true) == PieceChecker::Verdict::good ? 1 : 0;
    }
  }
  EXPECT_EQ(good, 4);
  std::vector<std::byte> wrong = content(3 * kPiece, 9);
  wrong[8] ^= std::byte{1};
  EXPECT_EQ(checker.on_bytes(map.block(PieceIndex(3), 0), 0, wrong, true),
            PieceChecker::Verdict::bad);
}

}  // namespace
}  // namespace penstock
