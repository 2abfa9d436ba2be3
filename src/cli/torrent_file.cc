#include "cli/torrent_file.hh"

#include <algorithm>
#include <cerrno>
#include <system_error>

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/units.hh"
#include "crypto/metainfo_identity.hh"

namespace penstock::cli {
namespace {

Error io_error(const std::string& path, int error, const char* hint = "") {
  return Error{ErrorKind::io, "\"" + path + "\": " + std::generic_category().message(error) + hint};
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() { close(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const { return fd_; }
  // False with errno when what was written could not be kept.
  bool close() {
    const int fd = fd_;
    fd_ = -1;
    return fd < 0 || ::close(fd) == 0;
  }

 private:
  int fd_;
};

bool write_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return true;
}

}  // namespace

Result<std::vector<std::byte>> read_file(const std::string& path, std::size_t bytes_max) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return tl::unexpected(io_error(path, errno));
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return tl::unexpected(io_error(path, errno));
  if (S_ISDIR(status.st_mode)) {
    return fail("\"" + path + "\": is a directory: give the .torrent file", ErrorKind::usage);
  }
  std::vector<std::byte> bytes;
  if (status.st_size > 0) {
    bytes.reserve(std::min<std::size_t>(static_cast<std::size_t>(status.st_size), bytes_max) + 1);
  }
  // Not by size: a pipe has none.
  while (true) {
    constexpr std::size_t kStep = 256 * 1024;
    const std::size_t before = bytes.size();
    bytes.resize(before + kStep);
    const ssize_t got = ::read(file.get(), bytes.data() + before, kStep);
    if (got < 0 && errno != EINTR) return tl::unexpected(io_error(path, errno));
    bytes.resize(before + static_cast<std::size_t>(got > 0 ? got : 0));
    if (got == 0) return bytes;
    if (bytes.size() > bytes_max) {
      return fail(
          "\"" + path + "\": larger than " + format_size(bytes_max) + ", which no .torrent file is",
          ErrorKind::usage);
    }
  }
}

Result<Metainfo> load_torrent_file(const std::string& path) {
  auto bytes = read_file(path, MetainfoLimits{}.bytes_max);
  if (!bytes) return tl::unexpected(std::move(bytes.error()));
  auto metainfo = load_metainfo(*bytes);
  if (!metainfo) {
    return tl::unexpected(
        std::move(metainfo.error()).context("\"" + path + "\" can't be read as a torrent"));
  }
  return metainfo;
}

Result<void> write_file(const std::string& path, std::span<const std::byte> bytes, bool replace) {
  std::string part = path + ".XXXXXX";
  const int fd = ::mkostemp(part.data(), O_CLOEXEC);
  if (fd < 0) return tl::unexpected(io_error(path, errno, ": choose another place with -o"));
  Descriptor file(fd);
  int error = 0;
  // mkostemp makes it private; a .torrent is for everyone whom the umask allows.
  const mode_t mask = ::umask(0);
  ::umask(mask);
  if (::fchmod(fd, 0666 & ~mask) != 0 || !write_all(fd, bytes) || !file.close()) error = errno;
  if (error == 0) {
    const unsigned flags = replace ? 0 : RENAME_NOREPLACE;
    if (::renameat2(AT_FDCWD, part.c_str(), AT_FDCWD, path.c_str(), flags) != 0) error = errno;
    // A file system without that flag: link() refuses to replace, too.
    if (error == EINVAL && !replace) {
      error = ::link(part.c_str(), path.c_str()) == 0 ? 0 : errno;
      if (error == 0) ::unlink(part.c_str());
    }
  }
  if (error == 0) return {};
  ::unlink(part.c_str());
  if (error == EEXIST) {
    return fail("\"" + path + "\": exists already: use --force to replace it", ErrorKind::usage);
  }
  return tl::unexpected(io_error(path, error));
}

const char* format_of(const Metainfo& metainfo) {
  if (!metainfo.has_v2) return "v1";
  return metainfo.has_v1 ? "hybrid" : "v2";
}

std::size_t count_files(const Metainfo& metainfo) {
  std::size_t count = 0;
  for (const FileEntry& file : metainfo.files)
    count += file.padding ? 0 : 1;
  return count;
}

std::uint64_t count_bytes(const Metainfo& metainfo) {
  std::uint64_t bytes = 0;
  for (const FileEntry& file : metainfo.files)
    bytes += file.padding ? 0 : file.length;
  return bytes;
}

}  // namespace penstock::cli
