#include "stream_kernel/epoll_streams.hh"

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/assert.hh"
#include "host/errors.hh"

namespace penstock::stream_kernel {
namespace {

// What an epoll event is about: the top bits of its data; below, an index.
constexpr std::uint64_t kOfListener = 1ull << 62;
constexpr std::uint64_t kOfBell = 2ull << 62;
constexpr std::size_t kEventsMax = 256;
constexpr Duration kAcceptPause = Duration::milliseconds(100);
// Looked at although nothing happens, while streams linger.
constexpr Duration kLingerLook = Duration::seconds(1);
// Turns of one slot in one poll_events.
constexpr int kRoundsMax = 16;
// Receives into one slot's bin per turn, while it lingers.
constexpr int kDrinksMax = 16;

}  // namespace

Result<std::unique_ptr<EpollStreams>> EpollStreams::create(Listeners listeners,
                                                           const StreamOptions& options) {
  std::unique_ptr<EpollStreams> out(new EpollStreams(std::move(listeners), options));
  out->epoll_ = host::Fd(::epoll_create1(EPOLL_CLOEXEC));
  if (!out->epoll_.valid()) return host::os_error("epoll_create1", errno);
  auto bell = host::WakeEvent::create();
  if (!bell) return tl::unexpected(std::move(bell).error());
  out->bell_ = std::move(*bell);
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;  // every ring is an edge: nobody needs to read the counter
  event.data.u64 = kOfBell;
  if (::epoll_ctl(out->epoll_.get(), EPOLL_CTL_ADD, out->bell_.fd(), &event) != 0) {
    return host::os_error("epoll_ctl", errno);
  }
  for (std::size_t i = 0; i < out->listeners_.sockets.size(); ++i) {
    event.data.u64 = kOfListener | i;
    if (::epoll_ctl(out->epoll_.get(), EPOLL_CTL_ADD, out->listeners_.sockets[i].get(), &event) !=
        0) {
      return host::os_error("epoll_ctl", errno);
    }
  }
  return out;
}

EpollStreams::EpollStreams(Listeners listeners, const StreamOptions& options)
    : options_(options),
      send_path_(options, counters_),
      listeners_(std::move(listeners)),
      listener_ready_(listeners_.sockets.size(), true),
      slots_(options.streams_max),
      memory_size_(std::size_t{options.buffer_count} * options.buffer_size) {
  memory_ = std::make_unique_for_overwrite<std::byte[]>(memory_size_);
}

EpollStreams::~EpollStreams() {
  for (Slot& slot : slots_) {
    if (slot.fd >= 0) ::close(slot.fd);
  }
}

// --- handles and lists ---

EpollStreams::Slot* EpollStreams::find(StreamHandle stream) {
  Slot* const slot = slots_.find(stream);
  const bool alive =
      slot != nullptr && (slot->state == State::open || slot->state == State::connecting);
  return alive ? slot : nullptr;
}

EpollStreams::Slot* EpollStreams::take_slot(int fd, State state) {
  Slot* const slot = slots_.take();
  if (slot == nullptr) return nullptr;
  slot->fd = fd;
  slot->state = state;
  return slot;
}

// Once for all the stream's life.
bool EpollStreams::watch(Slot& slot) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.u64 = slots_.index_of(slot);
  ++counters_.other_calls;
  return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, slot.fd, &event) == 0;
}

// The handle and the descriptor end here.
void EpollStreams::free_slot(Slot& slot, bool reset) {
  DCHECK(slot.state != State::free);
  if (slot.state == State::lingering) {
    slots_.remove_lingering(slot);
  } else {
    slots_.end_handle(slot);
  }
  if (slot.fd >= 0) {
    if (reset) reset_on_close(slot.fd);
    ::close(slot.fd);
    counters_.other_calls += reset ? 2 : 1;
  }
  slots_.give_back(slot);
}

// --- what happens ---

void EpollStreams::wait(Duration timeout) {
  bool at_once = slots_.todo_count() > 0;
  for (const bool ready : listener_ready_)
    at_once |= ready && !accept_paused_;
  if (at_once) timeout = Duration{};
  if (accept_paused_) timeout = std::min(timeout, kAcceptPause);
  if (slots_.first_lingering() != nullptr) timeout = std::min(timeout, kLingerLook);
  std::array<epoll_event, kEventsMax> events;
  int n = -1;
  ++counters_.other_calls;
  if (pwait2_) {
    const timespec limit{timeout.ns / 1'000'000'000, timeout.ns % 1'000'000'000};
    n = ::epoll_pwait2(epoll_.get(), events.data(), kEventsMax,
                       timeout == Duration::max() ? nullptr : &limit, nullptr);
    if (n < 0 && (errno == ENOSYS || errno == EPERM)) pwait2_ = false;
  }
  if (!pwait2_) {
    const std::int64_t ms = timeout.ns / 1'000'000 + (timeout.ns % 1'000'000 > 0 ? 1 : 0);
    const int limit = timeout == Duration::max() ? -1 : static_cast<int>(std::min(ms, 60'000l));
    n = ::epoll_wait(epoll_.get(), events.data(), kEventsMax, limit);
  }
  for (int i = 0; i < n; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    if (event.data.u64 == kOfBell) continue;
    if ((event.data.u64 & kOfListener) != 0) {
      listener_ready_[event.data.u64 & ~kOfListener] = true;
      continue;
    }
    Slot& slot = slots_[static_cast<std::uint32_t>(event.data.u64)];
    const std::uint32_t what = event.events;
    slot.broken |= (what & (EPOLLERR | EPOLLHUP)) != 0;
    slot.ending |= (what & EPOLLRDHUP) != 0;
    slot.readable |= (what & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP)) != 0;
    slot.writable |= (what & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0;
    if (slot.readable || slot.want_write || slot.state == State::connecting) slots_.add_todo(slot);
  }
}

std::size_t EpollStreams::poll_events(Instant now, std::span<StreamEvent> out) {
  now_ = now;
  memory_used_ = 0;
  if (accept_paused_ && accept_again_ <= now) accept_paused_ = false;
  while (Slot* const slot = slots_.first_lingering()) {
    if (slot->linger_until > now) break;
    free_slot(*slot, false);
  }
  std::size_t count = 0;
  // However many come, those who are here have most of the room.
  const std::size_t accepts_max = std::max<std::size_t>(out.size() / 4, 1);
  for (std::uint32_t i = 0; i < listener_ready_.size(); ++i) {
    while (listener_ready_[i] && !accept_paused_ && count < accepts_max) {
      if (step_accept(i, out[count])) ++count;
    }
  }
  // Rounds of one turn for each slot on the list: a busy one goes to its end.
  for (int round = 0; round < kRoundsMax; ++round) {
    if (!take_turns(out, count)) break;
  }
  return count;
}

// True when there is more to do and room for it.
bool EpollStreams::take_turns(std::span<StreamEvent> out, std::size_t& count) {
  for (std::uint32_t left = slots_.todo_count(); left > 0; --left) {
    if (count == out.size()) return false;
    Slot& slot = slots_.todo_front();
    bool said = false;
    const Turn turn = step(slot, out[count], said);
    if (said) ++count;
    if (turn == Turn::no_memory) return false;
    slots_.pop_todo();
    if (turn == Turn::more) slots_.add_todo(slot);
  }
  return slots_.todo_count() > 0;
}

bool EpollStreams::step_accept(std::uint32_t listener, StreamEvent& out) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  ++counters_.other_calls;
  const int fd =
      ::accept4(listeners_.sockets[listener].get(), reinterpret_cast<sockaddr*>(&address), &length,
                SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) {
    if (errno == EAGAIN) {
      listener_ready_[listener] = false;
    } else if (errno != ECONNABORTED && errno != EINTR) {
      // Out of descriptors or memory: asking again at once would only spin.
      ++counters_.accept_pauses;
      accept_paused_ = true;
      accept_again_ = now_ + kAcceptPause;
    }
    return false;
  }
  Slot* const taken = take_slot(fd, State::open);
  if (taken == nullptr) {
    ++counters_.accepts_refused;
    counters_.other_calls += 2;
    reset_on_close(fd);
    ::close(fd);
    return false;
  }
  Slot& slot = *taken;
  if (!watch(slot)) {  // ENOMEM, or the user's limit of watches
    ++counters_.accepts_refused;
    free_slot(slot, true);
    return false;
  }
  ++counters_.accepted;
  out = StreamEvent{.kind = StreamEvent::Kind::accepted, .stream = slots_.handle_of(slot)};
  out.endpoint = to_endpoint(address);
  return true;
}

bool EpollStreams::say_closed(Slot& slot, StreamError error, StreamEvent& out) {
  out = StreamEvent{
      .kind = StreamEvent::Kind::closed, .error = error, .stream = slots_.handle_of(slot)};
  free_slot(slot, false);
  return true;
}

EpollStreams::Turn EpollStreams::step(Slot& slot, StreamEvent& out, bool& said) {
  switch (slot.state) {
    case State::free:
      return Turn::done;
    case State::lingering:
      drink(slot);
      return slot.state == State::lingering && slot.readable ? Turn::more : Turn::done;
    case State::connecting: {
      if (slot.failed) {
        said = say_closed(slot, slot.error, out);
        return Turn::done;
      }
      if (!slot.writable) return Turn::done;
      ++counters_.other_calls;
      if (const int error = take_socket_error(slot.fd); error != 0) {
        said = say_closed(slot, to_stream_error(error), out);
        return Turn::done;
      }
      slot.state = State::open;
      out = StreamEvent{.kind = StreamEvent::Kind::connected, .stream = slots_.handle_of(slot)};
      said = true;
      return slot.readable ? Turn::more : Turn::done;
    }
    case State::open:
      return step_open(slot, out, said);
  }
  UNREACHABLE();
}

EpollStreams::Turn EpollStreams::step_open(Slot& slot, StreamEvent& out, bool& said) {
  if (slot.failed) {
    said = say_closed(slot, slot.error, out);
    return Turn::done;
  }
  if (slot.want_write && slot.writable) {
    slot.want_write = false;
    out = StreamEvent{.kind = StreamEvent::Kind::writable, .stream = slots_.handle_of(slot)};
    said = true;
    return slot.readable ? Turn::more : Turn::done;
  }
  if (slot.reading) return slot.readable ? receive(slot, out, said) : Turn::done;
  if (slot.broken) {
    ++counters_.other_calls;
    const int error = take_socket_error(slot.fd);
    said = say_closed(slot, error == 0 ? StreamError::reset : to_stream_error(error), out);
  }
  return Turn::done;
}

EpollStreams::Turn EpollStreams::receive(Slot& slot, StreamEvent& out, bool& said) {
  if (memory_size_ - memory_used_ < options_.buffer_size) {
    ++counters_.buffers_exhausted;
    return Turn::no_memory;
  }
  std::byte* const to = memory_.get() + memory_used_;
  ++counters_.other_calls;
  const ssize_t n = ::recv(slot.fd, to, options_.buffer_size, MSG_DONTWAIT);
  if (n > 0) {
    const auto length = static_cast<std::size_t>(n);
    counters_.bytes_received += length;
    // The next stream's bytes begin on a cache line of their own.
    memory_used_ += (length + 63) / 64 * 64;
    // Less than asked: it is empty, and what comes next is a new edge (epoll(7)) – but for a FIN
    // that was seen already.
    if (length < options_.buffer_size && !slot.ending && !slot.broken) slot.readable = false;
    out = StreamEvent{.kind = StreamEvent::Kind::data, .stream = slots_.handle_of(slot)};
    out.data = {to, length};
    said = true;
    return slot.readable ? Turn::more : Turn::done;
  }
  if (n < 0 && errno == EINTR) return Turn::more;
  if (n < 0 && errno == EAGAIN) {
    slot.readable = false;
    return Turn::done;
  }
  const StreamError error = n == 0 ? StreamError::closed_by_peer : to_stream_error(errno);
  said = say_closed(slot, error, out);
  return Turn::done;
}

// What a lingering stream's peer still sends goes nowhere.
void EpollStreams::drink(Slot& slot) {
  for (int i = 0; i < kDrinksMax; ++i) {
    ++counters_.other_calls;
    // MSG_TRUNC on TCP: dropped without a copy. Not recv, of which ThreadSanitizer thinks that it
    // writes to the address.
    const auto n = ::syscall(SYS_recvfrom, slot.fd, nullptr, std::size_t{1} << 20,
                             MSG_DONTWAIT | MSG_TRUNC, nullptr, nullptr);
    if (n > 0) continue;
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      slot.readable = false;
      return;
    }
    return free_slot(slot, false);
  }
}

// --- the rest of the seam ---

SendResult EpollStreams::try_send(StreamHandle stream, std::span<const SendPart> parts) {
  Slot* const slot = find(stream);
  if (slot == nullptr || slot->state != State::open || slot->failed || slot->want_write) return {};
  const SendPath::Sent sent = send_path_.send(slot->fd, parts);
  if (sent.error != 0) {
    slot->failed = true;
    slot->error = to_stream_error(sent.error);
    slots_.add_todo(*slot);
  } else if (sent.full) {
    slot->want_write = true;
    slot->writable = sent.again;  // else an edge will say
    if (sent.again) slots_.add_todo(*slot);
  }
  return {sent.accepted, sent.exposed};
}

std::size_t EpollStreams::unacknowledged(StreamHandle stream) {
  const Slot* const slot = find(stream);
  if (slot == nullptr || slot->state != State::open) return 0;
  ++counters_.other_calls;
  return bytes_in_flight(slot->fd);
}

void EpollStreams::set_reading(StreamHandle stream, bool on) {
  Slot* const slot = find(stream);
  if (slot == nullptr || slot->reading == on) return;
  slot->reading = on;
  if (slot->readable || slot->broken) slots_.add_todo(*slot);
}

bool EpollStreams::connect(const Endpoint& remote, const IpAddress& local, StreamHandle& out) {
  Slot* const taken = take_slot(-1, State::connecting);
  if (taken == nullptr) return false;
  Slot& slot = *taken;
  ++counters_.connects;
  counters_.other_calls += 4;
  slot.fd = begin_connect(remote, local, options_.congestion, slot.error).release();
  out = slots_.handle_of(slot);
  if (slot.fd >= 0 && !watch(slot)) slot.error = StreamError::no_resources;
  slot.failed = slot.error != StreamError::none;
  if (slot.failed) slots_.add_todo(slot);
  return true;
}

void EpollStreams::close(StreamHandle stream, bool graceful) {
  Slot* const slot = find(stream);
  if (slot == nullptr) return;
  if (!graceful || slot->state != State::open || slot->failed) return free_slot(*slot, !graceful);
  // close() with unread bytes in the socket would reset it and lose what is still to be sent: shut
  // the sending side, read the peer to its end.
  ++counters_.other_calls;
  if (::shutdown(slot->fd, SHUT_WR) != 0) return free_slot(*slot, false);
  slots_.end_handle(*slot);
  slot->state = State::lingering;
  slots_.add_lingering(*slot, now_ + options_.linger);
  slot->readable = true;
  slots_.add_todo(*slot);
}

void EpollStreams::validate() const {
  std::uint32_t lingering = 0;
  for (const Slot& slot : slots_) {
    lingering += slot.state == State::lingering ? 1 : 0;
    ASSERT(slot.state != State::free || slot.fd < 0);
  }
  ASSERT(lingering == slots_.validate());
}

}  // namespace penstock::stream_kernel
