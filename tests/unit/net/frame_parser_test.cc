#include "net/frame_parser.hh"

#include <gtest/gtest.h>

#include "base/random.hh"
#include "frames.hh"

namespace penstock::net {
namespace {

using test::Bytes;
using test::ip;
using test::Way;
using wire::TcpFlags;

class FrameParserTest : public testing::Test {
 protected:
  static wire::TcpSegment segment(std::uint8_t flags = TcpFlags::ack) {
    wire::TcpSegment s;
    s.source_port = 40000;
    s.destination_port = 6881;
    s.flags = flags;
    return s;
  }
  static Way way4() { return {ip("192.0.2.2"), ip("192.0.2.1")}; }
  static Way way6() { return {ip("2001:db8::2"), ip("2001:db8::1")}; }

  std::string_view parse(const Bytes& frame, RxChecksum checksum = RxChecksum::unknown) {
    parse_frame({frame, checksum, segment_size_}, host_, out_);
    EXPECT_EQ(out_.kind == ParsedFrame::Kind::dropped, out_.drop != DropReason::none);
    return name(out_.drop);
  }

  const Host host_{test::kOurMac, 0, 1500,
                   std::vector<Interface>{{ip("192.0.2.1"), 24, {}}, {ip("2001:db8::1"), 64, {}}}};
  ParsedFrame out_;
  std::uint16_t segment_size_ = 0;
};

TEST_F(FrameParserTest, ASegmentOfEitherFamily) {
  for (const Way& way : {way4(), way6()}) {
    const Bytes payload(100, std::byte{7});
    wire::TcpSegment s = segment();
    s.payload = payload;
    const Bytes frame = test::tcp_frame(way, s);
    ASSERT_EQ(parse(frame), "none");
    EXPECT_EQ(out_.kind, ParsedFrame::Kind::tcp);
    EXPECT_EQ(out_.segment.payload.size(), 100U);
    EXPECT_EQ(out_.ip.source, way.source);
    EXPECT_EQ(out_.local, way.source.is_v4() ? 0U : 1U);
    EXPECT_EQ(out_.segment.merged, 1);
    EXPECT_EQ(out_.source_mac, test::kFarMac);
  }
}

TEST_F(FrameParserTest, MergedSegmentsAreCounted) {
  const Bytes payload(1'000);
  wire::TcpSegment s = segment();
  s.payload = payload;
  segment_size_ = 300;
  ASSERT_EQ(parse(test::tcp_frame(way4(), s)), "none");
  EXPECT_EQ(out_.segment.merged, 4);
}

TEST_F(FrameParserTest, EveryFlippedBitOfASegmentIsFound) {
  for (const Way& way : {way4(), way6()}) {
    const Bytes payload(33, std::byte{0xa5});
    wire::TcpSegment s = segment();
    s.payload = payload;
    const Bytes good = test::tcp_frame(way, s);
    for (std::size_t bit = 14 * 8; bit < good.size() * 8; ++bit) {
      // Traffic class and flow label of IPv6, its hop limit: nothing covers them.
      const std::size_t at = bit / 8 - 14;
      if (!way.source.is_v4() && (at < 4 || at == 7)) continue;
      Bytes bad = good;
      bad[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
      parse(bad);
      EXPECT_NE(out_.kind, ParsedFrame::Kind::tcp) << bit;
    }
  }
}

TEST_F(FrameParserTest, ADeviceThatCheckedIsBelieved) {
  Bytes frame = test::tcp_frame(way4(), segment());
  EXPECT_EQ(parse(frame, RxChecksum::bad), "tcp_checksum");
  frame[14 + 20 + 16] ^= std::byte{1};
  EXPECT_EQ(parse(frame), "tcp_checksum");
  EXPECT_EQ(parse(frame, RxChecksum::good), "none");  // a checksum that was never filled in
}

TEST_F(FrameParserTest, WhatIsForOthers) {
  Way way = way4();
  way.destination_mac = {{2, 0, 0, 0, 0, 7}};
  EXPECT_EQ(parse(test::tcp_frame(way, segment())), "mac_destination");
  way.destination_mac = wire::MacAddress::broadcast();
  EXPECT_EQ(parse(test::tcp_frame(way, segment())), "destination_group");
  way = way4();
  way.destination = ip("192.0.2.3");
  EXPECT_EQ(parse(test::tcp_frame(way, segment())), "destination");
  way.destination = ip("192.0.2.255");
  EXPECT_EQ(parse(test::tcp_frame(way, segment())), "destination");
  way = way6();
  way.destination = ip("ff02::1");
  EXPECT_EQ(parse(test::tcp_frame(way, segment())), "destination");
  way = way4();
  way.vlan = 5;
  EXPECT_EQ(parse(test::tcp_frame(way, segment())), "vlan");
}

TEST_F(FrameParserTest, SourcesThatCantBe) {
  Way way = way4();
  for (const char* text : {"127.0.0.1", "0.0.0.0", "224.1.2.3", "255.255.255.255"}) {
    way.source = ip(text);
    EXPECT_EQ(parse(test::tcp_frame(way, segment())), "source_bogon") << text;
  }
  way.source = ip("192.0.2.1");  // LAND
  EXPECT_EQ(parse(test::tcp_frame(way, segment())), "source_own");
  way = way6();
  for (const char* text : {"::", "::1", "ff02::5"}) {
    way.source = ip(text);
    EXPECT_EQ(parse(test::tcp_frame(way, segment())), "source_bogon") << text;
  }
  // An IPv4 address in an IPv6 packet must not reach an IPv4 flow.
  way.source = ip("192.0.2.2");
  EXPECT_EQ(parse(test::tcp_frame(way, segment())), "source_bogon");
  way = way4();
  way.source_mac = test::kOurMac;
  EXPECT_EQ(parse(test::tcp_frame(way, segment())), "mac_source");
  way.source_mac = wire::MacAddress::broadcast();
  EXPECT_EQ(parse(test::tcp_frame(way, segment())), "mac_source");
}

TEST_F(FrameParserTest, NonsenseOfTcp) {
  wire::TcpSegment s = segment();
  s.source_port = 0;
  EXPECT_EQ(parse(test::tcp_frame(way4(), s)), "tcp_port_zero");
  s = segment();
  s.destination_port = 0;
  EXPECT_EQ(parse(test::tcp_frame(way4(), s)), "tcp_port_zero");
  for (const int flags : {0x00, 0x01, 0x03, 0x06, 0x07, 0x29, 0x2b, 0x13, 0x16})
    EXPECT_EQ(parse(test::tcp_frame(way4(), segment(static_cast<std::uint8_t>(flags)))),
              "tcp_flags")
        << flags;
  for (const int flags : {0x02, 0x04, 0x10, 0x11, 0x12, 0x14, 0x18, 0x19, 0xc2, 0x38})
    EXPECT_EQ(parse(test::tcp_frame(way4(), segment(static_cast<std::uint8_t>(flags)))), "none")
        << flags;
}

// RFC 791 §3.1 and RFC 7126 §4.3; RFC 8200 §4, RFC 5095 and RFC 6946 §4.
TEST_F(FrameParserTest, FragmentsSourceRoutesAndEndlessHeaders) {
  const Bytes tcp = Bytes(20);
  Bytes fragment = test::packet(way4(), wire::IpProtocol::tcp, tcp);
  fragment[14 + 6] = std::byte{0x20};  // more to come
  wire::store_sum(&fragment[14 + 10], 0);
  wire::store_sum(
      &fragment[14 + 10],
      wire::complement(wire::fold(wire::add_bytes(0, std::span(fragment).subspan(14, 20)))));
  EXPECT_EQ(parse(fragment), "ip_fragment");

  // Header length 7: a loose source route of one address, and an end.
  Bytes routed = test::packet(way4(), wire::IpProtocol::tcp, Bytes(28));
  routed[14] = std::byte{0x47};
  const std::array<std::uint8_t, 8> options{131, 7, 4, 192, 0, 2, 9, 0};
  std::memcpy(&routed[14 + 20], options.data(), options.size());
  wire::store_sum(&routed[14 + 10], 0);
  wire::store_sum(
      &routed[14 + 10],
      wire::complement(wire::fold(wire::add_bytes(0, std::span(routed).subspan(14, 28)))));
  EXPECT_EQ(parse(routed), "ip_source_route");

  // Destination options, each followed by one more.
  Bytes headers(16 * 8 + 20);
  for (std::size_t i = 0; i < 16; ++i) {
    headers[i * 8] = std::byte{wire::IpProtocol::destination_options};
    headers[i * 8 + 2] = std::byte{1};  // PadN
    headers[i * 8 + 3] = std::byte{4};
  }
  EXPECT_EQ(parse(test::packet(way6(), wire::IpProtocol::destination_options, headers)),
            "ip_extensions");
  Bytes part(8 + 20);
  part[0] = std::byte{wire::IpProtocol::tcp};
  part[3] = std::byte{1};
  EXPECT_EQ(parse(test::packet(way6(), wire::IpProtocol::fragment, part)), "ip_fragment");
}

TEST_F(FrameParserTest, EveryPrefixOfAFrameIsRefused) {
  for (const Way& way : {way4(), way6()}) {
    const Bytes frame = test::tcp_frame(way, segment());
    for (std::size_t size = 0; size < frame.size(); ++size) {
      const Bytes prefix(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(size));
      EXPECT_NE(parse(prefix), "none") << size;
    }
  }
}

TEST_F(FrameParserTest, ControlAndTheRest) {
  EXPECT_EQ(parse(test::icmp_frame(way4(), 8, 0, 1, Bytes(10))), "none");
  EXPECT_EQ(out_.kind, ParsedFrame::Kind::icmp);
  EXPECT_EQ(parse(test::icmp_frame(way6(), 128, 0, 1, Bytes(11))), "none");
  EXPECT_EQ(out_.kind, ParsedFrame::Kind::icmp);
  Bytes bad = test::icmp_frame(way6(), 128, 0, 1, Bytes(11));
  bad.back() ^= std::byte{1};
  EXPECT_EQ(parse(bad), "icmp_checksum");
  EXPECT_EQ(parse(test::packet(way4(), 17, Bytes(8))), "none");
  EXPECT_EQ(out_.kind, ParsedFrame::Kind::other);
  EXPECT_EQ(parse(test::packet(way4(), 58, Bytes(8))), "none");  // ICMPv6 in IPv4
  EXPECT_EQ(out_.kind, ParsedFrame::Kind::other);
  EXPECT_EQ(parse(test::packet(way4(), 1, Bytes(7))), "icmp_truncated");

  wire::ArpPacket arp{true, test::kFarMac, ip("192.0.2.2"), {}, ip("192.0.2.1")};
  EXPECT_EQ(parse(test::arp_frame(arp)), "none");
  EXPECT_EQ(out_.local, 0U);
  arp.target = ip("192.0.2.9");
  EXPECT_EQ(parse(test::arp_frame(arp)), "none");
  EXPECT_EQ(out_.local, kNoInterface);
  arp.sender_mac = wire::MacAddress::broadcast();
  EXPECT_EQ(parse(test::arp_frame(arp)), "arp_malformed");
  Bytes unknown = test::arp_frame(arp);
  store_be16(unknown.data() + 12, 0x88cc);
  EXPECT_EQ(parse(unknown), "ether_type");
}

// Whatever comes, no byte beyond the frame is read (ASan) and no check is missed.
TEST_F(FrameParserTest, RandomDamageNeverConfusesIt) {
  Random random(5);
  for (int i = 0; i < 20'000; ++i) {
    const Bytes payload(random.below(40));
    wire::TcpSegment s = segment();
    s.payload = payload;
    Bytes frame = random.below(2) == 0 ? test::tcp_frame(way4(), s) : test::tcp_frame(way6(), s);
    for (std::uint64_t n = random.below(4); n > 0; --n)
      frame[random.below(frame.size())] = static_cast<std::byte>(random.next());
    if (random.below(4) == 0) frame.resize(random.below(frame.size()) + 1);
    // Exactly as large as it is: reading on is found.
    const Bytes exact(frame.begin(), frame.end());
    parse(exact, random.below(2) == 0 ? RxChecksum::good : RxChecksum::unknown);
    if (out_.kind == ParsedFrame::Kind::tcp) {
      EXPECT_EQ(out_.segment.source_port == 0, false);
      EXPECT_LE(out_.segment.payload.size(), exact.size());
    }
  }
}

}  // namespace
}  // namespace penstock::net
