#include "stream_kernel/uring_streams.hh"

#include <bit>
#include <cerrno>
#include <utility>

#include <poll.h>
#include <unistd.h>

#include "base/assert.hh"

namespace penstock::stream_kernel {
namespace {

constexpr std::uint16_t kBufferGroup = 1;
// Accepted connections that wait for poll_events; more are reset. A shard that is behind by this
// many has no use for them.
constexpr std::uint32_t kQueuedAcceptsMax = 1024;
// Completions without a buffer that one slot can have queued: the ends of its receive and its two
// polls, and a cancel of each.
constexpr std::uint32_t kCompletionsPerSlot = 6;
constexpr Duration kAcceptPause = Duration::milliseconds(100);

constexpr __kernel_timespec kTimerPeriods[2] = {{1, 0}, {0, kAcceptPause.ns}};

}  // namespace

Result<std::unique_ptr<UringStreams>> UringStreams::create(uring::Ring& ring, Listeners listeners,
                                                           const StreamOptions& options) {
  std::unique_ptr<UringStreams> out(new UringStreams(ring, std::move(listeners), options));
  auto buffers =
      uring::BufferRing::create(ring, kBufferGroup, options.buffer_count, options.buffer_size);
  if (!buffers) return tl::unexpected(std::move(buffers).error());
  out->buffers_ = std::move(*buffers);
  ring.attach(uring::Tag::streams, out.get());
  for (std::uint32_t i = 0; i < out->listeners_.sockets.size(); ++i)
    out->arm_accept(i);
  return out;
}

UringStreams::UringStreams(uring::Ring& ring, Listeners listeners, const StreamOptions& options)
    : ring_(ring),
      options_(options),
      send_path_(options, counters_),
      listeners_(std::move(listeners)),
      accepting_(listeners_.sockets.size(), false),
      slots_(options.streams_max),
      held_next_(options.buffer_count, kNoBuffer),
      held_length_(options.buffer_count, 0) {
  lent_.reserve(options.buffer_count);
  starved_.reserve(options.streams_max);
  const std::size_t most = options.buffer_count + kCompletionsPerSlot * options.streams_max +
                           kQueuedAcceptsMax + 2 * listeners_.sockets.size() + 16;
  queue_.resize(std::bit_ceil(most));
}

UringStreams::~UringStreams() {
  if (buffers_ == nullptr) return;
  for (Slot& slot : slots_) {
    if (slot.state != State::free && slot.state != State::dying) retire(slot, false);
  }
  for (std::size_t i = 0; i < listeners_.sockets.size(); ++i) {
    if (!accepting_[i]) continue;
    if (io_uring_sqe* const sqe = ring_.try_prepare()) {
      io_uring_prep_cancel_fd(sqe, listeners_.sockets[i].get(), IORING_ASYNC_CANCEL_ALL);
      sqe->user_data = uring::user_data(uring::Tag::ring, 1);
    }
  }
  // Cancelled operations end within a few turns; what doesn't is left to the ring's own end.
  const auto busy = [&] {
    for (const bool accepting : accepting_) {
      if (accepting) return true;
    }
    for (const Slot& slot : slots_) {
      if (slot.state != State::free) return true;
    }
    return false;
  };
  for (int turn = 0; turn < 100 && busy(); ++turn) {
    ring_.wait(Duration::milliseconds(1));
    StreamEvent ignored;
    take_back_buffers();
    while (queue_head_ != queue_tail_) {
      const uring::Completion& c = queue_[queue_head_ & (queue_.size() - 1)];
      const auto op = static_cast<Op>(c.own >> 56);
      if (op == Op::accept) {
        if (c.result >= 0) ::close(c.result);
        if ((c.flags & IORING_CQE_F_MORE) == 0) accepting_[c.own & 0xffffffff] = false;
        ++queue_head_;
      } else {
        step_completion(ignored);
      }
    }
  }
  ring_.attach(uring::Tag::streams, nullptr);
  for (Slot& slot : slots_) {
    if (slot.fd >= 0) ::close(slot.fd);
  }
}

// --- handles and lists ---

UringStreams::Slot* UringStreams::find(StreamHandle stream) {
  Slot* const slot = slots_.find(stream);
  const bool alive =
      slot != nullptr && (slot->state == State::open || slot->state == State::connecting);
  return alive ? slot : nullptr;
}

void UringStreams::start_linger(Slot& slot) {
  slot.state = State::lingering;
  slots_.add_lingering(slot, now_ + options_.linger);
  arm_timer(kLingerTimer);
}

void UringStreams::hold(Slot& slot, std::uint16_t buffer, std::uint32_t length) {
  held_length_[buffer] = length;
  held_next_[buffer] = kNoBuffer;
  (slot.held_tail == kNoBuffer ? slot.held_head : held_next_[slot.held_tail]) = buffer;
  slot.held_tail = buffer;
  ++slot.held_count;
  ++held_total_;
}

void UringStreams::release_held(Slot& slot) {
  for (std::uint16_t id = slot.held_head; id != kNoBuffer; id = held_next_[id])
    buffers_->give_back(id);
  held_total_ -= slot.held_count;
  slot.held_count = 0;
  slot.held_head = slot.held_tail = kNoBuffer;
}

// --- operations ---

std::uint64_t UringStreams::name_of(Op op, std::uint32_t index) {
  return uring::user_data(uring::Tag::streams,
                          std::uint64_t{static_cast<std::uint8_t>(op)} << 56 | index);
}

bool UringStreams::arm(Slot& slot, Op op) {
  io_uring_sqe* const sqe = ring_.try_prepare();
  if (sqe == nullptr) return false;
  switch (op) {
    case Op::receive:
      io_uring_prep_recv_multishot(sqe, slot.fd, nullptr, 0, 0);
      sqe->flags |= IOSQE_BUFFER_SELECT;
      sqe->buf_group = kBufferGroup;
      slot.receive_armed = true;
      break;
    case Op::poll_out:
      io_uring_prep_poll_add(sqe, slot.fd, POLLOUT);
      slot.out_armed = true;
      break;
    case Op::poll_hang_up:
      io_uring_prep_poll_add(sqe, slot.fd, 0);  // POLLERR, POLLHUP and POLLRDHUP come unasked
      slot.hang_up_armed = true;
      break;
    case Op::accept:
    case Op::cancel:
    case Op::timer:
      UNREACHABLE();
  }
  sqe->user_data = name_of(op, slots_.index_of(slot));
  ++slot.in_flight;
  return true;
}

// By name, not by descriptor: the kernel finds a name in a hash table, but compares a descriptor
// with everything that is armed, of all streams.
bool UringStreams::cancel(Slot& slot, Op op) {
  io_uring_sqe* const sqe = ring_.try_prepare();
  if (sqe == nullptr) return false;
  io_uring_prep_cancel64(sqe, name_of(op, slots_.index_of(slot)), 0);
  sqe->user_data = name_of(Op::cancel, slots_.index_of(slot));
  ++slot.in_flight;
  return true;
}

bool UringStreams::cancel_receive(Slot& slot) {
  if (!cancel(slot, Op::receive)) return false;
  slot.cancel_armed = true;
  return true;
}

// Each operation once: where it was about to end by itself, the kernel finds nothing to cancel.
bool UringStreams::cancel_all(Slot& slot) {
  const auto once = [&](bool armed, bool& cancelled, Op op) {
    if (armed && !cancelled) cancelled = cancel(slot, op);
    return !armed || cancelled;
  };
  // A receive that is being cancelled already is looked at again when that has been answered.
  bool ok = once(slot.receive_armed && !slot.cancel_armed, slot.receive_cancelled, Op::receive);
  ok &= once(slot.out_armed, slot.out_cancelled, Op::poll_out);
  ok &= once(slot.hang_up_armed, slot.hang_up_cancelled, Op::poll_hang_up);
  return ok;
}

void UringStreams::arm_accept(std::uint32_t listener) {
  io_uring_sqe* const sqe = ring_.try_prepare();
  if (sqe == nullptr) return pause_accepting();
  io_uring_prep_multishot_accept(sqe, listeners_.sockets[listener].get(), nullptr, nullptr,
                                 SOCK_NONBLOCK | SOCK_CLOEXEC);
  sqe->user_data = name_of(Op::accept, listener);
  accepting_[listener] = true;
}

void UringStreams::pause_accepting() {
  accept_again_ = now_ + kAcceptPause;
  arm_timer(kAcceptTimer);
}

void UringStreams::arm_timer(std::uint32_t which) {
  if (timer_armed_[which]) return;
  io_uring_sqe* const sqe = ring_.try_prepare();
  if (sqe == nullptr) return;  // the next turn of the shard looks at the clock anyway
  io_uring_prep_timeout(sqe, const_cast<__kernel_timespec*>(&kTimerPeriods[which]), 0, 0);
  sqe->user_data = name_of(Op::timer, which);
  timer_armed_[which] = true;
}

void UringStreams::reconcile(Slot& slot) {
  bool ok = true;
  switch (slot.state) {
    case State::free:
      return;
    case State::connecting:
      if (!slot.failed && !slot.out_armed) ok = arm(slot, Op::poll_out);
      break;
    case State::open:
      if (slot.failed || slot.ended) break;
      if (slot.reading && !slot.receive_armed && !slot.starved) ok = arm(slot, Op::receive);
      if (!slot.reading && slot.receive_armed && !slot.cancel_armed) ok = cancel_receive(slot);
      if (slot.want_write && !slot.out_armed) ok &= arm(slot, Op::poll_out);
      if (!slot.reading && !slot.receive_armed && !slot.out_armed && !slot.hang_up_armed &&
          !slot.half_closed) {
        ok &= arm(slot, Op::poll_hang_up);
      }
      break;
    case State::lingering:
      if (!slot.receive_armed && !slot.starved) ok = arm(slot, Op::receive);
      break;
    case State::dying:
      if (slot.in_flight == 0) return finish(slot);
      ok = cancel_all(slot);
      break;
  }
  if (!ok) slots_.add_todo(slot);
}

// The handle ends here; the descriptor when the kernel has no operation of it left.
void UringStreams::retire(Slot& slot, bool reset) {
  DCHECK(slot.state != State::free && slot.state != State::dying);
  if (slot.state == State::lingering) {
    slots_.remove_lingering(slot);
  } else {
    slots_.end_handle(slot);
  }
  release_held(slot);
  if (reset) {
    reset_on_close(slot.fd);
    ++counters_.other_calls;
  }
  slot.state = State::dying;
  reconcile(slot);
}

void UringStreams::finish(Slot& slot) {
  if (slot.fd >= 0) {
    ::close(slot.fd);
    ++counters_.other_calls;
  }
  slots_.give_back(slot);
}

// --- the seam ---

SendResult UringStreams::try_send(StreamHandle stream, std::span<const SendPart> parts) {
  Slot* const slot = find(stream);
  if (slot == nullptr || slot->state != State::open || slot->failed || slot->want_write) return {};
  const SendPath::Sent sent = send_path_.send(slot->fd, parts);
  if (sent.error != 0) {
    slot->failed = true;
    slot->error = to_stream_error(sent.error);
    slots_.add_todo(*slot);
    ring_.hurry();
  } else if (sent.full) {
    slot->want_write = true;
    reconcile(*slot);
  }
  return {sent.accepted, sent.exposed};
}

std::size_t UringStreams::unacknowledged(StreamHandle stream) {
  const Slot* const slot = find(stream);
  if (slot == nullptr || slot->state != State::open) return 0;
  ++counters_.other_calls;
  return bytes_in_flight(slot->fd);
}

void UringStreams::set_reading(StreamHandle stream, bool on) {
  Slot* const slot = find(stream);
  if (slot == nullptr || slot->reading == on) return;
  slot->reading = on;
  if (slot->state != State::open) return;
  if (on && (slot->held_count > 0 || slot->ended)) {
    slots_.add_todo(*slot);
    ring_.hurry();
  }
  reconcile(*slot);
}

bool UringStreams::connect(const Endpoint& remote, const IpAddress& local, StreamHandle& out) {
  Slot* const taken = slots_.take();
  if (taken == nullptr) return false;
  Slot& slot = *taken;
  ++counters_.connects;
  counters_.other_calls += 4;
  host::Fd fd = begin_connect(remote, local, options_.congestion, slot.error);
  slot.state = State::connecting;
  out = slots_.handle_of(slot);
  if (fd.valid()) {
    slot.fd = fd.release();
    reconcile(slot);
  } else {
    slot.failed = true;
    slots_.add_todo(slot);
    ring_.hurry();
  }
  return true;
}

void UringStreams::close(StreamHandle stream, bool graceful) {
  Slot* const slot = find(stream);
  if (slot == nullptr) return;
  if (!graceful || slot->state != State::open || slot->failed || slot->ended) {
    return retire(*slot, !graceful && slot->fd >= 0);
  }
  // close() with unread bytes in the socket would reset it and lose what is still to be sent: shut
  // the sending side, read the peer to its end.
  ++counters_.other_calls;
  if (::shutdown(slot->fd, SHUT_WR) != 0) return retire(*slot, false);
  slots_.end_handle(*slot);
  release_held(*slot);
  start_linger(*slot);
  reconcile(*slot);
}

std::size_t UringStreams::poll_events(Instant now, std::span<StreamEvent> out) {
  now_ = now;
  take_back_buffers();
  relieve_starved();
  expire_lingering();
  resume_accepting();
  std::size_t count = 0;
  // Bounded: a slot that can't get its operation prepared comes back next time.
  for (std::uint32_t left = slots_.todo_count(); left > 0 && count < out.size();) {
    bool done = true;
    if (step_todo(out[count], done)) ++count;
    if (done) --left;
  }
  while (count < out.size() && queue_head_ != queue_tail_) {
    if (step_completion(out[count])) ++count;
  }
  buffers_->publish();
  const bool buffers_coming = !starved_.empty() && (!lent_.empty() || kernel_buffers() > 0);
  if (slots_.todo_count() > 0 || queue_head_ != queue_tail_ || buffers_coming) ring_.hurry();
  return count;
}

}  // namespace penstock::stream_kernel
