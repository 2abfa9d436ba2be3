// What every driver of Storage does the same way to a file of content.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "base/result.hh"
#include "host/arena_mapping.hh"
#include "host/fd.hh"
#include "store/storage.hh"

namespace penstock::host {

// What is asked of statx for FileFacts and for the alignment of direct reads (Linux 6.1).
inline constexpr unsigned kStatxMask =
    STATX_TYPE | STATX_SIZE | STATX_MTIME | STATX_INO | STATX_DIOALIGN;

// A pool's directory, as a starting point of look-ups.
[[nodiscard]] Result<Fd> open_pool_directory(const std::string& path);

// How a file of a pool is opened: read-only, never outside of the pool, never blocking on a FIFO
// nobody writes to. noatime: EPERM unless the file is ours; try again without.
[[nodiscard]] open_how content_open_how(bool noatime);
// How it is only looked at.
[[nodiscard]] open_how content_check_how();

// openat2 where there is one. False when the kernel or seccomp refuses the call itself.
[[nodiscard]] bool has_openat2(int pool_fd);
// Opens by openat2; or, without it, component by component, refusing symbolic links and "..". On
// failure `error` is errno.
[[nodiscard]] Fd open_beneath(int pool_fd, const char* path, const open_how& how, bool openat2,
                              int& error);

[[nodiscard]] bool is_regular(const struct statx& facts);
[[nodiscard]] FileFacts facts_of(const struct statx& facts);

// After the open: the flags that reads are to have. Returns whether O_DIRECT is set: wanted, and
// not refused by STATX_DIOALIGN or fcntl. A file system that tells neither may still answer EINVAL
// to the first read: then stop_direct.
[[nodiscard]] bool settle_flags(int fd, const struct statx& facts, bool noatime, bool direct);
void stop_direct(int fd);
// Whether a read may block even when it is asked not to (FUSE and some network file systems).
// io_uring then reads on the submitter's thread if the file can be polled. Before settle_flags.
[[nodiscard]] bool reads_block(int fd);

// The segments of a read beyond its first `done` bytes; how many there are.
[[nodiscard]] std::size_t rest_of(const StorageOp& op, std::uint32_t done,
                                  std::array<iovec, kReadSegmentsMax>& out);

// Fresh zero pages in the place of those of the segments that ask for it
// (StorageOp::Segment::renew), or of all. Whoever refers to the old pages keeps them. False when
// the kernel refuses: then they must not be written to. pages: what the memory was mapped with.
[[nodiscard]] bool renew_segments(const StorageOp& op, bool all, PageChoice pages);
// System calls that it makes for segments that are neighbours in memory.
constexpr std::uint64_t renew_calls(PageChoice pages) {
  return pages == PageChoice::huge ? 2 : 1;
}

}  // namespace penstock::host
