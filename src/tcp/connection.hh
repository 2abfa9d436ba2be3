// One TCP connection (RFC 9293): a bulk sender and a bulk receiver, sans-IO.
//
// Time and segments come in, segments and events are pulled. It never reads a clock, never sends,
// never calls back, never allocates: chunks, pages and queues come from `Shared`, which belongs to
// the shard. net/ owns connections, finds them by their tuple and writes their headers.
//
// Order of calls, per segment: on_segment, then poll_event until it says no (payload in order is
// borrowed from the frame, so it must be taken before the frame goes), later poll_transmit until it
// gives nothing or the burst is full, and next_timeout() into a timer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/address.hh"
#include "base/seq_number.hh"
#include "base/time.hh"
#include "stream/byte_stream.hh"
#include "tcp/segment_out.hh"
#include "wire/tcp.hh"

namespace penstock::tcp {

class Shared;  // tcp/shared.hh: pools, limits, counters and secrets of a shard

enum class State : std::uint8_t {
  closed,
  syn_sent,
  syn_received,
  established,
  fin_wait_1,
  fin_wait_2,
  close_wait,
  closing,
  last_ack,
  time_wait,
};

// Why a segment had no effect (tcp/drop_reason.def); none: it had one.
enum class DropReason : std::uint8_t;

struct Event {
  enum class Kind : std::uint8_t {
    connected,
    data,      // `data`, in order, until the next call of any kind
    writable,  // after a short try_send
    released,  // nothing refers to the memory behind `pin` any more
    need,      // the bytes of `content`, given with `pin`, were shed and must go again: on_content
    closed,    // over; `error` says why. The last event; the connection may be destroyed
  };
  Kind kind = Kind::data;
  StreamError error = StreamError::none;
  std::span<const std::byte> data;
  std::uint64_t pin = 0;
  ContentRef content;
};

// What is known of the path and the peer when a connection begins.
struct Opening {
  std::uint16_t mss = 536;      // what the path carries: MTU - IP header - 20
  SeqNumber iss;                // RFC 9293 §3.4.1: keyed hash of the tuple + clock
  std::uint32_t ts_offset = 0;  // of our timestamps (RFC 7323 §5.4), from the same hash
  // Passive open: the peer's SYN, or what a cookie recorded of it.
  SeqNumber irs;
  wire::TcpOptions peer;
  std::uint16_t peer_window = 0;  // not scaled
  bool ecn = false;
};

class Connection {
 public:
  explicit Connection(Shared& shared);
  ~Connection();  // every pin was released or is given up with it
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Begins. Active: to SYN-SENT, a SYN is ready to be polled. Passive: to SYN-RECEIVED, a SYN-ACK
  // is; with `cookie` (the handshake's ACK proved itself) straight to ESTABLISHED.
  void open_active(Instant now, const Opening& opening);
  void open_passive(Instant now, const Opening& opening, bool cookie);

  DropReason on_segment(Instant now, const wire::TcpSegment& segment);
  void on_timeout(Instant now);
  // Instant::never() when none is armed.
  [[nodiscard]] Instant next_timeout() const;
  // Appends segments; returns how many. Pacing may withhold them: next_timeout() then says when.
  std::size_t poll_transmit(Instant now, TxBurst& burst);
  // A full burst or a full device withheld something that could go at once.
  [[nodiscard]] bool has_output() const;
  bool poll_event(Event& out);

  // As StreamPort::try_send: small parts are copied, slab parts with a pin are kept by reference
  // until acknowledged, those without are copied.
  std::size_t try_send(Instant now, std::span<const SendPart> parts);
  // Off: what comes is kept, up to the receive window, and not delivered.
  void set_reading(Instant now, bool on);
  // FIN after what is queued.
  void close(Instant now);
  // RST, at once; `closed` follows when it was polled.
  void abort(Instant now);

  // Gives up the memory of all pins: `released` follows for each, and `need` when bytes must go
  // again.
  void shed();
  // The answer to `need`: the bytes, under the same pin; data == nullptr: they are lost, and the
  // connection is aborted.
  void on_content(Instant now, std::uint64_t pin, const ContentRef& content, const std::byte* data);

  // ICMP (RFC 5927): only when `quoted` is under way. mtu: of the next hop, IP bytes.
  void on_packet_too_big(Instant now, SeqNumber quoted, std::uint16_t mss);
  // Hard errors end only a handshake (RFC 9293 §3.9.2.2).
  void on_unreachable(Instant now, SeqNumber quoted);

  [[nodiscard]] State state() const;
  // Bytes that try_send would take now.
  [[nodiscard]] std::size_t send_room() const;
  // The time since the peer last acknowledged anything new while it had something to acknowledge:
  // whom to shed first.
  [[nodiscard]] Duration stalled_for(Instant now) const;
  void validate() const;
};

}  // namespace penstock::tcp
