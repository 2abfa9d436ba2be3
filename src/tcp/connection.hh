// One TCP connection (RFC 9293): a bulk sender and a bulk receiver, sans-IO.
//
// Time and segments come in, segments and events are pulled. It never reads a clock, never sends,
// never calls back, never allocates: chunks, pages and queues come from `Shared`, which belongs to
// the shard. net/ owns connections, finds them by their tuple and writes their headers.
//
// Order of calls, per segment: on_segment, then poll_event until it says no (payload in order is
// borrowed from the frame, so it must be taken before the frame goes), later poll_transmit, once
// for all that came, and poll_event again (`need`); then next_timeout() into a timer. After
// try_send, set_reading, close, abort, on_content and on_timeout, too, something may be ready for
// poll_transmit and poll_event.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/address.hh"
#include "base/seq_number.hh"
#include "base/time.hh"
#include "stream/byte_stream.hh"
#include "tcp/drop_reason.hh"
#include "tcp/receiver.hh"
#include "tcp/segment_out.hh"
#include "tcp/send_queue.hh"
#include "transport/congestion/cubic.hh"
#include "transport/pacer.hh"
#include "transport/prr.hh"
#include "transport/rtt.hh"
#include "transport/scoreboard.hh"
#include "wire/tcp.hh"

namespace penstock::tcp {

class Shared;  // tcp/shared.hh: pools, limits, counters and secrets of a shard
struct TimeWaitState;

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

struct Event {
  enum class Kind : std::uint8_t {
    connected,  // ESTABLISHED, whoever opened
    data,       // `data`, in order, until the next call of any kind
    ended,      // the peer's FIN: everything before it was delivered. We may still send; close()
    writable,   // after a short try_send
    released,   // nothing refers to the memory behind `pin` any more
    need,       // the bytes of `content`, given with `pin`, were shed and must go again: on_content
    // Over; `error` says why (none: both sides closed). The last event, every pin is released. The
    // connection may be destroyed; where time_wait() says so its state goes into a TimeWaitTable.
    closed,
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
  bool ecn = false;               // the peer asked for ECN in its SYN, or a cookie agreed on it
  // What the handshake measured before this connection began (the listener did it); 0: nothing.
  Duration rtt{};
  bool syn_resent = false;  // our SYN-ACK had to go again: start carefully (RFC 5681 §3.1)
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
  // A full burst withheld something that could go at once.
  [[nodiscard]] bool has_output() const { return more_; }
  // poll_transmit came to bytes that were shed: poll_event has a `need`.
  [[nodiscard]] bool wants_content() const { return queue_.asks(); }
  bool poll_event(Event& out);
  // Fetches into the cache what a segment will touch outside of this object, which is there. Twice,
  // a few segments before: where things are, then the things.
  void prefetch_places() const {
    queue_.prefetch();
    if (board_) board_->prefetch_pages();
  }
  void prefetch_records() const {
    if (board_) board_->prefetch_records();
  }

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
  // connection is aborted with content_lost. False: they aren't wanted any more, and `data` is not
  // kept.
  bool on_content(Instant now, std::uint64_t pin, const ContentRef& content, const std::byte* data);

  // ICMP (RFC 5927): only when `quoted` is under way. mtu: of the next hop, IP bytes.
  void on_packet_too_big(Instant now, SeqNumber quoted, std::uint16_t mss);
  // Hard errors end only a handshake (RFC 9293 §3.9.2.2).
  void on_unreachable(Instant now, SeqNumber quoted);

  [[nodiscard]] State state() const { return state_; }
  // Bytes that try_send would take now; a block that begins within them is taken whole.
  [[nodiscard]] std::size_t send_room() const;
  // The time since the peer last acknowledged anything new while it had something to acknowledge:
  // whom to shed first.
  [[nodiscard]] Duration stalled_for(Instant now) const;
  [[nodiscard]] Instant progressed_at() const { return progress_at_; }
  // Another number than before: the peer acknowledged, or sent, something new. 0: it has ended.
  [[nodiscard]] std::uint64_t progress() const {
    return board_ ? std::uint64_t{board_->una().value} << 32 | rcv_nxt().value : 0;
  }
  // Bytes accepted and not acknowledged.
  [[nodiscard]] std::uint32_t queued() const { return queue_.queued(); }
  // After `closed`: whether it ended in TIME-WAIT, and what has to be kept of it then.
  [[nodiscard]] bool time_wait(TimeWaitState& out) const;
  void validate() const;

  // For tests and statistics.
  [[nodiscard]] std::uint32_t congestion_window() const { return cubic_.window(); }
  [[nodiscard]] std::uint32_t in_flight() const { return board_ ? board_->in_flight() : 0; }
  [[nodiscard]] std::uint16_t segment_size() const { return mss_; }
  [[nodiscard]] const transport::RttEstimator& rtt() const { return rtt_; }

 private:
  // Where the sender stands (RFC 6675, RFC 8985, RFC 9937). Disorder is open with SACKed bytes.
  enum class Phase : std::uint8_t {
    open,
    recovery,  // RACK found a loss: PRR until recover_
    loss,      // a retransmission timeout: slow start until recover_
  };
  enum class Timer : std::uint8_t { none, retransmit, tail_probe, persist };
  enum class Fin : std::uint8_t { none, wanted, sent };
  // F-RTO (RFC 5682): which ACK after a timeout is awaited.
  enum class Frto : std::uint8_t { off, first, second };

  // connection.cc
  void begin(Instant now, const Opening& opening);
  void adopt_peer_options(const wire::TcpOptions& peer);
  void set_mss(std::uint16_t path_mss);
  void become_established(Instant now);
  void enter_time_wait(Instant now);
  void fail(StreamError error, bool with_reset);
  void disarm_all();

  // connection_input.cc
  DropReason on_syn_sent(Instant now, const wire::TcpSegment& segment);
  DropReason on_synchronised(Instant now, const wire::TcpSegment& segment);
  DropReason check_timestamp(Instant now, const wire::TcpSegment& segment);
  [[nodiscard]] bool acceptable(const wire::TcpSegment& segment) const;
  DropReason on_unacceptable(Instant now, const wire::TcpSegment& segment);
  DropReason on_reset(Instant now, const wire::TcpSegment& segment);
  DropReason check_ack(Instant now, const wire::TcpSegment& segment);
  void on_ack(Instant now, const wire::TcpSegment& segment);
  void on_window(const wire::TcpSegment& segment);
  void on_fin_acked(Instant now);
  DropReason on_payload(Instant now, const wire::TcpSegment& segment);
  void on_peer_fin(Instant now);
  void schedule_ack(Instant now, const wire::TcpSegment& segment, const Receiver::Arrival& arrival);
  void on_congestion_marks(const wire::TcpSegment& segment);
  bool challenge(Instant now);
  void stray_reset(SeqNumber seq);

  // connection_recovery.cc
  void react(Instant now, const wire::TcpSegment& segment, const transport::AckReport& report,
             std::uint32_t in_flight_before);
  void enter_recovery(Instant now, std::uint32_t in_flight_before, bool goes_on = false);
  void on_lost_again(Instant now, std::uint32_t in_flight_before);
  void judge_tail_probe(Instant now, const wire::TcpSegment& segment,
                        const transport::AckReport& report);
  [[nodiscard]] bool proved_spurious(const wire::TcpSegment& segment,
                                     const transport::AckReport& report) const;
  void undo();
  [[nodiscard]] bool may_undo(Instant now);
  [[nodiscard]] bool judge_timeout(const transport::AckReport& report);
  void on_duplicate_ack(Instant now);
  void on_ecn_echo(Instant now, std::uint32_t in_flight_before);
  void on_reorder_timeout(Instant now);
  void on_retransmission_timeout(Instant now);
  void set_pace();
  [[nodiscard]] std::uint32_t window_now() const {
    return phase_ == Phase::recovery ? recovery_window_ : cubic_.window();
  }

  // connection_mtu.cc
  void suspect_black_hole(Instant now);
  void lower_mss(Instant now, std::uint16_t mss);
  [[nodiscard]] std::uint32_t mss_probe_payload() const;
  [[nodiscard]] std::uint32_t mss_probe_due(Instant now, std::uint32_t room) const;
  void on_mss_probe_sent(Instant now);
  void on_mss_probe_resent(SeqNumber begin, std::uint32_t length);
  void judge_mss_probe();

  // connection_timers.cc
  void arm_sender(Instant now);
  void arm_persist(Instant now);
  void on_sender_timeout(Instant now);
  void on_persist_timeout(Instant now);
  void on_life_timeout(Instant now);
  void arm_life(Instant now);
  [[nodiscard]] Duration backed_off(Duration base) const;

  // connection_output.cc
  void send_reset(TxBurst& burst);
  void send_syn(Instant now, TxBurst& burst);
  bool send_lost(Instant now, TxBurst& burst);
  bool send_fresh(Instant now, TxBurst& burst);
  void send_fin(Instant now, TxBurst& burst);
  void send_tail_probe(Instant now, TxBurst& burst);
  void send_probe(Instant now, TxBurst& burst);
  void send_acks(Instant now, TxBurst& burst);
  bool resend(Instant now, TxBurst& burst, transport::Scoreboard::Lost what, bool probe);
  SegmentOut* begin_segment(Instant now, TxBurst& burst, SeqNumber seq);
  void commit_segment(const SegmentOut& segment);
  void commit_payload(Instant now, const SegmentOut& segment, bool again);
  [[nodiscard]] std::uint32_t segment_most() const;
  [[nodiscard]] bool pace_allows(Instant now, std::uint32_t& most);
  [[nodiscard]] std::uint32_t fresh_length();
  std::uint16_t advertise();
  void grow_receive_window();
  [[nodiscard]] SeqNumber edge_to_offer() const;
  [[nodiscard]] bool window_update_due() const;

  [[nodiscard]] bool in_handshake() const {
    return state_ == State::syn_sent || state_ == State::syn_received;
  }
  [[nodiscard]] SeqNumber rcv_nxt() const { return receiver_.next() + (peer_fin_taken_ ? 1u : 0u); }
  // In CLOSED iss_ holds SND.NXT, for a reset.
  [[nodiscard]] SeqNumber snd_nxt() const {
    return in_handshake() ? iss_ + 1 : board_ ? board_->nxt() : iss_;
  }
  [[nodiscard]] std::uint32_t unsent() const {
    return fin_ == Fin::sent ? 0 : queue_.end() - board_->nxt();
  }

  // First what every segment touches.
  Shared* shared_;
  State state_ = State::closed;
  Phase phase_ = Phase::open;
  Timer timer_ = Timer::none;
  Fin fin_ = Fin::none;
  Frto frto_ = Frto::off;
  StreamError error_ = StreamError::none;
  std::uint8_t snd_shift_ = 0;
  std::uint8_t rcv_shift_ = 0;
  std::uint8_t backoffs_ = 0;  // of RTO or persist
  std::uint16_t mss_ = 536;    // payload of a full segment, less the timestamps
  std::uint16_t path_mss_ = 536;
  SeqNumber iss_;
  std::uint32_t snd_wnd_ = 0;
  std::uint32_t snd_wnd_most_ = 0;
  SeqNumber snd_wl1_;
  SeqNumber snd_wl2_;
  SeqNumber rcv_edge_;  // right edge as advertised
  SeqNumber last_ack_sent_;
  std::uint32_t rcv_window_ = 0;  // what may be offered at most, now
  std::uint32_t ts_recent_ = 0;
  std::uint32_t ts_offset_ = 0;
  std::uint32_t unacked_bytes_ = 0;  // received in order since the last ACK
  std::uint16_t rcv_mss_ = 536;      // the peer's full segment, as seen
  std::uint16_t dup_acks_due_ = 0;
  bool timestamps_ : 1 = false;
  bool sack_ : 1 = false;
  bool ecn_ : 1 = false;
  bool shifts_ : 1 = false;  // both sides scale windows
  bool ack_now_ : 1 = false;
  bool reading_ : 1 = true;
  bool syn_due_ : 1 = false;
  bool active_ : 1 = false;
  bool probe_due_ : 1 = false;        // a segment that makes the peer answer
  bool tail_probe_due_ : 1 = false;   // RFC 8985 §7.3
  bool tail_probing_ : 1 = false;     // one is under way until tail_end_
  bool tail_resent_ : 1 = false;      // it was a retransmission
  bool force_ : 1 = false;            // a timeout: one segment, whatever is under way
  bool override_ : 1 = false;         // persist: send what fits (RFC 9293 §3.8.6.2.1)
  bool more_ : 1 = false;             // the burst was full
  bool paced_ : 1 = false;            // the pacer withheld something
  bool limited_ : 1 = false;          // the congestion window did
  bool blocked_by_peer_ : 1 = false;  // the peer's window did
  bool reset_due_ : 1 = false;        // at reset_seq_
  bool syn_resent_ : 1 = false;
  bool echo_congestion_ : 1 = false;  // ECE until CWR (RFC 3168 §6.1.3)
  bool send_cwr_ : 1 = false;
  bool peer_fin_known_ : 1 = false;
  bool peer_fin_taken_ : 1 = false;
  bool say_connected_ : 1 = false;
  bool say_ended_ : 1 = false;
  bool say_closed_ : 1 = false;
  bool wants_room_ : 1 = false;
  bool undo_possible_ : 1 = false;
  bool resent_ : 1 = false;         // something went again in this episode
  bool mss_confirmed_ : 1 = false;  // a full segment was acknowledged (RFC 5927 §7.2)
  bool last_ce_ : 1 = false;
  bool mss_probing_ : 1 = false;  // a segment of the old size is under way until mss_probe_end_

  // Timers; never(): not armed.
  Instant timer_at_ = Instant::never();
  Instant ack_at_ = Instant::never();
  Instant life_at_ = Instant::never();   // handshake, keepalive, FIN-WAIT-2, TIME-WAIT
  Instant retry_at_ = Instant::never();  // a pool or a device held something back

  Instant now_{};          // of the last call that told
  Instant rto_from_{};     // RFC 6298 §5: the timer was last started; in a handshake: SYN sent
  Instant progress_at_{};  // SND.UNA last moved, or something came under way
  Instant heard_at_{};
  Instant ts_recent_at_{};
  Instant challenged_at_{};
  Instant window_round_at_{};
  SeqNumber window_round_seq_;
  SeqNumber recover_;
  SeqNumber tail_end_;
  SeqNumber reduced_until_;  // by ECN or for a lost retransmission: once a round trip
  SeqNumber peer_fin_at_;
  SeqNumber irs_;
  std::uint32_t undo_stamp_ = 0;    // of the first retransmission of the episode
  std::uint32_t undo_debt_ms_ = 0;  // when all undoing is paid for: may_undo
  std::uint32_t recovery_window_ = 0;
  SeqNumber reset_seq_;
  SeqNumber mss_probe_end_;
  std::uint32_t mss_probe_at_s_ = 0;  // not before, seconds
  std::uint16_t mss_before_ = 0;      // path_mss_ until it was lowered; 0: it wasn't
  std::uint16_t told_mss_ = 0;        // by ICMP, not believed yet
  std::uint8_t keepalives_sent_ = 0;
  std::uint8_t dup_acks_seen_ = 0;

  SendQueue queue_;
  Receiver receiver_;
  transport::RttEstimator rtt_;
  transport::Cubic cubic_;
  transport::Prr prr_;
  transport::Pacer pacer_;
  std::optional<transport::Scoreboard> board_;
};

// What an idle established connection costs, beside its place in tables: it holds no page and no
// record. Slots (net/slots.hh) add theirs.
static_assert(sizeof(Connection) <= 864);

}  // namespace penstock::tcp
