// How bytes leave: one synchronous, non-blocking system call for many parts.
//
// Two ways. By copy: sendmsg with an iovec a part. By reference: hot slabs' pages (and the page
// with the copied headers between them) go into the shard's one pipe with vmsplice and from there
// to the socket with splice, untouched by the CPU. What the socket doesn't take of a pipeful is
// dropped into /dev/null, so that the pipe is empty after every call and the accepted bytes are
// exact.
//
// Hazard of references: until the receiver has *read* the bytes, the kernel points at the page, on
// loopback even beyond the ACK. So memory that went out by reference is never overwritten: slabs
// are renewed by whoever reads into them next (StorageOp::Segment::renew), the header pages here,
// each time the ring comes round.
//
// Owner: a stream driver; one thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <sys/uio.h>

#include "base/result.hh"
#include "host/fd.hh"
#include "stream/byte_stream.hh"
#include "stream_kernel/options.hh"

namespace penstock::stream_kernel {

class SendPath {
 public:
  struct Sent {
    std::size_t accepted = 0;
    bool exposed = false;
    bool full = false;  // not all was taken: wait for room
    // … but not for want of room in the socket, so that nothing will announce any: try again.
    bool again = false;
    int error = 0;  // errno that ends the stream; 0 otherwise
  };

  SendPath(const StreamOptions& options, StreamCounters& counters);
  ~SendPath();
  SendPath(const SendPath&) = delete;
  SendPath& operator=(const SendPath&) = delete;

  Sent send(int fd, std::span<const SendPart> parts);

  [[nodiscard]] bool splices() const { return splices_; }
  // Why not, when it was wanted and doesn't work here; to be said once. Empty otherwise. Static.
  [[nodiscard]] const char* splice_trouble() const { return trouble_; }

 private:
  // Consecutive parts that go the same way.
  struct Run {
    std::size_t end = 0;
    bool by_reference = false;
  };
  // A pipeful being put together.
  struct Fill {
    std::array<iovec, kSendPartsMax> iov;
    std::size_t count = 0;
    std::size_t bytes = 0;
    std::size_t pages = 0;
    std::size_t header_bytes = 0;

    // Where the last part ends; there is one.
    [[nodiscard]] const std::byte* end() const {
      const iovec& last = iov[count - 1];
      return static_cast<const std::byte*>(last.iov_base) + last.iov_len;
    }
  };

  [[nodiscard]] Run next_run(std::span<const SendPart> parts, std::size_t begin) const;
  void send_copied(int fd, std::span<const SendPart> parts, bool more, Sent& sent);
  void send_by_reference(int fd, std::span<const SendPart> parts, bool more, Sent& sent);
  // Adds as much of the part, from `skip` on, as the pipe has pages for; how much that was.
  std::size_t add(Fill& fill, const SendPart& part, std::size_t skip);
  [[nodiscard]] bool open_pipe();
  [[nodiscard]] bool prove();
  void drain(std::size_t bytes);
  void stop_splicing(const char* why);

  StreamCounters& counters_;
  const std::size_t splice_bytes_min_;
  bool splices_ = false;
  const char* trouble_ = "";
  host::Fd pipe_in_;
  host::Fd pipe_out_;
  host::Fd null_;
  std::size_t pipe_pages_ = 0;
  std::byte* headers_ = nullptr;  // kHeaderRingSize bytes
  std::size_t header_next_ = 0;   // everything before it may be in the kernel's hands
  std::unique_ptr<Fill> fill_;
};

}  // namespace penstock::stream_kernel
