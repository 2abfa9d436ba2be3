// Checks the data of a torrent against its hashes, on all cores.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.hh"
#include "control/dataset/hash_pieces.hh"
#include "wire/metainfo.hh"

namespace penstock::control {

enum class PieceVerdict : std::uint8_t {
  unchecked,   // the check was stopped before it
  good,        // read, and every hash the torrent has for it matches
  bad,         // read, and a hash does not match
  unreadable,  // a file is missing, too short or can't be read
};

// What is wrong with a file as a whole.
struct FileProblem {
  enum class Kind : std::uint8_t {
    missing,     // there is none
    too_short,   // size says how much there is
    too_long,    // its pieces may be good all the same
    unreadable,  // error says why
  };
  FileIndex file;
  Kind kind = Kind::missing;
  int error = 0;           // errno
  std::uint64_t size = 0;  // on disk, bytes
};

struct VerifyOutcome {
  std::vector<PieceVerdict> pieces;
  std::vector<FileProblem> files;  // in the torrent's order, at most one a file
  std::uint32_t good = 0;
  std::uint32_t bad = 0;         // PieceVerdict::bad
  std::uint32_t unreadable = 0;  // PieceVerdict::unreadable
  bool stopped = false;          // by progress
  // Nothing is missing: every piece is good and every file, the empty ones too, is there with all
  // its bytes. (Files that are too long don't matter.)
  [[nodiscard]] bool complete() const;
};

struct VerifyOptions {
  unsigned jobs = 0;           // threads; 0: one per CPU that the process may use
  std::vector<unsigned> cpus;  // as HashOptions::cpus
  bool block_checks = false;   // deliver BlockSink's checks
};

// Takes the checks of good pieces, for who stores them (the seed's verification state).
class BlockSink {
 public:
  virtual ~BlockSink() = default;
  // As HashedPiece::block_checks. By several threads at once, each piece once, good ones only.
  virtual void on_good_piece(PieceIndex piece, std::span<const std::uint32_t> block_checks) = 0;
};

// data_directory is what contains the torrent's name. sink may be null. Fails when the directory
// can't be opened or when the torrent has no piece layers (a v2 magnet). Files that are missing are
// no failure but part of the outcome.
Result<VerifyOutcome> verify_pieces(const Metainfo& metainfo, const std::string& data_directory,
                                    const VerifyOptions& options, BlockSink* sink,
                                    const HashProgress& progress);

// The files whose bytes the piece holds, padding left out.
std::vector<FileIndex> files_of_piece(const PieceLayout& layout, PieceIndex piece);

}  // namespace penstock::control
