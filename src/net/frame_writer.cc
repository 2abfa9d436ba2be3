#include "net/frame_writer.hh"

#include <cstring>

#include "base/assert.hh"
#include "wire/arp.hh"
#include "wire/checksum.hh"
#include "wire/ipv4.hh"
#include "wire/ipv6.hh"
#include "wire/ndp.hh"

namespace penstock::net {
namespace {

constexpr std::uint16_t kTcpChecksumAt = 16;
// Headers take 138 bytes at most.
constexpr std::size_t kCopyMax = 96;
static_assert(18 + 40 + 60 + kCopyMax <= kHeadMax);

void set_checksum(std::byte* field, std::uint64_t sum) {
  wire::store_sum(field, wire::complement(wire::fold(sum)));
}

}  // namespace

HeaderWriter::HeaderWriter(const Host& host) {
  const IpAddress none4 = IpAddress::v4(0, 0, 0, 0), none6{};
  ip_at_ = static_cast<std::uint8_t>(
      wire::write_ethernet(v4_.data(), {}, host.mac(), wire::EtherType::ipv4, host.vlan()));
  wire::write_ethernet(v6_.data(), {}, host.mac(), wire::EtherType::ipv6, host.vlan());
  wire::write_ipv4(v4_.data() + ip_at_, none4, none4, wire::IpProtocol::tcp, 0, kHopLimit, 0);
  wire::write_ipv6(v6_.data() + ip_at_, none6, none6, wire::IpProtocol::tcp, 0, kHopLimit, 0);
  store_be16(v4_.data() + ip_at_ + 2, 0);
  wire::store_sum(v4_.data() + ip_at_ + 10, 0);
}

FlowSums HeaderWriter::sums(const tcp::Flow& flow) const {
  FlowSums out;
  out.v4 = flow.local.is_v4();
  out.pseudo = wire::fold(wire::pseudo_header_sum(flow.local, flow.remote, wire::IpProtocol::tcp));
  if (!out.v4) return out;
  std::uint64_t sum = wire::add_bytes(0, v4_.data() + ip_at_, wire::kIpv4Size);
  sum = wire::add_bytes(sum, flow.local.bytes.data() + 12, 4);
  out.ip = wire::fold(wire::add_bytes(sum, flow.remote.bytes.data() + 12, 4));
  return out;
}

void HeaderWriter::write(const wire::MacAddress& to, const tcp::Flow& flow, const FlowSums& sums,
                         const tcp::SegmentOut& segment, bool tx_checksum, TxFrame& out) const {
  std::byte* const head = out.head.data();
  std::byte* const ip = head + ip_at_;
  std::memcpy(head, sums.v4 ? v4_.data() : v6_.data(), v4_.size());
  std::memcpy(head, to.bytes.data(), 6);
  if (sums.v4) {
    std::memcpy(ip + 12, flow.local.bytes.data() + 12, 4);
    std::memcpy(ip + 16, flow.remote.bytes.data() + 12, 4);
  } else {
    std::memcpy(ip + 8, flow.local.bytes.data(), 16);
    std::memcpy(ip + 24, flow.remote.bytes.data(), 16);
  }
  std::byte* const tcp = ip + (sums.v4 ? wire::kIpv4Size : wire::kIpv6Size);
  store_be16(tcp, flow.local_port);
  store_be16(tcp + 2, flow.remote_port);
  store_be32(tcp + 4, segment.seq.value);
  store_be32(tcp + 8, segment.ack.value);
  const std::size_t header = wire::kTcpHeaderSize + segment.options_length;
  tcp[12] = static_cast<std::byte>(header / 4 << 4);
  tcp[13] = std::byte{segment.flags};
  store_be16(tcp + 14, segment.window);
  store_be32(tcp + 16, 0);
  // All of it, whatever is in use: a copy of fixed size.
  std::memcpy(tcp + wire::kTcpHeaderSize, segment.options.data(), wire::kTcpOptionsMax);
  std::byte* end = tcp + header;

  // Few bytes that come first ride in the head: cheaper than a part. The rest goes by reference.
  std::size_t i = 0;
  for (; i < segment.part_count; ++i) {
    const tcp::PayloadPart& part = segment.parts[i];
    if (part.length > kCopyMax || part.length > kHeadMax - static_cast<std::size_t>(end - head))
      break;
    std::memcpy(end, part.data, part.length);
    end += part.length;
  }
  std::uint8_t count = 0;
  for (; i < segment.part_count; ++i) {
    const tcp::PayloadPart& part = segment.parts[i];
    out.parts[count++] = {part.data, part.length, part.in_use};
  }
  out.part_count = count;
  out.head_length = static_cast<std::uint16_t>(end - head);
  out.segment_size = segment.payload_length > segment.segment_size ? segment.segment_size : 0;

  const auto tcp_length = static_cast<std::uint32_t>(header + segment.payload_length);
  if (sums.v4) {
    const auto total = static_cast<std::uint16_t>(wire::kIpv4Size + tcp_length);
    store_be16(ip + 2, total);
    ip[1] = std::byte{segment.ecn};
    set_checksum(ip + 10, std::uint64_t{sums.ip} + wire::word(total) + wire::word(segment.ecn));
  } else {
    store_be16(ip + 4, static_cast<std::uint16_t>(tcp_length));
    ip[1] = static_cast<std::byte>(segment.ecn << 4);
  }
  const std::uint64_t pseudo = sums.pseudo + wire::length_sum(tcp_length);
  if (tx_checksum) {
    out.transport_at = static_cast<std::uint16_t>(tcp - head);
    out.checksum_at = kTcpChecksumAt;
    wire::store_sum(tcp + kTcpChecksumAt, wire::fold(pseudo));
    return;
  }
  out.transport_at = out.checksum_at = 0;
  wire::PiecewiseSum sum(pseudo);
  sum.add(tcp, static_cast<std::size_t>(end - tcp));
  for (std::size_t p = 0; p < count; ++p)
    sum.add(out.parts[p].data, out.parts[p].length);
  wire::store_sum(tcp + kTcpChecksumAt, wire::complement(sum.folded()));
}

void begin_packet(const Host& host, const PacketTo& to, std::uint8_t protocol,
                  std::size_t payload_length, TxFrame& out) {
  const bool v4 = to.source.is_v4();
  const std::size_t at =
      wire::write_ethernet(out.head.data(), to.mac, host.mac(),
                           v4 ? wire::EtherType::ipv4 : wire::EtherType::ipv6, host.vlan());
  std::byte* const ip = out.head.data() + at;
  if (v4) {
    wire::write_ipv4(ip, to.source, to.destination, protocol, 0, to.hop_limit, payload_length);
  } else {
    wire::write_ipv6(ip, to.source, to.destination, protocol, 0, to.hop_limit, payload_length);
  }
  out.head_length = static_cast<std::uint16_t>(at + (v4 ? wire::kIpv4Size : wire::kIpv6Size));
  out.transport_at = out.checksum_at = out.segment_size = 0;
  out.part_count = 0;
}

void write_icmp_frame(const Host& host, const PacketTo& to, std::uint8_t type, std::uint8_t code,
                      std::uint32_t rest, std::span<const std::byte> head, const PayloadPart& body,
                      TxFrame& out) {
  const bool v4 = to.source.is_v4();
  const std::uint8_t protocol = v4 ? wire::IpProtocol::icmp : wire::IpProtocol::icmpv6;
  const std::size_t length = wire::kIcmpSize + head.size() + body.length;
  begin_packet(host, to, protocol, length, out);
  std::byte* const icmp = out.head.data() + out.head_length;
  ASSERT(out.head_length + wire::kIcmpSize + head.size() <= kHeadMax);
  wire::write_icmp(icmp, type, code, rest);
  if (!head.empty()) std::memcpy(icmp + wire::kIcmpSize, head.data(), head.size());
  wire::PiecewiseSum sum(v4 ? 0
                            : wire::pseudo_header_sum(to.source, to.destination, protocol) +
                                  wire::length_sum(static_cast<std::uint32_t>(length)));
  sum.add(icmp, wire::kIcmpSize + head.size());
  if (body.length != 0) {
    sum.add(body.data, body.length);
    out.parts[0] = body;
    out.part_count = 1;
  }
  wire::store_sum(icmp + 2, wire::complement(sum.folded()));
  out.head_length = static_cast<std::uint16_t>(out.head_length + wire::kIcmpSize + head.size());
}

namespace {

void write_arp_frame(const Host& host, const wire::MacAddress& to, const wire::ArpPacket& arp,
                     TxFrame& out) {
  const std::size_t at =
      wire::write_ethernet(out.head.data(), to, host.mac(), wire::EtherType::arp, host.vlan());
  wire::write_arp(out.head.data() + at, arp);
  out.head_length = static_cast<std::uint16_t>(at + wire::kArpSize);
  out.transport_at = out.checksum_at = out.segment_size = 0;
  out.part_count = 0;
}

void write_neighbour_frame(const Host& host, const PacketTo& to,
                           const wire::NeighbourMessage& message, TxFrame& out) {
  std::array<std::byte, wire::kNeighbourMessageSize> bytes;
  wire::write_neighbour(bytes.data(), message);
  const auto rest = load_be32(bytes.data() + 4);
  write_icmp_frame(host, to, static_cast<std::uint8_t>(bytes[0]), 0, rest,
                   std::span(bytes).subspan(wire::kIcmpSize), {}, out);
}

}  // namespace

void write_question(const Host& host, const IpAddress& source, const IpAddress& target,
                    const wire::MacAddress* to, TxFrame& out) {
  if (target.is_v4()) {
    const wire::ArpPacket arp{true, host.mac(), source, {}, target};
    write_arp_frame(host, to != nullptr ? *to : wire::MacAddress::broadcast(), arp, out);
    return;
  }
  const IpAddress group = wire::solicited_node(target);
  wire::NeighbourMessage message;
  message.solicitation = true;
  message.target = target;
  message.link_address = host.mac();
  const PacketTo packet{to != nullptr ? *to : wire::multicast_mac(group), source,
                        to != nullptr ? target : group, 255};
  write_neighbour_frame(host, packet, message, out);
}

void write_advertisement(const Host& host, const IpAddress& address, const IpAddress& to,
                         const wire::MacAddress& to_mac, bool solicited, TxFrame& out) {
  if (address.is_v4()) {
    // Announcing: a request for the own address (RFC 5227 §3).
    const wire::ArpPacket arp = solicited ? wire::ArpPacket{false, host.mac(), address, to_mac, to}
                                          : wire::ArpPacket{true, host.mac(), address, {}, address};
    write_arp_frame(host, to_mac, arp, out);
    return;
  }
  wire::NeighbourMessage message;
  message.target = address;
  message.link_address = host.mac();
  message.solicited = solicited;
  message.overrides = true;
  write_neighbour_frame(host, {to_mac, address, to, 255}, message, out);
}

}  // namespace penstock::net
