// TxFrame's offload in DPDK's words. What a device makes of it is checked against a sum by hand.
#include "nic_dpdk/tx_offload.hh"

#include <array>
#include <cstring>
#include <memory>

#include <gtest/gtest.h>
#include <rte_mbuf.h>

#include "support/raw_packet.hh"
#include "support/wire_frames.hh"

namespace penstock::nic_dpdk {
namespace {

using support::Bytes;

class TxOffload : public testing::TestWithParam<bool> {
 protected:
  TxOffload() {
    const bool four = GetParam();
    hosts_ = {{{2, 0, 0, 0, 0, 1}},
              {{2, 0, 0, 0, 0, 2}},
              four ? IpAddress::v4(10, 9, 0, 1) : *parse_ip("fd00::1"),
              four ? IpAddress::v4(10, 9, 0, 2) : *parse_ip("fd00::2")};
  }
  // The frame with its head of `head` bytes in a mbuf, and the rest as a part.
  void describe(const Bytes& bytes, std::size_t head, std::size_t sum_at,
                std::uint16_t segment_size) {
    std::memcpy(frame_.head.data(), bytes.data(), head);
    frame_.head_length = static_cast<std::uint16_t>(head);
    frame_.part_count = 1;
    frame_.parts[0] = {bytes.data() + head, static_cast<std::uint32_t>(bytes.size() - head),
                       nullptr};
    frame_.transport_at = static_cast<std::uint16_t>(support::transport_at(hosts_));
    frame_.checksum_at = static_cast<std::uint16_t>(sum_at);
    frame_.segment_size = segment_size;
    std::memcpy(memory_.data(), bytes.data(), head);
    mbuf_.buf_addr = memory_.data();
    mbuf_.data_len = frame_.head_length;
    mbuf_.pkt_len = static_cast<std::uint32_t>(bytes.size());
    describe_offload(frame_, mbuf_);
  }
  [[nodiscard]] std::uint64_t family() const {
    return GetParam() ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6;
  }

  support::Hosts hosts_;
  net::TxFrame frame_;
  std::array<std::byte, net::kHeadMax> memory_{};
  const std::unique_ptr<rte_mbuf> owned_ = std::make_unique<rte_mbuf>();
  rte_mbuf& mbuf_ = *owned_;
};

TEST_P(TxOffload, ATcpSegment) {
  const Bytes payload(1000, std::byte{7});
  Bytes frame = support::ip_frame(hosts_, support::kProtoTcp,
                                  support::tcp_segment({.source = 1, .destination = 2}, payload));
  support::fill_checksum(frame, hosts_, 16, true);
  describe(frame, frame.size() - payload.size(), 16, 0);
  EXPECT_EQ(mbuf_.ol_flags, family() | RTE_MBUF_F_TX_TCP_CKSUM);
  EXPECT_EQ(mbuf_.l2_len, 14u);
  EXPECT_EQ(mbuf_.l3_len, GetParam() ? 20u : 40u);
  EXPECT_EQ(mbuf_.l4_len, 20u);
  EXPECT_EQ(mbuf_.tso_segsz, 0u);
  EXPECT_EQ(std::memcmp(memory_.data(), frame.data(), mbuf_.data_len), 0);  // as it was
}

TEST_P(TxOffload, AFrameToBeCut) {
  const Bytes payload(30'001, std::byte{7});
  Bytes frame = support::ip_frame(hosts_, support::kProtoTcp,
                                  support::tcp_segment({.source = 1, .destination = 2}, payload));
  support::fill_checksum(frame, hosts_, 16, true);
  describe(frame, frame.size() - payload.size(), 16, 1448);
  EXPECT_EQ(mbuf_.ol_flags, family() | RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_TCP_SEG |
                                (GetParam() ? RTE_MBUF_F_TX_IP_CKSUM : 0));
  EXPECT_EQ(mbuf_.tso_segsz, 1448u);
  // The pseudo-header without a length: that of a segment of no bytes at all.
  const std::span<const std::byte> ip = std::span(frame).subspan(14);
  const std::size_t at = support::transport_at(hosts_);
  std::uint16_t sum = 0;
  std::memcpy(&sum, memory_.data() + at + 16, 2);
  const auto without = static_cast<std::uint16_t>(~support::finish_sum(support::pseudo_sum(ip, 0)));
  EXPECT_EQ(sum, without);
  if (GetParam()) {
    EXPECT_EQ(memory_[14 + 10], std::byte{0});
    EXPECT_EQ(memory_[14 + 11], std::byte{0});
  }
}

TEST_P(TxOffload, AUdpDatagram) {
  Bytes frame = support::ip_frame(hosts_, support::kProtoUdp,
                                  support::udp_datagram(1, 2, Bytes(100, std::byte{3})));
  support::fill_checksum(frame, hosts_, 6, true);
  describe(frame, frame.size() - 100, 6, 0);
  EXPECT_EQ(mbuf_.ol_flags, family() | RTE_MBUF_F_TX_UDP_CKSUM);
  EXPECT_EQ(mbuf_.l4_len, 8u);
}

// No device sums it: done here, over an odd head as well.
TEST_P(TxOffload, AnEchoReply) {
  const Bytes text(101, std::byte{0x5a});
  const Bytes echo = support::echo_request(GetParam() ? 8 : 128, 9, 1, text);
  const std::uint8_t protocol = GetParam() ? support::kProtoIcmp : support::kProtoIcmp6;
  Bytes whole = support::ip_frame(hosts_, protocol, echo);
  Bytes partial = whole;
  const std::size_t sum_at = support::transport_at(hosts_) + 2;
  if (GetParam()) {
    partial[sum_at] = partial[sum_at + 1] = std::byte{0};
  } else {
    support::fill_checksum(whole, hosts_, 2, false);
    support::fill_checksum(partial, hosts_, 2, true);
  }
  describe(partial, partial.size() - 96, 2, 0);
  EXPECT_EQ(mbuf_.ol_flags, 0u);
  EXPECT_EQ(std::memcmp(memory_.data(), whole.data(), mbuf_.data_len), 0);
}

INSTANTIATE_TEST_SUITE_P(Families, TxOffload, testing::Bool(),
                         [](const testing::TestParamInfo<bool>& family) {
                           return family.param ? "ipv4" : "ipv6";
                         });

}  // namespace
}  // namespace penstock::nic_dpdk
