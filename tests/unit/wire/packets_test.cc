// Ethernet, ARP, IPv4, IPv6, ICMP, NDP and TCP headers against bytes that another program made.
#include <gtest/gtest.h>

#include "bytes.hh"
#include "wire/arp.hh"
#include "wire/ethernet.hh"
#include "wire/icmp.hh"
#include "wire/ipv4.hh"
#include "wire/ipv6.hh"
#include "wire/ndp.hh"
#include "wire/tcp.hh"

namespace penstock::wire {
namespace {

using test::from_hex;
using test::to_hex;
using test::to_text;
using Bytes = std::vector<std::byte>;

constexpr std::string_view kSyn4 =
    "02000000000102000000000208004500003c000040004006b6b8c0000202c00002019c401ae10102030400000000"
    "a002faf00de30000020405b40402080a000000010000000001030307";
constexpr std::string_view kData6 =
    "0200000000010200000000028100000586dd602000000035064020010db800000000000000000000000220010db8"
    "0000000000000000000000019c401ae1fffffff000002000b01802000bc400000101080a00000064000000320101"
    "050a000010000000180070656e73746f636b21";
constexpr std::string_view kExtensions6 =
    "600000000034004020010db800000000000000000000000220010db80000000000000000000000013c0001040000"
    "00002c01010c00000000000000000000000006000000123456789c401ae10000000100000002501000649cd70000";
constexpr std::string_view kEcho4 =
    "020000000001020000000002080045000021000040004001b6d8c0000202c00002010800bc0312340001616263646"
    "5";
constexpr std::string_view kSolicitation =
    "3333ff00000102000000000286dd6000000000203aff20010db8000000000000000000000002ff02000000000000"
    "00000001ff00000187001c270000000020010db80000000000000000000000010101020000000002";
constexpr std::string_view kArp =
    "ffffffffffff02000000000208060001080006040001020000000002c0000202000000000000c0000201";
constexpr std::string_view kTooBig4 =
    "020000000001020000000002080045000038000040004001b5c5c00002fec00002010304f6b300000500450005dc"
    "000040004006b6d8c0000201c00002021ae19c4011223344";
constexpr std::string_view kTooBig6 =
    "02000000000102000000000286dd60000000003c3a4020010db80000000000000000000000fe20010db800000000"
    "00000000000000010200deb50000051460000000000c064020010db800000000000000000000000120010db80000"
    "000000000000000000021ae19c401122334400000005";

constexpr MacAddress kOurs{{2, 0, 0, 0, 0, 1}};
constexpr MacAddress kTheirs{{2, 0, 0, 0, 0, 2}};

IpAddress ip(std::string_view text) {
  return *parse_ip(text);
}
std::span<const std::byte> behind_ethernet(const Bytes& frame) {
  EthernetHeader header;
  EXPECT_TRUE(parse_ethernet(frame, header));
  return std::span(frame).subspan(header.header_size);
}
std::uint16_t transport_sum(const IpPacket& packet) {
  const std::uint64_t sum = pseudo_header_sum(packet.source, packet.destination, packet.protocol) +
                            length_sum(static_cast<std::uint32_t>(packet.payload.size()));
  return fold(add_bytes(sum, packet.payload));
}

TEST(Packets, ASynOverIpv4) {
  const Bytes frame = from_hex(kSyn4);
  EthernetHeader ethernet;
  ASSERT_TRUE(parse_ethernet(frame, ethernet));
  EXPECT_EQ(ethernet.destination, kOurs);
  EXPECT_EQ(ethernet.source, kTheirs);
  EXPECT_EQ(ethernet.type, EtherType::ipv4);
  EXPECT_EQ(ethernet.vlan, 0);
  IpPacket packet;
  ASSERT_EQ(parse_ipv4(std::span(frame).subspan(14), packet), IpError::none);
  EXPECT_EQ(packet.source, ip("192.0.2.2"));
  EXPECT_EQ(packet.destination, ip("192.0.2.1"));
  EXPECT_EQ(packet.protocol, IpProtocol::tcp);
  EXPECT_EQ(packet.hop_limit, 64);
  EXPECT_EQ(transport_sum(packet), 0xffff);
  TcpSegment segment;
  ASSERT_TRUE(parse_tcp(packet.payload, segment));
  EXPECT_EQ(segment.source_port, 40000);
  EXPECT_EQ(segment.destination_port, 6881);
  EXPECT_EQ(segment.seq, SeqNumber(0x01020304));
  EXPECT_EQ(segment.flags, TcpFlags::syn);
  EXPECT_EQ(segment.window, 64240);
  EXPECT_EQ(segment.options.mss, 1460);
  EXPECT_EQ(segment.options.window_shift, 7);
  EXPECT_TRUE(segment.options.sack_permitted);
  EXPECT_TRUE(segment.options.has_timestamps);
  EXPECT_EQ(segment.options.ts_value, 1U);
  EXPECT_EQ(segment.length(), 1U);

  // And back.
  Bytes made(frame.size());
  std::byte* p = made.data() + write_ethernet(made.data(), kOurs, kTheirs, EtherType::ipv4);
  write_ipv4(p, packet.source, packet.destination, IpProtocol::tcp, 0, 64, 40);
  const std::size_t options = write_tcp_options(p + 40, segment.options);
  ASSERT_EQ(options, 20U);
  write_tcp(p + 20, 40000, 6881, segment.seq, SeqNumber(0), TcpFlags::syn, 64240, options);
  const std::uint64_t sum = pseudo_header_sum(packet.source, packet.destination, 6);
  store_sum(p + 36, complement(fold(add_bytes(sum + length_sum(40), p + 20, 40))));
  EXPECT_EQ(to_hex(made), kSyn4);
}

TEST(Packets, DataOverTaggedIpv6) {
  const Bytes frame = from_hex(kData6);
  EthernetHeader ethernet;
  ASSERT_TRUE(parse_ethernet(frame, ethernet));
  EXPECT_EQ(ethernet.vlan, 5);
  EXPECT_EQ(ethernet.type, EtherType::ipv6);
  EXPECT_EQ(ethernet.header_size, 18);
  IpPacket packet;
  ASSERT_EQ(parse_ipv6(std::span(frame).subspan(18), packet), IpError::none);
  EXPECT_EQ(packet.source, ip("2001:db8::2"));
  EXPECT_EQ(packet.ecn, Ecn::ect0);
  EXPECT_EQ(transport_sum(packet), 0xffff);
  TcpSegment segment;
  ASSERT_TRUE(parse_tcp(packet.payload, segment));
  EXPECT_EQ(segment.seq, SeqNumber(0xfffffff0));
  EXPECT_EQ(segment.ack, SeqNumber(0x2000));
  EXPECT_EQ(to_text(segment.payload), "penstock!");
  ASSERT_EQ(segment.options.sack_count, 1);
  EXPECT_EQ(segment.options.sacks[0], (SackBlock{SeqNumber(0x1000), SeqNumber(0x1800)}));
  EXPECT_EQ(segment.options.ts_value, 100U);
  EXPECT_EQ(segment.options.ts_echo, 50U);

  Bytes made(frame.size());
  std::byte* p = made.data() + write_ethernet(made.data(), kOurs, kTheirs, EtherType::ipv6, 5);
  write_ipv6(p, packet.source, packet.destination, IpProtocol::tcp, 2, 64, 53);
  const std::size_t options = write_tcp_options(p + 60, segment.options);
  ASSERT_EQ(options, 24U);
  write_tcp(p + 40, 40000, 6881, segment.seq, segment.ack, 0x18, 512, options);
  std::memcpy(p + 84, "penstock!", 9);
  const std::uint64_t sum = pseudo_header_sum(packet.source, packet.destination, 6);
  store_sum(p + 56, complement(fold(add_bytes(sum + length_sum(53), p + 40, 53))));
  EXPECT_EQ(to_hex(made), kData6);
}

TEST(Packets, Ipv6ExtensionHeadersAreLookedThrough) {
  Bytes bytes = from_hex(kExtensions6);
  IpPacket packet;
  ASSERT_EQ(parse_ipv6(bytes, packet), IpError::none);  // the fragment is an atomic one
  EXPECT_EQ(packet.protocol, IpProtocol::tcp);
  EXPECT_EQ(packet.payload.size(), 20U);
  EXPECT_EQ(transport_sum(packet), 0xffff);

  bytes[40 + 8 + 16 + 3] = std::byte{1};  // more fragments
  EXPECT_EQ(parse_ipv6(bytes, packet), IpError::fragment);
  bytes[40] = std::byte{0};  // a second hop-by-hop header
  EXPECT_EQ(parse_ipv6(bytes, packet), IpError::malformed);
  bytes[40] = std::byte{43};  // a routing header with segments left
  bytes[40 + 8 + 3] = std::byte{1};
  EXPECT_EQ(parse_ipv6(bytes, packet), IpError::source_route);
  bytes[40 + 8 + 1] = std::byte{200};  // longer than the packet
  EXPECT_EQ(parse_ipv6(bytes, packet), IpError::truncated);
}

TEST(Packets, Ipv6ExtensionHeadersHaveABound) {
  Bytes bytes(40 + 8 * (kIpv6ExtensionsMax + 1));
  write_ipv6(bytes.data(), ip("2001:db8::2"), ip("2001:db8::1"), IpProtocol::destination_options, 0,
             64, bytes.size() - 40);
  for (std::size_t at = 40; at < bytes.size(); at += 8)
    bytes[at] = std::byte{IpProtocol::destination_options};
  IpPacket packet;
  EXPECT_EQ(parse_ipv6(bytes, packet), IpError::extensions);
  bytes[bytes.size() - 16] = std::byte{IpProtocol::none};
  EXPECT_EQ(parse_ipv6(bytes, packet), IpError::none);
  EXPECT_EQ(packet.protocol, IpProtocol::none);
}

TEST(Packets, WhatIpv4Refuses) {
  IpPacket packet;
  EXPECT_EQ(parse_ipv4(from_hex("4600001800004000400621d8c0000202c000020194040000"), packet),
            IpError::none);  // router alert
  EXPECT_EQ(packet.payload.size(), 0U);
  EXPECT_EQ(
      parse_ipv4(from_hex("4700001c000040004006ea4fc0000202c000020101830704c0000201"), packet),
      IpError::source_route);
  const Bytes fragment = from_hex("4500001c000020004006d6d8c0000202c00002013132333435363738");
  EXPECT_EQ(parse_ipv4(fragment, packet), IpError::fragment);
  const Bytes frame = from_hex(kSyn4);
  for (std::size_t at = 0; at < 20; ++at) {
    Bytes bad = frame;
    bad[14 + at] ^= std::byte{4};
    EXPECT_NE(parse_ipv4(std::span(bad).subspan(14), packet), IpError::none) << at;
  }
  for (std::size_t size = 0; size < frame.size() - 14; ++size)
    EXPECT_EQ(parse_ipv4(std::span(frame).subspan(14, size), packet), IpError::truncated) << size;
}

TEST(Packets, PaddingOfAShortFrameIsNoPayload) {
  Bytes frame = from_hex(kEcho4);
  frame.resize(60);
  IpPacket packet;
  ASSERT_EQ(parse_ipv4(std::span(frame).subspan(14), packet), IpError::none);
  EXPECT_EQ(packet.payload.size(), 13U);
}

TEST(Packets, AnEchoRequest) {
  const Bytes frame = from_hex(kEcho4);
  IpPacket packet;
  ASSERT_EQ(parse_ipv4(behind_ethernet(frame), packet), IpError::none);
  EXPECT_EQ(fold(add_bytes(0, packet.payload)), 0xffff);
  IcmpMessage message;
  ASSERT_TRUE(parse_icmp(packet.payload, message));
  EXPECT_EQ(message.type, IcmpType::echo_request);
  EXPECT_EQ(message.rest, 0x12340001U);
  EXPECT_EQ(to_text(message.body), "abcde");
  EXPECT_FALSE(parse_icmp(packet.payload.first(7), message));
}

TEST(Packets, Solicitation) {
  const Bytes frame = from_hex(kSolicitation);
  IpPacket packet;
  ASSERT_EQ(parse_ipv6(behind_ethernet(frame), packet), IpError::none);
  EXPECT_EQ(packet.destination, solicited_node(ip("2001:db8::1")));
  EXPECT_EQ(packet.hop_limit, 255);
  EXPECT_EQ(transport_sum(packet), 0xffff);
  IcmpMessage message;
  NeighbourMessage neighbour;
  ASSERT_TRUE(parse_icmp(packet.payload, message));
  ASSERT_TRUE(parse_neighbour(message, neighbour));
  EXPECT_TRUE(neighbour.solicitation);
  EXPECT_EQ(neighbour.target, ip("2001:db8::1"));
  ASSERT_TRUE(neighbour.has_link_address);
  EXPECT_EQ(neighbour.link_address, kTheirs);

  Bytes made(frame.size());
  std::byte* p = made.data() + write_ethernet(made.data(), multicast_mac(packet.destination),
                                              kTheirs, EtherType::ipv6);
  write_ipv6(p, packet.source, packet.destination, IpProtocol::icmpv6, 0, 255,
             kNeighbourMessageSize);
  write_neighbour(p + 40, neighbour);
  store_sum(p + 42,
            complement(fold(add_bytes(pseudo_header_sum(packet.source, packet.destination, 58) +
                                          length_sum(kNeighbourMessageSize),
                                      p + 40, kNeighbourMessageSize))));
  EXPECT_EQ(to_hex(made), kSolicitation);

  // Options of no length, and behind the end.
  Bytes bad = frame;
  bad[14 + 40 + 25] = std::byte{0};
  ASSERT_TRUE(parse_icmp(std::span<const std::byte>(bad).subspan(54), message));
  EXPECT_FALSE(parse_neighbour(message, neighbour));
  bad[14 + 40 + 25] = std::byte{2};
  EXPECT_FALSE(parse_neighbour(message, neighbour));
  bad[14 + 40 + 25] = std::byte{1};
  bad[14 + 40 + 8] = std::byte{0xff};  // a multicast target
  EXPECT_FALSE(parse_neighbour(message, neighbour));
}

TEST(Packets, AnArpRequest) {
  const Bytes frame = from_hex(kArp);
  ArpPacket arp;
  ASSERT_TRUE(parse_arp(behind_ethernet(frame), arp));
  EXPECT_TRUE(arp.request);
  EXPECT_EQ(arp.sender_mac, kTheirs);
  EXPECT_EQ(arp.sender, ip("192.0.2.2"));
  EXPECT_TRUE(arp.target_mac.is_zero());
  EXPECT_EQ(arp.target, ip("192.0.2.1"));
  Bytes made(frame.size());
  write_arp(
      made.data() + write_ethernet(made.data(), MacAddress::broadcast(), kTheirs, EtherType::arp),
      arp);
  EXPECT_EQ(to_hex(made), kArp);
  for (const std::size_t at : {0U, 2U, 4U, 5U, 7U}) {
    Bytes bad = frame;
    bad[14 + at] ^= std::byte{8};
    EXPECT_FALSE(parse_arp(std::span(bad).subspan(14), arp)) << at;
  }
  EXPECT_FALSE(parse_arp(std::span(frame).subspan(14, 27), arp));
}

TEST(Packets, WhatAnErrorQuotes) {
  for (const std::string_view hex : {kTooBig4, kTooBig6}) {
    const Bytes frame = from_hex(hex);
    const bool v4 = hex == kTooBig4;
    IpPacket packet;
    ASSERT_EQ(v4 ? parse_ipv4(behind_ethernet(frame), packet)
                 : parse_ipv6(behind_ethernet(frame), packet),
              IpError::none);
    IcmpMessage message;
    ASSERT_TRUE(parse_icmp(packet.payload, message));
    EXPECT_EQ(message.rest, v4 ? 1280U : 1300U);
    QuotedPacket quoted;
    ASSERT_TRUE(v4 ? parse_quoted_ipv4(message.body, quoted)
                   : parse_quoted_ipv6(message.body, quoted));
    EXPECT_EQ(quoted.source, v4 ? ip("192.0.2.1") : ip("2001:db8::1"));
    EXPECT_EQ(quoted.destination, v4 ? ip("192.0.2.2") : ip("2001:db8::2"));
    EXPECT_EQ(quoted.protocol, IpProtocol::tcp);
    EXPECT_EQ(quoted.source_port, 6881);
    EXPECT_EQ(quoted.destination_port, 40000);
    EXPECT_EQ(quoted.seq, SeqNumber(0x11223344));
    const std::size_t enough = (v4 ? 20U : 40U) + 8;
    EXPECT_FALSE(v4 ? parse_quoted_ipv4(message.body.first(enough - 1), quoted)
                    : parse_quoted_ipv6(message.body.first(enough - 1), quoted));
  }
}

TEST(TcpOptions, MalformedOnesEndTheParsing) {
  struct Case {
    std::string_view hex;
    bool good;
  };
  for (const Case& c : std::initializer_list<Case>{
           {"", true},
           {"00ff", true},            // end of list: what follows is padding
           {"01010101", true},        //
           {"fe0212 fe", false},      // kind 18 with length 0xfe
           {"0200", false},           // length 0
           {"0201", false},           // length 1
           {"0203 05", false},        // an MSS of one byte
           {"030401 07", false},      // a shift of two
           {"0403 00", false},        //
           {"0803 00", false},        //
           {"050a 00000001", false},  // cut
           {"0509 00000000000000", false},
           {"0502", false},          // no block
           {"22060102 0304", true},  // unknown: skipped (TFO)
       }) {
    const Bytes bytes = from_hex(c.hex);
    TcpOptions options;
    EXPECT_EQ(parse_tcp_options(bytes, options), c.good) << c.hex;
    EXPECT_EQ(options.sack_count, 0);
    EXPECT_EQ(options.mss, 0);
  }
}

TEST(TcpOptions, WhatCameBeforeCounts) {
  TcpOptions options;
  EXPECT_FALSE(parse_tcp_options(from_hex("020405b40300"), options));
  EXPECT_EQ(options.mss, 1460);
  EXPECT_EQ(options.window_shift, kNoWindowShift);
}

TEST(TcpOptions, AShiftBeyondFourteenIsFourteen) {
  TcpOptions options;
  EXPECT_TRUE(parse_tcp_options(from_hex("0303ff01"), options));
  EXPECT_EQ(options.window_shift, 14);
}

TEST(TcpOptions, EveryCombinationComesBack) {
  for (unsigned mask = 0; mask < 16; ++mask) {
    for (std::uint8_t sacks = 0; sacks <= 4; ++sacks) {
      TcpOptions options;
      if ((mask & 1) != 0) options.mss = 1220;
      if ((mask & 2) != 0) options.window_shift = 9;
      options.sack_permitted = (mask & 4) != 0;
      options.has_timestamps = (mask & 8) != 0;
      if (options.has_timestamps) options.ts_value = 0x01020304, options.ts_echo = 0xfffefdfc;
      options.sack_count = sacks;
      for (std::uint32_t i = 0; i < sacks; ++i)
        options.sacks[i] = {SeqNumber(0xffffff00 + 1000 * i), SeqNumber(0xffffff80 + 1000 * i)};
      std::array<std::byte, kTcpOptionsMax> bytes;
      const std::size_t length = write_tcp_options(bytes.data(), options);
      ASSERT_LE(length, kTcpOptionsMax);
      ASSERT_EQ(length % 4, 0U);
      TcpOptions back;
      ASSERT_TRUE(parse_tcp_options(std::span(bytes).first(length), back));
      EXPECT_EQ(back.mss, options.mss);
      EXPECT_EQ(back.window_shift, options.window_shift);
      EXPECT_EQ(back.sack_permitted, options.sack_permitted);
      EXPECT_EQ(back.has_timestamps, options.has_timestamps);
      EXPECT_EQ(back.ts_value, options.ts_value);
      EXPECT_EQ(back.ts_echo, options.ts_echo);
      const std::size_t before = length - (back.sack_count == 0 ? 0 : 4 + 8U * back.sack_count);
      EXPECT_TRUE(back.sack_count == sacks || before + 4 + 8U * (back.sack_count + 1U) > 40);
      for (std::size_t i = 0; i < back.sack_count; ++i)
        EXPECT_EQ(back.sacks[i], options.sacks[i]);
    }
  }
}

TEST(Tcp, AHeaderLongerThanTheSegmentIsRefused) {
  Bytes bytes(20);
  write_tcp(bytes.data(), 1, 2, SeqNumber(3), SeqNumber(4), TcpFlags::ack, 5, 0);
  TcpSegment segment;
  EXPECT_TRUE(parse_tcp(bytes, segment));
  EXPECT_TRUE(segment.payload.empty());
  bytes[12] = std::byte{0x60};
  EXPECT_FALSE(parse_tcp(bytes, segment));
  bytes[12] = std::byte{0x40};
  EXPECT_FALSE(parse_tcp(bytes, segment));
  EXPECT_FALSE(parse_tcp(std::span<const std::byte>(bytes).first(19), segment));
}

}  // namespace
}  // namespace penstock::wire
