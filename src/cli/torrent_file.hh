// Reading and writing .torrent files, and the torrent in a few lines of text or JSON.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/result.hh"
#include "wire/metainfo.hh"

namespace penstock::cli {

// The whole file, at most bytes_max. "-" is no special name.
Result<std::vector<std::byte>> read_file(const std::string& path, std::size_t bytes_max);

// Reads, parses and identifies. The errors name the file.
Result<Metainfo> load_torrent_file(const std::string& path);

// Writes the file whole or not at all: to a temporary name beside it, then renamed. With replace
// false an existing file is an error (ErrorKind::usage).
Result<void> write_file(const std::string& path, std::span<const std::byte> bytes, bool replace);

// "v1", "v2", "hybrid".
const char* format_of(const Metainfo& metainfo);
// Files that a disk holds: padding left out.
std::size_t count_files(const Metainfo& metainfo);
// Their bytes.
std::uint64_t count_bytes(const Metainfo& metainfo);

}  // namespace penstock::cli
