#include "host/files.hh"

#include <cerrno>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/arena.hh"
#include "host/errors.hh"

namespace penstock::host {

Result<Fd> open_pool_directory(const std::string& path) {
  Fd fd(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return os_error("opening directory " + path, errno);
  return fd;
}

open_how content_open_how(bool noatime) {
  open_how how{};
  how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (noatime ? O_NOATIME : 0);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  return how;
}

open_how content_check_how() {
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  return how;
}

bool has_openat2(int pool_fd) {
  open_how how = content_check_how();
  const Fd fd(static_cast<int>(::syscall(SYS_openat2, pool_fd, ".", &how, sizeof how)));
  return fd.valid();
}

namespace {

// One component, never through a symbolic link.
Fd open_component(int directory, const std::string& name, int flags, int& error) {
  Fd fd(::openat(directory, name.c_str(), flags | O_NOFOLLOW | O_CLOEXEC));
  error = fd.valid() ? 0 : errno;
  struct stat facts {};
  // O_PATH opens the link itself.
  if (fd.valid() && (flags & O_PATH) != 0 && ::fstat(fd.get(), &facts) == 0 &&
      S_ISLNK(facts.st_mode)) {
    error = ELOOP;
    return Fd();
  }
  return fd;
}

Fd open_by_walking(int pool_fd, const char* path, int flags, int& error) {
  std::string_view rest = path;
  error = rest.empty() ? ENOENT : EXDEV;
  if (rest.empty() || rest.front() == '/') return Fd();
  Fd directory;
  for (;;) {
    const std::size_t slash = rest.find('/');
    const std::string name(rest.substr(0, slash));
    const int from = directory.valid() ? directory.get() : pool_fd;
    error = name.empty() ? ENOENT : EXDEV;
    if (name.empty() || name == "..") return Fd();
    if (slash == std::string_view::npos) return open_component(from, name, flags, error);
    Fd next = open_component(from, name, O_PATH | O_DIRECTORY, error);
    if (!next.valid()) return Fd();
    directory = std::move(next);
    rest.remove_prefix(slash + 1);
  }
}

}  // namespace

Fd open_beneath(int pool_fd, const char* path, const open_how& how, bool openat2, int& error) {
  if (!openat2) return open_by_walking(pool_fd, path, static_cast<int>(how.flags), error);
  open_how copy = how;
  Fd fd(static_cast<int>(::syscall(SYS_openat2, pool_fd, path, &copy, sizeof copy)));
  error = fd.valid() ? 0 : errno;
  return fd;
}

std::size_t rest_of(const StorageOp& op, std::uint32_t done,
                    std::array<iovec, kReadSegmentsMax>& out) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < op.segment_count; ++i) {
    const StorageOp::Segment& segment = op.segments[i];
    if (done >= segment.length) {
      done -= segment.length;
      continue;
    }
    out[count++] = {segment.data + done, segment.length - done};
    done = 0;
  }
  return count;
}

bool is_regular(const struct statx& facts) {
  return S_ISREG(facts.stx_mode);
}

FileFacts facts_of(const struct statx& facts) {
  FileFacts out;
  out.size = facts.stx_size;
  out.mtime_ns = facts.stx_mtime.tv_sec * 1'000'000'000 + facts.stx_mtime.tv_nsec;
  out.inode = facts.stx_ino;
  out.device = makedev(facts.stx_dev_major, facts.stx_dev_minor);
  return out;
}

bool settle_flags(int fd, const struct statx& facts, bool noatime, bool direct) {
  const int rest = noatime ? O_NOATIME : 0;
  if ((facts.stx_mask & STATX_DIOALIGN) != 0) {
    // Zero means "not supported".
    const auto fits = [](std::uint32_t align) { return align > 0 && kPageSize % align == 0; };
    direct = direct && fits(facts.stx_dio_mem_align) && fits(facts.stx_dio_offset_align);
  }
  // O_NONBLOCK goes: io_uring would take it as "fail instead of waiting" on some file systems.
  if (direct && ::fcntl(fd, F_SETFL, rest | O_DIRECT) == 0) return true;
  ::fcntl(fd, F_SETFL, rest);
  return false;
}

void stop_direct(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags >= 0) ::fcntl(fd, F_SETFL, flags & ~O_DIRECT);
}

bool reads_block(int fd) {
  // Far behind any end: nothing is read, and only who can't promise answers EOPNOTSUPP.
  constexpr off_t kNowhere = off_t{1} << 62;
  std::byte byte{};
  const iovec iov{&byte, 1};
  return ::preadv2(fd, &iov, 1, kNowhere, RWF_NOWAIT) < 0 && errno == EOPNOTSUPP;
}

namespace {

bool renew_pages(std::byte* begin, std::size_t length, PageChoice pages) {
  // A huge page that loses only some of its pages keeps their memory until the rest goes, too, or
  // the kernel runs short. MADV_COLD on a part of it splits it first, unless the kernel refers to
  // it just now.
  if (pages == PageChoice::huge) ::madvise(begin, length, MADV_COLD);
  if (::madvise(begin, length, MADV_DONTNEED) == 0) return true;
  // EINVAL: locked memory (mlockall). A new mapping in the same place does it too.
  return ::mmap(begin, length, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) != MAP_FAILED;
}

}  // namespace

bool renew_segments(const StorageOp& op, bool all, PageChoice pages) {
  for (std::size_t i = 0; i < op.segment_count;) {
    if (!all && !op.segments[i].renew) {
      ++i;
      continue;
    }
    // Neighbours in memory go in one call.
    std::byte* const begin = op.segments[i].data;
    std::size_t length = op.segments[i].length;
    for (++i; i < op.segment_count && (all || op.segments[i].renew) &&
              op.segments[i].data == begin + length;
         ++i) {
      length += op.segments[i].length;
    }
    if (!renew_pages(begin, length, pages)) return false;
  }
  return true;
}

}  // namespace penstock::host
