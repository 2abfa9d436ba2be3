#include "support/raw_packet.hh"

#include <cstring>

#include "base/endian.hh"
#include "support/wire_frames.hh"

namespace penstock::support {
namespace {

constexpr std::size_t kEthernet = 14;

void put_ethernet(Bytes& out, const wire::MacAddress& to, const wire::MacAddress& from,
                  std::uint16_t type) {
  out.resize(kEthernet);
  std::memcpy(out.data(), to.bytes.data(), 6);
  std::memcpy(out.data() + 6, from.bytes.data(), 6);
  store_be16(out.data() + 12, type);
}

const std::uint8_t* v4_bytes(const IpAddress& address) {
  return address.bytes.data() + 12;
}

void append(Bytes& out, std::span<const std::byte> bytes) {
  out.insert(out.end(), bytes.begin(), bytes.end());
}

}  // namespace

std::size_t transport_at(const Hosts& hosts) {
  return kEthernet + (hosts.us.is_v4() ? 20 : 40);
}

Bytes ip_frame(const Hosts& hosts, std::uint8_t protocol, std::span<const std::byte> transport) {
  const bool four = hosts.us.is_v4();
  Bytes out;
  put_ethernet(out, hosts.their_mac, hosts.our_mac, four ? 0x0800 : 0x86dd);
  out.resize(transport_at(hosts));
  std::byte* const ip = out.data() + kEthernet;
  if (four) {
    ip[0] = std::byte{0x45};
    store_be16(ip + 2, static_cast<std::uint16_t>(20 + transport.size()));
    store_be16(ip + 4, 0x1234);
    store_be16(ip + 6, 0x4000);  // don't fragment
    ip[8] = std::byte{64};
    ip[9] = std::byte{protocol};
    std::memcpy(ip + 12, v4_bytes(hosts.us), 4);
    std::memcpy(ip + 16, v4_bytes(hosts.them), 4);
    const std::uint16_t sum = finish_sum(add_up({ip, 20}));
    std::memcpy(ip + 10, &sum, 2);
  } else {
    ip[0] = std::byte{0x60};
    store_be16(ip + 4, static_cast<std::uint16_t>(transport.size()));
    ip[6] = std::byte{protocol};
    ip[7] = std::byte{255};  // as neighbour discovery wants it
    std::memcpy(ip + 8, hosts.us.bytes.data(), 16);
    std::memcpy(ip + 24, hosts.them.bytes.data(), 16);
  }
  append(out, transport);
  return out;
}

void fill_checksum(Bytes& frame, const Hosts& hosts, std::size_t at, bool partial) {
  const std::size_t begin = transport_at(hosts);
  const std::span<std::byte> transport = std::span(frame).subspan(begin);
  std::memset(transport.data() + at, 0, 2);
  const std::span<const std::byte> ip = std::span(frame).subspan(kEthernet);
  const std::uint64_t pseudo = pseudo_sum(ip, transport.size());
  std::uint16_t sum = finish_sum(partial ? pseudo : add_up(transport, pseudo));
  if (partial) sum = static_cast<std::uint16_t>(~sum);
  std::memcpy(transport.data() + at, &sum, 2);
}

Bytes arp_request(const Hosts& hosts) {
  Bytes out;
  wire::MacAddress all;
  all.bytes.fill(0xff);
  put_ethernet(out, all, hosts.our_mac, 0x0806);
  out.resize(kEthernet + 28);
  std::byte* const arp = out.data() + kEthernet;
  store_be16(arp, 1);           // Ethernet
  store_be16(arp + 2, 0x0800);  // IPv4
  arp[4] = std::byte{6};
  arp[5] = std::byte{4};
  store_be16(arp + 6, 1);  // request
  std::memcpy(arp + 8, hosts.our_mac.bytes.data(), 6);
  std::memcpy(arp + 14, v4_bytes(hosts.us), 4);
  std::memcpy(arp + 24, v4_bytes(hosts.them), 4);
  return out;
}

Bytes tcp_segment(const RawTcp& tcp, std::span<const std::byte> payload) {
  Bytes out(20);
  store_be16(out.data(), tcp.source);
  store_be16(out.data() + 2, tcp.destination);
  store_be32(out.data() + 4, tcp.sequence);
  store_be32(out.data() + 8, tcp.acknowledgement);
  out[12] = std::byte{5 << 4};
  out[13] = std::byte{tcp.flags};
  store_be16(out.data() + 14, tcp.window);
  append(out, payload);
  return out;
}

Bytes udp_datagram(std::uint16_t source, std::uint16_t destination,
                   std::span<const std::byte> payload) {
  Bytes out(8);
  store_be16(out.data(), source);
  store_be16(out.data() + 2, destination);
  store_be16(out.data() + 4, static_cast<std::uint16_t>(8 + payload.size()));
  append(out, payload);
  return out;
}

Bytes echo_request(std::uint8_t type, std::uint16_t id, std::uint16_t sequence,
                   std::span<const std::byte> payload) {
  Bytes out(8);
  out[0] = std::byte{type};
  store_be16(out.data() + 4, id);
  store_be16(out.data() + 6, sequence);
  append(out, payload);
  if (type == 8) {  // ICMPv6's is over the pseudo-header, too
    const std::uint16_t sum = finish_sum(add_up(out));
    std::memcpy(out.data() + 2, &sum, 2);
  }
  return out;
}

}  // namespace penstock::support
