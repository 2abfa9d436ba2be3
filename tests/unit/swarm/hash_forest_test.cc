#include "swarm/hash_forest.hh"

#include <gtest/gtest.h>

#include "base/random.hh"

namespace penstock {
namespace {

Sha256Digest digest(Random& random) {
  Sha256Digest d;
  for (std::byte& b : d.bytes)
    b = static_cast<std::byte>(random.next());
  return d;
}

TEST(HashForest, FindsFilesByTheirRoot) {
  Random random(1);
  constexpr std::uint32_t kPieceSize = 64 * 1024;
  const std::vector<Sha256Digest> layer = {digest(random), digest(random), digest(random)};
  MerkleHasher hasher;
  const auto shape = MerkleShape::of(3 * kPieceSize - 5, kPieceSize);
  const Sha256Digest big = hasher.root_of_piece_layer(shape, layer);
  const Sha256Digest small = digest(random);
  const Sha256Digest unknown = digest(random);
  const HashForest::File files[] = {
      {.root = big,
       .length = 3 * kPieceSize - 5,
       .first_piece = PieceIndex(0),
       .piece_layer = layer},
      {.root = small, .length = 100, .first_piece = PieceIndex(3), .piece_layer = {}},
      {.root = {}, .length = 0, .first_piece = PieceIndex(4), .piece_layer = {}},
      {.root = small, .length = 100, .first_piece = PieceIndex(4), .piece_layer = {}},
      {.root = unknown, .length = 2 * kPieceSize, .first_piece = PieceIndex(5), .piece_layer = {}},
  };
  const HashForest forest(files, kPieceSize);
  EXPECT_EQ(forest.files().size(), 3u);
  ASSERT_NE(forest.find(big), nullptr);
  ASSERT_NE(forest.find(big)->tree, nullptr);
  EXPECT_EQ(forest.find(big)->tree->root(), big);
  EXPECT_EQ(forest.find(big)->tree->node(shape.piece_height, 1, hasher), layer[1]);
  ASSERT_NE(forest.find(small), nullptr);
  EXPECT_EQ(forest.find(small)->first_piece, PieceIndex(3)) << "the first of two alike";
  ASSERT_NE(forest.find(unknown), nullptr);
  EXPECT_EQ(forest.find(unknown)->tree, nullptr) << "its layer isn't known";
  EXPECT_EQ(forest.find(digest(random)), nullptr);
  EXPECT_EQ(forest.find({}), nullptr);
}

}  // namespace
}  // namespace penstock
