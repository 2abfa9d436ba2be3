// Whether a torrent's files are where --data says.
#pragma once

#include <cstddef>
#include <string>

#include "base/result.hh"
#include "wire/metainfo.hh"

namespace penstock::cli {

struct DataPlace {
  std::size_t files = 0;      // of the torrent, padding left out
  std::size_t lacking = 0;    // that are missing or too short
  std::string first_lacking;  // below the directory
};

// Looks at every file; reads none. Fails when the directory can't be opened.
Result<DataPlace> look_for_data(const Metainfo& metainfo, const std::string& directory);

// When all is lacking: where the data seems to be instead, and what to give. Empty: nowhere near.
std::string data_hint(const Metainfo& metainfo, const std::string& directory);

}  // namespace penstock::cli
