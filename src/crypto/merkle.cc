#include "crypto/merkle.hh"

#include <algorithm>

#include "base/assert.hh"

namespace penstock {

MerkleHasher::MerkleHasher() {
  // A leaf beyond the end is a zero digest, not the digest of nothing (BEP 52).
  for (unsigned height = 1; height <= kMerkleHeightMax; ++height)
    pads_[height] = parent(pads_[height - 1], pads_[height - 1]);
}

Sha256Digest MerkleHasher::parent(const Sha256Digest& left, const Sha256Digest& right) {
  std::array<std::byte, 64> both;
  std::copy(left.bytes.begin(), left.bytes.end(), both.begin());
  std::copy(right.bytes.begin(), right.bytes.end(), both.begin() + 32);
  return sha256_.hash(both);
}

Sha256Digest MerkleHasher::root(std::span<const Sha256Digest> nodes, unsigned from_height,
                                unsigned to_height) {
  ASSERT(!nodes.empty() && from_height <= to_height && to_height <= kMerkleHeightMax);
  ASSERT(merkle_height(nodes.size()) <= to_height - from_height);
  // A binary counter: open_[h] is a left child at height h that waits for its sibling, there when
  // bit h - from_height of the number of nodes so far is set.
  std::array<Sha256Digest, kMerkleHeightMax + 1> open;
  std::uint64_t count = 0;
  for (const Sha256Digest& node : nodes) {
    Sha256Digest carried = node;
    unsigned height = from_height;
    for (std::uint64_t bits = count; (bits & 1) != 0; bits >>= 1, ++height)
      carried = parent(open[height], carried);
    open[height] = carried;
    ++count;
  }
  // Close it: the lowest open node has a pad beside it, and what is carried up from there is the
  // right child of each open node it meets, else has a pad beside it too.
  const unsigned lowest = from_height + static_cast<unsigned>(std::countr_zero(count));
  Sha256Digest carried = open[lowest];
  for (unsigned height = lowest; height < to_height; ++height) {
    const bool is_right = height != lowest && ((count >> (height - from_height)) & 1) != 0;
    carried = is_right ? parent(open[height], carried) : parent(carried, pads_[height]);
  }
  return carried;
}

bool is_valid(const MerkleShape& shape, const HashRequest& request) {
  if (request.base_layer >= shape.tree_height) return false;
  if (request.length < 2 || request.length > kHashRequestLengthMax) return false;
  if (!std::has_single_bit(request.length) || request.index % request.length != 0) return false;
  if (std::uint64_t{request.index} + request.length > shape.width(request.base_layer)) return false;
  // The root has no uncle: the highest layer whose siblings can be sent is the one below it.
  return request.proof_layers < shape.tree_height - request.base_layer;
}

std::size_t answer_size(const HashRequest& request) {
  // The hashes span log2(length) layers; the path's sibling at that layer is the first to be sent.
  const unsigned own_layers = merkle_height(request.length);
  const std::size_t uncles =
      request.proof_layers >= own_layers ? request.proof_layers - own_layers + 1 : 0;
  return request.length + uncles;
}

MerkleTree::MerkleTree(MerkleHasher& hasher, const MerkleShape& shape, unsigned base_height,
                       std::span<const Sha256Digest> base)
    : shape_(shape), base_height_(base_height) {
  ASSERT(base_height <= shape.tree_height && base.size() == shape.node_count(base_height));
  layers_.emplace_back(base.begin(), base.end());
  for (unsigned height = base_height; height < shape.tree_height; ++height) {
    const std::vector<Sha256Digest>& below = layers_.back();
    std::vector<Sha256Digest> layer((below.size() + 1) / 2);
    for (std::size_t i = 0; i < layer.size(); ++i) {
      const bool alone = 2 * i + 1 == below.size();
      layer[i] = hasher.parent(below[2 * i], alone ? hasher.pad(height) : below[2 * i + 1]);
    }
    layers_.push_back(std::move(layer));
  }
}

const Sha256Digest& MerkleTree::node(unsigned height, std::uint64_t index,
                                     const MerkleHasher& hasher) const {
  ASSERT(height >= base_height_ && height <= shape_.tree_height);
  const std::vector<Sha256Digest>& layer = layers_[height - base_height_];
  return index < layer.size() ? layer[index] : hasher.pad(height);
}

MerkleTree::Range MerkleTree::leaves_needed(const HashRequest& request) const {
  if (request.base_layer >= base_height_) return {};
  const unsigned up = base_height_ - request.base_layer;
  const std::uint64_t first = request.index >> up;
  const std::uint64_t last = (std::uint64_t{request.index} + request.length - 1) >> up;
  const std::uint64_t exist = shape_.node_count(base_height_);
  if (first >= exist) return {};
  return {first, std::min(last, exist - 1) - first + 1};
}

bool MerkleTree::answer(MerkleHasher& hasher, const HashRequest& request,
                        std::span<const Sha256Digest> leaves, std::span<Sha256Digest> out) const {
  ASSERT(is_valid(shape_, request) && out.size() == answer_size(request));
  const Range needed = leaves_needed(request);
  const std::uint64_t first_leaf = needed.first << base_height_;
  const std::uint64_t end_leaf =
      std::min((needed.first + needed.count) << base_height_, shape_.leaf_count);
  if (leaves.size() != (needed.count == 0 ? 0 : end_leaf - first_leaf)) return false;
  for (std::uint64_t i = 0; i < needed.count; ++i) {
    const std::uint64_t begin = i << base_height_;
    const std::uint64_t count =
        std::min<std::uint64_t>(leaves.size() - begin, std::uint64_t{1} << base_height_);
    if (hasher.root(leaves.subspan(begin, count), 0, base_height_) !=
        node(base_height_, needed.first + i, hasher)) {
      return false;
    }
  }
  // A node of any height, from the tree or, below its base, from the leaves that were given.
  const auto any_node = [&](unsigned height, std::uint64_t index) {
    if (height >= base_height_) return node(height, index, hasher);
    const std::uint64_t begin = index << height;
    if (begin >= shape_.leaf_count) return hasher.pad(height);
    const std::uint64_t end = std::min(begin + (std::uint64_t{1} << height), shape_.leaf_count);
    ASSERT(begin >= first_leaf && end - first_leaf <= leaves.size());
    return hasher.root(leaves.subspan(begin - first_leaf, end - begin), 0, height);
  };
  std::size_t written = 0;
  for (std::uint32_t i = 0; i < request.length; ++i)
    out[written++] = any_node(request.base_layer, std::uint64_t{request.index} + i);
  const unsigned own_layers = merkle_height(request.length);
  for (unsigned layer = own_layers; layer <= request.proof_layers; ++layer) {
    const std::uint64_t sibling = (std::uint64_t{request.index} >> layer) ^ 1;
    out[written++] = any_node(request.base_layer + layer, sibling);
  }
  ASSERT(written == out.size());
  return true;
}

}  // namespace penstock
