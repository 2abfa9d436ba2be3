#include "host/files.hh"

#include <cerrno>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

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

namespace {

bool renew_pages(std::byte* begin, std::size_t length) {
  if (::madvise(begin, length, MADV_DONTNEED) == 0) return true;
  // EINVAL: locked memory (mlockall). A new mapping in the same place does it too.
  return ::mmap(begin, length, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) != MAP_FAILED;
}

}  // namespace

bool renew_segments(const StorageOp& op, bool all) {
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
    if (!renew_pages(begin, length)) return false;
  }
  return true;
}

}  // namespace penstock::host
