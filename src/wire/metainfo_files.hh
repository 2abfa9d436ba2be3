// The file lists of an info dictionary; internal to metainfo.cc.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hh"
#include "wire/bencode.hh"
#include "wire/metainfo.hh"

namespace penstock::metainfo {

// Of one file, and of all together: libtorrent's bound too, far below any overflow.
inline constexpr std::uint64_t kTotalBytesMax = (std::uint64_t{1} << 48) - 1;

struct FileList {
  std::vector<FileEntry> files;  // paths below the torrent's name; not yet free of clashes
  std::uint64_t total = 0;       // bytes, padding included
  bool single = false;           // one file that is not inside a directory; its path is its name
};

// "files" or "length" (BEP 3, 47). `name` is the torrent's, already safe.
Result<FileList> parse_v1_files(bencode::Value info, const std::string& name,
                                const MetainfoLimits& limits);

// "file tree" (BEP 52). Padding up to the next piece is made explicit, as a hybrid's v1 list does.
Result<FileList> parse_v2_files(bencode::Value info, std::uint32_t piece_size,
                                const MetainfoLimits& limits);

// A hybrid's lists must place the same bytes at the same offsets under the same names (BEP 52,
// upgrade path). On success the v1 list has the v2 list's roots.
Result<void> join_hybrid(FileList& v1, FileList& v2);

// Turns each symlink's target into one that exists, or into the empty string.
void resolve_symlinks(std::vector<FileEntry>& files);

}  // namespace penstock::metainfo
