// What `seed` is told to serve: .torrent files with their data, or data whose torrent is made
// first.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "cli/program.hh"
#include "wire/metainfo.hh"

namespace penstock::cli {

struct SeedSource {
  std::shared_ptr<const Metainfo> metainfo;
  std::string data;               // the directory that contains the torrent's name
  std::size_t files_lacking = 0;  // missing or too short
};

// The directory for what must outlive a run, made if need be. given: --state; empty: the default.
Result<std::string> open_state_directory(const std::string& given);

// path: a .torrent, or a file or directory that needs one. data: --data; empty: beside the
// .torrent. The torrent of a path is kept below the state directory and taken again while no file
// of it has changed. nullopt: interrupted while hashing, and said so. Fails when no file of the
// torrent is where it should be; what is lacking besides is warned of.
Result<std::optional<SeedSource>> open_source(Context& context, const std::string& path,
                                              const std::string& data, const std::string& state);

}  // namespace penstock::cli
