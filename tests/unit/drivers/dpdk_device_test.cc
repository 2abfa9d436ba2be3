// What a device says of itself → how it is used. No EAL runs here.
#include "nic_dpdk/dpdk_device.hh"

#include <gtest/gtest.h>
#include <rte_mbuf_core.h>

namespace penstock::nic_dpdk {
namespace {

constexpr std::uint64_t kSums = RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM;
constexpr std::uint64_t kCuts = RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
constexpr std::uint64_t kRxSums =
    RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM;

// As ethdev fills it in where the driver sets no limits.
rte_eth_dev_info device(const char* driver, std::uint64_t tx, std::uint64_t rx = 0) {
  rte_eth_dev_info info{};
  info.driver_name = driver;
  info.max_mtu = UINT16_MAX;
  info.max_rx_queues = info.max_tx_queues = 1;
  info.tx_offload_capa = tx;
  info.rx_offload_capa = rx;
  info.rx_desc_lim = info.tx_desc_lim = {.nb_max = UINT16_MAX,
                                         .nb_min = 0,
                                         .nb_align = 1,
                                         .nb_seg_max = UINT16_MAX,
                                         .nb_mtu_seg_max = UINT16_MAX};
  return info;
}

const Wishes kMapped{.arena_mapped = true};

TEST(DpdkDevice, APhysicalDeviceWithEverything) {
  const auto choice =
      choose(device("net_ice", RTE_ETH_TX_OFFLOAD_MULTI_SEGS | kSums | kCuts, kRxSums), kMapped);
  ASSERT_TRUE(choice);
  EXPECT_EQ(choice->copies, CopyReason::none);
  EXPECT_TRUE(choice->tx_checksum);
  EXPECT_EQ(choice->tso_bytes_max, 65535u - 120);
  EXPECT_EQ(choice->tx_offloads, RTE_ETH_TX_OFFLOAD_MULTI_SEGS | kSums | kCuts);
  EXPECT_EQ(choice->rx_offloads, kRxSums);
  EXPECT_EQ(choice->rx_descriptors, 1024);
  EXPECT_EQ(choice->tx_descriptors, 1024);
  EXPECT_GE(choice->rx_room, RTE_PKTMBUF_HEADROOM + 2048);
}

TEST(DpdkDevice, WithoutOffloadNothingIsAskedOfIt) {
  Wishes wishes = kMapped;
  wishes.offload = false;
  const auto choice =
      choose(device("net_ice", RTE_ETH_TX_OFFLOAD_MULTI_SEGS | kSums | kCuts, kRxSums), wishes);
  ASSERT_TRUE(choice);
  EXPECT_EQ(choice->tx_offloads, RTE_ETH_TX_OFFLOAD_MULTI_SEGS);  // parts are no offload
  EXPECT_EQ(choice->rx_offloads, 0u);
  EXPECT_FALSE(choice->tx_checksum);
  EXPECT_EQ(choice->tso_bytes_max, 0u);
}

// What each lacks is one reason to copy, and the first that holds is told.
TEST(DpdkDevice, WhyPayloadIsCopied) {
  const auto reason = [](const rte_eth_dev_info& info, Wishes wishes) {
    const auto choice = choose(info, wishes);
    return choice ? choice->copies : CopyReason::none;
  };
  const std::uint64_t parts = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
  EXPECT_EQ(reason(device("net_af_xdp", kSums), {}), CopyReason::one_segment);
  EXPECT_EQ(reason(device("net_ice", 0), kMapped), CopyReason::one_segment);
  rte_eth_dev_info few = device("net_ice", parts);
  few.tx_desc_lim.nb_mtu_seg_max = 3;
  EXPECT_EQ(reason(few, kMapped), CopyReason::one_segment);
  few.tx_desc_lim.nb_mtu_seg_max = 8;  // i40e
  EXPECT_EQ(reason(few, kMapped), CopyReason::none);
  Wishes memif = kMapped;
  EXPECT_EQ(reason(device("net_memif", parts), memif), CopyReason::none);  // it copies by itself
  memif.arguments = "role=client,zero-copy=yes";
  EXPECT_EQ(reason(device("net_memif", parts), memif), CopyReason::foreign_memory);
  EXPECT_EQ(reason(device("net_virtio_user", parts), kMapped), CopyReason::foreign_memory);
  memif.arena_shared = true;
  EXPECT_EQ(reason(device("net_memif", parts), memif), CopyReason::none);
  EXPECT_EQ(reason(device("net_virtio_user", parts), memif), CopyReason::none);
  EXPECT_EQ(reason(device("mlx5_pci", parts), {.iova_virtual = false, .arena_mapped = true}),
            CopyReason::physical_memory);
  EXPECT_EQ(reason(device("mlx5_pci", parts), {}), CopyReason::not_mapped);
  EXPECT_EQ(reason(device("net_from_the_future", parts), {}), CopyReason::not_mapped);
  for (const char* driver : {"net_af_packet", "net_tap", "net_ring", "net_null", "net_vhost"})
    EXPECT_EQ(reason(device(driver, parts), {.iova_virtual = false}), CopyReason::none) << driver;
}

TEST(DpdkDevice, WhoCopiesHasRoomForAWholeFrameAndCutsNone) {
  const auto choice =
      choose(device("net_virtio_user", RTE_ETH_TX_OFFLOAD_MULTI_SEGS | kSums | kCuts), {});
  ASSERT_TRUE(choice);
  EXPECT_TRUE(choice->tx_checksum);
  EXPECT_EQ(choice->tso_bytes_max, 0u);
  EXPECT_EQ(choice->tx_offloads & RTE_ETH_TX_OFFLOAD_TCP_TSO, 0u);
  EXPECT_GE(choice->tx_room, RTE_PKTMBUF_HEADROOM + 14 + 8 + 1500);
}

TEST(DpdkDevice, NetTapIsNotTrustedWithSums) {
  const auto choice =
      choose(device("net_tap", RTE_ETH_TX_OFFLOAD_MULTI_SEGS | kSums | kCuts, kRxSums), {});
  ASSERT_TRUE(choice);
  EXPECT_EQ(choice->copies, CopyReason::none);
  // A head and its headroom: the payload lies elsewhere.
  EXPECT_EQ(choice->tx_room, RTE_PKTMBUF_HEADROOM + 256);
  EXPECT_FALSE(choice->tx_checksum);
  EXPECT_EQ(choice->tso_bytes_max, 0u);
  EXPECT_EQ(choice->rx_offloads, kRxSums);
  EXPECT_TRUE(facts_of("net_tap", "").kernels_mac);
  EXPECT_FALSE(facts_of("net_ice", "").kernels_mac);
}

// Known before EAL makes it, since the arena must be there first.
TEST(DpdkDevice, WhoSharesMemory) {
  const auto facts = [](const char* device) { return facts_of(*parse_device(device)); };
  EXPECT_EQ(facts("net_virtio_user12,path=a").reach, Reach::shared);
  EXPECT_EQ(facts("net_virtio_user12,path=a").shared_max, UINT64_MAX);
  EXPECT_EQ(facts("net_memif0,role=client,zero-copy=yes").reach, Reach::shared);
  EXPECT_EQ(facts("net_memif0,role=client,zero-copy=yes").shared_max, std::uint64_t{1} << 32);
  EXPECT_EQ(facts("net_memif0,role=server").reach, Reach::process);
  EXPECT_EQ(facts("net_memif0,role=client,zero-copy=yes").burst_max, 3);
  EXPECT_TRUE(facts("net_memif0,role=server").interrupts_stop);
  EXPECT_FALSE(facts("net_vhost0").sums);
  EXPECT_EQ(facts("net_tap0").reach, Reach::process);
  EXPECT_EQ(facts("0000:01:00.0").reach, Reach::dma);
}

// Half of the checksums are none: NicInfo promises TCP's and UDP's.
TEST(DpdkDevice, AnOffloadIsTakenWholeOrNotAtAll) {
  const std::uint64_t parts = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
  const auto no_udp =
      choose(device("net_ice", parts | RTE_ETH_TX_OFFLOAD_TCP_CKSUM | kCuts, kRxSums), kMapped);
  ASSERT_TRUE(no_udp);
  EXPECT_FALSE(no_udp->tx_checksum);
  EXPECT_EQ(no_udp->tso_bytes_max, 0u);
  const auto no_ip = choose(
      device("net_ice", parts | kSums | RTE_ETH_TX_OFFLOAD_TCP_TSO, RTE_ETH_RX_OFFLOAD_TCP_CKSUM),
      kMapped);
  ASSERT_TRUE(no_ip);
  EXPECT_TRUE(no_ip->tx_checksum);
  EXPECT_EQ(no_ip->tso_bytes_max, 0u);
  EXPECT_EQ(no_ip->rx_offloads, 0u);
}

TEST(DpdkDevice, RingsAreWithinTheLimits) {
  rte_eth_dev_info info = device("net_ice", RTE_ETH_TX_OFFLOAD_MULTI_SEGS);
  info.rx_desc_lim.nb_max = 512;
  info.tx_desc_lim.nb_max = 1000;
  info.tx_desc_lim.nb_align = 32;
  const auto choice = choose(info, kMapped);
  ASSERT_TRUE(choice);
  EXPECT_EQ(choice->rx_descriptors, 512);
  EXPECT_EQ(choice->tx_descriptors, 992);
  info.rx_desc_lim.nb_max = 64;
  EXPECT_FALSE(choose(info, kMapped));
}

TEST(DpdkDevice, MtusAndTheirRoom) {
  rte_eth_dev_info info = device("net_ice", RTE_ETH_TX_OFFLOAD_MULTI_SEGS);
  Wishes wishes = kMapped;
  wishes.mtu = 9000;
  const auto jumbo = choose(info, wishes);
  ASSERT_TRUE(jumbo);
  EXPECT_EQ(jumbo->mtu, 9000);
  EXPECT_GE(jumbo->rx_room, RTE_PKTMBUF_HEADROOM + 9000 + 26);
  info.max_mtu = 4000;
  const auto refused = choose(info, wishes);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("4000"), std::string::npos) << refused.error().message;
  wishes.mtu = 1279;
  EXPECT_FALSE(choose(info, wishes));
  info.min_rx_bufsize = 3000;
  wishes.mtu = 1500;
  const auto greedy = choose(info, wishes);
  ASSERT_TRUE(greedy);
  EXPECT_GE(greedy->rx_room, RTE_PKTMBUF_HEADROOM + 3000);
}

TEST(DpdkDevice, ADeviceWithoutQueuesIsRefused) {
  rte_eth_dev_info info = device("net_ice", 0);
  info.max_tx_queues = 0;
  EXPECT_FALSE(choose(info, {}));
}

}  // namespace
}  // namespace penstock::nic_dpdk
