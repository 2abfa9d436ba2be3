// The one io_uring of a shard, shared by its sockets and its files.
//
// Owner: the shard's runner; created, used and destroyed on the shard's thread (SINGLE_ISSUER), but
// for wake(). Users attach a sink under a tag; a completion goes to the sink that its user_data
// names. One wait() a cycle is the one io_uring_enter (or a few, where the kernel posts few
// completions in each): it submits what was prepared, waits, and hands the completions out in runs
// of the same tag. Users may prepare more while they are handed completions; it goes out with the
// next wait().
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <liburing.h>

#include "base/result.hh"
#include "base/time.hh"
#include "host/wake_event.hh"

namespace penstock::uring {

// Bits 60–63 of user_data; the other 60 are the user's own.
enum class Tag : std::uint8_t { ring = 0, streams = 1, storage = 2, nic = 3 };
inline constexpr std::size_t kTagCount = 4;

[[nodiscard]] constexpr std::uint64_t user_data(Tag tag, std::uint64_t own) {
  return (std::uint64_t{static_cast<std::uint8_t>(tag)} << 60) | own;
}

struct Completion {
  std::uint64_t own = 0;  // the 60 bits
  std::int32_t result = 0;
  std::uint32_t flags = 0;  // IORING_CQE_F_*
};

class CompletionSink {
 public:
  // Called from wait(), in the ring's order. May prepare operations, must not wait().
  virtual void on_completions(std::span<const Completion> completions) = 0;

 protected:
  ~CompletionSink() = default;
};

struct RingOptions {
  std::uint32_t entries = 1024;     // prepared operations before a submit is forced
  std::uint32_t cq_entries = 8192;  // completions the kernel keeps without an overflow list
};

struct RingCounters {
  std::uint64_t enters = 0;  // io_uring_enter calls
  std::uint64_t completions = 0;
  std::uint64_t wakes = 0;  // rings of the bell that were heard
};

// How to wait. Under load a shard may gather completions: after the first one, the wait goes on
// until `batch` of them are there or `gather` has passed since its start.
struct Wait {
  Duration timeout = Duration::max();  // 0: only look; max: until something happens
  std::uint32_t batch = 1;             // ≥ 1
  Duration gather{};                   // only where the kernel can (6.12), else ignored
};

class Ring {
 public:
  // What stands in the way of io_uring here, said in words; nothing is kept.
  [[nodiscard]] static Result<void> probe();
  [[nodiscard]] static Result<std::unique_ptr<Ring>> create(const RingOptions& options);
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  void attach(Tag tag, CompletionSink* sink);  // nullptr: completions are dropped

  // A zeroed operation to fill, submitted by the next wait(). nullptr only when the kernel takes no
  // more for now (EBUSY, EAGAIN): keep the wish and try in the next cycle.
  [[nodiscard]] io_uring_sqe* try_prepare();

  // Submits, waits, dispatches. The number of completions handed out.
  std::size_t wait(const Wait& how);
  std::size_t wait(Duration timeout) { return wait(Wait{.timeout = timeout}); }

  // The next wait() doesn't sleep: a user has work left over.
  void hurry() { hurried_ = true; }
  // Ends the current or the next wait(). Any thread.
  void wake() noexcept { bell_.ring(); }
  // For those who ring by descriptor (host::WakeEvent::ring).
  [[nodiscard]] int wake_fd() const { return bell_.fd(); }

  [[nodiscard]] io_uring* raw() { return &ring_; }
  [[nodiscard]] const RingCounters& counters() const { return counters_; }
  [[nodiscard]] bool deferred() const { return deferred_; }
  [[nodiscard]] bool gathers() const { return gathers_; }

 private:
  Ring() = default;
  void listen_to_bell();
  void enter(const Wait& how);
  void catch_up();
  std::size_t dispatch();

  io_uring ring_{};
  bool live_ = false;
  bool deferred_ = false;  // DEFER_TASKRUN: completions are posted only inside io_uring_enter
  bool gathers_ = false;   // IORING_FEAT_MIN_TIMEOUT
  bool bell_armed_ = false;
  bool hurried_ = false;
  host::WakeEvent bell_;
  std::array<CompletionSink*, kTagCount> sinks_{};
  RingCounters counters_;
};

}  // namespace penstock::uring
