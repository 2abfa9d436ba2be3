#include "swarm/hash_forest.hh"

#include <algorithm>

namespace penstock {

HashForest::HashForest(std::span<const File> files, std::uint32_t piece_size) {
  MerkleHasher hasher;
  files_.reserve(files.size());
  for (const File& file : files) {
    if (file.length == 0 || file.root.is_zero()) continue;
    HashedFile hashed;
    hashed.root = file.root;
    hashed.first_piece = file.first_piece;
    hashed.shape = MerkleShape::of(file.length, piece_size);
    if (!hashed.shape.has_piece_layer()) {
      hashed.tree = std::make_unique<MerkleTree>(hasher, hashed.shape, hashed.shape.tree_height,
                                                 std::span(&file.root, 1));
    } else if (file.piece_layer.size() == hashed.shape.piece_count) {
      hashed.tree = std::make_unique<MerkleTree>(hasher, hashed.shape, hashed.shape.piece_height,
                                                 file.piece_layer);
    }
    files_.push_back(std::move(hashed));
  }
  const auto by_root = [](const HashedFile& a, const HashedFile& b) { return a.root < b.root; };
  std::stable_sort(files_.begin(), files_.end(), by_root);
  const auto same = [](const HashedFile& a, const HashedFile& b) { return a.root == b.root; };
  files_.erase(std::unique(files_.begin(), files_.end(), same), files_.end());
}

const HashedFile* HashForest::find(const Sha256Digest& root) const {
  const auto it =
      std::lower_bound(files_.begin(), files_.end(), root,
                       [](const HashedFile& f, const Sha256Digest& r) { return f.root < r; });
  return it != files_.end() && it->root == root ? &*it : nullptr;
}

}  // namespace penstock
