// A stack alone with frames from a far station: ARP, NDP, ICMP, resets, and what they do to
// connections.
#include "net/frame_parser.hh"
#include "stack_world.hh"

namespace penstock::test {
namespace {

using net::DropReason;
using net::ParsedFrame;
using wire::TcpFlags;

class ControlTest : public testing::TestWithParam<bool> {
 protected:
  static bool v4() { return GetParam(); }
  static IpAddress ours() { return StackWorld::address(0, v4()); }
  static IpAddress theirs() { return StackWorld::address(1, v4()); }
  static Way way() { return {theirs(), ours()}; }

  static StackOptions options() {
    StackOptions o;
    o.connections_max = 16;
    o.send_pages = o.receive_pages = 64;
    o.icmp_answers = 40;
    o.interfaces = {{StackWorld::address(0, true), 24, {}},
                    {StackWorld::address(0, false), 64, {}}};
    o.listen = {6881};
    o.secret = {3, 4};
    return o;
  }

  void SetUp() override { sent(); }  // announcements

  // What the stack sends, as the far station reads it.
  std::vector<ParsedFrame> sent() {
    host_.cycle(now_);
    std::vector<ParsedFrame> out;
    Bytes bytes;
    while (nic_.take_sent(bytes)) {
      frames_.push_back(bytes);
      ParsedFrame parsed;
      net::parse_frame({frames_.back(), net::RxChecksum::unknown, 0}, far_, parsed);
      EXPECT_EQ(net::name(parsed.drop), "none");
      out.push_back(parsed);
    }
    return out;
  }
  std::vector<ParsedFrame> answer(Bytes frame) {
    nic_.inject(std::move(frame));
    return sent();
  }
  [[nodiscard]] std::uint64_t dropped(DropReason reason) const { return host_.dropped(reason); }

  static Bytes echo(std::size_t size) {
    return icmp_frame(way(), v4() ? 8 : 128, 0, 0x11220001, pattern(size, size));
  }

  Instant now_{Duration::seconds(77).ns};
  MemoryNic nic_{nic_info(kOurMac, false)};
  StackHost host_{nic_, options(), now_};
  const net::Host far_{kFarMac, 0, 1500,
                       std::vector<net::Interface>{{StackWorld::address(1, true), 24, {}},
                                                   {StackWorld::address(1, false), 64, {}}}};
  std::deque<Bytes> frames_;
};

INSTANTIATE_TEST_SUITE_P(Families, ControlTest, testing::Bool());

TEST_P(ControlTest, EchoesComeBackWhole) {
  for (const std::size_t size : {0U, 1U, 31U, 600U, 1'400U}) {
    const auto got = answer(echo(size));
    ASSERT_EQ(got.size(), 1U);
    ASSERT_EQ(got[0].kind, ParsedFrame::Kind::icmp);
    EXPECT_EQ(got[0].icmp.type, v4() ? 0 : 129);
    EXPECT_EQ(got[0].icmp.rest, 0x11220001U);
    const Bytes expected = pattern(size, size);
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), got[0].icmp.body.begin(),
                           got[0].icmp.body.end()));
  }
}

TEST_P(ControlTest, ABurstOfEchoesIsAnsweredEachWithItsOwnBytes) {
  // The device holds on to what it was given: so many answers have a buffer.
  for (std::size_t size = 100; size < 120; ++size)
    nic_.inject(echo(size));
  const auto got = sent();
  ASSERT_EQ(got.size(), 16U);
  EXPECT_EQ(dropped(DropReason::no_buffer), 4U);
  for (std::size_t i = 0; i < got.size(); ++i) {
    const Bytes expected = pattern(100 + i, 100 + i);
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), got[i].icmp.body.begin(),
                           got[i].icmp.body.end()));
  }
}

TEST_P(ControlTest, EchoesHaveABudget) {
  for (int i = 0; i < 200; ++i)
    nic_.inject(echo(10));
  EXPECT_LE(sent().size(), 60U);
  EXPECT_GE(dropped(DropReason::icmp_limit), 140U);
}

TEST_P(ControlTest, AResetForNobodyButNoneForAReset) {
  wire::TcpSegment s;
  s.source_port = 1234;
  s.destination_port = 81;
  s.flags = TcpFlags::syn;
  s.seq = SeqNumber(1000);
  auto got = answer(tcp_frame(way(), s));
  ASSERT_EQ(got.size(), 1U);
  EXPECT_EQ(got[0].segment.flags, TcpFlags::rst | TcpFlags::ack);
  EXPECT_EQ(got[0].segment.ack, SeqNumber(1001));
  EXPECT_EQ(got[0].segment.destination_port, 1234);
  s.flags = TcpFlags::ack;
  s.ack = SeqNumber(55);
  got = answer(tcp_frame(way(), s));
  ASSERT_EQ(got.size(), 1U);
  EXPECT_EQ(got[0].segment.flags, TcpFlags::rst);
  EXPECT_EQ(got[0].segment.seq, SeqNumber(55));
  s.flags = TcpFlags::rst;
  EXPECT_TRUE(answer(tcp_frame(way(), s)).empty());
}

TEST_P(ControlTest, ASynIsAnsweredToItsStationWithoutAQuestion) {
  wire::TcpSegment s;
  s.source_port = 1234;
  s.destination_port = 6881;
  s.flags = TcpFlags::syn;
  s.options.mss = 1220;
  const auto got = answer(tcp_frame(way(), s));
  ASSERT_EQ(got.size(), 1U);
  EXPECT_EQ(got[0].segment.flags & (TcpFlags::syn | TcpFlags::ack), TcpFlags::syn | TcpFlags::ack);
  EXPECT_EQ(got[0].segment.options.mss, v4() ? 1460 : 1440);
  EXPECT_EQ(host_.stack->connections(), 0U);
}

// In one burst: what comes after the end of a connection is for the next one of its flow, although
// of ACKs in a row only the last is followed by questions.
TEST_P(ControlTest, ABurstInWhichAFlowEndsAndBeginsAnew) {
  wire::TcpSegment segment;
  segment.source_port = 50'000;
  segment.destination_port = 6881;
  segment.window = 1'000;
  segment.options.mss = 1'400;
  const auto frame = [&](std::uint32_t seq, SeqNumber ack, std::uint8_t flags) {
    segment.seq = SeqNumber(seq);
    segment.ack = ack;
    segment.flags = flags;
    return tcp_frame(way(), segment);
  };
  auto got = answer(frame(1'000, {}, TcpFlags::syn));
  ASSERT_EQ(got.size(), 1U);
  const SeqNumber iss = got[0].segment.seq;
  segment.options = {};
  EXPECT_TRUE(answer(frame(1'001, iss + 1, TcpFlags::ack)).empty());
  ASSERT_TRUE(host_.last().accepted);
  const Bytes bytes = pattern(3'000, 1);
  EXPECT_EQ(host_.send(host_.last_accepted, bytes), bytes.size());
  ASSERT_EQ(sent().size(), 1U);  // what the window allows

  nic_.inject(frame(1'001, iss + 301, TcpFlags::ack));
  nic_.inject(frame(1'001, iss + 601, TcpFlags::ack));
  nic_.inject(frame(1'001, iss + 901, TcpFlags::ack));
  got = sent();
  ASSERT_FALSE(got.empty());  // all of them counted
  EXPECT_EQ(got.back().segment.seq + static_cast<std::uint32_t>(got.back().segment.payload.size()),
            iss + 1'901);

  nic_.inject(frame(1'001, iss + 951, TcpFlags::ack));
  nic_.inject(frame(1'001, iss + 1'001, TcpFlags::rst | TcpFlags::ack));
  nic_.inject(frame(0x7000'0000, {}, TcpFlags::syn));
  got = sent();
  EXPECT_TRUE(host_.last().closed);
  EXPECT_EQ(host_.last().error, StreamError::reset);
  ASSERT_EQ(got.size(), 1U);
  EXPECT_EQ(got[0].segment.flags, TcpFlags::syn | TcpFlags::ack);
  EXPECT_EQ(got[0].segment.ack, SeqNumber(0x7000'0001));
}

// Of plain ACKs in a row only the last is looked at; what says anything else is, too.
TEST_P(ControlTest, AnAckThatTheNextOneOvertakes) {
  wire::TcpSegment segment;
  segment.source_port = 50'000;
  segment.destination_port = 6881;
  segment.window = 60'000;
  segment.options.mss = 1'000;
  segment.options.sack_permitted = segment.options.has_timestamps = true;
  std::uint32_t clock = 100;
  SeqNumber iss;
  const auto inject = [&](std::uint32_t acked, std::uint8_t flags = TcpFlags::ack) {
    segment.ack = iss + 1 + acked;
    segment.flags = flags;
    segment.options.ts_value = clock;
    nic_.inject(tcp_frame(way(), segment));
  };
  segment.seq = SeqNumber(1'000);
  inject(0, TcpFlags::syn);
  const auto offer = sent();
  ASSERT_EQ(offer.size(), 1U);
  iss = offer[0].segment.seq;
  segment.options = {.has_timestamps = true, .ts_echo = offer[0].segment.options.ts_value};
  segment.seq = SeqNumber(1'001);
  inject(0);
  sent();
  ASSERT_TRUE(host_.last().accepted);
  const Bytes bytes = pattern(9'000, 1);
  ASSERT_EQ(host_.send(host_.last_accepted, bytes), bytes.size());
  sent();
  const auto overtaken = [&] { return host_.stack->counters().acks_overtaken; };

  for (std::uint32_t acked = 100; acked <= 1'000; acked += 100)
    inject(acked);
  sent();
  EXPECT_EQ(overtaken(), 8U);  // the eighth and the last were looked at
  EXPECT_EQ(host_.stack->tcp_counters().bytes_again, 0U);

  // The same again, a SACK, an older clock, another number, another flag: none hides behind the
  // next, and none hides the one before.
  inject(1'000);
  inject(1'000);
  segment.options.sack_count = 1;
  segment.options.sacks[0] = {iss + 3'001, iss + 4'001};
  inject(1'100);
  segment.options.sack_count = 0;
  inject(1'200);
  clock -= 1;
  inject(1'300);
  clock += 1;
  segment.seq += 1;
  inject(1'400);
  segment.seq = SeqNumber(1'001);
  inject(1'500, TcpFlags::ack | TcpFlags::ece);
  inject(1'600);
  sent();
  EXPECT_EQ(overtaken(), 8U);
  EXPECT_EQ(dropped(DropReason::none), 0U);
}

TEST_P(ControlTest, WhatWeDontSpeakIsUnreachable) {
  auto got = answer(packet(way(), wire::IpProtocol::udp, Bytes(12)));
  ASSERT_EQ(got.size(), 1U);
  EXPECT_EQ(got[0].icmp.type, v4() ? 3 : 1);
  EXPECT_EQ(got[0].icmp.code, v4() ? 3 : 4);
  got = answer(packet(way(), 132, Bytes(12)));
  ASSERT_EQ(got.size(), 1U);
  EXPECT_EQ(got[0].icmp.type, v4() ? 3 : 4);
  EXPECT_EQ(got[0].icmp.code, v4() ? 2 : 1);
  // To all of the link: no answer.
  Way to_all = way();
  to_all.destination_mac = wire::MacAddress::broadcast();
  EXPECT_TRUE(answer(packet(to_all, wire::IpProtocol::udp, Bytes(12))).empty());
  EXPECT_EQ(dropped(DropReason::protocol), 3U);
}

TEST_P(ControlTest, ErrorsAreNeverAnswered) {
  const std::vector<std::uint8_t> types = v4() ? std::vector<std::uint8_t>{0, 3, 4, 11, 12}
                                               : std::vector<std::uint8_t>{1, 2, 3, 4, 129, 134};
  for (const std::uint8_t type : types)
    EXPECT_TRUE(answer(icmp_frame(way(), type, 0, 0, Bytes(64))).empty());
}

TEST_P(ControlTest, AddressQuestionsAreAnswered) {
  if (v4()) {
    auto got = answer(arp_frame({true, kFarMac, theirs(), {}, ours()}));
    ASSERT_EQ(got.size(), 1U);
    EXPECT_FALSE(got[0].arp.request);
    EXPECT_EQ(got[0].arp.sender, ours());
    EXPECT_EQ(got[0].arp.sender_mac, kOurMac);
    EXPECT_EQ(got[0].arp.target_mac, kFarMac);
    // A probe of somebody who wants the address (RFC 5227 §2.1.1).
    got = answer(arp_frame({true, kFarMac, ip("0.0.0.0"), {}, ours()}));
    EXPECT_EQ(got.size(), 1U);
    EXPECT_TRUE(answer(arp_frame({true, kFarMac, theirs(), {}, ip("192.0.2.55")})).empty());
    EXPECT_EQ(dropped(DropReason::arp_not_ours), 1U);
    EXPECT_TRUE(answer(arp_frame({true, kFarMac, ours(), {}, ours()})).empty());
    EXPECT_EQ(host_.stack->counters().address_conflicts, 1U);
    return;
  }
  wire::NeighbourMessage message;
  message.solicitation = message.has_link_address = true;
  message.target = ours();
  message.link_address = kFarMac;
  const IpAddress group = wire::solicited_node(ours());
  const Way to_group{theirs(), group, kFarMac, wire::multicast_mac(group)};
  auto got = answer(neighbour_frame(to_group, message));
  ASSERT_EQ(got.size(), 1U);
  wire::NeighbourMessage told;
  ASSERT_TRUE(wire::parse_neighbour(got[0].icmp, told));
  EXPECT_TRUE(!told.solicitation && told.solicited);
  EXPECT_EQ(told.link_address, kOurMac);
  EXPECT_FALSE(got[0].group);
  // Duplicate address detection of another station: all are told.
  message.has_link_address = false;
  got = answer(neighbour_frame({ip("::"), group, kFarMac, wire::multicast_mac(group)}, message));
  ASSERT_EQ(got.size(), 1U);
  ASSERT_TRUE(wire::parse_neighbour(got[0].icmp, told));
  EXPECT_TRUE(!told.solicited && got[0].group);
  // A router that forwarded it would have lowered the hop limit.
  Bytes far_away = neighbour_frame(to_group, message);
  far_away[14 + 7] = std::byte{254};
  EXPECT_TRUE(answer(far_away).empty());
  EXPECT_EQ(dropped(DropReason::ndp_malformed), 1U);
}

// RFC 5227 §3, RFC 4861 §7.2.6: who tells all stations of a new address of its own is believed.
TEST_P(ControlTest, AStationThatMovesIsFollowed) {
  StreamHandle handle;
  ASSERT_TRUE(host_.stack->connect({theirs(), 80}, {}, handle));
  ASSERT_EQ(sent().size(), 1U);  // where it is
  constexpr wire::MacAddress kMoved{{2, 0, 0, 0, 0, 9}};
  wire::NeighbourMessage message;
  message.solicited = message.overrides = message.has_link_address = true;
  message.target = theirs();
  message.link_address = kFarMac;
  const auto told = answer(v4() ? arp_frame({false, kFarMac, theirs(), kOurMac, ours()}, kOurMac)
                                : neighbour_frame(way(), message));
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].kind, ParsedFrame::Kind::tcp);

  message.solicited = false;
  message.link_address = kMoved;
  const IpAddress all = ip("ff02::1");
  nic_.inject(v4() ? arp_frame({false, kMoved, theirs(), {}, theirs()})
                   : neighbour_frame({theirs(), all, kFarMac, wire::multicast_mac(all)}, message));
  host_.cycle(now_);
  now_ = now_ + Duration::milliseconds(1'100);  // the SYN goes again
  host_.cycle(now_);
  Bytes bytes, syn;
  while (nic_.take_sent(bytes))
    syn = bytes;
  ASSERT_GE(syn.size(), 54U);
  EXPECT_EQ(std::memcmp(syn.data(), kMoved.bytes.data(), 6), 0);
}

// RFC 4861 §7.1.1, §7.1.2.
TEST_P(ControlTest, NeighbourMessagesThatCantBe) {
  if (v4()) return;
  wire::NeighbourMessage message;
  message.has_link_address = true;
  message.link_address = kFarMac;
  message.target = theirs();
  const IpAddress all = ip("ff02::1");
  const Way from_nobody{ip("::"), all, kFarMac, wire::multicast_mac(all)};
  EXPECT_TRUE(answer(neighbour_frame(from_nobody, message)).empty());
  EXPECT_EQ(dropped(DropReason::ndp_malformed), 1U);
  message.solicited = true;  // and told to all
  EXPECT_TRUE(
      answer(neighbour_frame({theirs(), all, kFarMac, wire::multicast_mac(all)}, message)).empty());
  EXPECT_EQ(dropped(DropReason::ndp_malformed), 2U);
  message.solicited = false;
  message.target = ours();
  EXPECT_TRUE(answer(neighbour_frame(way(), message)).empty());
  EXPECT_EQ(host_.stack->counters().address_conflicts, 1U);
  message.solicitation = true;
  const IpAddress group = wire::solicited_node(ours());
  const Way detection{ip("::"), group, kFarMac, wire::multicast_mac(group)};
  EXPECT_TRUE(answer(neighbour_frame(detection, message)).empty());
  EXPECT_EQ(dropped(DropReason::ndp_malformed), 3U);
}

TEST_P(ControlTest, ControlOfTheOtherFamilyIsNotAnswered) {
  const std::uint8_t other = v4() ? wire::IpProtocol::icmpv6 : wire::IpProtocol::icmp;
  EXPECT_TRUE(answer(packet(way(), other, Bytes(8))).empty());
  EXPECT_EQ(dropped(DropReason::protocol), 1U);
}

// --- ICMP and connections ---

class IcmpTest : public testing::TestWithParam<bool> {
 protected:
  static bool v4() { return GetParam(); }
  // What a router says about a frame of host a.
  static Bytes error(const Bytes& frame, std::uint8_t type, std::uint8_t code, std::uint32_t rest) {
    const Bytes quote(frame.begin() + 14,
                      frame.begin() + static_cast<std::ptrdiff_t>(
                                          std::min<std::size_t>(frame.size(), 14 + 40 + 8)));
    return icmp_frame({ip(v4() ? "192.0.2.254" : "2001:db8::254"), StackWorld::address(0, v4())},
                      type, code, rest, quote);
  }
  Bytes too_big(const Bytes& frame, std::uint32_t mtu) const {
    return error(frame, v4() ? 3 : 2, v4() ? 4 : 0, mtu);
  }
  StreamHandle open() {
    const StreamHandle client = world_.connect(v4());
    EXPECT_TRUE(world_.run(Duration::seconds(3), [&] {
      return world_.a().stream(client).connected && world_.b().last().accepted;
    }));
    return client;
  }

  StackWorld world_;
};

INSTANTIATE_TEST_SUITE_P(Families, IcmpTest, testing::Bool());

TEST_P(IcmpTest, APathThatCarriesLessIsLearnt) {
  const StreamHandle client = open();
  std::size_t largest = 0;
  world_.nic(0).filter = [&](const Bytes& frame) {
    if (frame.size() - 14 <= 1'300) {
      largest = std::max(largest, frame.size() - 14);
      return true;
    }
    world_.nic(0).inject(too_big(frame, 1'300));
    return false;
  };
  const Bytes bytes = pattern(300'000, 1);
  EXPECT_EQ(world_.a().send(client, bytes), bytes.size());
  ASSERT_TRUE(world_.run(Duration::seconds(10),
                         [&] { return world_.b().last().received.size() == bytes.size(); }));
  EXPECT_EQ(world_.b().last().received, bytes);
  EXPECT_EQ(largest, 1'300U);
  EXPECT_EQ(world_.a().stack->tcp_counters().mss_lowered, 1U);
}

TEST_P(IcmpTest, WhatWasNotSentIsNotBelieved) {
  const StreamHandle client = open();
  Bytes last;
  world_.nic(0).filter = [&](const Bytes& frame) {
    last = frame;
    return frame.size() < 1'000;
  };
  world_.a().send(client, pattern(20'000, 1));
  world_.run(Duration::milliseconds(20), [&] { return last.size() > 1'000; });
  ASSERT_GT(last.size(), 1'000U);
  const std::size_t tcp = 14 + (v4() ? 20U : 40U);
  Bytes wrong_seq = last;
  store_be32(&wrong_seq[tcp + 4], load_be32(&wrong_seq[tcp + 4]) + 1'000'000);
  Bytes wrong_port = last;
  store_be16(&wrong_port[tcp + 2], 6882);
  Bytes wrong_source = last;
  wrong_source[tcp - (v4() ? 5 : 17)] ^= std::byte{1};
  world_.nic(0).inject(too_big(wrong_seq, 1'300));
  world_.nic(0).inject(too_big(wrong_port, 1'300));
  world_.nic(0).inject(too_big(wrong_source, 1'300));
  world_.nic(0).inject(too_big(last, 1'500));  // no less than our link
  if (!v4()) world_.nic(0).inject(too_big(last, 1'000));
  world_.a().cycle(world_.now);
  EXPECT_EQ(world_.a().stack->tcp_counters().mss_lowered, 0U);
  EXPECT_EQ(world_.a().dropped(DropReason::icmp_quote), 2U);
  EXPECT_EQ(world_.a().dropped(DropReason::icmp_mtu), v4() ? 1U : 2U);
}

TEST_P(IcmpTest, UnreachableEndsAHandshakeAndNothingElse) {
  world_.settle();
  Bytes syn;
  world_.nic(0).filter = [&](const Bytes& frame) {
    if (frame[12] == std::byte{0x08} && frame[13] == std::byte{0x06}) return true;
    if (frame.size() > 54 && frame[20] == std::byte{58}) return true;
    syn = frame;
    return false;
  };
  const StreamHandle client = world_.connect(v4());
  world_.run(Duration::milliseconds(50), [&] { return !syn.empty(); });
  ASSERT_FALSE(syn.empty());
  // No route just now is no reason to give up (RFC 9293 §3.9.2.2); nobody at the port is.
  world_.nic(0).inject(error(syn, v4() ? 3 : 1, v4() ? 1 : 3, 0));
  world_.pass(Duration::milliseconds(50));
  EXPECT_FALSE(world_.a().stream(client).closed);
  world_.nic(0).inject(error(syn, v4() ? 3 : 1, v4() ? 3 : 4, 0));
  ASSERT_TRUE(world_.run(Duration::seconds(1), [&] { return world_.a().stream(client).closed; }));
  EXPECT_EQ(world_.a().stream(client).error, StreamError::unreachable);

  world_.nic(0).filter = nullptr;
  const StreamHandle second = open();
  Bytes data;
  world_.nic(0).filter = [&](const Bytes& frame) {
    data = frame;
    return true;
  };
  world_.a().send(second, pattern(100, 1));
  world_.run(Duration::milliseconds(50), [&] { return !data.empty(); });
  world_.nic(0).inject(error(data, v4() ? 3 : 1, v4() ? 3 : 4, 0));
  world_.pass(Duration::milliseconds(100));
  EXPECT_FALSE(world_.a().stream(second).closed);
}

}  // namespace
}  // namespace penstock::test
