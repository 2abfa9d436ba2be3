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
#include "net/nic_port.hh"
#include "stream/byte_stream.hh"

namespace penstock::net {

struct Interface {
  IpAddress address;
  std::uint8_t prefix_length = 0;  // of the network on the link: 0 … 32 or 128
  IpAddress gateway;               // unspecified: none
};

struct StackOptions {
  std::vector<Interface> interfaces;  // IPv4 and IPv6 addresses of ours
  std::vector<std::uint16_t> listen;  // TCP ports
  std::uint32_t connections_max = 4096;
  std::uint32_t syn_backlog = 1024;     // half-open handshakes kept; beyond it cookies (RFC 4987)
  std::uint32_t send_buffer = 4 << 20;  // bytes queued and not acknowledged, per connection
  std::uint32_t receive_window = 1 << 20;  // bytes, per connection
  bool tso = true;                         // use the device's
  std::array<std::uint64_t, 2> secret{};   // for hashes that strangers must not foresee
};

class Stack final : public StreamPort {
 public:
  Stack(NicPort& port, const StackOptions& options, Instant now);
  ~Stack() override;

  // StreamPort. Data events are valid until the next poll_events.
  std::size_t poll_events(Instant now, std::span<StreamEvent> out) override;
  SendResult try_send(StreamHandle stream, std::span<const SendPart> parts) override;
  void set_reading(StreamHandle stream, bool on) override;
  bool connect(const Endpoint& remote, const IpAddress& local, StreamHandle& out) override;
  void close(StreamHandle stream, bool graceful) override;

  // Runs due timers and gives the port what may go now. Once at the end of a cycle.
  void flush(Instant now);
  // When flush has something to do, if no frame comes before. Instant::never(): nothing.
  [[nodiscard]] Instant next_timeout() const;

  void validate() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace penstock::net
