// Headers of what we send.
//
// What all flows of a family have in common is one template, which stays in the first cache; a
// segment costs a copy of 64 bytes, its flow's addresses and ports, its own fields and two
// additions for each checksum. What changes in a flow's IPv4 header from segment to segment are its
// length and ECN bits, so its checksum is the flow's sum and those (RFC 1624's idea, without the
// old values). The TCP checksum is the pseudo-header's sum, filled in by the device, or, where it
// can't, the whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "net/host.hh"
#include "net/nic_port.hh"
#include "tcp/flow.hh"
#include "tcp/segment_out.hh"
#include "wire/ethernet.hh"
#include "wire/icmp.hh"

namespace penstock::net {

inline constexpr std::uint8_t kHopLimit = 64;

// What of a flow's headers is computed once: 6 bytes of its connection.
struct FlowSums {
  std::uint16_t ip = 0;      // of the IPv4 header without length and ECN
  std::uint16_t pseudo = 0;  // of the pseudo-header without length
  bool v4 = false;
};

class HeaderWriter {
 public:
  explicit HeaderWriter(const Host& host);

  [[nodiscard]] FlowSums sums(const tcp::Flow& flow) const;

  // Writes the frame of `segment` to the station `to`. tx_checksum: the device fills it in.
  void write(const wire::MacAddress& to, const tcp::Flow& flow, const FlowSums& sums,
             const tcp::SegmentOut& segment, bool tx_checksum, TxFrame& out) const;

 private:
  // Ethernet and IP, without addresses; with room for a copy of fixed size: 18 + 40 bytes at most.
  alignas(64) std::array<std::byte, 64> v4_{};
  alignas(64) std::array<std::byte, 64> v6_{};
  std::uint8_t ip_at_ = 0;
};

// What a packet of ours, not TCP, begins with.
struct PacketTo {
  wire::MacAddress mac;
  IpAddress source;
  IpAddress destination;
  std::uint8_t hop_limit = kHopLimit;
};

// Begins a frame with Ethernet and IP headers for `payload_length` bytes of `protocol`; the caller
// appends them at head_length.
void begin_packet(const Host& host, const PacketTo& to, std::uint8_t protocol,
                  std::size_t payload_length, TxFrame& out);

// An ICMP message (either family): 8 bytes of header, then `head` (copied), then `body` by
// reference, if there is any. head: at most 128 bytes.
void write_icmp_frame(const Host& host, const PacketTo& to, std::uint8_t type, std::uint8_t code,
                      std::uint32_t rest, std::span<const std::byte> head, const PayloadPart& body,
                      TxFrame& out);

// A question for `target`, from our address `source`, to `to` or to all who may be it.
void write_question(const Host& host, const IpAddress& source, const IpAddress& target,
                    const wire::MacAddress* to, TxFrame& out);
// Tells `to` (RFC 4861 §7.2.4) or all of the link (§7.2.6; IPv4: RFC 5227 §3) that `address` is
// here. v6 only: solicited.
void write_advertisement(const Host& host, const IpAddress& address, const IpAddress& to,
                         const wire::MacAddress& to_mac, bool solicited, TxFrame& out);

}  // namespace penstock::net
