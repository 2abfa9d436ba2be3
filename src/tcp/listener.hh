// LISTEN and SYN-RECEIVED for all ports of a shard, without a Connection: mini control blocks,
// bounded, and SYN cookies beyond that (RFC 4987 §3.6, §3.3).
//
// A SYN makes a block of about 150 bytes and a SYN-ACK; the ACK that answers it makes the
// Connection. Without a free block the SYN-ACK carries a cookie and nothing is kept. So a flood
// costs no memory, and no Connection exists before its peer has proved that it gets our segments.
//
// Timers: the SYN-ACK goes again after 1, 2, 4 … s, Limits::syn_ack_retries times, then the block
// goes (RFC 9293 §3.10.8). Blocks that went out equally often are in one list, so in order of time.
//
// A block whose SYN came again answers again, at most once a second (RFC 9293 §3.10.7.4 first).
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/seq_number.hh"
#include "base/time.hh"
#include "tcp/connection.hh"
#include "tcp/cookies.hh"
#include "tcp/flow.hh"
#include "tcp/segment_out.hh"
#include "tcp/shared.hh"
#include "wire/tcp.hh"

namespace penstock::tcp {

// The answer to a segment for nobody (RFC 9293 §3.10.7.1). False: none is due (it is an RST, or the
// budget is spent).
[[nodiscard]] bool reset_to_nobody(Instant now, Shared& shared, const wire::TcpSegment& segment,
                                   SegmentOut& out);

class Listener {
 public:
  enum class Verdict : std::uint8_t {
    not_here,   // nothing half-open, and no cookie: reset_to_nobody
    drop,       // nothing to do
    reply,      // send `reply`
    establish,  // Connection::open_passive(now, opening, true), then on_segment with this segment
  };
  struct Answer {
    Verdict verdict = Verdict::not_here;
    Opening opening;
    SegmentOut reply;
  };

  explicit Listener(Shared& shared);

  // A segment with SYN, without ACK, RST and FIN, to a port that listens, of a flow that has no
  // connection and isn't in TIME-WAIT (or may reopen: `iss_least` from there). path_mss: MTU - IP
  // header - 20.
  void on_syn(Instant now, const Flow& flow, const wire::TcpSegment& segment,
              std::uint16_t path_mss, const SeqNumber* iss_least, Answer& answer,
              std::uint64_t station = 0);
  // Any other segment of such a flow. Without room for a connection (`room` false) a good ACK is
  // dropped: the peer sends again.
  void on_ack(Instant now, const Flow& flow, const wire::TcpSegment& segment,
              std::uint16_t path_mss, bool room, Answer& answer);

  // SYN-ACKs that are due again; frees what waited long enough. False: no more now.
  // station: what on_syn was given with the SYN, so that the answer goes where the first one went.
  bool poll_transmit(Instant now, Flow& flow, SegmentOut& out, std::uint64_t* station = nullptr);
  [[nodiscard]] Instant next_timeout() const;
  // ICMP says that the peer isn't there (RFC 9293 §3.9.2.2); `quoted` must be our SYN-ACK.
  void on_unreachable(const Flow& flow, SeqNumber quoted);

  [[nodiscard]] std::uint32_t half_open() const { return size_; }
  [[nodiscard]] bool contains(const Flow& flow) const { return find(flow) != kNone; }
  void validate() const;

 private:
  struct Block {
    Flow flow;
    SeqNumber irs;
    SeqNumber iss;
    std::uint32_t ts_offset = 0;
    std::uint32_t ts_recent = 0;
    std::uint16_t path_mss = 0;
    std::uint16_t peer_mss = 0;
    std::uint16_t peer_window = 0;
    std::uint8_t peer_shift = 0;
    bool sack = false;
    bool timestamps = false;
    bool ecn = false;
    std::uint8_t sent = 0;  // SYN-ACKs, less one: its list
    Instant first_sent{};
    Instant last_sent{};
    Instant due{};
    std::uint64_t station = 0;
    std::uint32_t chain = 0;
    std::uint32_t older = 0;
    std::uint32_t newer = 0;
  };
  struct List {
    std::uint32_t oldest = ~0u;
    std::uint32_t newest = ~0u;
  };
  static constexpr std::uint32_t kNone = ~0u;
  static constexpr std::size_t kListsMax = 8;

  [[nodiscard]] std::uint32_t& bucket(const Flow& flow);
  [[nodiscard]] std::uint32_t find(const Flow& flow) const;
  void remove(std::uint32_t index);
  void unlink(std::uint32_t index);
  void append(std::uint32_t index);
  void write_syn_ack(Instant now, const Block& block, SegmentOut& out) const;
  void reply_with_cookie(Instant now, const Flow& flow, const wire::TcpSegment& segment,
                         std::uint16_t path_mss, Answer& answer);
  void check_cookie(Instant now, const Flow& flow, const wire::TcpSegment& segment,
                    std::uint16_t path_mss, bool room, Answer& answer);

  Shared& shared_;
  Cookies cookies_;
  Instant cookies_until_{};  // ACKs may carry cookies before this
  std::uint32_t size_ = 0;
  std::uint32_t free_ = kNone;
  std::array<List, kListsMax> lists_;
  std::vector<std::uint32_t> buckets_;
  std::vector<Block> blocks_;
};

}  // namespace penstock::tcp
