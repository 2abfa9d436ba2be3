// Watches the frames of two hosts from outside and holds each to what a TCP may do, whoever wrote
// it.
//
// Per flow and direction it keeps what was sent, what came through intact, and what the receiver
// has promised. It says "wrong" with the first segment that
//   - is malformed, has a bad checksum, is above the MTU, may be fragmented, or exceeds the peer's
//     MSS (RFC 9293 §3.7.1, RFC 6691);
//   - carries other bytes than the stream has at that place, also when sent again;
//   - leaves a hole after what was sent before, or follows its own FIN (RFC 9293 §3.10.4);
//   - goes beyond the window that came to the sender, but for a probe of one byte (§3.8.6.1);
//   - goes beyond the initial window before anything was acknowledged (RFC 6928);
//   - acknowledges, cumulatively or by SACK, what didn't come (RFC 9293 §3.10.7.4, RFC 2018);
//   - takes back a window beyond what scaling rounds (RFC 9293 §3.8.6, RFC 7323 §2.4);
//   - omits, forges or turns back timestamps that were agreed on (RFC 7323 §3.2).
// It also says so when in-order data waits longer than `ack_within` for an acknowledgement
// (RFC 9293 §3.8.6.3), unless the host says that it had no memory for it.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "support/packet.hh"
#include "support/sim_link.hh"

namespace penstock::test {

// Half-open ranges, disjoint and apart.
class RangeSet {
 public:
  void add(std::uint64_t begin, std::uint64_t end);
  void remove_from(std::uint64_t begin);
  [[nodiscard]] bool covers(std::uint64_t begin, std::uint64_t end) const;
  // First number from `begin` on that isn't in it.
  [[nodiscard]] std::uint64_t contiguous_from(std::uint64_t begin) const;

 private:
  std::map<std::uint64_t, std::uint64_t> ranges_;
};

class WireObserver final : public support::LinkTap {
 public:
  struct Options {
    std::uint16_t mtu[2] = {1500, 1500};  // of the devices
    Duration ack_within = Duration::milliseconds(500);
    std::uint64_t frames_max = 2'000'000;  // more: hosts that shout at each other
  };
  // The pattern's key of what a side sends; the server's port tells the connection.
  static std::uint64_t stream_key(std::uint16_t server_port, bool from_client) {
    return std::uint64_t{server_port} << 1 | from_client;
  }

  explicit WireObserver(const Options& options);
  ~WireObserver() override;
  WireObserver(const WireObserver&) = delete;
  WireObserver& operator=(const WireObserver&) = delete;

  void on_sent(Instant now, int side, std::span<const std::byte> frame, const char* fate) override;
  void on_received(Instant now, int side, std::span<const std::byte> frame, bool intact) override;

  // The first thing that was wrong; empty: nothing.
  [[nodiscard]] const std::string& wrong() const { return wrong_; }
  // Over the time and bytes of everything that was sent and received.
  [[nodiscard]] std::uint64_t trace_hash() const;
  // The stack of this side sends into the void for want of a neighbour: what it sends isn't all to
  // be seen.
  void expect_holes(int side) { holes_[side] = true; }
  // The stack of this side has just dropped payload for want of a page. Which it was doesn't show
  // on the wire, so nothing that lies there unacknowledged is due before it comes again.
  void expect_repetition(int side);
  [[nodiscard]] std::uint64_t frames() const { return frames_; }
  [[nodiscard]] std::uint64_t retransmitted() const { return retransmitted_; }
  // The client's port of the flow to this port of the server; 0: none was seen.
  [[nodiscard]] std::uint16_t client_port(int client_side, std::uint16_t server_port) const;
  // What acknowledges the server's SYN came to it.
  [[nodiscard]] bool greeted(int client_side, std::uint16_t server_port) const;
  // A side's initial sequence number and its latest timestamp (0 without); false: none was seen.
  bool numbers(int client_side, std::uint16_t server_port, int side, SeqNumber& iss,
               std::uint32_t& timestamp) const;
  // To be called now and then: what should have been acknowledged by now.
  void check_overdue(Instant now);

 private:
  // What one side sends and what came to it. Positions count from its ISS (the SYN is at 0).
  struct Half {
    bool syn_sent = false;
    SeqNumber iss;
    std::uint8_t shift = wire::kNoWindowShift;
    std::uint16_t mss = 0;
    bool timestamps = false;
    bool sack = false;
    std::uint64_t sent_end = 0;
    std::uint64_t fin_at = ~std::uint64_t{0};
    std::uint64_t may_send = 0;  // end of the peer's window, as it came here
    std::uint64_t acked = 0;     // by the peer, as it came here
    bool spoke = false;          // more than a SYN
    bool told = false;           // a SACK or a duplicate ACK came: its initial window has passed
    bool reset = false;          // sent or received an RST
    RangeSet came;               // of the peer's positions
    std::uint64_t came_end = 0;  // contiguous
    // Of it what has to be taken: not behind a later timestamp (RFC 7323 §5.3).
    RangeSet good;
    std::uint64_t good_end = 0;
    std::uint64_t ack_sent = 0;
    std::uint64_t promised = 0;  // end of the window that it advertised
    Instant ack_due = Instant::never();
    bool any_ts = false;
    std::uint32_t ts_sent = 0;  // latest
    bool ts_came = false;
    std::uint32_t ts_latest = 0;  // that came
  };
  struct Flow {
    std::uint16_t server_port = 0;
    int client = 0;
    Half half[2];
  };

  [[nodiscard]] std::uint64_t key_of(int side, const wire::TcpSegment& s) const;
  void fail(Instant now, int side, const support::Packet& p, const std::string& text);
  void hash(Instant now, int what, std::span<const std::byte> frame);
  Flow* flow_of_sent(Instant now, int side, const support::Packet& p);
  static void take_syn(Half& half, const wire::TcpSegment& s);
  // False: the connection goes on with another SYN of this side.
  bool check_syn(Instant now, int side, const support::Packet& p, Flow& flow);
  void check_data(Instant now, int side, const support::Packet& p, Flow& flow);
  void check_ack(Instant now, int side, const support::Packet& p, Flow& flow);
  void check_timestamps(Instant now, int side, const support::Packet& p, Flow& flow);

  const Options options_;
  std::map<std::uint64_t, Flow> flows_;
  std::string wrong_;
  void* hash_state_;
  std::uint64_t frames_ = 0;
  std::uint64_t retransmitted_ = 0;
  bool holes_[2] = {false, false};
};

}  // namespace penstock::test
