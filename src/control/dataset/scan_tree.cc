#include "control/dataset/scan_tree.hh"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include <sys/stat.h>

#include "wire/safe_path.hh"

namespace penstock::control {
namespace {

namespace fs = std::filesystem;

Error at(const std::string& path, const std::string& what) {
  return Error{ErrorKind::io, "\"" + path + "\": " + what};
}

// A name that changes on its way through a .torrent would not be found again by those who read it.
bool survives(const std::string& component) {
  std::string safe;
  append_safe_component(safe, component);
  return safe == component;
}

constexpr const char* kRename =
    "this name can't be carried by a torrent (it is no UTF-8, has a backslash or control "
    "characters, or is longer than 240 bytes): rename it";

class Scan {
 public:
  Scan(fs::path root, ScannedTree& tree) : root_(std::move(root)), tree_(tree) {}

  // below is empty or ends with '/'. Depth is bounded by PATH_MAX.
  Result<void> directory(const std::string& below) {
    const fs::path path = root_ / below;
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) {
      return tl::unexpected(at(path, describe_errno(errno)));
    }
    const Identity self{status.st_dev, status.st_ino};
    if (std::find(above_.begin(), above_.end(), self) != above_.end()) {
      return tl::unexpected(at(path, "a symbolic link runs in circles: remove it"));
    }
    auto names = list(path);
    if (!names) return tl::unexpected(std::move(names.error()));
    if (names->empty() && !below.empty()) {
      tree_.empty_directories.push_back(below.substr(0, below.size() - 1));
    }
    above_.push_back(self);
    for (const std::string& name : *names) {
      if (!survives(name)) return tl::unexpected(at(path / name, kRename));
      if (auto ok = entry(below + name); !ok) return ok;
    }
    above_.pop_back();
    return {};
  }

 private:
  struct Identity {
    dev_t device;
    ino_t inode;
    bool operator==(const Identity&) const = default;
  };

  static Result<std::vector<std::string>> list(const fs::path& path) {
    std::vector<std::string> names;
    std::error_code error;
    for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error))
      names.push_back(it->path().filename().string());
    if (error) return tl::unexpected(at(path, describe_errno(error.value())));
    std::sort(names.begin(), names.end());  // std::string compares as unsigned bytes
    return names;
  }

  Result<void> entry(const std::string& path) {
    DataDirectory::Opened opened = tree_.directory.stat_file(path);
    if (opened.error == EISDIR) return directory(path + "/");
    if (opened.error == ENOTSUP) {
      return tl::unexpected(
          at(root_ / path, "is neither a file nor a directory: move it out of the way"));
    }
    if (opened.error == ENOENT) {
      return tl::unexpected(at(root_ / path, "a symbolic link that leads nowhere: remove it"));
    }
    if (opened.error != 0) return tl::unexpected(at(root_ / path, describe_errno(opened.error)));
    tree_.files.push_back({path, opened.size, opened.mtime_ns, opened.ctime_ns});
    tree_.total_bytes += opened.size;
    return {};
  }

  fs::path root_;
  ScannedTree& tree_;
  std::vector<Identity> above_;  // the directories that the scan is inside of
};

// "a/b/" → "b"; "." and the like → the name that the directory really has.
std::string name_of(const std::string& given, const fs::path& real) {
  std::string trimmed = given;
  while (trimmed.size() > 1 && trimmed.back() == '/')
    trimmed.pop_back();
  const std::string last = fs::path(trimmed).filename().string();
  return last.empty() || last == "." || last == ".." ? real.filename().string() : last;
}

}  // namespace

Result<ScannedTree> scan_tree(const std::string& path) {
  std::error_code error;
  const fs::path real = fs::canonical(path, error);
  if (error) return tl::unexpected(at(path, describe_errno(error.value())));
  const bool is_directory = fs::is_directory(real, error);
  const std::string name = name_of(path, real);
  if (name.empty() || name == "/" || !survives(name)) {
    return tl::unexpected(at(path, name == "/" ? "give a directory that has a name" : kRename));
  }
  const fs::path base = is_directory ? real : real.parent_path();
  auto directory = DataDirectory::open(base.string());
  if (!directory) return tl::unexpected(std::move(directory.error()));
  ScannedTree tree{name, !is_directory, std::move(*directory), {}, {}, 0};
  if (is_directory) {
    if (auto ok = Scan(real, tree).directory(""); !ok) return tl::unexpected(std::move(ok.error()));
  } else {
    const DataDirectory::Opened opened = tree.directory.stat_file(real.filename().string());
    if (opened.error != 0) return tl::unexpected(at(path, describe_errno(opened.error)));
    tree.files.push_back({real.filename().string(), opened.size, opened.mtime_ns, opened.ctime_ns});
    tree.total_bytes = opened.size;
  }
  if (tree.total_bytes == 0) {
    return tl::unexpected(at(path, tree.files.empty() ? "there is no file in it to share"
                                                      : "there is not one byte in it to share"));
  }
  return tree;
}

}  // namespace penstock::control
