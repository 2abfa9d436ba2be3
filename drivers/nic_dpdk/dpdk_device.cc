#include "nic_dpdk/dpdk_device.hh"

#include <algorithm>
#include <array>
#include <string>

#include <rte_mbuf_core.h>

#include "net/nic_port.hh"

namespace penstock::nic_dpdk {
namespace {

constexpr std::array<DriverFacts, 9> kDrivers{{
    {.name = "net_af_packet", .reach = Reach::process},
    {.name = "net_af_xdp", .reach = Reach::process},
    {.name = "net_null", .reach = Reach::process},
    {.name = "net_pcap", .reach = Reach::process},
    {.name = "net_ring", .reach = Reach::process},
    // Its sums are wrong behind a segment of odd length, and its TSO knows IPv4 alone.
    {.name = "net_tap",
     .reach = Reach::process,
     .sums = false,
     .segments = false,
     .kernels_mac = true},
    // Where the other side wants whole sums, it makes them: wrong ones as net_tap's, by one
    // function.
    {.name = "net_vhost", .reach = Reach::process, .sums = false, .segments = false},
    // Reach: unless it is told not to copy (facts_of).
    {.name = "net_memif", .reach = Reach::process, .interrupts_stop = true},
    {.name = "net_virtio_user", .reach = Reach::shared},
}};

// Idle rings hold buffers: no more than this (TRANSPORT: zero copy). A burst must fit well.
constexpr std::uint16_t kDescriptors = 1024;
constexpr std::uint16_t kDescriptorsMin = 128;

// Ethernet with two tags, and a check sequence that some devices leave on.
constexpr std::uint32_t kFrameExtra = 14 + 8 + 4;
// Drivers of virtual devices want room for a frame of 2 KiB whatever the MTU.
constexpr std::uint32_t kRxBytesMin = 2048;
constexpr std::uint32_t kRoomAlign = 64;

// The head and each part of it is a segment.
constexpr std::uint16_t kSegments = 1 + net::kPayloadPartsMax;
// What is left of an IP packet beside the largest IPv6 or IPv4 header and TCP's.
constexpr std::uint32_t kTsoBytesMax = 65535 - 60 - 60;

constexpr std::uint64_t kTxSums = RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM;
constexpr std::uint64_t kTxCuts = RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
constexpr std::uint64_t kRxSums =
    RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM;

// Its descriptors say where a buffer lies in 32 bits.
constexpr std::uint64_t kMemifReach = std::uint64_t{1} << 32;
// Of four frames it takes together it only looks before the first whether its ring is full, and
// loses track of a frame under way that the second then overwrites.
constexpr std::uint16_t kMemifBurstMax = 3;

bool has(std::uint64_t capabilities, std::uint64_t wanted) {
  return (capabilities & wanted) == wanted;
}

// 0: no limit.
bool too_few(std::uint16_t limit, std::uint16_t needed) {
  return limit != 0 && limit < needed;
}

std::uint16_t descriptors(const rte_eth_desc_lim& limits) {
  std::uint32_t count = kDescriptors;
  if (limits.nb_max != 0) count = std::min<std::uint32_t>(count, limits.nb_max);
  count = std::max<std::uint32_t>(count, limits.nb_min);
  if (limits.nb_align > 1) count = count / limits.nb_align * limits.nb_align;
  return static_cast<std::uint16_t>(count);
}

CopyReason copy_reason(const rte_eth_dev_info& info, const DriverFacts& driver,
                       const Wishes& wishes) {
  if (!wishes.by_reference) return CopyReason::as_asked;
  if (!has(info.tx_offload_capa, RTE_ETH_TX_OFFLOAD_MULTI_SEGS)) return CopyReason::one_segment;
  if (too_few(info.tx_desc_lim.nb_seg_max, kSegments) ||
      too_few(info.tx_desc_lim.nb_mtu_seg_max, kSegments)) {
    return CopyReason::one_segment;
  }
  if (driver.reach == Reach::shared && !wishes.arena_shared) return CopyReason::foreign_memory;
  if (driver.reach == Reach::dma) {
    if (!wishes.iova_virtual) return CopyReason::physical_memory;
    if (!wishes.arena_mapped) return CopyReason::not_mapped;
  }
  return CopyReason::none;
}

std::uint16_t room(std::uint32_t bytes) {
  const std::uint32_t whole = RTE_PKTMBUF_HEADROOM + bytes;
  return static_cast<std::uint16_t>((whole + kRoomAlign - 1) / kRoomAlign * kRoomAlign);
}

}  // namespace

DriverFacts facts_of(std::string_view driver, std::string_view arguments) {
  const auto* const known =
      std::find_if(kDrivers.begin(), kDrivers.end(),
                   [driver](const DriverFacts& facts) { return facts.name == driver; });
  if (known == kDrivers.end()) return {.name = driver};
  DriverFacts facts = *known;
  if (driver == "net_memif" && arguments.find("zero-copy=yes") != std::string_view::npos) {
    facts.reach = Reach::shared;
    facts.shared_max = kMemifReach;
    facts.burst_max = kMemifBurstMax;
  }
  return facts;
}

DriverFacts facts_of(const DeviceName& device) {
  const std::string_view name = device.name;
  return facts_of(name.substr(0, name.find_last_not_of("0123456789") + 1), device.arguments);
}

const char* copy_reason_name(CopyReason reason) {
  switch (reason) {
    case CopyReason::none:
      return "none";
    case CopyReason::one_segment:
      return "one_segment";
    case CopyReason::foreign_memory:
      return "foreign_memory";
    case CopyReason::physical_memory:
      return "physical_memory";
    case CopyReason::not_mapped:
      return "not_mapped";
    case CopyReason::outside_arena:
      return "outside_arena";
    case CopyReason::as_asked:
      return "as_asked";
  }
  return "";
}

Result<Choice> choose(const rte_eth_dev_info& info, const Wishes& wishes) {
  const std::string_view name = info.driver_name == nullptr ? "" : info.driver_name;
  const DriverFacts driver = facts_of(name, wishes.arguments);
  if (wishes.mtu < 1280 || wishes.mtu > kMtuMax ||
      (info.max_mtu != 0 && wishes.mtu > info.max_mtu)) {
    return fail("an MTU of " + std::to_string(wishes.mtu) + ": between 1280 and " +
                    std::to_string(info.max_mtu == 0 ? kMtuMax : std::min(kMtuMax, info.max_mtu)) +
                    " is possible with " + std::string(name),
                ErrorKind::usage);
  }
  if (info.max_rx_queues == 0 || info.max_tx_queues == 0) {
    return fail(std::string(name) + " has no queues to send and receive by");
  }
  Choice choice;
  choice.mtu = wishes.mtu;
  choice.rx_descriptors = descriptors(info.rx_desc_lim);
  choice.tx_descriptors = descriptors(info.tx_desc_lim);
  if (choice.rx_descriptors < kDescriptorsMin || choice.tx_descriptors < kDescriptorsMin) {
    return fail(std::string(name) + " has rings of fewer than " + std::to_string(kDescriptorsMin) +
                " frames");
  }
  const std::uint32_t frame = std::uint32_t{wishes.mtu} + kFrameExtra;
  choice.rx_room = room(std::max({frame, kRxBytesMin, info.min_rx_bufsize}));
  choice.copies = copy_reason(info, driver, wishes);
  const bool copies = choice.copies != CopyReason::none;
  // What lies outside the arena goes by copy to who only reaches that.
  const bool whole = copies || driver.reach != Reach::process;
  choice.tx_room = room(whole ? std::max<std::uint32_t>(frame, net::kHeadMax) : net::kHeadMax);
  choice.tx_offloads |= info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
  if (!wishes.offload) return choice;
  if (has(info.rx_offload_capa, kRxSums)) choice.rx_offloads |= kRxSums;
  if (driver.sums && has(info.tx_offload_capa, kTxSums)) {
    choice.tx_offloads |= kTxSums;
    choice.tx_checksum = true;
  }
  // A frame to be cut is larger than any buffer of ours.
  if (choice.tx_checksum && !copies && driver.segments && has(info.tx_offload_capa, kTxCuts)) {
    choice.tx_offloads |= kTxCuts;
    choice.tso_bytes_max = kTsoBytesMax;
  }
  return choice;
}

}  // namespace penstock::nic_dpdk
