#include "stream_kernel/send_path.hh"

#include <cerrno>
#include <csignal>
#include <cstring>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/arena.hh"
#include "base/assert.hh"

namespace penstock::stream_kernel {
namespace {

// What an ordinary user's pipe may have (fs.pipe-max-size), bytes: 256 pages.
constexpr int kPipeSize = 1 << 20;
// Fewer pages than this make pipefuls so small that the copy is as good.
constexpr std::size_t kPipePagesMin = 32;
// Headers sent before their pages are renewed: about 80,000 blocks' worth.
constexpr std::size_t kHeaderRingSize = 1u << 20;
// What one pipeful may add to the header ring, bytes.
constexpr std::size_t kFillHeadersMax = 64 * 1024;
// A small part larger than this is sent by copy with the run around it.
constexpr std::size_t kSmallByReferenceMax = 16 * 1024;

std::size_t pages_of(const std::byte* data, std::size_t length) {
  const std::size_t into = reinterpret_cast<std::uintptr_t>(data) % kPageSize;
  return (into + length + kPageSize - 1) / kPageSize;
}

}  // namespace

SendPath::SendPath(const StreamOptions& options, StreamCounters& counters)
    : counters_(counters), splice_bytes_min_(options.splice_bytes_min) {
  if (!options.splice) return;
  fill_ = std::make_unique<Fill>();
  void* const mapped =
      ::mmap(nullptr, kHeaderRingSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) {
    stop_splicing("no memory for headers");
    return;
  }
  headers_ = static_cast<std::byte*>(mapped);
  ::madvise(headers_, kHeaderRingSize, MADV_NOHUGEPAGE);
  ::madvise(headers_, kHeaderRingSize, MADV_DONTFORK);
  null_ = host::Fd(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  if (!null_.valid()) {
    stop_splicing("/dev/null can't be opened");
    return;
  }
  if (!open_pipe()) {
    stop_splicing("no pipe large enough (fs.pipe-user-pages-soft?)");
    return;
  }
  // splice() to a reset socket raises SIGPIPE, and takes no MSG_NOSIGNAL.
  struct sigaction action {};
  if (::sigaction(SIGPIPE, nullptr, &action) == 0 && action.sa_handler == SIG_DFL) {
    ::signal(SIGPIPE, SIG_IGN);
  }
  splices_ = true;
  if (!prove()) stop_splicing("vmsplice or splice is refused (seccomp?)");
}

SendPath::~SendPath() {
  if (headers_ != nullptr) ::munmap(headers_, kHeaderRingSize);
}

void SendPath::stop_splicing(const char* why) {
  splices_ = false;
  trouble_ = why;
  pipe_in_.reset();
  pipe_out_.reset();
}

bool SendPath::open_pipe() {
  int ends[2];
  if (::pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) return false;
  pipe_out_ = host::Fd(ends[0]);
  pipe_in_ = host::Fd(ends[1]);
  int size = ::fcntl(ends[1], F_SETPIPE_SZ, kPipeSize);  // EPERM: over the user's share of pages
  if (size < 0) size = ::fcntl(ends[1], F_GETPIPE_SZ);
  pipe_pages_ = size > 0 ? static_cast<std::size_t>(size) / kPageSize : 0;
  return pipe_pages_ >= kPipePagesMin;
}

// Two pages through the pipe and away.
bool SendPath::prove() {
  iovec iov{headers_, 2 * kPageSize};
  if (::vmsplice(pipe_in_.get(), &iov, 1, SPLICE_F_NONBLOCK) != ssize_t{2 * kPageSize}) {
    return false;
  }
  return ::splice(pipe_out_.get(), nullptr, null_.get(), nullptr, 2 * kPageSize,
                  SPLICE_F_NONBLOCK) == ssize_t{2 * kPageSize};
}

SendPath::Run SendPath::next_run(std::span<const SendPart> parts, std::size_t begin) const {
  using Kind = SendPart::Kind;
  Kind kind = Kind::small;
  std::size_t hot_bytes = 0;
  bool bulky = false;
  std::size_t end = begin;
  std::size_t i = begin;
  for (; i < parts.size(); ++i) {
    const SendPart& part = parts[i];
    if (part.kind == Kind::small) {
      bulky |= part.length > kSmallByReferenceMax;
      continue;
    }
    if (kind != Kind::small && part.kind != kind) break;
    kind = part.kind;
    if (kind == Kind::hot_slab) hot_bytes += part.length;
    end = i + 1;
  }
  // Small parts before a change of kind go with what they introduce; those at the end with us.
  if (i == parts.size()) end = i;
  return {end, kind == Kind::hot_slab && !bulky && hot_bytes >= splice_bytes_min_};
}

SendPath::Sent SendPath::send(int fd, std::span<const SendPart> parts) {
  ASSERT(parts.size() <= kSendPartsMax);
  Sent sent;
  std::size_t begin = 0;
  while (begin < parts.size() && !sent.full && sent.error == 0) {
    Run run{parts.size(), false};
    if (splices_) {
      run = next_run(parts, begin);
      while (!run.by_reference && run.end < parts.size()) {
        const Run next = next_run(parts, run.end);
        if (next.by_reference) break;
        run.end = next.end;
      }
    }
    const auto slice = parts.subspan(begin, run.end - begin);
    const bool more = run.end < parts.size();
    if (run.by_reference) {
      send_by_reference(fd, slice, more, sent);
    } else {
      send_copied(fd, slice, more, sent);
    }
    begin = run.end;
  }
  return sent;
}

void SendPath::send_copied(int fd, std::span<const SendPart> parts, bool more, Sent& sent) {
  std::array<iovec, kSendPartsMax> iov;
  std::size_t count = 0;
  std::size_t wanted = 0;
  for (const SendPart& part : parts) {
    if (part.length == 0) continue;
    iov[count++] = {const_cast<std::byte*>(part.data), part.length};
    wanted += part.length;
  }
  if (wanted == 0) return;
  msghdr message{};
  message.msg_iov = iov.data();
  message.msg_iovlen = count;
  ssize_t n = 0;
  do {
    ++counters_.sendmsg_calls;
    // The library's is a cancellation point, which costs two atomic operations.
    n = ::syscall(SYS_sendmsg, fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL | (more ? MSG_MORE : 0));
  } while (n < 0 && errno == EINTR);
  if (n < 0) {
    sent.full = true;
    // ENOBUFS and ENOMEM: the kernel is short of memory now, the stream is as it was.
    sent.again = errno == ENOBUFS || errno == ENOMEM;
    if (errno != EAGAIN && !sent.again) sent.error = errno;
    return;
  }
  counters_.bytes_copied += static_cast<std::uint64_t>(n);
  sent.accepted += static_cast<std::size_t>(n);
  sent.full = static_cast<std::size_t>(n) < wanted;
}

std::size_t SendPath::add(Fill& fill, const SendPart& part, std::size_t skip) {
  const std::byte* data = part.data + skip;
  std::size_t length = part.length - skip;
  const bool small = part.kind == SendPart::Kind::small;
  if (fill.count == fill.iov.size()) return 0;
  if (small) {
    if (fill.header_bytes + length > kFillHeadersMax) return 0;
    std::byte* const copy = headers_ + header_next_;
    if (fill.pages + pages_of(copy, length) > pipe_pages_) return 0;
    std::memcpy(copy, data, length);
    header_next_ += length;
    fill.header_bytes += length;
    data = copy;
  } else {
    // What goes on where the last part ended is one run of pages with it.
    const std::size_t room = pipe_pages_ - fill.pages;
    if (fill.count > 0 && fill.end() == data) {
      iovec& last = fill.iov[fill.count - 1];
      const auto* const begin = static_cast<const std::byte*>(last.iov_base);
      const std::size_t before = pages_of(begin, last.iov_len);
      if (pages_of(begin, last.iov_len + length) - before <= room) {
        last.iov_len += length;
        fill.pages += pages_of(begin, last.iov_len) - before;
        fill.bytes += length;
        return length;
      }
    }
    if (room == 0) return 0;
    if (pages_of(data, length) > room) {
      length = room * kPageSize - reinterpret_cast<std::uintptr_t>(data) % kPageSize;
    }
  }
  fill.iov[fill.count++] = {const_cast<std::byte*>(data), length};
  fill.pages += pages_of(data, length);
  fill.bytes += length;
  return length;
}

void SendPath::send_by_reference(int fd, std::span<const SendPart> parts, bool more, Sent& sent) {
  std::size_t part = 0;
  std::size_t skip = 0;
  while (part < parts.size()) {
    if (kHeaderRingSize - header_next_ < kFillHeadersMax) {
      // Fresh pages under the same addresses; the old ones live on in whoever refers to them.
      ++counters_.other_calls;
      if (::madvise(headers_, kHeaderRingSize, MADV_DONTNEED) != 0) {
        stop_splicing("MADV_DONTNEED is refused");
        sent.full = sent.again = true;  // the rest goes by copy, next time
        return;
      }
      header_next_ = 0;
    }
    Fill& fill = *fill_;
    fill.count = fill.bytes = fill.pages = fill.header_bytes = 0;
    while (part < parts.size()) {
      if (parts[part].length > skip) {
        const std::size_t added = add(fill, parts[part], skip);
        skip += added;
        if (skip < parts[part].length) break;
      }
      ++part;
      skip = 0;
    }
    if (fill.bytes == 0) return;
    ++counters_.vmsplice_calls;
    const ssize_t put = ::vmsplice(pipe_in_.get(), fill.iov.data(), fill.count, SPLICE_F_NONBLOCK);
    if (put <= 0) {
      // ENOMEM, or pages that can't be taken: say "full"; the next attempt goes by copy.
      stop_splicing("vmsplice failed");
      sent.full = sent.again = true;
      return;
    }
    const auto in_pipe = static_cast<std::size_t>(put);
    const unsigned flags = SPLICE_F_NONBLOCK | SPLICE_F_MOVE |
                           (more || part < parts.size() ? unsigned{SPLICE_F_MORE} : 0u);
    ssize_t taken = 0;
    do {
      ++counters_.splice_calls;
      taken = ::splice(pipe_out_.get(), nullptr, fd, nullptr, in_pipe, flags);
    } while (taken < 0 && errno == EINTR);
    if (taken < 0) {
      sent.again = errno == ENOBUFS || errno == ENOMEM;
      if (errno != EAGAIN && !sent.again) sent.error = errno;
      taken = 0;
    }
    const auto accepted = static_cast<std::size_t>(taken);
    sent.accepted += accepted;
    sent.exposed |= accepted > 0;
    counters_.bytes_spliced += accepted;
    if (accepted < in_pipe) drain(in_pipe - accepted);
    if (accepted < fill.bytes) {
      sent.full = true;
      sent.again |= accepted == in_pipe;  // vmsplice took less than it was given
      return;
    }
  }
}

void SendPath::drain(std::size_t bytes) {
  counters_.bytes_refused += bytes;
  while (bytes > 0) {
    ++counters_.splice_calls;
    const ssize_t n =
        ::splice(pipe_out_.get(), nullptr, null_.get(), nullptr, bytes, SPLICE_F_NONBLOCK);
    if (n <= 0) {
      if (n < 0 && errno == EINTR) continue;
      // A pipe with leftovers would put wrong bytes into the next stream: a new one.
      if (!open_pipe()) stop_splicing("no new pipe");
      return;
    }
    bytes -= static_cast<std::size_t>(n);
  }
}

}  // namespace penstock::stream_kernel
