// The files below a path, in the order a torrent lists them.
//
// Order: depth first, each directory's entries by the bytes of their names. That is the order of
// the keys of a v2 file tree (BEP 52), so one order serves v1, v2 and hybrid.
// Symbolic links: the path itself may be one. Below it they are followed as long as they stay
// inside (RESOLVE_BENEATH), and their contents become ordinary files; one that is broken, leads
// out or runs in circles is an error, and so is anything that is neither file nor directory. The
// only thing left out is a directory without files, which a torrent can't express: it is listed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hh"
#include "control/dataset/data_directory.hh"

namespace penstock::control {

struct ScannedFile {
  std::string path;          // below ScannedTree::directory, '/'-joined
  std::uint64_t length = 0;  // bytes
  std::int64_t mtime_ns = 0;
  std::int64_t ctime_ns = 0;
};

struct ScannedTree {
  std::string name;          // of the torrent: the last component of the path as it was given
  bool single_file = false;  // then files[0].path is where it is in directory, whatever the name
  DataDirectory directory;   // what the paths are relative to
  std::vector<ScannedFile> files;
  std::vector<std::string> empty_directories;
  std::uint64_t total_bytes = 0;
};

// The errors name the file, errno's text and what to do.
Result<ScannedTree> scan_tree(const std::string& path);

}  // namespace penstock::control
