// StreamPort over kernel TCP through the shard's io_uring.
//
// Multishot accept and multishot receive into provided buffers: a busy stream costs one completion
// a segment and no system call of its own. Sending is a direct call (send_path.hh); a full socket
// is waited for by a one-shot poll in the ring.
//
// Owner: the shard's runner; made and used on the ring's thread, destroyed before the ring. Nothing
// is allocated after construction.
//
// Life of a slot: free → (connecting →) open → [lingering →] dying → free. The handle ends where
// `dying` or `lingering` begins (its generation moves on); the slot is reused only when no
// operation of it is in flight, so a completion always finds the slot it was meant for.
//
// Invariants: in_flight counts the operations of a slot that the kernel has; a receive buffer is in
// exactly one place: the kernel's, a queued completion, a slot's held list, or lent to the caller
// until the next poll_events.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.hh"
#include "stream/byte_stream.hh"
#include "stream_kernel/options.hh"
#include "stream_kernel/send_path.hh"
#include "stream_kernel/slot_table.hh"
#include "stream_kernel/sockets.hh"
#include "uring/buffer_ring.hh"
#include "uring/ring.hh"

namespace penstock::stream_kernel {

class UringStreams final : public StreamPort, private uring::CompletionSink {
 public:
  // Attaches itself to the ring as Tag::streams. `listeners` may be empty.
  [[nodiscard]] static Result<std::unique_ptr<UringStreams>> create(uring::Ring& ring,
                                                                    Listeners listeners,
                                                                    const StreamOptions& options);
  ~UringStreams() override;

  std::size_t poll_events(Instant now, std::span<StreamEvent> out) override;
  SendResult try_send(StreamHandle stream, std::span<const SendPart> parts) override;
  [[nodiscard]] std::size_t unacknowledged(StreamHandle stream) override;
  void set_reading(StreamHandle stream, bool on) override;
  bool connect(const Endpoint& remote, const IpAddress& local, StreamHandle& out) override;
  void close(StreamHandle stream, bool graceful) override;

  [[nodiscard]] const StreamCounters& counters() const { return counters_; }
  [[nodiscard]] const SendPath& send_path() const { return send_path_; }
  [[nodiscard]] const Listeners& listeners() const { return listeners_; }
  // Re-derives in-flight and buffer counts; aborts on a contradiction. For tests.
  void validate() const;

 private:
  enum class State : std::uint8_t { free, connecting, open, lingering, dying };
  enum class Op : std::uint8_t { accept, receive, poll_out, poll_hang_up, cancel, timer };
  static constexpr std::uint16_t kNoBuffer = 0xffff;
  static constexpr std::uint32_t kLingerTimer = 0, kAcceptTimer = 1;

  struct Slot : StreamSlot {
    State state = State::free;
    StreamError error = StreamError::none;  // why it failed or ended
    bool reading = true;
    bool want_write = false;
    bool failed = false;  // `closed` is to be said at once
    bool ended = false;   // `closed` is to be said after the held data
    bool receive_armed = false;
    bool out_armed = false;
    bool hang_up_armed = false;
    bool cancel_armed = false;
    bool receive_cancelled = false, out_cancelled = false, hang_up_cancelled = false;  // dying
    bool starved = false;
    bool half_closed = false;  // FIN seen by a poll while paused
    std::uint16_t in_flight = 0;
    std::uint16_t held_head = kNoBuffer, held_tail = kNoBuffer;
    std::uint32_t held_count = 0;
  };

  UringStreams(uring::Ring& ring, Listeners listeners, const StreamOptions& options);
  void on_completions(std::span<const uring::Completion> completions) override;

  Slot* find(StreamHandle stream);

  void take_back_buffers();
  void expire_lingering();
  void resume_accepting();
  void relieve_starved();
  void reset_hoarder();
  [[nodiscard]] std::uint32_t kernel_buffers() const;
  static std::uint64_t name_of(Op op, std::uint32_t index);
  // One slot's turn; `done` when it leaves the list. True when `out` is filled.
  bool step_todo(StreamEvent& out, bool& done);
  bool step_completion(StreamEvent& out);
  bool on_accept(const uring::Completion& c, StreamEvent& out);
  bool on_receive(const uring::Completion& c, Slot& slot, StreamEvent& out);
  bool on_poll(Op op, Slot& slot, std::int32_t result, StreamEvent& out);
  bool emit_closed(Slot& slot, StreamError error, StreamEvent& out);
  void emit_data(Slot& slot, std::uint16_t buffer, std::uint32_t length, StreamEvent& out);

  // Prepares whatever operation the slot's state wants and doesn't have.
  void reconcile(Slot& slot);
  bool arm(Slot& slot, Op op);
  bool cancel(Slot& slot, Op op);
  bool cancel_receive(Slot& slot);
  bool cancel_all(Slot& slot);
  void retire(Slot& slot, bool reset);
  void finish(Slot& slot);
  void start_linger(Slot& slot);
  void hold(Slot& slot, std::uint16_t buffer, std::uint32_t length);
  void release_held(Slot& slot);
  void arm_accept(std::uint32_t listener);
  void pause_accepting();
  void arm_timer(std::uint32_t which);

  uring::Ring& ring_;
  const StreamOptions options_;
  StreamCounters counters_;
  SendPath send_path_;
  Listeners listeners_;
  std::vector<bool> accepting_;
  Instant accept_again_ = Instant::never();
  bool timer_armed_[2] = {false, false};
  std::unique_ptr<uring::BufferRing> buffers_;

  SlotTable<Slot> slots_;
  Instant now_{};  // of the latest poll_events

  std::vector<uring::Completion> queue_;  // a ring; capacity a power of two
  std::uint64_t queue_head_ = 0, queue_tail_ = 0;
  std::uint32_t queued_accepts_ = 0;

  std::vector<std::uint16_t> lent_;
  std::vector<std::uint16_t> held_next_;  // by buffer
  std::vector<std::uint32_t> held_length_;
  std::uint32_t held_total_ = 0;
  std::uint32_t queued_buffers_ = 0;
  std::vector<std::uint32_t> starved_;  // slots that wait for a buffer
};

}  // namespace penstock::stream_kernel
