// Internal to net/stack*.cc.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "base/fine_wheel.hh"
#include "net/flow_table.hh"
#include "net/frame_parser.hh"
#include "net/frame_writer.hh"
#include "net/host.hh"
#include "net/neighbours.hh"
#include "net/slots.hh"
#include "net/stack.hh"
#include "net/stall_list.hh"
#include "net/tx_queue.hh"
#include "tcp/challenge.hh"
#include "tcp/listener.hh"
#include "tcp/shared.hh"
#include "tcp/time_wait.hh"

namespace penstock::net {

// Bytes that ICMP answers carry beyond their head: copied, since the frame that they come from goes
// before the device has read them.
class EchoBuffers {
 public:
  explicit EchoBuffers(std::size_t bytes_max)
      : bytes_max_(bytes_max), memory_(std::make_unique<std::byte[]>(kCount * bytes_max)) {}

  // False: all are in use, or it is too long.
  bool copy(std::span<const std::byte> bytes, PayloadPart& out) {
    if (bytes.size() > bytes_max_) return false;
    for (std::size_t i = 0; i < kCount; ++i) {
      if (in_use_[i] != 0) continue;
      // A port that copies leaves in_use alone: then the next answer may take the same buffer.
      std::byte* at = memory_.get() + i * bytes_max_;
      std::memcpy(at, bytes.data(), bytes.size());
      out = {at, static_cast<std::uint32_t>(bytes.size()), &in_use_[i]};
      return true;
    }
    return false;
  }

 private:
  static constexpr std::size_t kCount = 16;
  std::size_t bytes_max_;
  std::unique_ptr<std::byte[]> memory_;
  std::array<std::uint32_t, kCount> in_use_{};
};

// A station on the link as the listener keeps it for us.
inline std::uint64_t station_of(const wire::MacAddress& mac) {
  std::uint64_t station = 0;
  std::memcpy(&station, mac.bytes.data(), mac.bytes.size());
  return station;
}
inline wire::MacAddress mac_of(std::uint64_t station) {
  wire::MacAddress mac;
  std::memcpy(mac.bytes.data(), &station, mac.bytes.size());
  return mac;
}

struct Stack::Impl {
  // Pacing, delayed ACKs, RACK: ticks of 16 µs.
  using Wheel = FineWheel<14>;

  // A connection's turn, bytes of payload: what keeps a device busy for a few µs, so that a TSO
  // frame of 64 KiB is one turn.
  static constexpr std::uint32_t kTurnBytes = 64 * 1024;
  // A flush makes no more frames than this, so that input isn't kept waiting.
  static constexpr std::uint32_t kFlushFramesMax = 8 * kFrameBurst;
  static constexpr int kTimerBurst = 1024;
  // Frames before which a slot, what it refers to, and its records are fetched into the cache.
  static constexpr std::size_t kFarthest = 16, kFar = 8, kNear = 4;
  // ACKs of a connection in a row that the one behind them stands for.
  static constexpr std::uint32_t kTrainMost = 7;
  static constexpr int kControlBurst = 64;
  // No event tells that a device has room again: look after so long.
  static constexpr Duration kPortFullPause = Duration::microseconds(50);

  Impl(NicPort& port, const StackOptions& options, Instant now);
  ~Impl();

  // --- stack.cc: streams ---
  Slot* find_stream(StreamHandle stream) {
    Slot* slot = slots.find(stream);
    return slot != nullptr && !slot->orphan ? slot : nullptr;
  }
  bool connect(const Endpoint& remote, const IpAddress& local, StreamHandle& out);
  std::uint16_t choose_port(const tcp::Flow& flow);
  bool add_flow(Slot& slot, const tcp::Flow& flow, const Route& route);
  void fail_later(Slot& slot, StreamError error);
  void destroy(Slot& slot);
  void activate(Slot& slot);
  void want_events(Slot& slot);
  void arm(Slot& slot);
  // Whether there is anything to send is found out by asking: it may be an ACK.
  void after_input(Slot& slot) {
    stalls.on_progress(slot);
    activate(slot);
    arm(slot);
  }
  void validate() const;

  // --- stack_input.cc ---
  std::size_t poll_events(Instant at, std::span<StreamEvent> out);
  void receive();
  [[nodiscard]] std::uint32_t find_flow(const tcp::Flow& flow, std::uint32_t hash) const;
  // Events of a connection, as far as there is room. False: out is full, and it may have more.
  bool drain(Slot& slot);
  bool translate(Slot& slot, const tcp::Event& event, StreamEvent& out);
  void on_frame(std::size_t i);
  [[nodiscard]] const tcp::Connection* connection_at(std::size_t i) const;
  void look_ahead(std::size_t i);
  void on_doubted(Slot& slot, const wire::TcpSegment& segment);
  [[nodiscard]] bool overtaken(std::size_t i) const;
  [[nodiscard]] bool more_acks_follow(std::size_t i, const Slot& slot) const;
  void on_stray(const ParsedFrame& frame, const tcp::Flow& flow);
  void accept(const ParsedFrame& frame, const tcp::Flow& flow, const tcp::Opening& opening);
  [[nodiscard]] bool listens(std::uint16_t number) const {
    return (listening[number / 64] >> (number % 64) & 1) != 0;
  }
  void drop(DropReason reason) { ++counters.dropped[static_cast<std::size_t>(reason)]; }

  // --- stack_control.cc ---
  void on_arp(const ParsedFrame& frame);
  void on_icmp(const ParsedFrame& frame);
  void on_neighbour(const ParsedFrame& frame);
  void on_icmp_error(const ParsedFrame& frame);
  void on_too_big(const ParsedFrame& frame, const wire::QuotedPacket& quoted);
  void on_foreign_protocol(const ParsedFrame& frame);
  void answer_echo(const ParsedFrame& frame);
  bool may_answer();
  void announce();
  void ask_neighbours();
  void wake_neighbours();

  // --- stack_output.cc ---
  void flush(Instant at);
  void run_timers();
  void send_half_open();
  void transmit();
  void transmit_turn(Slot& slot);
  // A place for a frame; nullptr: the port is full.
  TxFrame* next_frame();
  void send_queued();
  void reply(const ParsedFrame& frame, const tcp::Flow& flow, const tcp::SegmentOut& segment);
  [[nodiscard]] Instant next_timeout() const;

  NicPort& port;
  const StackOptions options;
  const Host host;
  const HeaderWriter headers;
  Instant now;
  StackCounters counters;

  tcp::Shared shared;
  tcp::Listener listener;
  tcp::TimeWaitTable time_wait;
  tcp::Budget icmp_budget;
  Slots slots;
  StallList stalls;
  FlowTable flows;
  std::uint32_t flows_version = 0;  // moves on when the table changes
  Wheel wheel;
  Neighbours neighbours;
  std::vector<std::uint64_t> listening;  // a bit a port
  std::uint32_t next_ephemeral;

  // Connections that may have something to send, in turn; those that wait for their neighbour; and
  // those that may have something to say.
  List<Slot, OutputTag> active;
  std::unique_ptr<List<Slot, OutputTag>[]> waiting;
  List<Slot, EventTag> speaking;

  // The burst at hand.
  std::array<RxFrame, kFrameBurst> rx;
  std::unique_ptr<ParsedFrame[]> parsed;
  struct Found {
    tcp::Flow flow;
    std::uint32_t hash = 0;
    std::uint32_t index = FlowTable::kNone;
    bool again = false;  // of the flow of the segment before
  };
  std::array<Found, kFrameBurst> found;
  std::uint32_t found_version = 0;
  // Frames of the burst: given to connections; with a likely slot; with their own; ready.
  std::size_t rx_at = 0;
  std::size_t guessed = 0;
  std::size_t looked_up = 0;
  std::size_t made_ready = 0;
  std::size_t rx_count = 0;
  std::uint32_t train = 0;                      // ACKs overtaken in a row
  std::uint32_t last_index = FlowTable::kNone;  // of the last one looked up
  bool rx_more = false;                         // the last burst was full

  // While poll_events runs.
  std::span<StreamEvent> events;
  std::size_t event_count = 0;
  bool lent = false;  // data of this burst is in `events`

  TxQueue tx;
  bool port_full = false;
  std::unique_ptr<tcp::TxBurst> burst;
  std::size_t turn_segments = 1;
  bool tx_checksum = false;
  EchoBuffers echoes;
};

}  // namespace penstock::net
