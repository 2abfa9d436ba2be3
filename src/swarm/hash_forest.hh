// The merkle trees of a v2 torrent (BEP 52), one for each file, from the piece layer up: what hash
// requests are answered from without touching the disk.
//
// Built by control when a torrent is loaded, immutable afterwards; 64 bytes a piece.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/digest.hh"
#include "base/strong.hh"
#include "crypto/merkle.hh"

namespace penstock {

// One file of a v2 torrent.
struct HashedFile {
  Sha256Digest root;       // "pieces root": what hash requests name it by
  PieceIndex first_piece;  // a file begins at a piece boundary (BEP 52)
  MerkleShape shape;
  // From the piece layer up; of a file that fits in one piece: the root alone. Null when the piece
  // layer isn't known (a magnet's torrent before its hashes were fetched).
  std::unique_ptr<const MerkleTree> tree;
};

class HashForest {
 public:
  struct File {
    Sha256Digest root;
    std::uint64_t length = 0;  // bytes
    PieceIndex first_piece;
    std::span<const Sha256Digest> piece_layer;  // empty: fits in one piece, or not known
  };
  // Copies what it needs. Files of length 0 and of a zero root are left out; of two with the same
  // root (the same bytes twice) one is kept. The layers were checked against the roots already.
  HashForest(std::span<const File> files, std::uint32_t piece_size);

  // Null when no file has this root.
  [[nodiscard]] const HashedFile* find(const Sha256Digest& root) const;
  [[nodiscard]] std::span<const HashedFile> files() const { return files_; }

 private:
  std::vector<HashedFile> files_;  // sorted by root
};

}  // namespace penstock
