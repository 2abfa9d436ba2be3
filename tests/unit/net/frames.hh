// Frames of a far station, for tests of the parser and of whole stacks.
#pragma once

#include <cstring>
#include <string_view>
#include <vector>

#include "base/address.hh"
#include "wire/arp.hh"
#include "wire/checksum.hh"
#include "wire/ethernet.hh"
#include "wire/icmp.hh"
#include "wire/ipv4.hh"
#include "wire/ipv6.hh"
#include "wire/ndp.hh"
#include "wire/tcp.hh"

namespace penstock::test {

using Bytes = std::vector<std::byte>;

inline IpAddress ip(std::string_view text) {
  return *parse_ip(text);
}

inline constexpr wire::MacAddress kOurMac{{2, 0, 0, 0, 0, 1}};
inline constexpr wire::MacAddress kFarMac{{2, 0, 0, 0, 0, 2}};

// Of a packet: who sends it to whom.
struct Way {
  IpAddress source;
  IpAddress destination;
  wire::MacAddress source_mac = kFarMac;
  wire::MacAddress destination_mac = kOurMac;
  std::uint16_t vlan = 0;
  std::uint8_t hop_limit = 64;
};

inline Bytes packet(const Way& way, std::uint8_t protocol, const Bytes& payload) {
  const bool v4 = way.source.is_v4() && way.destination.is_v4();
  Bytes out(18 + (v4 ? 20 : 40) + payload.size());
  const std::size_t at =
      wire::write_ethernet(out.data(), way.destination_mac, way.source_mac,
                           v4 ? wire::EtherType::ipv4 : wire::EtherType::ipv6, way.vlan);
  const std::size_t size = v4 ? 20 : 40;
  if (v4) {
    wire::write_ipv4(out.data() + at, way.source, way.destination, protocol, 0, way.hop_limit,
                     payload.size());
  } else {
    wire::write_ipv6(out.data() + at, way.source, way.destination, protocol, 0, way.hop_limit,
                     payload.size());
  }
  std::memcpy(out.data() + at + size, payload.data(), payload.size());
  out.resize(at + size + payload.size());
  return out;
}

inline void set_checksum(const Way& way, std::uint8_t protocol, Bytes& payload, std::size_t at,
                         bool pseudo) {
  std::uint64_t sum = 0;
  if (pseudo) {
    sum = wire::pseudo_header_sum(way.source, way.destination, protocol) +
          wire::length_sum(static_cast<std::uint32_t>(payload.size()));
  }
  wire::store_sum(payload.data() + at, wire::complement(wire::fold(wire::add_bytes(sum, payload))));
}

inline Bytes tcp_frame(const Way& way, const wire::TcpSegment& segment) {
  Bytes payload(60 + segment.payload.size());
  const std::size_t options = wire::write_tcp_options(payload.data() + 20, segment.options);
  wire::write_tcp(payload.data(), segment.source_port, segment.destination_port, segment.seq,
                  segment.ack, segment.flags, segment.window, options);
  if (!segment.payload.empty())
    std::memcpy(payload.data() + 20 + options, segment.payload.data(), segment.payload.size());
  payload.resize(20 + options + segment.payload.size());
  set_checksum(way, wire::IpProtocol::tcp, payload, 16, true);
  return packet(way, wire::IpProtocol::tcp, payload);
}

inline Bytes icmp_frame(const Way& way, std::uint8_t type, std::uint8_t code, std::uint32_t rest,
                        const Bytes& body) {
  const bool v4 = way.source.is_v4();
  const std::uint8_t protocol = v4 ? wire::IpProtocol::icmp : wire::IpProtocol::icmpv6;
  Bytes payload(8);
  wire::write_icmp(payload.data(), type, code, rest);
  payload.insert(payload.end(), body.begin(), body.end());
  set_checksum(way, protocol, payload, 2, !v4);
  return packet(way, protocol, payload);
}

inline Bytes arp_frame(const wire::ArpPacket& arp,
                       const wire::MacAddress& to = wire::MacAddress::broadcast()) {
  Bytes out(14 + wire::kArpSize);
  wire::write_arp(out.data() + wire::write_ethernet(out.data(), to, kFarMac, wire::EtherType::arp),
                  arp);
  return out;
}

inline Bytes neighbour_frame(Way way, const wire::NeighbourMessage& message) {
  way.hop_limit = 255;
  Bytes payload(wire::kNeighbourMessageSize);
  wire::write_neighbour(payload.data(), message);
  if (!message.has_link_address) payload.resize(wire::kNeighbourMessageSize - 8);
  set_checksum(way, wire::IpProtocol::icmpv6, payload, 2, true);
  return packet(way, wire::IpProtocol::icmpv6, payload);
}

}  // namespace penstock::test
