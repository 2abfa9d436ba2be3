#include "nic_dpdk/tx_offload.hh"

#include <rte_mbuf.h>

#include "base/endian.hh"
#include "wire/checksum.hh"

namespace penstock::nic_dpdk {
namespace {

constexpr std::size_t kTypeAt = 12;
constexpr std::uint16_t kTcpSumAt = 16;
constexpr std::uint16_t kUdpSumAt = 6;
constexpr std::size_t kTcpOffsetAt = 12;  // in the TCP header
constexpr std::size_t kIpv4SumAt = 10;    // in the IPv4 header

// Completes the sum that the frame's head has begun (ICMP, which no device does).
void finish_sum(const net::TxFrame& frame, std::byte* head) {
  wire::PiecewiseSum sum;
  sum.add(head + frame.transport_at, std::size_t{frame.head_length} - frame.transport_at);
  for (std::size_t i = 0; i < frame.part_count; ++i)
    sum.add(frame.parts[i].data, frame.parts[i].length);
  wire::store_sum(head + frame.transport_at + frame.checksum_at, wire::complement(sum.folded()));
}

}  // namespace

void describe_offload(const net::TxFrame& frame, rte_mbuf& head) {
  std::byte* const bytes = rte_pktmbuf_mtod(&head, std::byte*);
  if (frame.checksum_at != kTcpSumAt && frame.checksum_at != kUdpSumAt) {
    return finish_sum(frame, bytes);
  }
  std::size_t ip_at = wire::kEthernetSize;
  std::uint16_t type = load_be16(bytes + kTypeAt);
  if (type == wire::EtherType::vlan) {
    ip_at += wire::kVlanTagSize;
    type = load_be16(bytes + kTypeAt + wire::kVlanTagSize);
  }
  const bool v4 = type == wire::EtherType::ipv4;
  const bool tcp = frame.checksum_at == kTcpSumAt;
  std::byte* const transport = bytes + frame.transport_at;
  const auto header = tcp ? static_cast<std::uint64_t>(transport[kTcpOffsetAt] >> 4) * 4 : 8;
  head.tx_offload = std::uint64_t{ip_at} << RTE_MBUF_L2_LEN_OFS |
                    std::uint64_t{frame.transport_at - ip_at} << RTE_MBUF_L3_LEN_OFS |
                    header << RTE_MBUF_L4_LEN_OFS |
                    std::uint64_t{frame.segment_size} << RTE_MBUF_TSO_SEGSZ_OFS;
  head.ol_flags |= v4 ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6;
  head.ol_flags |= tcp ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM;
  if (frame.segment_size == 0) return;
  // Each segment has a length of its own: the pseudo-header's sum is to be without it, and the
  // IPv4 header's is the device's.
  head.ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
  const auto length = static_cast<std::uint32_t>(head.pkt_len - frame.transport_at);
  const std::uint16_t less = wire::complement(wire::fold(wire::length_sum(length)));
  std::byte* const sum = transport + kTcpSumAt;
  wire::store_sum(sum, wire::fold(std::uint64_t{wire::load_sum(sum)} + less));
  if (!v4) return;
  head.ol_flags |= RTE_MBUF_F_TX_IP_CKSUM;
  store_be16(bytes + ip_at + kIpv4SumAt, 0);
}

}  // namespace penstock::nic_dpdk
