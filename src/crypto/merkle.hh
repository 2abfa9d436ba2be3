// The merkle trees of BitTorrent v2 (BEP 52): one per non-empty file.
//
// Leaves are the SHA-256 of the file's 16 KiB blocks (the last one may be shorter and is hashed as
// it is), followed by zero digests up to a power of two. Heights count from the leaves: 0 is the
// leaf layer, piece_height the layer of which a node spans a piece, tree_height the root. Nodes
// that lie wholly beyond the file's end have a value that only depends on their height: pad().
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/block_info.hh"
#include "base/digest.hh"
#include "crypto/sha.hh"

namespace penstock {

// A file of 2^63 bytes has 2^49 leaves.
inline constexpr unsigned kMerkleHeightMax = 49;

// ceil(log2(n)), n > 0: the height of a tree over n nodes.
constexpr unsigned merkle_height(std::uint64_t n) {
  return n <= 1 ? 0 : static_cast<unsigned>(std::bit_width(n - 1));
}

// Where the layers of one file's tree are.
struct MerkleShape {
  std::uint64_t leaf_count = 0;  // blocks that exist
  std::uint64_t piece_count = 0;
  unsigned piece_height = 0;  // log2(piece size / 16 KiB)
  unsigned tree_height = 0;

  // file_length > 0; piece_size a power of two of at least 16 KiB (BEP 52).
  static constexpr MerkleShape of(std::uint64_t file_length, std::uint32_t piece_size) {
    MerkleShape shape;
    shape.leaf_count = (file_length + kBlockSize - 1) / kBlockSize;
    shape.piece_count = (file_length + piece_size - 1) / piece_size;
    shape.piece_height = merkle_height(piece_size / kBlockSize);
    shape.tree_height = merkle_height(shape.leaf_count);
    return shape;
  }
  // Files that fit in one piece have no "piece layers" entry: their root hashes them.
  [[nodiscard]] constexpr bool has_piece_layer() const { return piece_count > 1; }
  // Nodes of a layer that cover at least one byte of the file.
  [[nodiscard]] constexpr std::uint64_t node_count(unsigned height) const {
    return (leaf_count + (std::uint64_t{1} << height) - 1) >> height;
  }
  // Nodes of a layer, those beyond the file's end included.
  [[nodiscard]] constexpr std::uint64_t width(unsigned height) const {
    return std::uint64_t{1} << (tree_height - height);
  }
};

// Hashes nodes. Never allocates; belongs to one thread at a time.
class MerkleHasher {
 public:
  MerkleHasher();

  // SHA-256 of both children, one after the other.
  Sha256Digest parent(const Sha256Digest& left, const Sha256Digest& right);
  // The node that covers nothing but what lies beyond the file's end. height <= kMerkleHeightMax.
  [[nodiscard]] const Sha256Digest& pad(unsigned height) const { return pads_[height]; }
  // The node at to_height whose descendants at from_height begin with these nodes and go on with
  // pads. 1 <= nodes.size() <= 2^(to_height - from_height).
  Sha256Digest root(std::span<const Sha256Digest> nodes, unsigned from_height, unsigned to_height);

  // Of a file with a piece layer: the root that the layer leads to. layer.size() == piece_count.
  Sha256Digest root_of_piece_layer(const MerkleShape& shape, std::span<const Sha256Digest> layer) {
    return root(layer, shape.piece_height, shape.tree_height);
  }
  // Of one piece's leaves: its hash in the piece layer, or of a file that fits in one piece its
  // "pieces root".
  Sha256Digest root_of_piece(const MerkleShape& shape, std::span<const Sha256Digest> leaves) {
    return root(leaves, 0, shape.has_piece_layer() ? shape.piece_height : shape.tree_height);
  }

 private:
  Sha256 sha256_;
  std::array<Sha256Digest, kMerkleHeightMax + 1> pads_;
};

// What the messages "hash request", "hashes" and "hash reject" (BEP 52) say beside the root.
struct HashRequest {
  std::uint32_t base_layer = 0;    // height of the hashes asked for; 0: leaves
  std::uint32_t index = 0;         // of the first, in its layer; a multiple of length
  std::uint32_t length = 0;        // how many; a power of two, >= 2
  std::uint32_t proof_layers = 0;  // layers above the base that the uncles must reach
  auto operator<=>(const HashRequest&) const = default;
};

// How many hashes a request may ask for at once. BEP 52 asks for at most 512; libtorrent answers
// up to 8192.
inline constexpr std::uint32_t kHashRequestLengthMax = 8192;

// Whether the file's tree has what is asked for.
bool is_valid(const MerkleShape& shape, const HashRequest& request);
// Hashes in the answer: the layer's, then the uncles' (nearest first). The uncles at layers that
// the hashes themselves lead to are left out. request is valid.
std::size_t answer_size(const HashRequest& request);

// The upper part of a file's tree, from its piece layer (or another layer) to the root, in memory:
// 64 bytes per node of that layer. Answers hash requests.
class MerkleTree {
 public:
  // base holds the layer at base_height; base.size() == shape.node_count(base_height).
  MerkleTree(MerkleHasher& hasher, const MerkleShape& shape, unsigned base_height,
             std::span<const Sha256Digest> base);

  [[nodiscard]] const MerkleShape& shape() const { return shape_; }
  [[nodiscard]] unsigned base_height() const { return base_height_; }
  [[nodiscard]] const Sha256Digest& root() const { return layers_.back()[0]; }
  // base_height() <= height <= tree_height; index < width(height).
  [[nodiscard]] const Sha256Digest& node(unsigned height, std::uint64_t index,
                                         const MerkleHasher& hasher) const;

  // Nodes of base_height() whose leaves answer() needs for a request below that layer.
  struct Range {
    std::uint64_t first = 0;
    std::uint64_t count = 0;  // 0: the request needs no leaves, or all of them are padding
  };
  [[nodiscard]] Range leaves_needed(const HashRequest& request) const;

  // Writes answer_size(request) hashes. leaves: the leaves of the nodes leaves_needed() named, in
  // order, as far as the file has them; empty if it named none. request is valid. False when the
  // leaves don't lead to the tree's own nodes (the data changed on disk): reject the request then.
  bool answer(MerkleHasher& hasher, const HashRequest& request,
              std::span<const Sha256Digest> leaves, std::span<Sha256Digest> out) const;

 private:
  MerkleShape shape_;
  unsigned base_height_;
  std::vector<std::vector<Sha256Digest>> layers_;  // [0] is the layer at base_height_
};

}  // namespace penstock
