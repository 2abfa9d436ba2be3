// The simulated link against doubles: what goes in by hand comes out as said.
#include "support/sim_link.hh"

#include <gtest/gtest.h>

#include "base/endian.hh"
#include "sim/wire_observer.hh"
#include "support/pattern.hh"

namespace penstock::support {
namespace {

using wire::TcpFlags;

struct Ends {
  NicOptions a{.mac = {{2, 0, 0, 0, 0, 1}}};
  NicOptions b{.mac = {{2, 0, 0, 0, 0, 2}}};
  PathOptions ab;
  PathOptions ba;
};

Addressing addressing(bool v6 = false) {
  Addressing to{.source_mac = {{2, 0, 0, 0, 0, 1}}, .destination_mac = {{2, 0, 0, 0, 0, 2}}};
  if (v6) {
    to.source.bytes = {0xfd, 1};
    to.destination.bytes = {0xfd, 2};
  } else {
    to.source = IpAddress::v4(10, 0, 0, 1);
    to.destination = IpAddress::v4(10, 0, 0, 2);
  }
  return to;
}

Bytes segment(std::uint32_t seq, std::size_t length, bool v6 = false,
              std::uint8_t flags = TcpFlags::ack) {
  Bytes payload(length);
  fill_pattern(1, seq, payload);
  wire::TcpSegment s;
  s.source_port = 1000;
  s.destination_port = 2000;
  s.seq = SeqNumber(seq);
  s.ack = SeqNumber(77);
  s.flags = flags;
  s.window = 500;
  s.payload = payload;
  return build_tcp(addressing(v6), s, {});
}

// What it returns points into the frame.
net::TxFrame tx(Bytes&& frame) = delete;
net::TxFrame tx(const Bytes& frame) {
  net::TxFrame out;
  const std::size_t head = std::min<std::size_t>(frame.size(), 54);
  std::copy_n(frame.begin(), head, out.head.begin());
  out.head_length = static_cast<std::uint16_t>(head);
  if (frame.size() > head) {
    out.parts[0] = {frame.data() + head, static_cast<std::uint32_t>(frame.size() - head), nullptr};
    out.part_count = 1;
  }
  return out;
}

// All that came to a device.
std::vector<Bytes> drain(SimLink& link, int side) {
  std::vector<Bytes> out;
  while (true) {
    net::RxFrame frames[8];
    const std::size_t count = link.nic(side).rx_burst(frames);
    for (std::size_t i = 0; i < count; ++i)
      out.emplace_back(frames[i].bytes.begin(), frames[i].bytes.end());
    if (count != 0) continue;
    const Instant next = link.next_event();
    if (next == Instant::never()) return out;
    link.advance_to(next);
  }
}

TEST(Packet, WhatWasBuiltIsRead) {
  for (const bool v6 : {false, true}) {
    wire::TcpOptions o;
    o.mss = 1460;
    o.sack_permitted = true;
    o.window_shift = 7;
    o.has_timestamps = true;
    o.ts_value = 5;
    o.ts_echo = 6;
    wire::TcpSegment s;
    s.source_port = 1;
    s.destination_port = 2;
    s.seq = SeqNumber(100);
    s.ack = SeqNumber(200);
    s.flags = TcpFlags::syn | TcpFlags::ack;
    const Bytes frame = build_tcp(addressing(v6), s, encode_options(o));
    const Packet p = parse_packet(frame);
    ASSERT_TRUE(p.is_tcp());
    EXPECT_TRUE(p.checksums_good());
    EXPECT_EQ(p.version, v6 ? 6 : 4);
    EXPECT_EQ(p.tcp.options.mss, 1460);
    EXPECT_EQ(p.tcp.options.window_shift, 7);
    EXPECT_EQ(p.tcp.options.ts_echo, 6u);
    EXPECT_NE(describe(p).find("S. 100:100(0) ack 200"), std::string::npos) << describe(p);
    Bytes bad = frame;
    bad[bad.size() - 1] ^= std::byte{1};
    EXPECT_FALSE(parse_packet(bad).checksums_good());
  }
}

TEST(Packet, TsoIsCutAsADeviceDoes) {
  for (const bool v6 : {false, true}) {
    const Bytes whole =
        segment(0xfffffff0, 2500, v6, TcpFlags::ack | TcpFlags::psh | TcpFlags::fin);
    const std::size_t at = parse_packet(whole).transport_at;
    const std::vector<Bytes> cut = cut_segments(whole, at, 1000);
    ASSERT_EQ(cut.size(), 3u);
    std::uint32_t seq = 0xfffffff0;
    for (std::size_t i = 0; i < 3; ++i) {
      const Packet p = parse_packet(cut[i]);
      ASSERT_TRUE(p.is_tcp() && p.checksums_good()) << i;
      EXPECT_EQ(p.tcp.seq, SeqNumber(seq));
      EXPECT_EQ(p.tcp.payload.size(), i < 2 ? 1000u : 500u);
      EXPECT_EQ(p.tcp.has(TcpFlags::fin) && p.tcp.has(TcpFlags::psh), i == 2);
      EXPECT_EQ(p.ip_id, v6 ? 0 : i);
      EXPECT_EQ(match_pattern(1, 0xfffffff0ull + 1000 * i, p.tcp.payload), p.tcp.payload.size());
      seq += 1000;
    }
  }
}

TEST(Packet, WhatWasCutIsMergedAgain) {
  for (const bool v6 : {false, true}) {
    const Bytes whole = segment(77, 2500, v6, TcpFlags::ack | TcpFlags::psh);
    const std::size_t at = parse_packet(whole).transport_at;
    const std::vector<Bytes> cut = cut_segments(whole, at, 1000);
    Bytes merged = cut[0];
    std::size_t size = 0;
    EXPECT_FALSE(merge_segment(merged, size, cut[2]));
    ASSERT_TRUE(merge_segment(merged, size, cut[1]));
    ASSERT_TRUE(merge_segment(merged, size, cut[2]));
    EXPECT_EQ(size, 1000u);
    EXPECT_FALSE(merge_segment(merged, size, segment(2577, 100, v6)));  // behind a PSH, a short one
    const Packet p = parse_packet(merged);
    ASSERT_TRUE(p.is_tcp() && p.ip_checksum_good);
    EXPECT_TRUE(p.tcp.has(TcpFlags::psh));
    ASSERT_EQ(p.tcp.payload.size(), 2500u);
    EXPECT_EQ(match_pattern(1, 77, p.tcp.payload), 2500u);
  }
}

TEST(SimLink, ARouterForwardsAndAnswersForItself) {
  Ends e;
  SimLink link(1, e.a, e.b, e.ab, e.ba);
  RouterOptions router;
  router.macs[0].bytes = {2, 0, 0, 0, 1, 1};
  router.macs[1].bytes = {2, 0, 0, 0, 1, 2};
  router.addresses[0] = IpAddress::v4(10, 0, 0, 254);
  router.addresses[1] = IpAddress::v4(10, 0, 1, 254);
  link.set_router(router);
  const Bytes to_host = segment(0, 10);
  net::TxFrame direct = tx(to_host);
  ASSERT_EQ(link.nic(0).tx_burst(std::span(&direct, 1)), 1u);
  EXPECT_EQ(drain(link, 1).size(), 0u) << "not to the router";
  Addressing to = addressing();
  to.destination_mac = router.macs[0];
  const Bytes to_router = build_tcp(to, parse_packet(segment(0, 0)).tcp, {});
  net::TxFrame routed = tx(to_router);
  ASSERT_EQ(link.nic(0).tx_burst(std::span(&routed, 1)), 1u);
  const auto came = drain(link, 1);
  ASSERT_EQ(came.size(), 1u);
  const Packet p = parse_packet(came[0]);
  EXPECT_TRUE(p.checksums_good());
  EXPECT_EQ(p.hop_limit, 63);
  EXPECT_EQ(p.source_mac, router.macs[1]);
}

TEST(SimLink, RateDelayAndQueueAreKept) {
  Ends e;
  e.ab = {.rate = 1'000'000, .delay = Duration::milliseconds(10), .queue = 4000};
  SimLink link(1, e.a, e.b, e.ab, e.ba);
  const Bytes frame = segment(0, 946);  // 1,000 bytes: 1 ms each
  const net::TxFrame frames[] = {tx(frame), tx(frame), tx(frame), tx(frame), tx(frame), tx(frame)};
  ASSERT_EQ(link.nic(0).tx_burst(frames), 6u);
  link.advance_to(Instant{});
  EXPECT_EQ(link.counters(0).queue_drops, 2u);
  EXPECT_EQ(link.next_event().ns, 11'000'000);
  EXPECT_EQ(drain(link, 1).size(), 4u);
  EXPECT_TRUE(link.complaint().empty()) << link.complaint();
}

TEST(SimLink, TheSameSeedDoesTheSame) {
  const auto life = [](std::uint64_t seed) {
    Ends e;
    e.ab = {.rate = 10'000'000,
            .jitter = Duration::milliseconds(3),
            .loss = 100'000,
            .duplicate = 100'000,
            .corrupt = 50'000,
            .reorder = 100'000};
    SimLink link(seed, e.a, e.b, e.ab, e.ba);
    test::WireObserver hash({});
    link.add_tap(hash);
    std::size_t came = 0;
    for (std::uint32_t i = 0; i < 300; ++i) {
      const Bytes bytes1 = segment(i * 100, 100);
      const net::TxFrame frame = tx(bytes1);
      EXPECT_EQ(link.nic(0).tx_burst(std::span(&frame, 1)), 1u);
      link.advance_to(Instant{} + Duration::microseconds(i * 50));
    }
    came = drain(link, 1).size();
    EXPECT_GT(link.counters(0).lost, 10u);
    EXPECT_GT(link.counters(0).duplicated, 10u);
    EXPECT_GT(link.counters(0).corrupted, 3u);
    EXPECT_GT(link.counters(0).reordered, 10u);
    EXPECT_EQ(came, 300 - link.counters(0).lost + link.counters(0).duplicated);
    return hash.trace_hash();
  };
  EXPECT_EQ(life(5), life(5));
  EXPECT_NE(life(5), life(6));
}

TEST(SimLink, NoChecksumMissesACorruption) {
  Ends e;
  e.ab = {.corrupt = 1'000'000};
  e.a.tx_ring = e.b.rx_ring = 5000;
  SimLink link(3, e.a, e.b, e.ab, e.ba);
  for (std::uint32_t i = 0; i < 5000; ++i) {
    const Bytes bytes2 = segment(i * 100, 100, false);
    const net::TxFrame frame = tx(bytes2);
    ASSERT_EQ(link.nic(0).tx_burst(std::span(&frame, 1)), 1u);
  }
  for (const Bytes& bytes : drain(link, 1)) {
    const Packet p = parse_packet(bytes);
    ASSERT_FALSE(p.is_tcp() && p.checksums_good()) << describe(p);
  }
}

TEST(SimLink, AnswersWhatIsTooBigOrSwallowsIt) {
  for (const bool v6 : {false, true}) {
    for (const bool answers : {true, false}) {
      Ends e;
      e.ab = {.mtu = 1300, .answer_too_big = answers};
      SimLink link(3, e.a, e.b, e.ab, e.ba);
      const Bytes bytes3 = segment(9, 1400, v6);
      const net::TxFrame frame = tx(bytes3);
      ASSERT_EQ(link.nic(0).tx_burst(std::span(&frame, 1)), 1u);
      EXPECT_EQ(drain(link, 1).size(), 0u);
      SimLink again(3, e.a, e.b, e.ab, e.ba);
      ASSERT_EQ(again.nic(0).tx_burst(std::span(&frame, 1)), 1u);
      const auto answer = drain(again, 0);
      ASSERT_EQ(answer.size(), answers ? 1u : 0u);
      if (!answers) continue;
      const Packet p = parse_packet(answer[0]);
      EXPECT_TRUE(p.checksums_good());
      EXPECT_EQ(p.protocol, v6 ? kProtocolIcmp6 : kProtocolIcmp);
      EXPECT_EQ(p.transport[0], std::byte{static_cast<unsigned char>(v6 ? 2 : 3)});
      EXPECT_EQ(load_be32(&p.transport[4]), 1300u);
    }
  }
}

TEST(SimLink, ANewerAckTakesTheWaitingOnesPlace) {
  Ends e;
  e.ab = {.thin_acks = Duration::milliseconds(2)};
  SimLink link(3, e.a, e.b, e.ab, e.ba);
  for (std::uint32_t i = 0; i < 5; ++i) {
    wire::TcpSegment s;
    s.source_port = 1;
    s.destination_port = 2;
    s.flags = TcpFlags::ack;
    s.ack = SeqNumber(i < 4 ? 100 + i : 103);  // the last repeats one: both must go
    const Bytes built = build_tcp(addressing(), s, {});
    const net::TxFrame frame = tx(built);
    ASSERT_EQ(link.nic(0).tx_burst(std::span(&frame, 1)), 1u);
    link.advance_to(Instant{} + Duration::microseconds(i * 100));
  }
  const auto came = drain(link, 1);
  ASSERT_EQ(came.size(), 2u);
  EXPECT_EQ(parse_packet(came[0]).tcp.ack, SeqNumber(103));
  EXPECT_EQ(parse_packet(came[1]).tcp.ack, SeqNumber(103));
}

TEST(SimLink, AHeldPayloadIsReadLateAndLetGo) {
  Ends e;
  e.a.holds_payload = true;
  e.a.line_rate = 1'000'000;
  SimLink link(3, e.a, e.b, e.ab, e.ba);
  Bytes frame = segment(0, 900);
  std::uint32_t in_use = 0;
  net::TxFrame out = tx(frame);
  out.parts[0].in_use = &in_use;
  ASSERT_EQ(link.nic(0).tx_burst(std::span(&out, 1)), 1u);
  EXPECT_EQ(in_use, 1u);
  EXPECT_EQ(drain(link, 1).size(), 1u);
  EXPECT_EQ(in_use, 0u);
  EXPECT_TRUE(link.complaint().empty());
  ASSERT_EQ(link.nic(0).tx_burst(std::span(&out, 1)), 1u);
  frame[500] ^= std::byte{1};
  drain(link, 1);
  EXPECT_NE(link.complaint().find("payload changed"), std::string::npos);
}

TEST(SimLink, WhatTheContractForbidsIsComplainedOf) {
  const auto complaint = [](const NicOptions& nic, const net::TxFrame& frame) {
    SimLink link(1, nic, NicOptions{}, {}, {});
    link.nic(0).tx_burst(std::span(&frame, 1));
    return link.complaint();
  };
  NicOptions plain{.mtu = 1500};
  const Bytes bytes4 = segment(0, 1461);
  net::TxFrame big = tx(bytes4);
  EXPECT_NE(complaint(plain, big).find("above the MTU"), std::string::npos);
  big.segment_size = 1000;
  EXPECT_NE(complaint(plain, big).find("TSO"), std::string::npos);
  const Bytes bytes5 = segment(0, 100);
  net::TxFrame offloaded = tx(bytes5);
  offloaded.transport_at = 34;
  offloaded.checksum_at = 16;
  EXPECT_NE(complaint(plain, offloaded).find("checksum"), std::string::npos);
  plain.tx_checksum = true;
  EXPECT_EQ(complaint(plain, offloaded), "");
}

}  // namespace
}  // namespace penstock::support
