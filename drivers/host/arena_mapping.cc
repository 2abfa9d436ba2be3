#include "host/arena_mapping.hh"

#include <cerrno>
#include <utility>

#include <sys/mman.h>

#include "base/units.hh"
#include "host/errors.hh"

namespace penstock::host {
namespace {

// Huge pages of x86-64 and of aarch64 with a 4 KiB granule, bytes.
constexpr std::size_t kHugePageSize = 2u << 20;

}  // namespace

ArenaMapping::ArenaMapping(ArenaMapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      huge_(other.huge_) {}

ArenaMapping& ArenaMapping::operator=(ArenaMapping&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(huge_, other.huge_);
  return *this;
}

ArenaMapping::~ArenaMapping() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

Result<ArenaMapping> map_arena(std::uint64_t bytes, PageChoice pages) {
  ASSERT(bytes > 0);
  const std::size_t size = (bytes + kSlabSize - 1) / kSlabSize * kSlabSize;
  // Mapped larger and trimmed, because mmap aligns to 4 KiB only.
  const std::size_t room = size + kHugePageSize;
  void* const mapped = ::mmap(nullptr, room, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) {
    return os_error("mapping " + format_size(size) + " of cache (a smaller --cache may do)", errno);
  }
  auto* const begin = static_cast<std::byte*>(mapped);
  const std::size_t head =
      (kHugePageSize - reinterpret_cast<std::uintptr_t>(begin) % kHugePageSize) % kHugePageSize;
  if (head > 0) ::munmap(begin, head);
  const std::size_t tail = room - head - size;
  if (tail > 0) ::munmap(begin + head + size, tail);

  ArenaMapping out;
  out.data_ = begin + head;
  out.size_ = size;
  const int advice = pages == PageChoice::huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE;
  const bool advised = ::madvise(out.data_, size, advice) == 0;  // EINVAL: a kernel without THP
  out.huge_ = pages == PageChoice::huge && advised;
  // Payload has no place in a core dump, nor in a child: a fork would make the pages copy-on-write,
  // and pages handed out by reference would then be shared with the child instead of replaced.
  ::madvise(out.data_, size, MADV_DONTDUMP);
  ::madvise(out.data_, size, MADV_DONTFORK);
  return out;
}

void prefer_huge_pages(std::span<std::byte> memory) {
  // Whole huge pages: what lies beside them is others'.
  const auto begin = reinterpret_cast<std::uintptr_t>(memory.data());
  const std::uintptr_t from = (begin + kHugePageSize - 1) / kHugePageSize * kHugePageSize;
  const std::uintptr_t to = (begin + memory.size()) / kHugePageSize * kHugePageSize;
  if (from < to) ::madvise(reinterpret_cast<void*>(from), to - from, MADV_HUGEPAGE);
}

}  // namespace penstock::host
