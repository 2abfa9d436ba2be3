#include "net/frame_parser.hh"

#include "base/assert.hh"
#include "wire/checksum.hh"
#include "wire/ipv4.hh"
#include "wire/ipv6.hh"

namespace penstock::net {
namespace {

using Kind = ParsedFrame::Kind;

DropReason reason_of(wire::IpError error) {
  switch (error) {
    case wire::IpError::none:
      return DropReason::none;
    case wire::IpError::truncated:
      return DropReason::ip_truncated;
    case wire::IpError::malformed:
      return DropReason::ip_malformed;
    case wire::IpError::checksum:
      return DropReason::ip_checksum;
    case wire::IpError::fragment:
      return DropReason::ip_fragment;
    case wire::IpError::source_route:
      return DropReason::ip_source_route;
    case wire::IpError::extensions:
      return DropReason::ip_extensions;
  }
  UNREACHABLE();
}

bool checksum_good(const RxFrame& frame, const wire::IpPacket& ip, bool with_pseudo_header) {
  if (frame.checksum != RxChecksum::unknown) return frame.checksum == RxChecksum::good;
  std::uint64_t sum = 0;
  if (with_pseudo_header) {
    sum = wire::pseudo_header_sum(ip.source, ip.destination, ip.protocol) +
          wire::length_sum(static_cast<std::uint32_t>(ip.payload.size()));
  }
  return wire::fold(wire::add_bytes(sum, ip.payload)) == 0xffff;
}

DropReason parse_segment(const RxFrame& frame, ParsedFrame& out) {
  using wire::TcpFlags;
  wire::TcpSegment& segment = out.segment;
  // RFC 9293 §3.9.2.3: nothing that was sent to a group.
  if (out.group || out.local == kNoInterface) return DropReason::destination_group;
  if (!wire::parse_tcp(out.ip.payload, segment)) return DropReason::tcp_truncated;
  if (!checksum_good(frame, out.ip, true)) return DropReason::tcp_checksum;
  if (segment.source_port == 0 || segment.destination_port == 0) return DropReason::tcp_port_zero;
  // What no state has a use for.
  const std::uint8_t flags = segment.flags;
  if ((flags & (TcpFlags::syn | TcpFlags::ack | TcpFlags::rst)) == 0) return DropReason::tcp_flags;
  if ((flags & TcpFlags::syn) != 0 && (flags & (TcpFlags::fin | TcpFlags::rst)) != 0)
    return DropReason::tcp_flags;
  segment.ecn = out.ip.ecn;
  segment.merged = 1;
  if (frame.segment_size != 0 && segment.payload.size() > frame.segment_size) {
    segment.merged = static_cast<std::uint16_t>((segment.payload.size() + frame.segment_size - 1) /
                                                frame.segment_size);
  }
  out.kind = Kind::tcp;
  return DropReason::none;
}

DropReason parse_control(const RxFrame& frame, ParsedFrame& out) {
  if (!wire::parse_icmp(out.ip.payload, out.icmp)) return DropReason::icmp_truncated;
  if (!checksum_good(frame, out.ip, !out.v4)) return DropReason::icmp_checksum;
  out.kind = Kind::icmp;
  return DropReason::none;
}

DropReason parse_packet(const RxFrame& frame, const Host& host, ParsedFrame& out) {
  const wire::IpError error =
      out.v4 ? wire::parse_ipv4(out.ip_bytes, out.ip) : wire::parse_ipv6(out.ip_bytes, out.ip);
  if (error != wire::IpError::none) return reason_of(error);
  const std::uint8_t control = out.v4 ? wire::IpProtocol::icmp : wire::IpProtocol::icmpv6;
  const bool is_control = out.ip.protocol == control;
  out.local = host.find_local(out.ip.destination);
  if (out.local == kNoInterface && !(is_control && host.is_own_group(out.ip.destination)))
    return DropReason::destination;
  // Duplicate address detection asks from :: (RFC 4862 §5.4.2).
  const bool nobody = is_control && !out.v4 && out.ip.source.is_unspecified();
  if (!nobody && is_bogon(out.ip.source, out.v4)) return DropReason::source_bogon;
  if (host.find_local(out.ip.source) != kNoInterface) return DropReason::source_own;
  if (out.ip.protocol == wire::IpProtocol::tcp) return parse_segment(frame, out);
  if (is_control) return parse_control(frame, out);
  out.kind = Kind::other;
  return DropReason::none;
}

// RFC 5227 §1.1 allows a sender of 0.0.0.0: a probe. Others must be able to have their addresses.
DropReason parse_resolution(std::span<const std::byte> packet, const Host& host, ParsedFrame& out) {
  if (!wire::parse_arp(packet, out.arp)) return DropReason::arp_malformed;
  const wire::ArpPacket& arp = out.arp;
  const bool probe = arp.sender == IpAddress::v4(0, 0, 0, 0);
  if ((!probe && is_bogon(arp.sender, true)) || arp.sender_mac.is_group() ||
      arp.sender_mac.is_zero()) {
    return DropReason::arp_malformed;
  }
  out.local = host.find_local(arp.target);
  out.kind = Kind::arp;
  return DropReason::none;
}

DropReason parse(const RxFrame& frame, const Host& host, ParsedFrame& out) {
  wire::EthernetHeader ethernet;
  if (!wire::parse_ethernet(frame.bytes, ethernet)) return DropReason::frame_truncated;
  if (ethernet.source.is_group() || ethernet.source.is_zero() || ethernet.source == host.mac())
    return DropReason::mac_source;
  out.group = ethernet.destination.is_group();
  if (!out.group && ethernet.destination != host.mac()) return DropReason::mac_destination;
  if (ethernet.vlan != host.vlan()) return DropReason::vlan;
  out.source_mac = ethernet.source;
  const std::span<const std::byte> packet = frame.bytes.subspan(ethernet.header_size);
  if (ethernet.type == wire::EtherType::arp) return parse_resolution(packet, host, out);
  out.v4 = ethernet.type == wire::EtherType::ipv4;
  if (!out.v4 && ethernet.type != wire::EtherType::ipv6) return DropReason::ether_type;
  out.ip_bytes = packet;
  return parse_packet(frame, host, out);
}

}  // namespace

void parse_frame(const RxFrame& frame, const Host& host, ParsedFrame& out) {
  out.kind = Kind::dropped;
  out.drop = parse(frame, host, out);
  if (out.drop != DropReason::none) out.kind = Kind::dropped;
}

}  // namespace penstock::net
