#include "support/packet.hh"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "base/assert.hh"
#include "base/endian.hh"

namespace penstock::support {
namespace {

using wire::TcpFlags;

std::uint8_t byte_at(std::span<const std::byte> bytes, std::size_t at) {
  return std::to_integer<std::uint8_t>(bytes[at]);
}

IpAddress address_v4(const std::byte* p) {
  return IpAddress::v4(std::to_integer<std::uint8_t>(p[0]), std::to_integer<std::uint8_t>(p[1]),
                       std::to_integer<std::uint8_t>(p[2]), std::to_integer<std::uint8_t>(p[3]));
}

bool parse_ipv4(std::span<const std::byte> ip, Packet& out) {
  if (ip.size() < 20) return out.problem = "IPv4: cut off", false;
  const std::size_t header = std::size_t{byte_at(ip, 0) & 0x0fu} * 4;
  if (byte_at(ip, 0) >> 4 != 4 || header < 20) return out.problem = "IPv4: header", false;
  out.ip_length = load_be16(&ip[2]);
  if (out.ip_length < header || out.ip_length > ip.size()) {
    return out.problem = "IPv4: total length", false;
  }
  out.version = 4;
  out.ecn = byte_at(ip, 1) & 3;
  out.ip_id = load_be16(&ip[4]);
  const std::uint16_t fragment = load_be16(&ip[6]);
  out.dont_fragment = (fragment & 0x4000) != 0;
  out.hop_limit = byte_at(ip, 8);
  out.protocol = byte_at(ip, 9);
  out.ip_checksum_good = finish_sum(sum_words(ip.first(header))) == 0;
  out.source = address_v4(&ip[12]);
  out.destination = address_v4(&ip[16]);
  out.transport_at = kEthernetSize + header;
  out.transport = ip.subspan(header, out.ip_length - header);
  if ((fragment & 0x3fff) != 0) return out.problem = "IPv4: a fragment", false;
  return true;
}

bool parse_ipv6(std::span<const std::byte> ip, Packet& out) {
  if (ip.size() < 40 || byte_at(ip, 0) >> 4 != 6) return out.problem = "IPv6: header", false;
  out.ip_length = std::size_t{40} + load_be16(&ip[4]);
  if (out.ip_length > ip.size()) return out.problem = "IPv6: payload length", false;
  out.version = 6;
  out.ecn = static_cast<std::uint8_t>(byte_at(ip, 1) >> 4 & 3);
  out.protocol = byte_at(ip, 6);
  out.hop_limit = byte_at(ip, 7);
  std::memcpy(out.source.bytes.data(), &ip[8], 16);
  std::memcpy(out.destination.bytes.data(), &ip[24], 16);
  out.transport_at = kEthernetSize + 40;
  out.transport = ip.subspan(40, out.ip_length - 40);
  return true;
}

// One option of `length` bytes at p. False: its length is wrong.
bool parse_option(const std::byte* p, std::uint8_t kind, std::size_t length,
                  wire::TcpOptions& out) {
  switch (kind) {
    case 2:
      if (length != 4) return false;
      out.mss = load_be16(p + 2);
      return true;
    case 3:
      if (length != 3) return false;
      out.window_shift = std::to_integer<std::uint8_t>(p[2]);
      return true;
    case 4:
      if (length != 2) return false;
      return out.sack_permitted = true;
    case 5: {
      if (length < 10 || (length - 2) % 8 != 0 || length > 34) return false;
      out.sack_count = static_cast<std::uint8_t>((length - 2) / 8);
      for (std::size_t i = 0; i < out.sack_count; ++i) {
        out.sacks[i] = {SeqNumber(load_be32(p + 2 + 8 * i)), SeqNumber(load_be32(p + 6 + 8 * i))};
      }
      return true;
    }
    case 8:
      if (length != 10) return false;
      out.has_timestamps = true;
      out.ts_value = load_be32(p + 2);
      out.ts_echo = load_be32(p + 6);
      return true;
    default:
      return true;
  }
}

void parse_tcp(Packet& out) {
  const auto t = out.transport;
  if (t.size() < 20) {
    out.problem = "TCP: cut off";
    return;
  }
  out.tcp_header_length = std::size_t{byte_at(t, 12)} / 16 * 4;
  if (out.tcp_header_length < 20 || out.tcp_header_length > t.size()) {
    out.problem = "TCP: data offset";
    return;
  }
  wire::TcpSegment& s = out.tcp;
  s.source_port = load_be16(&t[0]);
  s.destination_port = load_be16(&t[2]);
  s.seq = SeqNumber(load_be32(&t[4]));
  s.ack = SeqNumber(load_be32(&t[8]));
  s.flags = byte_at(t, 13);
  s.window = load_be16(&t[14]);
  s.ecn = out.ecn;
  s.payload = t.subspan(out.tcp_header_length);
  std::size_t at = 20;
  while (at < out.tcp_header_length) {
    const std::uint8_t kind = byte_at(t, at);
    if (kind == 0) break;
    if (kind == 1) {
      ++at;
      continue;
    }
    const std::size_t length = at + 1 < out.tcp_header_length ? byte_at(t, at + 1) : 0;
    if (length < 2 || at + length > out.tcp_header_length ||
        !parse_option(&t[at], kind, length, s.options)) {
      out.options_malformed = true;
      return;
    }
    at += length;
  }
}

void put_mac(Bytes& out, const wire::MacAddress& mac) {
  for (const std::uint8_t b : mac.bytes)
    out.push_back(std::byte{b});
}

void put16(Bytes& out, std::uint32_t v) {
  out.push_back(std::byte(v >> 8 & 0xff));
  out.push_back(std::byte(v & 0xff));
}

void put32(Bytes& out, std::uint32_t v) {
  put16(out, v >> 16);
  put16(out, v & 0xffff);
}

// The IPv4 header checksum, over the header at `at`.
void set_ipv4_checksum(std::span<std::byte> frame, std::size_t at) {
  const std::size_t header = std::size_t{byte_at(frame, at) & 0x0fu} * 4;
  store_be16(&frame[at + 10], 0);
  store_be16(&frame[at + 10], finish_sum(sum_words(frame.subspan(at, header))));
}

}  // namespace

std::uint64_t sum_words(std::span<const std::byte> bytes, std::uint64_t sum) {
  std::size_t i = 0;
  // A ones' complement sum doesn't mind wider words (RFC 1071 §2).
  for (; i + 4 <= bytes.size(); i += 4)
    sum += load_be32(&bytes[i]);
  if (i + 2 <= bytes.size()) {
    sum += load_be16(&bytes[i]);
    i += 2;
  }
  if (i < bytes.size()) sum += std::uint64_t{byte_at(bytes, i)} << 8;
  return sum;
}

std::uint16_t finish_sum(std::uint64_t sum) {
  while (sum >> 16 != 0)
    sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

std::uint64_t pseudo_header_sum(const IpAddress& source, const IpAddress& destination,
                                std::uint8_t protocol, std::size_t length) {
  const bool v4 = source.is_v4();
  const auto part = [v4](const IpAddress& a) {
    return std::as_bytes(std::span(a.bytes)).subspan(v4 ? 12 : 0);
  };
  return sum_words(part(source)) + sum_words(part(destination)) + protocol + length;
}

Packet parse_packet(std::span<const std::byte> frame) {
  Packet out;
  out.frame = frame;
  if (frame.size() < kEthernetSize) {
    out.problem = "Ethernet: cut off";
    return out;
  }
  std::memcpy(out.destination_mac.bytes.data(), frame.data(), 6);
  std::memcpy(out.source_mac.bytes.data(), frame.data() + 6, 6);
  out.ether_type = load_be16(&frame[12]);
  const auto ip = frame.subspan(kEthernetSize);
  if (out.ether_type == kEtherIpv4) {
    if (!parse_ipv4(ip, out)) return out;
  } else if (out.ether_type == kEtherIpv6) {
    if (!parse_ipv6(ip, out)) return out;
  } else {
    return out;
  }
  std::uint64_t sum = sum_words(out.transport);
  if (out.protocol != kProtocolIcmp) {
    sum += pseudo_header_sum(out.source, out.destination, out.protocol, out.transport.size());
  }
  out.transport_checksum_good = finish_sum(sum) == 0;
  if (out.protocol == kProtocolTcp) parse_tcp(out);
  return out;
}

std::string describe(Instant at) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6f s", static_cast<double>(at.ns) / 1e9);
  return text;
}

std::string describe_flags(std::uint8_t flags) {
  std::string text;
  constexpr std::pair<std::uint8_t, char> kLetters[] = {
      {TcpFlags::fin, 'F'}, {TcpFlags::syn, 'S'}, {TcpFlags::rst, 'R'}, {TcpFlags::psh, 'P'},
      {TcpFlags::urg, 'U'}, {TcpFlags::ece, 'E'}, {TcpFlags::cwr, 'W'}, {TcpFlags::ack, '.'}};
  for (const auto& [flag, letter] : kLetters) {
    if ((flags & flag) != 0) text += letter;
  }
  return text.empty() ? "-" : text;
}

namespace {

std::string describe_options(const wire::TcpOptions& o, SeqNumber ack_base) {
  std::string text;
  const auto add = [&text](const std::string& word) { text += (text.empty() ? "" : ",") + word; };
  if (o.mss != 0) add("mss " + std::to_string(o.mss));
  if (o.sack_permitted) add("sackOK");
  if (o.has_timestamps) {
    add("TS val " + std::to_string(o.ts_value) + " ecr " + std::to_string(o.ts_echo));
  }
  if (o.window_shift != wire::kNoWindowShift) add("wscale " + std::to_string(o.window_shift));
  if (o.sack_count != 0) {
    std::string word = "sack";
    for (std::size_t i = 0; i < o.sack_count; ++i) {
      word += " " + std::to_string(o.sacks[i].begin - ack_base) + ":" +
              std::to_string(o.sacks[i].end - ack_base);
    }
    add(word);
  }
  return " <" + text + ">";
}

}  // namespace

std::string describe(const Packet& p, SeqNumber seq_base, SeqNumber ack_base) {
  if (p.version == 0) return p.ether_type == kEtherArp ? "ARP" : "a frame that is no IP";
  std::string text = Endpoint{p.source, p.tcp.source_port}.to_string() + " > " +
                     Endpoint{p.destination, p.tcp.destination_port}.to_string() + ": ";
  if (p.problem != nullptr) return text + p.problem;
  if (!p.is_tcp()) {
    text += "protocol " + std::to_string(p.protocol);
    if (p.transport.size() >= 2) {
      text += " type " + std::to_string(byte_at(p.transport, 0)) + " code " +
              std::to_string(byte_at(p.transport, 1));
    }
    return text;
  }
  const wire::TcpSegment& s = p.tcp;
  const std::uint32_t begin = s.seq - seq_base;
  text += describe_flags(s.flags) + " " + std::to_string(begin) + ":" +
          std::to_string(static_cast<std::uint32_t>(begin + s.payload.size())) + "(" +
          std::to_string(s.payload.size()) + ")";
  if (s.has(TcpFlags::ack)) text += " ack " + std::to_string(s.ack - ack_base);
  return text + " win " + std::to_string(s.window) + describe_options(s.options, ack_base);
}

Bytes build_ip(const Addressing& to, std::uint8_t protocol, std::span<const std::byte> transport) {
  Bytes out;
  out.reserve(kEthernetSize + 40 + transport.size());
  put_mac(out, to.destination_mac);
  put_mac(out, to.source_mac);
  if (to.source.is_v4()) {
    put16(out, kEtherIpv4);
    put16(out, 0x4500u | to.ecn);
    put16(out, static_cast<std::uint32_t>(20 + transport.size()));
    put16(out, 0);
    put16(out, 0x4000);
    put16(out, std::uint32_t{to.hop_limit} << 8 | protocol);
    put16(out, 0);
    const auto tail = [&out](const IpAddress& a) {
      const auto bytes = std::as_bytes(std::span(a.bytes)).subspan(12);
      out.insert(out.end(), bytes.begin(), bytes.end());
    };
    tail(to.source);
    tail(to.destination);
    set_ipv4_checksum(out, kEthernetSize);
  } else {
    put16(out, kEtherIpv6);
    put32(out, 0x60000000u | std::uint32_t{to.ecn} << 20);
    put16(out, static_cast<std::uint32_t>(transport.size()));
    put16(out, std::uint32_t{protocol} << 8 | to.hop_limit);
    for (const IpAddress* a : {&to.source, &to.destination}) {
      const auto bytes = std::as_bytes(std::span(a->bytes));
      out.insert(out.end(), bytes.begin(), bytes.end());
    }
  }
  out.insert(out.end(), transport.begin(), transport.end());
  return out;
}

Bytes encode_options(const wire::TcpOptions& o) {
  Bytes out;
  if (o.mss != 0) {
    put16(out, 0x0204);
    put16(out, o.mss);
  }
  if (o.sack_permitted) put16(out, 0x0402);
  if (o.has_timestamps) {
    put16(out, 0x080a);
    put32(out, o.ts_value);
    put32(out, o.ts_echo);
  }
  if (o.window_shift != wire::kNoWindowShift) {
    put16(out, 0x0303);
    out.push_back(std::byte{o.window_shift});
  }
  if (o.sack_count != 0) {
    put16(out, 0x0500u | (2u + 8u * o.sack_count));
    for (std::size_t i = 0; i < o.sack_count; ++i) {
      put32(out, o.sacks[i].begin.value);
      put32(out, o.sacks[i].end.value);
    }
  }
  while (out.size() % 4 != 0)
    out.push_back(std::byte{1});
  return out;
}

Bytes build_tcp(const Addressing& to, const wire::TcpSegment& s,
                std::span<const std::byte> options) {
  Bytes t;
  put16(t, s.source_port);
  put16(t, s.destination_port);
  put32(t, s.seq.value);
  put32(t, s.ack.value);
  const std::size_t header = 20 + (options.size() + 3) / 4 * 4;
  ASSERT(header <= 60);
  put16(t, static_cast<std::uint32_t>(header / 4 << 12) | s.flags);
  put16(t, s.window);
  put32(t, 0);
  t.insert(t.end(), options.begin(), options.end());
  t.resize(header);
  t.insert(t.end(), s.payload.begin(), s.payload.end());
  const std::uint64_t sum =
      pseudo_header_sum(to.source, to.destination, kProtocolTcp, t.size()) + sum_words(t);
  store_be16(&t[16], finish_sum(sum));
  return build_ip(to, kProtocolTcp, t);
}

Bytes build_icmp(const Addressing& to, std::uint8_t type, std::uint8_t code,
                 std::span<const std::byte> body) {
  Bytes t;
  put16(t, std::uint32_t{type} << 8 | code);
  put16(t, 0);
  t.insert(t.end(), body.begin(), body.end());
  const bool v4 = to.source.is_v4();
  std::uint64_t sum = sum_words(t);
  if (!v4) sum += pseudo_header_sum(to.source, to.destination, kProtocolIcmp6, t.size());
  store_be16(&t[2], finish_sum(sum));
  return build_ip(to, v4 ? kProtocolIcmp : kProtocolIcmp6, t);
}

Bytes build_too_big(const Addressing& to, std::uint16_t mtu, std::span<const std::byte> packet,
                    std::size_t quote) {
  const bool v4 = to.source.is_v4();
  Bytes body;
  put32(body, mtu);
  const auto part = packet.first(std::min(quote, packet.size()));
  body.insert(body.end(), part.begin(), part.end());
  return v4 ? build_icmp(to, 3, 4, body) : build_icmp(to, 2, 0, body);
}

bool answer_neighbour(std::span<const std::byte> frame, const IpAddress& address,
                      const wire::MacAddress& mac, Bytes& out) {
  if (frame.size() < kEthernetSize + 28) return false;
  wire::MacAddress asker;
  std::memcpy(asker.bytes.data(), frame.data() + 6, 6);
  if (load_be16(&frame[12]) == kEtherArp) {
    const auto arp = frame.subspan(kEthernetSize);
    if (load_be16(&arp[6]) != 1 || address_v4(&arp[24]) != address) return false;
    out.clear();
    put_mac(out, asker);
    put_mac(out, mac);
    put16(out, kEtherArp);
    out.insert(out.end(), arp.begin(), arp.begin() + 6);
    put16(out, 2);
    put_mac(out, mac);
    out.insert(out.end(), arp.begin() + 24, arp.begin() + 28);
    out.insert(out.end(), arp.begin() + 8, arp.begin() + 18);
    return true;
  }
  const Packet p = parse_packet(frame);
  if (p.protocol != kProtocolIcmp6 || p.problem != nullptr || p.transport.size() < 24) return false;
  IpAddress target;
  std::memcpy(target.bytes.data(), &p.transport[8], 16);
  if (byte_at(p.transport, 0) != 135 || target != address) return false;
  // Neighbour Advertisement (RFC 4861 §4.4): solicited, override; the target's link-layer address.
  Bytes body;
  put32(body, 0x60000000);
  body.insert(body.end(), p.transport.begin() + 8, p.transport.begin() + 24);
  put16(body, 0x0201);
  put_mac(body, mac);
  const Addressing to{.source_mac = mac,
                      .destination_mac = asker,
                      .source = address,
                      .destination = p.source,
                      .hop_limit = 255};
  out = build_icmp(to, 136, 0, body);
  return true;
}

void fill_checksum(std::span<std::byte> frame, std::size_t transport_at, std::size_t checksum_at) {
  const std::uint16_t sum = finish_sum(sum_words(frame.subspan(transport_at)));
  store_be16(&frame[transport_at + checksum_at], sum);
}

std::vector<Bytes> cut_segments(std::span<const std::byte> frame, std::size_t transport_at,
                                std::size_t segment_size) {
  const std::size_t payload_at =
      transport_at + std::size_t{byte_at(frame, transport_at + 12)} / 16 * 4;
  ASSERT(payload_at <= frame.size() && segment_size > 0);
  const bool v4 = load_be16(&frame[12]) == kEtherIpv4;
  const std::size_t total = frame.size() - payload_at;
  std::vector<Bytes> out;
  std::uint16_t id = v4 ? load_be16(&frame[kEthernetSize + 4]) : 0;
  for (std::size_t at = 0; at < total || out.empty(); at += segment_size) {
    const std::size_t length = std::min(segment_size, total - at);
    Bytes s(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(payload_at));
    const auto part = frame.subspan(payload_at + at, length);
    s.insert(s.end(), part.begin(), part.end());
    std::byte& flags = s[transport_at + 13];
    if (at + length < total) flags &= ~std::byte{TcpFlags::fin | TcpFlags::psh};
    if (at != 0) flags &= ~std::byte{TcpFlags::cwr};
    store_be32(&s[transport_at + 4],
               load_be32(&s[transport_at + 4]) + static_cast<std::uint32_t>(at));
    if (v4) {
      store_be16(&s[kEthernetSize + 2], static_cast<std::uint16_t>(s.size() - kEthernetSize));
      store_be16(&s[kEthernetSize + 4], id++);
      set_ipv4_checksum(s, kEthernetSize);
    } else {
      store_be16(&s[kEthernetSize + 4], static_cast<std::uint16_t>(s.size() - kEthernetSize - 40));
    }
    const Packet addresses = parse_packet(s);
    store_be16(&s[transport_at + 16], 0);
    const std::uint64_t sum = pseudo_header_sum(addresses.source, addresses.destination,
                                                kProtocolTcp, s.size() - transport_at) +
                              sum_words(std::span<const std::byte>(s).subspan(transport_at));
    store_be16(&s[transport_at + 16], finish_sum(sum));
    out.push_back(std::move(s));
  }
  return out;
}

bool merge_segment(Bytes& into, std::size_t& size, std::span<const std::byte> next) {
  const Packet a = parse_packet(into);
  const Packet b = parse_packet(next);
  if (!a.is_tcp() || !b.is_tcp() || !b.checksums_good()) return false;
  if (size == 0 && !a.checksums_good()) return false;
  const std::size_t first = size == 0 ? a.tcp.payload.size() : size;
  const std::size_t headers = a.transport_at + a.tcp_header_length;
  constexpr std::uint8_t kPlain = TcpFlags::ack | TcpFlags::psh;
  if (a.source != b.source || a.destination != b.destination || a.ecn != b.ecn ||
      a.tcp.source_port != b.tcp.source_port || a.tcp.destination_port != b.tcp.destination_port ||
      a.tcp.ack != b.tcp.ack || a.tcp.window != b.tcp.window ||
      ((a.tcp.flags | b.tcp.flags) & ~kPlain) != 0 || !a.tcp.has(TcpFlags::ack) ||
      a.tcp.has(TcpFlags::psh) || a.tcp_header_length != b.tcp_header_length ||
      b.transport_at != a.transport_at || b.tcp.payload.empty() || b.tcp.payload.size() > first ||
      a.tcp.payload.size() % first != 0 ||
      a.tcp.seq + static_cast<std::uint32_t>(a.tcp.payload.size()) != b.tcp.seq ||
      into.size() + b.tcp.payload.size() > kEthernetSize + 65535 ||
      std::memcmp(&into[a.transport_at + 20], &next[b.transport_at + 20],
                  a.tcp_header_length - 20) != 0) {
    return false;
  }
  size = first;
  into.resize(headers + a.tcp.payload.size());  // without padding
  into.insert(into.end(), b.tcp.payload.begin(), b.tcp.payload.end());
  into[a.transport_at + 13] |= next[b.transport_at + 13];
  if (a.version == 4) {
    store_be16(&into[kEthernetSize + 2], static_cast<std::uint16_t>(into.size() - kEthernetSize));
    set_ipv4_checksum(into, kEthernetSize);
  } else {
    store_be16(&into[kEthernetSize + 4],
               static_cast<std::uint16_t>(into.size() - kEthernetSize - 40));
  }
  return true;
}

}  // namespace penstock::support
