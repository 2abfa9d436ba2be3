// From a file or directory to a .torrent: scan, hash on all cores, write.
//
// The same data and options give the same bytes: no creation date unless asked for, files in a
// fixed order, no file attributes. For one piece size the info-hash equals that of mktorrent's
// (v1, where its order of files is ours) and libtorrent's (v2, hybrid) torrents.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.hh"
#include "control/dataset/scan_tree.hh"
#include "wire/metainfo.hh"

namespace penstock::control {

// v1: what every client reads. hybrid: v1 clients see a v1 torrent, in which the files are padded
// to piece boundaries; v2 clients a v2 one.
enum class TorrentFormat : std::uint8_t { v1, v2, hybrid };

struct MakeTorrentOptions {
  TorrentFormat format = TorrentFormat::v1;
  std::uint64_t piece_size = 0;        // bytes; 0: piece_size_for()
  std::vector<std::string> trackers;   // each a tier of its own (BEP 12)
  std::vector<std::string> web_seeds;  // BEP 19; a directory's gets a trailing '/'
  bool is_private = false;             // BEP 27
  std::string comment;
  std::int64_t creation_date = 0;  // seconds since 1970; 0: none
  unsigned jobs = 0;               // threads; 0: one per CPU that the process may use
  std::vector<unsigned> cpus;      // as HashOptions::cpus
};

struct MadeTorrent {
  std::vector<std::byte> file;  // the .torrent
  // Parsed back from it, identified. single_file, where the tree is a directory: a v2 torrent of a
  // directory with one file right in it is read as that file alone.
  Metainfo metainfo;
  bool stopped = false;  // by progress: then all else is empty
};

// How much of tree.total_bytes is done (the padding of a hybrid, hashed too, is scaled away). False
// stops.
using MakeProgress = std::function<bool(std::uint64_t bytes)>;

// A power of two from 16 KiB to 16 MiB that makes at most 2,048 pieces, so about 1,000 to 2,000 of
// them: few enough for a small .torrent and little work per piece, many enough to share soon what
// was fetched. Beyond 32 GiB there are more pieces.
std::uint32_t piece_size_for(std::uint64_t total_bytes);

// Whether the options can be used (URLs, piece size), before anything is read.
Result<void> check_options(const MakeTorrentOptions& options);

// The errors name the file that changed, vanished or can't be read.
Result<MadeTorrent> make_torrent(const ScannedTree& tree, const MakeTorrentOptions& options,
                                 const MakeProgress& progress);

}  // namespace penstock::control
