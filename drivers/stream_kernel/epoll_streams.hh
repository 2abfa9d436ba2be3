// StreamPort over kernel TCP through epoll: for kernels and containers without io_uring.
//
// Edge-triggered; a stream is registered once for everything, then remembers what it was told. One
// recv a stream and turn, into one shared stretch of memory, packed.
//
// Owner: the shard's runner; one thread but for wake(). Nothing is allocated after construction.
//
// Life of a slot: free → (connecting →) open → [lingering →] free; closing a descriptor takes it
// out of the epoll set at once, so no event outlives its stream.
//
// Invariant: a slot that can say or do something now is on the todo list.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.hh"
#include "host/fd.hh"
#include "host/wake_event.hh"
#include "stream/byte_stream.hh"
#include "stream_kernel/options.hh"
#include "stream_kernel/send_path.hh"
#include "stream_kernel/slot_table.hh"
#include "stream_kernel/sockets.hh"

namespace penstock::stream_kernel {

class EpollStreams final : public StreamPort {
 public:
  // `listeners` may be empty.
  [[nodiscard]] static Result<std::unique_ptr<EpollStreams>> create(Listeners listeners,
                                                                    const StreamOptions& options);
  ~EpollStreams() override;

  std::size_t poll_events(Instant now, std::span<StreamEvent> out) override;
  SendResult try_send(StreamHandle stream, std::span<const SendPart> parts) override;
  [[nodiscard]] std::size_t unacknowledged(StreamHandle stream) override;
  void set_reading(StreamHandle stream, bool on) override;
  bool connect(const Endpoint& remote, const IpAddress& local, StreamHandle& out) override;
  void close(StreamHandle stream, bool graceful) override;

  // Until something happens, wake(), or the timeout (0: only looks; max: no limit). Doesn't sleep
  // while events are left over.
  void wait(Duration timeout);
  // Ends the current or the next wait(). Any thread.
  void wake() noexcept { bell_.ring(); }
  // For those who ring by descriptor: the pread threads.
  [[nodiscard]] int wake_fd() const { return bell_.fd(); }

  [[nodiscard]] const StreamCounters& counters() const { return counters_; }
  [[nodiscard]] const SendPath& send_path() const { return send_path_; }
  [[nodiscard]] const Listeners& listeners() const { return listeners_; }
  // Re-derives the lists' lengths; aborts on a contradiction. For tests.
  void validate() const;

 private:
  enum class State : std::uint8_t { free, connecting, open, lingering };

  struct Slot : StreamSlot {
    State state = State::free;
    StreamError error = StreamError::none;
    bool reading = true;
    bool want_write = false;
    bool failed = false;    // `closed` is to be said
    bool readable = false;  // since the last edge: not known to be empty
    bool writable = false;  // an edge since the last short send
    bool ending = false;    // FIN was seen: an end follows the data
    bool broken = false;    // error or hang-up was seen
  };
  enum class Turn : std::uint8_t { done, more, no_memory };

  EpollStreams(Listeners listeners, const StreamOptions& options);
  Slot* find(StreamHandle stream);
  Slot* take_slot(int fd, State state);
  bool watch(Slot& slot);
  void free_slot(Slot& slot, bool reset);
  bool take_turns(std::span<StreamEvent> out, std::size_t& count);
  bool step_accept(std::uint32_t listener, StreamEvent& out);
  Turn step(Slot& slot, StreamEvent& out, bool& said);
  Turn step_open(Slot& slot, StreamEvent& out, bool& said);
  Turn receive(Slot& slot, StreamEvent& out, bool& said);
  void drink(Slot& slot);
  bool say_closed(Slot& slot, StreamError error, StreamEvent& out);

  const StreamOptions options_;
  StreamCounters counters_;
  SendPath send_path_;
  Listeners listeners_;
  std::vector<bool> listener_ready_;
  Instant accept_again_{};
  bool accept_paused_ = false;
  host::Fd epoll_;
  host::WakeEvent bell_;
  bool pwait2_ = true;  // epoll_pwait2 (Linux 5.11) exists

  SlotTable<Slot> slots_;
  Instant now_{};

  std::unique_ptr<std::byte[]> memory_;  // what `data` events of one poll point into
  std::size_t memory_size_ = 0, memory_used_ = 0;
};

}  // namespace penstock::stream_kernel
