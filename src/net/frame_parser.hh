// From a frame to what it asks of us: every check that needs no table, before any look-up.
#pragma once

#include <cstdint>

#include "net/drop_reason.hh"
#include "net/host.hh"
#include "net/nic_port.hh"
#include "wire/arp.hh"
#include "wire/icmp.hh"
#include "wire/ip.hh"
#include "wire/tcp.hh"

namespace penstock::net {

struct ParsedFrame {
  enum class Kind : std::uint8_t {
    dropped,  // `drop` says why
    tcp,      // `ip`, `segment`
    icmp,     // `ip`, `icmp`: of either family
    arp,      // `arp`
    other,    // `ip`: for us, of a protocol that we don't speak
  };
  Kind kind = Kind::dropped;
  DropReason drop = DropReason::none;
  bool v4 = false;
  bool group = false;                  // the frame was for a group
  std::uint32_t local = kNoInterface;  // whose address it is for; kNoInterface: a group's
  wire::MacAddress source_mac;
  wire::IpPacket ip;
  std::span<const std::byte> ip_bytes;  // the whole packet, for an error to quote
  wire::TcpSegment segment;
  wire::IcmpMessage icmp;
  wire::ArpPacket arp;
};

// Borrows from the frame.
void parse_frame(const RxFrame& frame, const Host& host, ParsedFrame& out);

}  // namespace penstock::net
