// A host on a network: own IP and TCP over one NicPort, as a StreamPort for the shard.
//
// Frames in → headers → flow table → connection → events; connections → segments → headers → frames
// out. Answers ARP and NDP for its addresses, ICMP echo, and what RFC 1122 and 4443 ask of a host.
// Sans-IO but for the port, which poll_events and flush poll once a cycle. Owner: one shard. All
// memory comes from the constructor.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/address.hh"
#include "base/time.hh"
#include "net/drop_reason.hh"
#include "net/interface.hh"
#include "net/nic_port.hh"
#include "stream/byte_stream.hh"
#include "tcp/limits.hh"

namespace penstock::tcp {
struct Counters;
}

namespace penstock::net {

// What TCP may take, and who we are.
struct StackOptions : tcp::Limits {
  std::vector<Interface> interfaces;      // IPv4 and IPv6 addresses of ours, at most 256
  std::vector<std::uint16_t> listen;      // TCP ports
  std::uint16_t ephemeral_first = 16384;  // of the ports of connections of ours, to 65535
  std::uint16_t vlan = 0;                 // id of the 802.1Q tag of our frames; 0: none
  std::uint32_t neighbours_max = 1024;    // next hops of connections
  std::uint32_t icmp_answers = 1000;      // a second: echo replies and errors
  bool tso = true;                        // use the device's
  std::array<std::uint64_t, 2> secret{};  // for hashes that strangers must not foresee
};

struct StackCounters {
  std::array<std::uint64_t, kDropReasons> dropped{};
  std::uint64_t frames_in = 0;
  std::uint64_t frames_out = 0;      // that the port took; a TSO frame is one
  std::uint64_t acks_overtaken = 0;  // plain ACKs that the next frame said again, and more
  std::uint64_t port_full = 0;       // it took fewer than there were
  std::uint64_t questions_out = 0;   // ARP requests and neighbour solicitations
  std::uint64_t answers_out = 0;     // ARP replies and advertisements
  std::uint64_t echo_replies = 0;
  std::uint64_t errors_out = 0;         // ICMP
  std::uint64_t address_conflicts = 0;  // another station uses an address of ours
  std::uint64_t unreachable = 0;        // connect() that no neighbour answered
};

class Stack final : public StreamPort {
 public:
  // secret: fresh random bits of this start.
  Stack(NicPort& port, const StackOptions& options, Instant now);
  ~Stack() override;

  // StreamPort. Data events are valid until the next poll_events. After close() and `closed`,
  // `released` and `need` of that stream still come, until nothing of it is kept.
  std::size_t poll_events(Instant now, std::span<StreamEvent> out) override;
  SendResult try_send(StreamHandle stream, std::span<const SendPart> parts) override;
  [[nodiscard]] std::size_t unacknowledged(StreamHandle stream) override;
  void set_reading(StreamHandle stream, bool on) override;
  bool connect(const Endpoint& remote, const IpAddress& local, StreamHandle& out) override;
  void close(StreamHandle stream, bool graceful) override;
  [[nodiscard]] bool keeps_payload() const override { return true; }
  bool shed_longest_stalled(Instant now) override;
  bool on_content(StreamHandle stream, std::uint64_t pin, const ContentRef& content,
                  const std::byte* data) override;

  // Runs due timers and gives the port what may go now. Once at the end of a cycle.
  void flush(Instant now);
  // When there is something to do, if no frame comes before: poll_events, then flush.
  // Instant::never(): nothing.
  [[nodiscard]] Instant next_timeout() const;

  [[nodiscard]] const StackCounters& counters() const;
  [[nodiscard]] const tcp::Counters& tcp_counters() const;
  // Streams that have a handle, and connections that only finish.
  [[nodiscard]] std::uint32_t connections() const;
  // What a connection costs, idle: its slot and its share of the tables, bytes.
  [[nodiscard]] static std::size_t bytes_per_connection();

  // The blocks of memory that connections lie in, most of them never touched yet: where the kernel
  // maps them with huge pages, a segment of many connections misses the TLB less (README.md).
  [[nodiscard]] std::array<std::span<std::byte>, 4> memory() const;

  // Re-derives what lists and tables say; aborts on a contradiction.
  void validate() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace penstock::net
