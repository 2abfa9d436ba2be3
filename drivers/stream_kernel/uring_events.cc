// The input side of UringStreams: completions in, events out.
#include <algorithm>
#include <cerrno>

#include <poll.h>
#include <unistd.h>

#include "base/assert.hh"
#include "stream_kernel/uring_streams.hh"

namespace penstock::stream_kernel {
namespace {

constexpr std::uint32_t kQueuedAcceptsMax = 1024;

std::uint16_t buffer_of(const uring::Completion& c) {
  return static_cast<std::uint16_t>(c.flags >> IORING_CQE_BUFFER_SHIFT);
}

}  // namespace

// Only kept here; looked at by poll_events.
void UringStreams::on_completions(std::span<const uring::Completion> completions) {
  for (uring::Completion c : completions) {
    const auto op = static_cast<Op>(c.own >> 56);
    if (op == Op::accept && c.result >= 0) {
      if (queued_accepts_ >= kQueuedAcceptsMax) {
        reset_on_close(c.result);
        ::close(c.result);
        ++counters_.accepts_refused;
        if ((c.flags & IORING_CQE_F_MORE) != 0) continue;
        c.result = -ECONNABORTED;
      } else {
        ++queued_accepts_;
      }
    }
    if (op == Op::receive && (c.flags & IORING_CQE_F_BUFFER) != 0) ++queued_buffers_;
    ASSERT(queue_tail_ - queue_head_ < queue_.size());
    queue_[queue_tail_++ & (queue_.size() - 1)] = c;
  }
}

std::uint32_t UringStreams::kernel_buffers() const {
  return buffers_->count() - static_cast<std::uint32_t>(lent_.size()) - held_total_ -
         queued_buffers_;
}

void UringStreams::take_back_buffers() {
  for (const std::uint16_t id : lent_)
    buffers_->give_back(id);
  lent_.clear();
  buffers_->publish();
}

void UringStreams::relieve_starved() {
  if (starved_.empty()) return;
  if (kernel_buffers() == 0) {
    // What is queued or lent comes back. What paused streams hold may not, and those who hold
    // nothing couldn't receive meanwhile.
    const bool unjust = std::any_of(starved_.begin(), starved_.end(), [&](std::uint32_t index) {
      const Slot& slot = slots_[index];
      return slot.state == State::open && slot.reading && slot.held_count == 0;
    });
    if (unjust && held_total_ > buffers_->count() / 2) reset_hoarder();
    return;
  }
  for (const std::uint32_t index : starved_) {
    slots_[index].starved = false;
    reconcile(slots_[index]);
  }
  starved_.clear();
}

void UringStreams::reset_hoarder() {
  Slot* most = nullptr;
  for (Slot& slot : slots_) {
    if (slot.state == State::open && !slot.failed &&
        (most == nullptr || slot.held_count > most->held_count)) {
      most = &slot;
    }
  }
  if (most == nullptr || most->held_count == 0) return;
  ++counters_.hoarders_reset;
  release_held(*most);
  buffers_->publish();
  reset_on_close(most->fd);
  most->failed = true;
  most->error = StreamError::no_resources;
  slots_.add_todo(*most);
}

void UringStreams::expire_lingering() {
  while (Slot* const slot = slots_.first_lingering()) {
    if (slot->linger_until > now_) break;
    retire(*slot, false);
  }
}

void UringStreams::resume_accepting() {
  if (accept_again_ > now_) return;
  accept_again_ = Instant::never();
  for (std::uint32_t i = 0; i < accepting_.size(); ++i) {
    if (!accepting_[i]) arm_accept(i);
  }
}

bool UringStreams::emit_closed(Slot& slot, StreamError error, StreamEvent& out) {
  out = StreamEvent{
      .kind = StreamEvent::Kind::closed, .error = error, .stream = slots_.handle_of(slot)};
  retire(slot, false);
  return true;
}

void UringStreams::emit_data(Slot& slot, std::uint16_t buffer, std::uint32_t length,
                             StreamEvent& out) {
  out = StreamEvent{.kind = StreamEvent::Kind::data, .stream = slots_.handle_of(slot)};
  out.data = {buffers_->buffer(buffer), length};
  lent_.push_back(buffer);
}

bool UringStreams::step_todo(StreamEvent& out, bool& done) {
  Slot& slot = slots_.todo_front();
  const bool alive = slot.state == State::open || slot.state == State::connecting;
  if (alive && !slot.failed && slot.reading && slot.held_count > 0) {
    const std::uint16_t id = slot.held_head;
    slot.held_head = held_next_[id];
    if (slot.held_head == kNoBuffer) slot.held_tail = kNoBuffer;
    --slot.held_count;
    --held_total_;
    emit_data(slot, id, held_length_[id], out);
    done = false;  // more data, or the end, or nothing: the next turn sees
    return true;
  }
  slots_.pop_todo();
  done = true;
  if (alive && slot.failed) return emit_closed(slot, slot.error, out);
  if (alive && slot.ended && slot.reading) return emit_closed(slot, slot.error, out);
  reconcile(slot);
  return false;
}

bool UringStreams::step_completion(StreamEvent& out) {
  const uring::Completion c = queue_[queue_head_++ & (queue_.size() - 1)];
  const auto op = static_cast<Op>(c.own >> 56);
  const auto index = static_cast<std::uint32_t>(c.own);
  if (op == Op::accept) return on_accept(c, out);
  if (op == Op::timer) {
    timer_armed_[index] = false;
    if (index == kLingerTimer && slots_.first_lingering() != nullptr) arm_timer(kLingerTimer);
    if (index == kAcceptTimer) {
      accept_again_ = now_;
      resume_accepting();
    }
    return false;
  }
  Slot& slot = slots_[index];
  if ((c.flags & IORING_CQE_F_MORE) == 0) {
    DCHECK(slot.in_flight > 0);
    --slot.in_flight;
  }
  if (op == Op::receive) return on_receive(c, slot, out);
  if (op == Op::cancel) {
    slot.cancel_armed = false;
    reconcile(slot);
    return false;
  }
  return on_poll(op, slot, c.result, out);
}

bool UringStreams::on_accept(const uring::Completion& c, StreamEvent& out) {
  const auto listener = static_cast<std::uint32_t>(c.own);
  if ((c.flags & IORING_CQE_F_MORE) == 0) {
    accepting_[listener] = false;
    // Others than a connection that was gone before it was accepted: out of descriptors or memory.
    // Asking again at once would only spin.
    if (c.result >= 0 || c.result == -ECONNABORTED || c.result == -EINTR) {
      arm_accept(listener);
    } else {
      ++counters_.accept_pauses;
      pause_accepting();
    }
  }
  if (c.result < 0) return false;
  --queued_accepts_;
  Slot* const taken = slots_.take();
  if (taken == nullptr) {
    ++counters_.accepts_refused;
    counters_.other_calls += 2;
    reset_on_close(c.result);
    ::close(c.result);
    return false;
  }
  Slot& slot = *taken;
  slot.fd = c.result;
  slot.state = State::open;
  ++counters_.accepted;
  ++counters_.other_calls;
  out = StreamEvent{.kind = StreamEvent::Kind::accepted, .stream = slots_.handle_of(slot)};
  out.endpoint = peer_of(c.result);
  reconcile(slot);
  return true;
}

bool UringStreams::on_receive(const uring::Completion& c, Slot& slot, StreamEvent& out) {
  if ((c.flags & IORING_CQE_F_MORE) == 0) slot.receive_armed = false;
  const bool open = slot.state == State::open && !slot.failed;
  const bool buffered = (c.flags & IORING_CQE_F_BUFFER) != 0;
  if (buffered) --queued_buffers_;
  if (c.result > 0 && open) {
    counters_.bytes_received += static_cast<std::uint64_t>(c.result);
    const auto length = static_cast<std::uint32_t>(c.result);
    const bool now = slot.reading && slot.held_count == 0;
    if (now) {
      emit_data(slot, buffer_of(c), length, out);
    } else {
      hold(slot, buffer_of(c), length);
    }
    if (!slot.receive_armed) reconcile(slot);
    return now;
  }
  if (buffered) buffers_->give_back(buffer_of(c));
  if (c.result > 0 || c.result == -ECANCELED || c.result == -EINTR || c.result == -EAGAIN) {
    if (!slot.receive_armed) reconcile(slot);
    return false;
  }
  if (c.result == -ENOBUFS && slot.state != State::dying) {
    ++counters_.buffers_exhausted;
    if (!slot.starved) {
      slot.starved = true;
      starved_.push_back(slots_.index_of(slot));
    }
    return false;
  }
  // The end: FIN, or an error.
  if (slot.state == State::lingering) {
    retire(slot, false);
    return false;
  }
  if (!open) {
    reconcile(slot);
    return false;
  }
  const StreamError error =
      c.result == 0 ? StreamError::closed_by_peer : to_stream_error(-c.result);
  if (c.result == 0 && slot.held_count > 0) {
    slot.ended = true;
    slot.error = error;
    if (slot.reading) slots_.add_todo(slot);
    return false;
  }
  return emit_closed(slot, error, out);
}

bool UringStreams::on_poll(Op op, Slot& slot, std::int32_t result, StreamEvent& out) {
  (op == Op::poll_out ? slot.out_armed : slot.hang_up_armed) = false;
  if (slot.state == State::connecting && result != -ECANCELED) {
    const int error = take_socket_error(slot.fd);
    ++counters_.other_calls;
    if (error != 0) return emit_closed(slot, to_stream_error(error), out);
    slot.state = State::open;
    out = StreamEvent{.kind = StreamEvent::Kind::connected, .stream = slots_.handle_of(slot)};
    reconcile(slot);
    return true;
  }
  if (slot.state != State::open || slot.failed) {
    reconcile(slot);
    return false;
  }
  if (op == Op::poll_hang_up) {
    if (slot.reading) return false;  // the receive that is armed by now says the same
    if (result >= 0 && (result & (POLLERR | POLLHUP)) == 0) {
      // FIN: said after the data that is still unread. The poll would only repeat itself.
      slot.half_closed = true;
      return false;
    }
    const int error = take_socket_error(slot.fd);
    ++counters_.other_calls;
    return emit_closed(slot, error == 0 ? StreamError::reset : to_stream_error(error), out);
  }
  const bool wanted = slot.want_write;
  slot.want_write = false;
  reconcile(slot);
  if (!wanted) return false;
  out = StreamEvent{.kind = StreamEvent::Kind::writable, .stream = slots_.handle_of(slot)};
  return true;
}

void UringStreams::validate() const {
  std::uint32_t held = 0;
  std::uint32_t lingering = 0;
  for (const Slot& slot : slots_) {
    std::uint32_t own = 0;
    for (std::uint16_t id = slot.held_head; id != kNoBuffer; id = held_next_[id])
      ++own;
    ASSERT(own == slot.held_count);
    held += own;
    lingering += slot.state == State::lingering ? 1 : 0;
    ASSERT((slot.state == State::free) == (slot.fd < 0 && slot.in_flight == 0 && !slot.failed));
    ASSERT(slot.in_flight >= slot.receive_armed + slot.out_armed + slot.hang_up_armed);
  }
  ASSERT(held == held_total_);
  ASSERT(lingering == slots_.validate());
  ASSERT(lent_.size() + held_total_ + queued_buffers_ <= buffers_->count());
}

}  // namespace penstock::stream_kernel
