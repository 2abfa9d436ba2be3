// Seam: files of content (ARCHITECTURE §1). Virtual per operation of up to 512 KiB; one thread uses
// it.
//
// Operations are submitted and complete later, in any order; nothing blocks. Drivers:
// drivers/disk_uring, drivers/disk_posix; tests/support has memory, slow, hanging and faulty ones.
// One conformance suite (tests/conformance) runs on all.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/block_info.hh"
#include "base/strong.hh"

namespace penstock {

using FileHandle = Strong<struct FileHandleTag, std::uint32_t>;  // a driver's open file
using PoolIndex = Strong<struct PoolIndexTag, std::uint32_t>;    // a driver's open directory

// What tells one version of a file from another, and how it may be read.
struct FileFacts {
  std::uint64_t size = 0;     // bytes
  std::int64_t mtime_ns = 0;  // since the epoch
  std::uint64_t inode = 0;
  std::uint64_t device = 0;
  bool direct = false;  // reads bypass the page cache (O_DIRECT works)

  bool same_version(const FileFacts& o) const {
    return size == o.size && mtime_ns == o.mtime_ns && inode == o.inode && device == o.device;
  }
};

// Decided per errno by the driver (its README has the table).
enum class IoError : std::uint8_t {
  none,
  not_found,   // ENOENT, ENOTDIR, and ELOOP/EXDEV: the path would leave its pool
  forbidden,   // EACCES, EPERM
  not_a_file,  // a directory, a device, a socket
  media,       // EIO and whatever else the device answers
  exhausted,   // EMFILE, ENFILE, ENOMEM: try later
  stale,       // ESTALE: open it again
};

// Segments of one read: consecutive in the file, scattered in memory (one a slab).
inline constexpr std::size_t kReadSegmentsMax = 8;
// What one read may cover, bytes.
inline constexpr std::uint32_t kReadSizeMax = kReadSegmentsMax * kExtentSize;

struct StorageOp {
  enum class Kind : std::uint8_t {
    open,   // pool, path → file, facts
    check,  // pool, path → facts of what is there now, without opening it
    read,   // file, offset, segments → bytes
    close,  // file
    renew,  // segments → fresh zero pages in their place; nothing is read;
            // exhausted: the old pages are still there
  };
  struct Segment {
    std::byte* data = nullptr;
    std::uint32_t length = 0;  // bytes; multiples of 4 KiB
    // The pages were handed to the kernel by reference: they are replaced (MADV_DONTNEED), not
    // overwritten.
    bool renew = false;
  };
  Kind kind = Kind::read;
  std::uint8_t segment_count = 0;
  PoolIndex pool;
  FileHandle file;
  const char* path = nullptr;  // relative to the pool, NUL-terminated, stable until completion;
                               // never leaves the pool
  std::uint64_t offset = 0;    // a multiple of 4 KiB
  std::uint64_t token = 0;     // given back
  std::array<Segment, kReadSegmentsMax> segments{};
};

struct StorageCompletion {
  StorageOp::Kind kind = StorageOp::Kind::read;
  IoError error = IoError::none;
  std::uint64_t token = 0;
  std::uint32_t bytes = 0;  // read: less than asked only at the end of the file
  FileHandle file;          // open
  FileFacts facts;          // open, check
};

class Storage {
 public:
  virtual ~Storage() = default;

  // False when the driver's queue is full: submit it again after a completion. Segments and path
  // stay valid and untouched until the completion.
  virtual bool try_submit(const StorageOp& op) = 0;
  // At most out.size() completions, oldest first.
  virtual std::size_t poll_completions(std::span<StorageCompletion> out) = 0;
};

}  // namespace penstock
