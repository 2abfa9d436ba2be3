// Reads and hashes the pieces of a data set on all cores: what `create`, `verify` and a full check
// before seeding share.
//
// Threads take pieces from one counter, in order. Each has as many under way as its core hashes in
// step (crypto/hash_batch.hh), reads a chunk of each into buffers of its own that stay in its
// core's L2 cache, and hashes while the bytes are hot: SHA-1, the v2 leaves and the block checksums
// in one pass. A disk sees nearly sequential reads all the same. Memory is bounded by the number of
// threads and the piece size (README.md), whatever the size of the data.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/digest.hh"
#include "control/dataset/data_directory.hh"
#include "control/dataset/piece_layout.hh"

namespace penstock::control {

struct HashOptions {
  bool v1 = false;             // compute HashedPiece::v1
  bool v2 = false;             // compute HashedPiece::v2; the layout is that of a v2 torrent
  bool block_checks = false;   // compute HashedPiece::block_checks
  unsigned jobs = 0;           // threads; 0: one per CPU that the process may use
  std::vector<unsigned> cpus;  // pins thread i to cpus[i % size]; empty: not pinned
};

// Why a piece could not be read whole.
struct ReadFailure {
  FileIndex file;
  int error = 0;             // errno; 0: the file ends before its length
  std::uint64_t offset = 0;  // in the file
};

struct HashedPiece {
  PieceIndex piece;
  bool read = false;    // all bytes were there; else only `failure` is set
  ReadFailure failure;  // the first that was met
  Sha1Digest v1;
  // The node of the file's piece layer, or the file's root when it fits in one piece.
  Sha256Digest v2;
  // Low 32 bits of XXH3_64bits over each 16 KiB block of the piece, padding included; the last may
  // be shorter. Valid during the call.
  std::span<const std::uint32_t> block_checks;
};

class PieceSink {
 public:
  virtual ~PieceSink() = default;
  // Once per piece, by several threads at once, in no particular order.
  virtual void on_piece(const HashedPiece& piece) = 0;
};

// Called on the caller's thread, about ten times a second, with the bytes hashed so far. False
// stops the work.
using HashProgress = std::function<bool(std::uint64_t bytes)>;

// paths[i] is where layout.files()[i] is below the directory. True when every piece was handed to
// the sink, false when progress stopped it. Returns after all threads have ended. Throws
// std::system_error when no thread can be made.
bool hash_pieces(const PieceLayout& layout, std::span<const std::string> paths,
                 const DataDirectory& directory, const HashOptions& options, PieceSink& sink,
                 const HashProgress& progress);

}  // namespace penstock::control
