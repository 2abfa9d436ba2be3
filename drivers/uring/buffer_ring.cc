#include "uring/buffer_ring.hh"

#include <cerrno>

#include <sys/mman.h>

#include "base/assert.hh"
#include "base/units.hh"
#include "host/errors.hh"

namespace penstock::uring {
namespace {

// The entries lie in front of the buffers, in whole pages.
std::size_t entries_size(std::uint32_t count) {
  const std::size_t bytes = count * sizeof(io_uring_buf);
  return (bytes + 4095) / 4096 * 4096;
}

// Buffers that begin a power of two apart share a few sets of the caches, and what was received
// into one drives out what came before it: an odd number of lines more, in proportion to what is
// used.
std::uint32_t stride_of(std::uint32_t size) {
  return size + size / 32 / 128 * 128 + 64;
}

}  // namespace

Result<std::unique_ptr<BufferRing>> BufferRing::create(Ring& ring, std::uint16_t group,
                                                       std::uint32_t count, std::uint32_t size) {
  ASSERT(count > 0 && count <= 32768 && (count & (count - 1)) == 0);
  ASSERT(size > 0 && size % 64 == 0);
  std::unique_ptr<BufferRing> out(new BufferRing(ring));
  const std::size_t head = entries_size(count);
  out->stride_ = stride_of(size);
  out->mapped_ = head + std::size_t{count} * out->stride_;
  void* const mapped =
      ::mmap(nullptr, out->mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) {
    return host::os_error("mapping " + format_size(out->mapped_) + " of receive buffers", errno);
  }
  out->entries_ = static_cast<io_uring_buf_ring*>(mapped);
  out->memory_ = static_cast<std::byte*>(mapped) + head;
  out->count_ = count;
  out->size_ = size;
  out->group_ = group;
  io_uring_buf_reg registration{};
  registration.ring_addr = reinterpret_cast<std::uintptr_t>(mapped);
  registration.ring_entries = count;
  registration.bgid = group;
  if (const int error = io_uring_register_buf_ring(ring.raw(), &registration, 0); error != 0) {
    return host::os_error("registering receive buffers with io_uring", -error);
  }
  out->registered_ = true;
  for (std::uint32_t id = 0; id < count; ++id)
    out->give_back(static_cast<std::uint16_t>(id));
  out->publish();
  return out;
}

BufferRing::~BufferRing() {
  if (registered_) io_uring_unregister_buf_ring(ring_.raw(), group_);
  if (entries_ != nullptr) ::munmap(entries_, mapped_);
}

void BufferRing::give_back(std::uint16_t id) {
  DCHECK(id < count_);
  io_uring_buf_ring_add(entries_, buffer(id), size_, id, static_cast<int>(count_ - 1),
                        unpublished_++);
}

void BufferRing::publish() {
  if (unpublished_ == 0) return;
  io_uring_buf_ring_advance(entries_, unpublished_);
  unpublished_ = 0;
}

}  // namespace penstock::uring
