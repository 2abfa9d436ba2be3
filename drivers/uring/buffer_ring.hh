// Receive buffers that the kernel picks from as data arrives (IORING_REGISTER_PBUF_RING), so that
// an idle stream holds none.
//
// Owner: the user of the ring that receives; destroyed before the ring. A buffer is the kernel's
// until a completion names it, the user's until give_back().
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/result.hh"
#include "uring/ring.hh"

namespace penstock::uring {

class BufferRing {
 public:
  // count: a power of two ≤ 32,768; size: bytes of one buffer, a multiple of 64. group: the name
  // that operations choose it by, unique in the ring.
  [[nodiscard]] static Result<std::unique_ptr<BufferRing>> create(Ring& ring, std::uint16_t group,
                                                                  std::uint32_t count,
                                                                  std::uint32_t size);
  ~BufferRing();
  BufferRing(const BufferRing&) = delete;
  BufferRing& operator=(const BufferRing&) = delete;

  [[nodiscard]] std::byte* buffer(std::uint16_t id) const {
    return memory_ + std::size_t{id} * stride_;
  }
  // Takes effect with the next publish().
  void give_back(std::uint16_t id);
  void publish();

  [[nodiscard]] std::uint16_t group() const { return group_; }
  [[nodiscard]] std::uint32_t count() const { return count_; }
  [[nodiscard]] std::uint32_t size() const { return size_; }

 private:
  explicit BufferRing(Ring& ring) : ring_(ring) {}

  Ring& ring_;
  io_uring_buf_ring* entries_ = nullptr;
  std::byte* memory_ = nullptr;
  std::size_t mapped_ = 0;
  std::uint32_t count_ = 0;
  std::uint32_t size_ = 0;
  std::uint32_t stride_ = 0;  // from one to the next, bytes
  int unpublished_ = 0;
  std::uint16_t group_ = 0;
  bool registered_ = false;
};

}  // namespace penstock::uring
