// A directory that goes away with the test, and files in it.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/random.hh"

namespace penstock::control {

class TempTree {
 public:
  TempTree() {
    std::string pattern = (std::filesystem::temp_directory_path() / "penstock.XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    root_ = std::filesystem::canonical(pattern);
  }
  ~TempTree() {
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }
  TempTree(const TempTree&) = delete;
  TempTree& operator=(const TempTree&) = delete;

  [[nodiscard]] std::string path(const std::string& below = "") const {
    return below.empty() ? root_.string() : (root_ / below).string();
  }
  // Makes the directories on the way. The bytes depend on the seed only.
  std::string write(const std::string& below, std::size_t size, std::uint64_t seed = 1) {
    std::string bytes(size, '\0');
    Random random(seed * 1000 + size);
    for (char& byte : bytes)
      byte = static_cast<char>(random.next());
    return write_text(below, bytes);
  }
  std::string write_text(const std::string& below, const std::string& text) {
    const std::filesystem::path path = root_ / below;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
    return text;
  }

 private:
  std::filesystem::path root_;
};

}  // namespace penstock::control
