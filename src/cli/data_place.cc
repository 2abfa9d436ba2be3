#include "cli/data_place.hh"

#include <algorithm>
#include <filesystem>

#include "control/dataset/data_directory.hh"
#include "control/dataset/piece_layout.hh"

namespace penstock::cli {

namespace fs = std::filesystem;

Result<DataPlace> look_for_data(const Metainfo& metainfo, const std::string& directory) {
  auto data = control::DataDirectory::open(directory);
  if (!data) return tl::unexpected(std::move(data).error());
  DataPlace place;
  for (const FileEntry& file : metainfo.files) {
    if (file.padding || file.symlink) continue;
    ++place.files;
    std::string path = control::path_below_data(metainfo, file);
    const auto opened = data->stat_file(path);
    if (opened.error == 0 && opened.size >= file.length) continue;
    if (place.lacking++ == 0) place.first_lacking = std::move(path);
  }
  return place;
}

std::string data_hint(const Metainfo& metainfo, const std::string& directory) {
  std::error_code error;
  const fs::path real = fs::canonical(directory, error);
  if (error) return "";
  const bool inside =
      !metainfo.single_file &&
      std::any_of(metainfo.files.begin(), metainfo.files.end(), [&](const FileEntry& file) {
        return !file.padding && fs::exists(real / file.path, error);
      });
  if (!inside) return "";
  if (real.filename() == metainfo.name) {
    return "the files are in \"" + directory + "\" itself: give --data " +
           real.parent_path().string();
  }
  return "the files are in \"" + directory + "\" itself, which is not called \"" + metainfo.name +
         "\": rename it, and give --data the directory around it";
}

}  // namespace penstock::cli
