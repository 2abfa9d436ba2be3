// Seam: ordered byte streams to peers (ARCHITECTURE §1). Virtual per burst.
//
// A StreamPort is a shard's access to all its streams; one thread uses it. Real drivers:
// drivers/stream_kernel (kernel TCP through io_uring or epoll), later own TCP and uTP over a
// NicPort; tests: an in-memory pipe in tests/support.
//
// A stream is named by a StreamHandle from `accepted` or connect() until its `closed` event, or
// until close() returns. The driver never calls back: what happened is polled.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/address.hh"
#include "base/strong.hh"
#include "base/time.hh"

namespace penstock {

// Where bytes of content come from, so that they can be asked for again when their slab was taken
// back.
struct ContentRef {
  TorrentSlot torrent;
  std::uint32_t length = 0;  // bytes
  std::uint64_t offset = 0;  // in the torrent's piece space, bytes
};

// Generation (high half) and index (low half): a handle of a stream that is gone is never equal to
// one in use.
using StreamHandle = Strong<struct StreamHandleTag, std::uint64_t>;

// Its place in the driver's table of streams, 0 … streams_max - 1, for tables beside that one.
constexpr std::uint32_t stream_index(StreamHandle handle) {
  return static_cast<std::uint32_t>(handle.value);
}

// A run of bytes to send.
struct SendPart {
  enum class Kind : std::uint8_t {
    small,    // copied by try_send before it returns: headers and messages
    slab,     // content in the arena: the driver reads it once, before try_send returns
    hot_slab  // content in the arena likely to be sent again: the driver may hand its pages to the
              // kernel by reference. The slab's memory must then be replaced, never overwritten
              // (SendResult::exposed)
  };
  const std::byte* data = nullptr;
  std::uint32_t length = 0;
  Kind kind = Kind::small;
  // Only for a port that keeps what it sends until it is acknowledged (keeps_payload()). The parts
  // of a block have one pin, and the bytes stay where they are until `released` names it; 0: not
  // kept, copied where needed.
  std::uint64_t pin = 0;
  ContentRef content;  // of the bytes of this part, for `need`
};

struct SendResult {
  std::size_t accepted =
      0;  // bytes taken, a prefix of what was given; less than all: wait for `writable`
  bool exposed = false;  // pages of hot slabs went out by reference
};

// Most parts that one try_send takes.
inline constexpr std::size_t kSendPartsMax = 192;

enum class StreamError : std::uint8_t {
  none,
  closed_by_peer,  // FIN, everything before it was delivered
  reset,           // RST, or an ICMP error that ended it
  timed_out,       // the transport gave up
  refused,         // connect() was refused
  unreachable,     // no route, no address
  no_resources,    // out of descriptors or memory
  content_lost,    // on_content had nothing: what the peer was promised can't be sent
};

struct StreamEvent {
  enum class Kind : std::uint8_t {
    accepted,   // a new stream; `endpoint` is the remote
    connected,  // connect() came through
    data,       // `data`, in order; valid until the next poll_events
    writable,   // after a short try_send: there is room again
    released,   // nothing refers to the bytes given with `pin` any more
    need,       // bytes given with `pin` were shed and must go again: on_content
    closed,     // it is gone, `error` says why; the handle is free
  };
  Kind kind = Kind::data;
  StreamError error = StreamError::none;
  StreamHandle stream;
  std::span<const std::byte> data;
  Endpoint endpoint;
  std::uint64_t pin = 0;
  ContentRef content;
};

class StreamPort {
 public:
  virtual ~StreamPort() = default;

  // What happened since, oldest first; at most out.size(). Buffers behind earlier `data` events are
  // taken back.
  virtual std::size_t poll_events(Instant now, std::span<StreamEvent> out) = 0;

  // Takes as much of the parts, in order, as the peer has room for now. Never blocks. 0 … all
  // bytes.
  virtual SendResult try_send(StreamHandle stream, std::span<const SendPart> parts) = 0;

  // Of what try_send took, what the peer has not acknowledged yet, bytes. May ask the kernel: not
  // for every send.
  [[nodiscard]] virtual std::size_t unacknowledged(StreamHandle stream) = 0;

  // Stops and starts the delivery of `data`: backpressure to a peer that sends faster than it may.
  virtual void set_reading(StreamHandle stream, bool on) = 0;

  // Starts a stream to `remote`, from `local` if that isn't unspecified. False when out of handles;
  // else `connected` or `closed` follows.
  virtual bool connect(const Endpoint& remote, const IpAddress& local, StreamHandle& out) = 0;

  // Ends it: what was accepted is still delivered if `graceful`, else it is reset. No event
  // follows, but where payload is kept `released` and `need` until nothing of it is (so after
  // `closed_by_peer`, too): the handle is not used again before.
  virtual void close(StreamHandle stream, bool graceful) = 0;

  // Whether slab parts are kept by reference until they are acknowledged (own TCP), instead of
  // being read before try_send returns (kernel).
  [[nodiscard]] virtual bool keeps_payload() const { return false; }
  // Memory runs short: the stream that is stalled longest lets go of what it keeps; `released`
  // follows for each pin, and `need` if the peer ever asks for it. False: nobody keeps anything.
  virtual bool shed_longest_stalled(Instant now) {
    static_cast<void>(now);
    return false;
  }
  // The answer to `need`: the bytes, now kept under the same pin; nullptr: they are lost, and the
  // stream is closed. False: they are not wanted any more (the stream ended, or was acknowledged
  // meanwhile); `data` is not kept, and no `released` follows for it.
  virtual bool on_content(StreamHandle stream, std::uint64_t pin, const ContentRef& content,
                          const std::byte* data) {
    static_cast<void>(stream), static_cast<void>(pin), static_cast<void>(content);
    static_cast<void>(data);
    return false;
  }
};

}  // namespace penstock
