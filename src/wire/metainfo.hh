// Metainfo (.torrent files): v1 (BEP 3), v2 and hybrid (BEP 52), with BEP 12 (tracker tiers),
// BEP 19 (web seeds), BEP 27 (private) and BEP 47 (padding, attributes, symlinks).
//
// A torrent file is hostile input. What parse_metainfo returns is safe to build on: every length
// was added without overflow, every path stays below the torrent's own directory, no two files
// share a path, no file is also a directory, and nothing was allocated by a length that the file
// merely claims. What we refuse and what we mend, and where libtorrent differs: README.md.
//
// This module computes no hashes. Callers that hold a .torrent use load_metainfo()
// (crypto/metainfo_identity.hh), which adds the info-hashes and checks the v2 piece layers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/block_info.hh"
#include "base/digest.hh"
#include "base/result.hh"

namespace penstock {

struct FileEntry {
  // UTF-8, '/'-joined components below the torrent's name; of a single-file torrent: the name.
  // Padding has a path too (".pad/…"), but is never stored.
  std::string path;
  std::uint64_t length = 0;  // bytes; 0 for a symlink
  // Where the file begins in the piece space. v1 and hybrid: the running sum in the order of the
  // file list, padding included. v2-only: every non-empty file begins at a piece boundary.
  std::uint64_t offset = 0;
  bool padding = false;     // attr p (BEP 47): zeros that are never stored nor asked for
  bool executable = false;  // attr x
  bool hidden = false;      // attr h
  bool symlink = false;     // attr l
  // Of a symlink: '/'-joined components from the torrent's root, not from the link's own
  // directory (BEP 47). Names a file or directory of this torrent.
  std::string symlink_target;
  Sha256Digest pieces_root;  // v2: merkle root (BEP 52); zero for empty files, padding, v1-only
  // v2: the hashes of the layer whose leaves span one piece, in order; empty when the file fits in
  // one piece (then pieces_root is the hash of the whole file), and when piece_layers_missing.
  std::vector<Sha256Digest> piece_layer;
};

struct Metainfo {
  std::string name;              // UTF-8; one safe path component, never empty
  bool single_file = false;      // files[0].path == name, and name is no directory
  BlockInfo blocks;              // total_size > 0, piece_count() within the limits
  std::vector<FileEntry> files;  // in the order of the piece space
  bool has_v1 = false;
  bool has_v2 = false;                  // both: a hybrid, whose two file lists agree
  std::vector<Sha1Digest> v1_pieces;    // has_v1: piece_count() hashes; else empty
  std::optional<Sha1Digest> v1_hash;    // set by identify() (crypto) when has_v1
  std::optional<Sha256Digest> v2_hash;  // set by identify() (crypto) when has_v2
  // v2 from a bare info dictionary (magnet): layers must be fetched with hash requests.
  bool piece_layers_missing = false;
  bool is_private = false;                              // BEP 27: no DHT, PEX, LSD
  std::vector<std::vector<std::string>> tracker_tiers;  // BEP 12; a lone announce is one tier
  std::vector<std::string> web_seeds;                   // BEP 19; without duplicates
  std::vector<std::pair<std::string, std::uint16_t>> dht_nodes;  // BEP 5 "nodes"
  std::string comment, created_by, source;                       // UTF-8; empty when absent
  std::int64_t creation_date = 0;     // seconds since 1970; 0 when absent
  std::vector<std::byte> info_bytes;  // the info dictionary as it stands, for BEP 9

  // What handshakes and announces carry: the v1 hash if there is one, else the truncated v2 hash.
  // Zero before identify().
  [[nodiscard]] WireInfoHash wire_hash() const {
    if (v1_hash) return *v1_hash;
    if (v2_hash) return truncate(*v2_hash);
    return {};
  }
};

struct MetainfoLimits {
  std::size_t bytes_max = std::size_t{256} << 20;  // of the .torrent
  std::uint32_t files_max = 1'000'000;             // padding included
  std::uint32_t pieces_max = 1u << 22;
  std::uint32_t depth_max = 99;           // nested lists and dictionaries; libtorrent's bound
  std::uint32_t tokens_max = 16'000'000;  // bencoded values in the file
  std::uint32_t path_bytes_max = 4096;    // of one file's path (PATH_MAX)
  std::uint32_t trackers_max = 4096;      // more are dropped
  std::uint32_t web_seeds_max = 4096;     // more are dropped
};

// A whole .torrent file. The errors name the key that is wrong.
Result<Metainfo> parse_metainfo(std::span<const std::byte> file, const MetainfoLimits& limits = {});

// A bare info dictionary, as ut_metadata (BEP 9) delivers it: no trackers, no piece layers.
Result<Metainfo> parse_info_dictionary(std::span<const std::byte> info,
                                       const MetainfoLimits& limits = {});

}  // namespace penstock
