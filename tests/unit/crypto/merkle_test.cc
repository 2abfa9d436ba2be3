#include "crypto/merkle.hh"

#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "crypto/hash_batch.hh"

namespace penstock {
namespace {

std::vector<std::byte> pattern(std::size_t size) {
  std::vector<std::byte> data(size);
  for (std::size_t i = 0; i < size; ++i)
    data[i] = static_cast<std::byte>(i * 31 + (i >> 8) * 7 + (i >> 16) * 13);
  return data;
}

std::vector<Sha256Digest> leaves_of(std::span<const std::byte> data) {
  std::vector<Sha256Digest> leaves((data.size() + kBlockSize - 1) / kBlockSize);
  HashBatch().leaves(data, leaves);
  return leaves;
}

// Distinct digests without hashing megabytes.
std::vector<Sha256Digest> made_up(std::size_t count) {
  std::vector<Sha256Digest> digests(count);
  for (std::size_t i = 0; i < count; ++i)
    digests[i] = sha256(std::as_bytes(std::span(&i, 1)));
  return digests;
}

// Every layer of the whole padded tree, the slow and obvious way.
std::vector<std::vector<Sha256Digest>> whole_tree(std::vector<Sha256Digest> leaves) {
  leaves.resize(std::bit_ceil(leaves.size()));
  std::vector<std::vector<Sha256Digest>> layers{leaves};
  while (layers.back().size() > 1) {
    std::vector<Sha256Digest> up;
    for (std::size_t i = 0; i < layers.back().size(); i += 2) {
      Sha256 hasher;
      hasher.update(layers.back()[i].bytes);
      hasher.update(layers.back()[i + 1].bytes);
      up.push_back(hasher.finish());
    }
    layers.push_back(std::move(up));
  }
  return layers;
}

struct Golden {
  std::size_t size;
  std::uint32_t piece_size;
  std::size_t layer_size;
  const char* root;
  const char* last_of_layer;
};
constexpr Golden kGolden[] = {
// Made by merkle_golden.py with libtorrent.
#include "merkle_golden.inc"
};

TEST(Merkle, AgreesWithLibtorrent) {
  MerkleHasher hasher;
  for (const Golden& golden : kGolden) {
    SCOPED_TRACE(std::to_string(golden.size) + " bytes, pieces of " +
                 std::to_string(golden.piece_size));
    const auto leaves = leaves_of(pattern(golden.size));
    const MerkleShape shape = MerkleShape::of(golden.size, golden.piece_size);
    const std::size_t piece_leaves = golden.piece_size / kBlockSize;
    std::vector<Sha256Digest> layer;
    for (std::size_t i = 0; i < leaves.size(); i += piece_leaves) {
      const std::size_t count = std::min(piece_leaves, leaves.size() - i);
      layer.push_back(hasher.root_of_piece(shape, std::span(leaves).subspan(i, count)));
    }
    ASSERT_EQ(layer.size(), shape.piece_count);
    if (!shape.has_piece_layer()) {
      EXPECT_EQ(golden.layer_size, 0u);
      EXPECT_EQ(layer[0].hex(), golden.root);
      continue;
    }
    EXPECT_EQ(layer.size(), golden.layer_size);
    EXPECT_EQ(layer.back().hex(), golden.last_of_layer);
    EXPECT_EQ(hasher.root_of_piece_layer(shape, layer).hex(), golden.root);
  }
}

TEST(Merkle, RootPadsAnyNumberOfNodes) {
  MerkleHasher hasher;
  for (std::size_t count = 1; count <= 70; ++count) {
    const auto leaves = made_up(count);
    const auto layers = whole_tree(leaves);
    const unsigned height = merkle_height(count);
    ASSERT_EQ(layers.size(), height + 1);
    EXPECT_EQ(hasher.root(leaves, 0, height), layers.back()[0]) << count;
    // Two layers of nothing but padding beside it.
    const Sha256Digest up = hasher.parent(layers.back()[0], hasher.pad(height));
    EXPECT_EQ(hasher.root(leaves, 0, height + 2), hasher.parent(up, hasher.pad(height + 1)));
  }
}

TEST(Merkle, ShapeCountsLayers) {
  constexpr MerkleShape kShape = MerkleShape::of(5 * 65536 + 1, 65536);
  static_assert(kShape.leaf_count == 21 && kShape.piece_count == 6);
  static_assert(kShape.piece_height == 2 && kShape.tree_height == 5);
  static_assert(kShape.node_count(0) == 21 && kShape.node_count(2) == 6 && kShape.width(2) == 8);
  static_assert(!MerkleShape::of(65536, 65536).has_piece_layer());
  static_assert(MerkleShape::of(1, 65536).tree_height == 0);
  EXPECT_EQ(kShape.node_count(5), 1u);
}

// Climbs from a request's hashes and uncles to the root, as a client would.
Sha256Digest climb(MerkleHasher& hasher, const HashRequest& request,
                   std::span<const Sha256Digest> answer) {
  std::vector<Sha256Digest> layer(answer.begin(), answer.begin() + request.length);
  while (layer.size() > 1) {
    for (std::size_t i = 0; i < layer.size() / 2; ++i)
      layer[i] = hasher.parent(layer[2 * i], layer[2 * i + 1]);
    layer.resize(layer.size() / 2);
  }
  Sha256Digest node = layer[0];
  std::uint32_t index = request.index / request.length;
  for (const Sha256Digest& uncle : answer.subspan(request.length)) {
    node = index % 2 == 0 ? hasher.parent(node, uncle) : hasher.parent(uncle, node);
    index /= 2;
  }
  return node;
}

// Asks a file of this many leaves for everything that can be asked for.
void ask_everything(std::size_t leaf_count, unsigned piece_height) {
  SCOPED_TRACE(std::to_string(leaf_count) + " leaves, piece height " +
               std::to_string(piece_height));
  MerkleHasher hasher;
  const auto leaves = made_up(leaf_count);
  const auto layers = whole_tree(leaves);
  const MerkleShape shape = MerkleShape::of(leaf_count * kBlockSize, kBlockSize << piece_height);
  const unsigned base_height = std::min(shape.piece_height, shape.tree_height);
  std::vector<Sha256Digest> base = layers[base_height];
  base.resize(shape.node_count(base_height));
  const MerkleTree tree(hasher, shape, base_height, base);
  ASSERT_EQ(tree.root(), layers.back()[0]);

  int asked = 0;
  for (std::uint32_t layer = 0; layer < shape.tree_height; ++layer) {
    for (std::uint32_t length = 2; length <= shape.width(layer); length *= 2) {
      for (std::uint32_t index = 0; index < shape.width(layer); index += length) {
        for (std::uint32_t proof = 0; proof < shape.tree_height - layer; ++proof) {
          const HashRequest request{layer, index, length, proof};
          ASSERT_TRUE(is_valid(shape, request));
          const auto range = tree.leaves_needed(request);
          const std::size_t first = std::min<std::size_t>(range.first << base_height, leaf_count);
          const std::size_t end =
              std::min<std::size_t>((range.first + range.count) << base_height, leaf_count);
          const auto given = std::span(leaves).subspan(first, range.count == 0 ? 0 : end - first);
          std::vector<Sha256Digest> answer(answer_size(request));
          ASSERT_TRUE(tree.answer(hasher, request, given, answer));
          ++asked;
          for (std::uint32_t i = 0; i < length; ++i)
            ASSERT_EQ(answer[i], layers[layer][index + i]);
          if (proof + 1 == shape.tree_height - layer) {
            ASSERT_EQ(climb(hasher, request, answer), tree.root());
          }
        }
      }
    }
  }
  EXPECT_GT(asked, 0);
}

TEST(Merkle, AnswersEveryValidRequest) {
  for (const std::size_t leaf_count : {2u, 3u, 8u, 21u, 32u, 33u, 64u}) {
    for (const unsigned piece_height : {0u, 2u, 7u})
      ask_everything(leaf_count, piece_height);
  }
}

TEST(Merkle, RefusesWhatTheTreeDoesNotHave) {
  const MerkleShape shape = MerkleShape::of(21 * kBlockSize, 4 * kBlockSize);
  const HashRequest good{2, 4, 4, 1};
  EXPECT_TRUE(is_valid(shape, good));
  const HashRequest bad[] = {
      {5, 0, 2, 0},            // the root's own layer
      {4, 0, 4, 0},            // more than the layer is wide
      {99, 0, 2, 0},           // no such layer
      {2, 8, 2, 0},            // beyond the layer
      {2, 1, 2, 0},            // not aligned to its length
      {2, 0, 1, 0},            // BEP 52: at least two
      {2, 0, 3, 0},            // not a power of two
      {2, 0, 0, 0},            // nothing
      {2, 4, 4, 3},            // proof beyond the root
      {0, 0, 0x80000000u, 0},  // absurd
      {0, 0xfffffffeu, 2, 0},  // would overflow
      {0, 0, 2, 0xffffffffu},  // would overflow
  };
  for (const HashRequest& request : bad)
    EXPECT_FALSE(is_valid(shape, request)) << request.base_layer << ' ' << request.index;
  // A file of one block has no layer below its root.
  EXPECT_FALSE(is_valid(MerkleShape::of(1, 16384), HashRequest{0, 0, 2, 0}));
}

TEST(Merkle, RejectsLeavesThatDoNotLeadToTheTree) {
  MerkleHasher hasher;
  auto leaves = made_up(8);
  const auto layers = whole_tree(leaves);
  const MerkleShape shape = MerkleShape::of(8 * kBlockSize, 4 * kBlockSize);
  const MerkleTree tree(hasher, shape, 2, layers[2]);
  const HashRequest request{0, 0, 4, 0};
  std::vector<Sha256Digest> answer(answer_size(request));
  EXPECT_TRUE(tree.answer(hasher, request, std::span(leaves).first(4), answer));
  EXPECT_FALSE(tree.answer(hasher, request, std::span(leaves).first(3), answer));
  EXPECT_FALSE(tree.answer(hasher, request, {}, answer));
  leaves[3].bytes[31] ^= std::byte{1};
  EXPECT_FALSE(tree.answer(hasher, request, std::span(leaves).first(4), answer));
}

}  // namespace
}  // namespace penstock
