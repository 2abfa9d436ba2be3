#include "control/dataset/data_directory.hh"

#include <cerrno>
#include <system_error>

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace penstock::control {
namespace {

int open_beneath(int directory, const char* path, int flags) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  return static_cast<int>(::syscall(SYS_openat2, directory, path, &how, sizeof how));
}

std::int64_t nanoseconds(const timespec& time) {
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

// Component by component, following no link: for kernels and containers without openat2.
int open_without_links(int directory, std::string_view path, int flags) {
  FileHandle at;
  while (true) {
    const int parent = at ? at.fd() : directory;
    const std::size_t slash = path.find('/');
    const std::string component(path.substr(0, slash));
    if (component.empty() || component == "." || component == "..") {
      errno = EXDEV;
      return -1;
    }
    if (slash == std::string_view::npos) {
      return ::openat(parent, component.c_str(), flags | O_NOFOLLOW);
    }
    const int next =
        ::openat(parent, component.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (next < 0) return -1;
    at = FileHandle(next);
    path.remove_prefix(slash + 1);
  }
}

}  // namespace

FileHandle::~FileHandle() {
  if (fd_ >= 0) ::close(fd_);
}

std::string describe_errno(int error) {
  std::string text = std::generic_category().message(error);
  switch (error) {
    case EACCES:
    case EPERM:
      return text + ": let this user read it";
    case EXDEV:
      return "a symbolic link leads out of the data directory: put the data itself there, or "
             "mount it there";
    case ELOOP:
      return text + ": symbolic links are not followed here";
    case EISDIR:
      return "is a directory where the torrent has a file";
    case ENOTSUP:
      return "is not a regular file";
    case EIO:
      return text + ": the disk failed; look at the kernel's log";
    case ENOENT:
      return text;
    default:
      return text;
  }
}

Result<DataDirectory> DataDirectory::open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) {
    return fail("\"" + path + "\": " + std::generic_category().message(errno) +
                    ": give the directory that holds the torrent's data",
                ErrorKind::io);
  }
  return DataDirectory(FileHandle(fd));
}

DataDirectory::Opened DataDirectory::open_with(const std::string& path, int flags) const {
  Opened opened;
  int fd = open_beneath(directory_.fd(), path.c_str(), flags);
  if (fd < 0 && (errno == ENOSYS || errno == EPERM)) {
    fd = open_without_links(directory_.fd(), path, flags);
  }
  if (fd < 0) {
    opened.error = errno;
    return opened;
  }
  FileHandle file(fd);
  struct stat status {};
  if (::fstat(fd, &status) != 0) {
    opened.error = errno;
  } else if (S_ISDIR(status.st_mode)) {
    opened.error = EISDIR;
  } else if (!S_ISREG(status.st_mode)) {
    opened.error = ENOTSUP;
  } else {
    opened.size = static_cast<std::uint64_t>(status.st_size);
    opened.mtime_ns = nanoseconds(status.st_mtim);
    opened.ctime_ns = nanoseconds(status.st_ctim);
    opened.file = std::move(file);
  }
  return opened;
}

DataDirectory::Opened DataDirectory::open_file(const std::string& path) const {
  // O_NONBLOCK: opening a FIFO must not wait for a writer.
  return open_with(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
}

DataDirectory::Opened DataDirectory::stat_file(const std::string& path) const {
  return open_with(path, O_PATH | O_CLOEXEC);
}

}  // namespace penstock::control
