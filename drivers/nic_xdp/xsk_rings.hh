// The four rings of an AF_XDP socket (Linux, Documentation/networking/af_xdp.rst): in memory shared
// with the kernel, one side writes entries and moves `producer`, the other reads them and moves
// `consumer`. Both count without end; the place is the count modulo the size, a power of two.
//
// Edges: our release store of `producer` (fill, TX) is read with acquire by the kernel before it
// reads the entries, and its store of `consumer` by us before we overwrite them; the other way
// round for RX and completion.
//
// Owner: XskSocket; one thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/result.hh"

namespace penstock::nic_xdp {

// Where a ring lies.
template <class T>
struct RingMemory {
  std::uint32_t* producer = nullptr;
  std::uint32_t* consumer = nullptr;
  std::uint32_t* flags = nullptr;
  T* entries = nullptr;
  std::uint32_t size = 0;  // a power of two
};

// The end that writes: fill, TX.
template <class T>
class ProducerRing {
 public:
  ProducerRing() = default;
  explicit ProducerRing(const RingMemory<T>& memory)
      : memory_(memory), written_(*memory.producer), submitted_(written_) {
    consumed_ = load_consumer();
  }

  // At least `wanted` places, if there are; how many are free. Looks at the kernel's side only when
  // what it knows isn't enough.
  [[nodiscard]] std::uint32_t room(std::uint32_t wanted) {
    if (free_places() < wanted) consumed_ = load_consumer();
    return free_places();
  }
  // There must be room.
  void write(const T& entry) { memory_.entries[written_++ & (memory_.size - 1)] = entry; }
  // What was written becomes the kernel's.
  void submit() {
    if (submitted_ == written_) return;
    std::atomic_ref(*memory_.producer).store(written_, std::memory_order_release);
    submitted_ = written_;
  }
  // Submitted, and not yet taken by the kernel.
  [[nodiscard]] std::uint32_t pending() const { return submitted_ - load_consumer(); }
  // The kernel wants to be told that there is something (XDP_USE_NEED_WAKEUP).
  [[nodiscard]] bool needs_wakeup() const {
    constexpr std::uint32_t kNeedWakeup = 1;
    // A hint: it orders nothing.
    return (std::atomic_ref(*memory_.flags).load(std::memory_order_relaxed) & kNeedWakeup) != 0;
  }

 private:
  [[nodiscard]] std::uint32_t free_places() const { return memory_.size - (written_ - consumed_); }
  [[nodiscard]] std::uint32_t load_consumer() const {
    return std::atomic_ref(*memory_.consumer).load(std::memory_order_acquire);
  }

  RingMemory<T> memory_;
  std::uint32_t written_ = 0;
  std::uint32_t submitted_ = 0;
  std::uint32_t consumed_ = 0;
};

// The end that reads: RX, completion.
template <class T>
class ConsumerRing {
 public:
  ConsumerRing() = default;
  explicit ConsumerRing(const RingMemory<T>& memory) : memory_(memory), read_(*memory.consumer) {
    produced_ = load_producer();
  }

  // At least `wanted` entries, if there are; how many.
  [[nodiscard]] std::uint32_t available(std::uint32_t wanted) {
    if (produced_ - read_ < wanted) produced_ = load_producer();
    return produced_ - read_;
  }
  // The entry `ahead` of the next one; it must be there.
  [[nodiscard]] const T& peek(std::uint32_t ahead = 0) const {
    return memory_.entries[(read_ + ahead) & (memory_.size - 1)];
  }
  // The kernel may use their places again: they have been read.
  void release(std::uint32_t count) {
    if (count == 0) return;
    read_ += count;
    std::atomic_ref(*memory_.consumer).store(read_, std::memory_order_release);
  }

 private:
  [[nodiscard]] std::uint32_t load_producer() const {
    return std::atomic_ref(*memory_.producer).load(std::memory_order_acquire);
  }

  RingMemory<T> memory_;
  std::uint32_t read_ = 0;
  std::uint32_t produced_ = 0;
};

// A mapping of memory, its end with its owner.
class Mapping {
 public:
  Mapping() = default;
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping();

  [[nodiscard]] static Result<Mapping> anonymous(std::size_t size);
  // A ring of an AF_XDP socket, by its page offset.
  [[nodiscard]] static Result<Mapping> of_ring(int socket, std::uint64_t offset, std::size_t size);

  [[nodiscard]] std::byte* data() const { return data_; }
  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace penstock::nic_xdp
