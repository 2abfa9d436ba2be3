// What both flavours of stream_kernel are told, and what they count.
#pragma once

#include <cstdint>
#include <string>

#include "base/time.hh"

namespace penstock::stream_kernel {

struct StreamOptions {
  std::uint32_t streams_max = 1024;   // handles: open, connecting and lingering streams
  std::uint32_t buffer_count = 1024;  // receive buffers of all streams together; a power of two
  std::uint32_t buffer_size = 4096;   // bytes; a multiple of 64
  // Hot slabs go to the kernel by reference (vmsplice and splice) where that works.
  bool splice = true;
  // Least run of hot slabs worth it, bytes: one framed block (drivers/README.md).
  std::uint32_t splice_bytes_min = 16 * 1024;
  // TCP_CONGESTION of connections we open: the first that this user may set, of this one, reno and
  // the system's default. Accepted ones inherit their listener's.
  std::string congestion = "cubic";
  // How long a stream closed gracefully is kept open for its peer to read to the end.
  Duration linger = Duration::seconds(5);
};

// Plain integers of the shard's thread.
struct StreamCounters {
  std::uint64_t bytes_received = 0;
  std::uint64_t bytes_copied = 0;   // sent by sendmsg
  std::uint64_t bytes_spliced = 0;  // sent by reference, headers among them included
  std::uint64_t bytes_refused = 0;  // handed to the pipe by reference, then not taken by the socket
  std::uint64_t sendmsg_calls = 0;
  std::uint64_t vmsplice_calls = 0;
  std::uint64_t splice_calls = 0;
  std::uint64_t other_calls = 0;  // recv, accept, epoll_wait, setsockopt, close, …
  std::uint64_t accepted = 0;
  std::uint64_t accepts_refused = 0;  // no free handle: reset at once
  std::uint64_t accept_pauses = 0;    // out of descriptors or memory: 100 ms without accepting
  std::uint64_t connects = 0;
  std::uint64_t buffers_exhausted = 0;  // a receive found no buffer
  std::uint64_t hoarders_reset = 0;     // paused streams reset because they held most buffers

  [[nodiscard]] std::uint64_t bytes_sent() const { return bytes_copied + bytes_spliced; }
  // Of the streams alone; the ring counts its enters itself.
  [[nodiscard]] std::uint64_t syscalls() const {
    return sendmsg_calls + vmsplice_calls + splice_calls + other_calls;
  }
};

}  // namespace penstock::stream_kernel
