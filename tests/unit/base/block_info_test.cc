#include "base/block_info.hh"

#include <gtest/gtest.h>

namespace penstock {
namespace {

TEST(BlockInfo, TheLastPieceMayBeShort) {
  const BlockInfo info{.total_size = 100'000, .piece_size = 32'768};
  EXPECT_EQ(info.piece_count(), 4u);
  EXPECT_EQ(info.piece_length(PieceIndex(2)), 32'768u);
  EXPECT_EQ(info.piece_length(PieceIndex(3)), 1'696u);
  EXPECT_EQ(info.piece_length(PieceIndex(4)), 0u);
  EXPECT_EQ(info.blocks_in_piece(PieceIndex(0)), 2u);
  EXPECT_EQ(info.blocks_in_piece(PieceIndex(3)), 1u);
}

TEST(BlockInfo, ARequestMustLieInsideItsPiece) {
  const BlockInfo info{.total_size = 100'000, .piece_size = 32'768};
  EXPECT_TRUE(info.contains(PieceIndex(3), 0, 1'696));
  EXPECT_FALSE(info.contains(PieceIndex(3), 0, 1'697));
  EXPECT_FALSE(info.contains(PieceIndex(3), 1'696, 1));
  EXPECT_FALSE(info.contains(PieceIndex(0), 32'767, 2));
  EXPECT_FALSE(info.contains(PieceIndex(0), 0, 0));
  EXPECT_FALSE(info.contains(PieceIndex(0), 1, 0xffffffff));
  EXPECT_FALSE(info.contains(PieceIndex(9), 0, 1));
}

TEST(BlockInfo, AnEmptyTorrentHasNoPieces) {
  EXPECT_EQ(BlockInfo{}.piece_count(), 0u);
}

}  // namespace
}  // namespace penstock
