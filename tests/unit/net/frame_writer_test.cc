// What is written is read by the parser of the same module, whose own tests have golden bytes.
#include "net/frame_writer.hh"

#include <gtest/gtest.h>

#include "frames.hh"
#include "net/frame_parser.hh"
#include "support/memory_nic.hh"

namespace penstock::net {
namespace {

using support::MemoryNic;
using test::Bytes;
using test::ip;

std::vector<Interface> far_interfaces() {
  return {{ip("192.0.2.2"), 24, {}}, {ip("2001:db8::2"), 64, {}}};
}

class FrameWriterTest : public testing::TestWithParam<bool> {
 protected:
  [[nodiscard]] bool v4() const { return GetParam(); }
  [[nodiscard]] IpAddress ours() const { return ip(v4() ? "192.0.2.1" : "2001:db8::1"); }
  [[nodiscard]] IpAddress theirs() const { return ip(v4() ? "192.0.2.2" : "2001:db8::2"); }

  // What a device makes of it, as the far station reads it.
  std::vector<ParsedFrame> pass(const TxFrame& frame, const NicInfo& info, std::uint16_t vlan = 0) {
    MemoryNic nic(info);
    EXPECT_EQ(nic.tx_burst({&frame, 1}), 1U);
    const Host far(test::kFarMac, vlan, 1500, far_interfaces());
    std::vector<ParsedFrame> out;
    Bytes bytes;
    while (nic.take_sent(bytes)) {
      frames_.push_back(bytes);
      ParsedFrame parsed;
      parse_frame({frames_.back(), RxChecksum::unknown, 0}, far, parsed);
      EXPECT_EQ(name(parsed.drop), "none");
      out.push_back(parsed);
    }
    return out;
  }

  std::deque<Bytes> frames_;
};

INSTANTIATE_TEST_SUITE_P(Families, FrameWriterTest, testing::Bool());

tcp::SegmentOut data_segment(const Bytes& a, const Bytes& b, const Bytes& c,
                             std::uint32_t* in_use) {
  tcp::SegmentOut s;
  s.seq = SeqNumber(0xfffffff0);
  s.ack = SeqNumber(77);
  s.window = 1234;
  s.flags = 0x18;
  s.ecn = 2;
  wire::TcpOptions options;
  options.has_timestamps = true;
  options.ts_value = 5;
  s.options_length = static_cast<std::uint8_t>(wire::write_tcp_options(s.options.data(), options));
  for (const Bytes* part : {&a, &b, &c}) {
    if (part->empty()) continue;
    s.parts[s.part_count++] = {part->data(), static_cast<std::uint32_t>(part->size()), in_use};
    s.payload_length += static_cast<std::uint32_t>(part->size());
  }
  s.segment_size = 1448;
  return s;
}

TEST_P(FrameWriterTest, PartsOfAnyLengthSumUp) {
  std::uint32_t in_use = 0;
  for (const bool offload : {false, true}) {
    for (const std::uint16_t vlan : {std::uint16_t{0}, std::uint16_t{7}}) {
      const Host host(test::kOurMac, vlan, 1500, {});
      const HeaderWriter headers(host);
      const tcp::Flow flow{ours(), theirs(), 6881, 40000};
      for (std::size_t first : {0U, 13U, 96U, 97U, 501U}) {
        for (std::size_t second : {0U, 1U, 700U}) {
          const Bytes a(first, std::byte{0x11}), b(second, std::byte{0xf2}),
              c(second / 3, std::byte{0x33});
          TxFrame frame;
          headers.write(test::kFarMac, flow, headers.sums(flow), data_segment(a, b, c, &in_use),
                        offload, frame);
          NicInfo info;
          info.tx_checksum = offload;
          const auto got = pass(frame, info, vlan);
          ASSERT_EQ(got.size(), 1U);
          ASSERT_EQ(got[0].kind, ParsedFrame::Kind::tcp);
          const wire::TcpSegment& s = got[0].segment;
          EXPECT_EQ(s.seq, SeqNumber(0xfffffff0));
          EXPECT_EQ(s.ack, SeqNumber(77));
          EXPECT_EQ(s.window, 1234);
          EXPECT_EQ(s.flags, 0x18);
          EXPECT_EQ(s.ecn, 2);
          EXPECT_EQ(s.options.ts_value, 5U);
          EXPECT_EQ(s.source_port, 6881);
          EXPECT_EQ(s.destination_port, 40000);
          Bytes all = a;
          all.insert(all.end(), b.begin(), b.end());
          all.insert(all.end(), c.begin(), c.end());
          EXPECT_TRUE(std::equal(all.begin(), all.end(), s.payload.begin(), s.payload.end()));
          // Few bytes ride in the head.
          EXPECT_EQ(frame.part_count,
                    (first > 96) + (first > 96 ? second != 0 : second > 96) +
                        (first > 96 || second > 96 ? second / 3 != 0 : second / 3 > 96));
        }
      }
    }
  }
  EXPECT_EQ(in_use, 0U);
}

TEST_P(FrameWriterTest, ALargeFrameIsCutByTheDevice) {
  const Host host(test::kOurMac, 0, 1500, {});
  const HeaderWriter headers(host);
  const tcp::Flow flow{ours(), theirs(), 6881, 40000};
  const Bytes a(13, std::byte{1}), b(16'384, std::byte{2});
  TxFrame frame;
  headers.write(test::kFarMac, flow, headers.sums(flow), data_segment(a, b, {}, nullptr), true,
                frame);
  EXPECT_EQ(frame.segment_size, 1448);
  NicInfo info;
  info.tx_checksum = true;
  info.tso_bytes_max = 65'000;
  const auto got = pass(frame, info);
  ASSERT_EQ(got.size(), (16'397U + 1'447) / 1'448);
  SeqNumber next(0xfffffff0);
  for (const ParsedFrame& f : got) {
    EXPECT_EQ(f.segment.seq, next);
    next += static_cast<std::uint32_t>(f.segment.payload.size());
    EXPECT_EQ(f.segment.has(wire::TcpFlags::psh), &f == &got.back());
  }
  EXPECT_EQ(next - SeqNumber(0xfffffff0), 16'397U);
}

TEST_P(FrameWriterTest, AnEcho) {
  const Host host(test::kOurMac, 0, 1500, {});
  const Bytes body(301, std::byte{0x5a});
  TxFrame frame;
  write_icmp_frame(host, {test::kFarMac, ours(), theirs()}, v4() ? 0 : 129, 0, 0x00070001, {},
                   {body.data(), 301, nullptr}, frame);
  const auto got = pass(frame, {});
  ASSERT_EQ(got.size(), 1U);
  EXPECT_EQ(got[0].kind, ParsedFrame::Kind::icmp);
  EXPECT_EQ(got[0].icmp.rest, 0x00070001U);
  EXPECT_EQ(got[0].icmp.body.size(), 301U);
}

TEST_P(FrameWriterTest, AQuestionAndItsAnswer) {
  const Host host(test::kOurMac, 0, 1500, std::vector<Interface>{{ours(), 24, {}}});
  const Host far(test::kFarMac, 0, 1500, far_interfaces());
  for (const bool unicast : {false, true}) {
    TxFrame frame;
    write_question(host, ours(), theirs(), unicast ? &test::kFarMac : nullptr, frame);
    auto got = pass(frame, {});
    ASSERT_EQ(got.size(), 1U);
    EXPECT_EQ(got[0].group, !unicast);
    if (v4()) {
      EXPECT_TRUE(got[0].arp.request);
      EXPECT_EQ(got[0].arp.target, theirs());
      EXPECT_EQ(got[0].arp.sender_mac, test::kOurMac);
      continue;
    }
    wire::NeighbourMessage message;
    EXPECT_EQ(got[0].ip.hop_limit, 255);
    ASSERT_TRUE(wire::parse_neighbour(got[0].icmp, message));
    EXPECT_TRUE(message.solicitation);
    EXPECT_EQ(message.target, theirs());
    EXPECT_EQ(message.link_address, test::kOurMac);
  }
  TxFrame frame;
  write_advertisement(host, ours(), theirs(), test::kFarMac, true, frame);
  const auto got = pass(frame, {});
  ASSERT_EQ(got.size(), 1U);
  if (v4()) {
    EXPECT_FALSE(got[0].arp.request);
    EXPECT_EQ(got[0].arp.sender, ours());
    EXPECT_EQ(got[0].arp.target_mac, test::kFarMac);
  } else {
    wire::NeighbourMessage message;
    ASSERT_TRUE(wire::parse_neighbour(got[0].icmp, message));
    EXPECT_FALSE(message.solicitation);
    EXPECT_TRUE(message.solicited && message.overrides && !message.router);
    EXPECT_EQ(message.target, ours());
    EXPECT_EQ(message.link_address, test::kOurMac);
  }
}

}  // namespace
}  // namespace penstock::net
