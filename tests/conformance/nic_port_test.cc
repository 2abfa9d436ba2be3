// The contract of net::NicPort (src/net/nic_port.hh), over every driver.
#include <algorithm>
#include <array>
#include <cstring>

#include <gtest/gtest.h>

#include "base/endian.hh"
#include "base/random.hh"
#include "nic_world.hh"
#include "support/skip.hh"
#include "support/wire_frames.hh"

namespace penstock::conformance {
namespace {

using net::NicInfo;
using net::RxFrame;
using net::TxFrame;

// Not IP, so that no kernel has an opinion on it (IEEE 802 experimental).
constexpr std::uint16_t kOwnType = 0x88b5;
constexpr std::size_t kEthernet = 14;
constexpr int kTurnsMax = 5000;

Bytes random_bytes(Random& random, std::size_t size) {
  Bytes bytes(size);
  for (std::byte& byte : bytes)
    byte = static_cast<std::byte>(random.next());
  return bytes;
}

class NicPortSuite : public testing::TestWithParam<NicFlavour> {
 protected:
  void SetUp() override {
    std::string why_not;
    world_ = GetParam().make(why_not);
    if (world_ == nullptr) {
      PENSTOCK_SKIP(why_not);
    }
    hosts_ = {world_->port().info().mac,
              {{0x02, 0, 0, 0, 0, 0x99}},
              IpAddress::v4(10, 9, 0, 1),
              IpAddress::v4(10, 9, 0, 2)};
  }

  // A frame from the other end, `length` bytes with its Ethernet header.
  Bytes own_frame(std::size_t length, bool to_port) {
    Bytes frame = random_bytes(random_, length);
    const auto& to = to_port ? hosts_.our_mac : hosts_.their_mac;
    const auto& from = to_port ? hosts_.their_mac : hosts_.our_mac;
    std::memcpy(frame.data(), to.bytes.data(), 6);
    std::memcpy(frame.data() + 6, from.bytes.data(), 6);
    store_be16(frame.data() + 12, kOwnType);
    return frame;
  }
  void put(std::span<const std::byte> frame) {
    for (int i = 0; i < kTurnsMax && !world_->put(frame); ++i)
      world_->step();
  }
  // All that comes until there are `count` frames.
  std::vector<Bytes> receive(std::size_t count, std::size_t burst = net::kFrameBurst) {
    std::vector<Bytes> got;
    std::vector<RxFrame> frames(burst);
    for (int i = 0; i < kTurnsMax && got.size() < count; ++i) {
      const std::size_t n = world_->port().rx_burst(frames);
      EXPECT_LE(n, burst);
      for (std::size_t k = 0; k < n; ++k)
        got.emplace_back(frames[k].bytes.begin(), frames[k].bytes.end());
      if (n == 0) world_->step();
    }
    return got;
  }
  void send(std::span<const TxFrame> frames) {
    for (int i = 0; i < kTurnsMax && !frames.empty(); ++i) {
      const std::size_t taken = world_->port().tx_burst(frames);
      ASSERT_LE(taken, frames.size());
      frames = frames.subspan(taken);
      if (!frames.empty()) world_->step();
    }
    EXPECT_TRUE(frames.empty()) << "the port never takes it";
  }
  std::vector<Bytes> on_wire(std::size_t count) {
    std::vector<Bytes> got;
    for (int i = 0; i < kTurnsMax && got.size() < count; ++i) {
      world_->get(got);
      if (got.size() < count) world_->step();
    }
    return got;
  }
  // `bytes` with the first `head` of them in the head, the others as parts of these lengths.
  static TxFrame gather(const Bytes& bytes, std::size_t head,
                        std::initializer_list<std::size_t> parts = {}) {
    TxFrame frame;
    std::memcpy(frame.head.data(), bytes.data(), head);
    frame.head_length = static_cast<std::uint16_t>(head);
    std::size_t at = head;
    for (const std::size_t length : parts) {
      frame.parts[frame.part_count++] = {bytes.data() + at, static_cast<std::uint32_t>(length),
                                         nullptr};
      at += length;
    }
    EXPECT_EQ(at, bytes.size());
    return frame;
  }

  std::unique_ptr<NicWorld> world_;
  support::Hosts hosts_;
  Random random_{0x51ab};
};

TEST_P(NicPortSuite, InfoIsPlausible) {
  const NicInfo& info = world_->port().info();
  EXPECT_NE(info.mac, wire::MacAddress{});
  EXPECT_EQ(info.mac.bytes[0] & 1, 0) << "a group address";
  EXPECT_GE(info.mtu, 1280);
  if (info.tso_bytes_max > 0) {
    EXPECT_TRUE(info.tx_checksum) << "each segment needs a checksum of its own";
  }
}

TEST_P(NicPortSuite, NothingComesFromASilentWire) {
  std::array<RxFrame, 8> frames;
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(world_->port().rx_burst(frames), 0u);
  EXPECT_EQ(world_->port().tx_burst({}), 0u);
}

TEST_P(NicPortSuite, FramesComeInOrderByteForByte) {
  const std::size_t largest = world_->port().info().mtu + kEthernet;
  std::vector<Bytes> sent;
  for (const std::size_t length : {std::size_t{60}, std::size_t{61}, std::size_t{590}, largest - 1,
                                   largest, std::size_t{64}}) {
    sent.push_back(own_frame(length, true));
    put(sent.back());
  }
  EXPECT_EQ(receive(sent.size()), sent);
}

TEST_P(NicPortSuite, ABurstIsNoLargerThanItsRoom) {
  std::vector<Bytes> sent;
  for (int i = 0; i < 200; ++i) {
    sent.push_back(own_frame(60 + random_.below(1400), true));
    put(sent.back());
  }
  std::vector<Bytes> got = receive(7, 3);
  for (const Bytes& frame : receive(sent.size() - got.size()))
    got.push_back(frame);
  EXPECT_EQ(got, sent);
}

// All frames of one burst at once, not one after the other.
TEST_P(NicPortSuite, FramesOfABurstAreValidTogether) {
  std::vector<Bytes> sent;
  for (int i = 0; i < 40; ++i) {
    sent.push_back(own_frame(1000, true));
    put(sent.back());
  }
  std::array<RxFrame, net::kFrameBurst> frames;
  std::size_t seen = 0;
  for (int i = 0; i < kTurnsMax && seen < sent.size(); ++i) {
    const std::size_t count = world_->port().rx_burst(frames);
    for (std::size_t k = 0; k < count; ++k) {
      ASSERT_LT(seen, sent.size());
      EXPECT_TRUE(std::ranges::equal(frames[k].bytes, sent[seen++]));
    }
    if (count == 0) world_->step();
  }
  EXPECT_EQ(seen, sent.size());
}

TEST_P(NicPortSuite, AFrameIsGatheredFromHeadAndParts) {
  const Bytes bytes = own_frame(1200, false);
  const std::array frames{gather(bytes, 256, {100, 1, 843}), gather(bytes, 14, {500, 686}),
                          gather(bytes, 20, {1180})};
  send(frames);
  EXPECT_EQ(on_wire(3), (std::vector<Bytes>{bytes, bytes, bytes}));
}

// A port without in_use counters to keep must have copied; one that counts must come home.
TEST_P(NicPortSuite, PartsAreReadBeforeTheyAreLetGo) {
  const Bytes bytes = own_frame(1400, false);
  Bytes copy = bytes;
  std::uint32_t in_use = 0;
  TxFrame frame = gather(copy, 40, {1360});
  frame.parts[0].in_use = &in_use;
  send({&frame, 1});
  for (int i = 0; i < kTurnsMax && in_use > 0; ++i) {
    world_->port().tx_burst({});
    world_->step();
  }
  ASSERT_EQ(in_use, 0u) << "the port never lets go";
  std::fill(copy.begin(), copy.end(), std::byte{0xee});
  frame.head.fill(std::byte{0xee});
  EXPECT_EQ(on_wire(1), std::vector<Bytes>{bytes});
}

TEST_P(NicPortSuite, ManyFramesLeaveInOrder) {
  std::vector<Bytes> sent;
  std::vector<TxFrame> frames;
  for (int i = 0; i < 500; ++i)
    sent.push_back(own_frame(200 + random_.below(1000), false));
  for (const Bytes& bytes : sent)
    frames.push_back(gather(bytes, 100, {bytes.size() - 100}));
  std::vector<Bytes> got;
  for (std::size_t at = 0; at < frames.size(); at += 50) {
    send(std::span(frames).subspan(at, 50));
    for (Bytes& frame : on_wire(50))
      got.push_back(std::move(frame));
  }
  EXPECT_EQ(got, sent);
}

TEST_P(NicPortSuite, TheDeviceFillsInChecksums) {
  if (!world_->port().info().tx_checksum) return;  // it doesn't say that it can
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{700}}) {
    const Bytes datagram = support::udp_datagram(1000, 2000, random_bytes(random_, size));
    Bytes whole = support::ip_frame(hosts_, support::kProtoUdp, datagram);
    Bytes partial = whole;
    support::fill_checksum(whole, hosts_, 6, false);
    support::fill_checksum(partial, hosts_, 6, true);
    TxFrame frame = gather(partial, 42, {partial.size() - 42});
    frame.transport_at = static_cast<std::uint16_t>(support::transport_at(hosts_));
    frame.checksum_at = 6;
    send({&frame, 1});
    EXPECT_EQ(on_wire(1), std::vector<Bytes>{whole});
  }
}

class NicPortTso : public NicPortSuite {
 protected:
  // One TSO frame of `size` bytes of payload, and what has to be on the wire of it.
  void check(std::size_t size, std::uint16_t segment_size) {
    const Bytes payload = random_bytes(random_, size);
    const support::RawTcp tcp{.source = 1,
                              .destination = 2,
                              .sequence = 0xffffff00,  // wraps on the way
                              .acknowledgement = 77,
                              .flags = 0x18};
    Bytes whole = support::ip_frame(hosts_, support::kProtoTcp, support::tcp_segment(tcp, payload));
    support::fill_checksum(whole, hosts_, 16, true);
    const std::size_t headers = whole.size() - size;
    TxFrame frame = gather(whole, headers, {size / 3, size / 3, size - size / 3 * 2});
    frame.transport_at = static_cast<std::uint16_t>(support::transport_at(hosts_));
    frame.checksum_at = 16;
    frame.segment_size = segment_size;
    send({&frame, 1});
    const std::size_t count = (size + segment_size - 1) / segment_size;
    const std::vector<Bytes> got = on_wire(count);
    ASSERT_EQ(got.size(), count);
    Bytes bytes;
    for (const Bytes& segment : got) {
      ASSERT_GT(segment.size(), headers);
      const std::size_t ip_length = segment.size() - kEthernet;
      const std::byte* const ip = segment.data() + kEthernet;
      EXPECT_EQ(load_be16(ip + (hosts_.us.is_v4() ? 2 : 4)),
                hosts_.us.is_v4() ? ip_length : ip_length - 40);
      const std::byte* const header = segment.data() + headers - 20;
      EXPECT_EQ(load_be32(header + 4), tcp.sequence + static_cast<std::uint32_t>(bytes.size()));
      EXPECT_EQ(header[13], &segment == &got.back() ? std::byte{0x18} : std::byte{0x10});
      const std::span<const std::byte> transport =
          std::span(segment).subspan(support::transport_at(hosts_));
      const std::uint64_t pseudo =
          support::pseudo_sum(std::span(segment).subspan(kEthernet), transport.size());
      EXPECT_EQ(support::finish_sum(support::add_up(transport, pseudo)), 0);
      bytes.insert(bytes.end(), segment.begin() + static_cast<std::ptrdiff_t>(headers),
                   segment.end());
    }
    EXPECT_EQ(bytes, payload);
  }
};

TEST_P(NicPortTso, CutsFramesIntoSegments) {
  const std::uint32_t most = world_->port().info().tso_bytes_max;
  if (most == 0) return;  // it doesn't say that it can
  for (const bool four : {true, false}) {
    if (!four) {
      hosts_.us = *parse_ip("fd00::1");
      hosts_.them = *parse_ip("fd00::2");
    }
    check(1448 * 2, 1448);
    check(1448 * 11 + 1, 1448);
    check(16384, 1220);
    check(most, 1448);
  }
}

const auto name_of = [](const testing::TestParamInfo<NicFlavour>& info) { return info.param.name; };
INSTANTIATE_TEST_SUITE_P(Drivers, NicPortSuite, testing::ValuesIn(nic_flavours()), name_of);
INSTANTIATE_TEST_SUITE_P(Drivers, NicPortTso, testing::ValuesIn(nic_flavours()), name_of);

}  // namespace
}  // namespace penstock::conformance
