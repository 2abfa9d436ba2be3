// Reading a torrent's files below one directory, and nothing outside it.
//
// Paths come from torrents. They are resolved by the kernel with RESOLVE_BENEATH, so that neither
// ".." nor a symbolic link leads out; where openat2 is missing (ENOSYS; EPERM under some
// containers) no symbolic link is followed at all. This is what the seed's disk drivers do too: a
// file that can be verified can be served.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.hh"

namespace penstock::control {

// An open file descriptor, closed with its owner.
class FileHandle {
 public:
  FileHandle() = default;
  explicit FileHandle(int fd) : fd_(fd) {}
  ~FileHandle();
  FileHandle(FileHandle&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileHandle& operator=(FileHandle&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  [[nodiscard]] int fd() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

class DataDirectory {
 public:
  // The error names the path, errno's text and what to do.
  static Result<DataDirectory> open(const std::string& path);

  struct Opened {
    FileHandle file;
    int error = 0;  // errno when there is no file; EXDEV: the path leads out of the directory
    std::uint64_t size = 0;
    std::int64_t mtime_ns = 0;  // since 1970
    std::int64_t ctime_ns = 0;  // of the last change of any kind: nobody can set it back
  };
  // A regular file for reading (anything else: EISDIR or ENOTSUP). Any thread. path is relative.
  [[nodiscard]] Opened open_file(const std::string& path) const;
  // Its facts only: works on files that can't be read.
  [[nodiscard]] Opened stat_file(const std::string& path) const;

 private:
  explicit DataDirectory(FileHandle directory) : directory_(std::move(directory)) {}
  [[nodiscard]] Opened open_with(const std::string& path, int flags) const;

  FileHandle directory_;
};

// "No such file or directory", and for the errors of reading data what can be done about it:
// "Permission denied: let this user read it".
std::string describe_errno(int error);

}  // namespace penstock::control
