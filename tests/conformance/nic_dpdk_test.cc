// What a DPDK port is beside a NicPort: content by reference, mbufs that come home, errors in
// words, and a process that stays its own. On net_ring and net_null: anybody can run it.
#include <array>
#include <chrono>
#include <cstring>
#include <thread>

#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include "dpdk_rig.hh"
#include "support/count_allocations.hh"
#include "support/own_network.hh"
#include "support/skip.hh"

namespace penstock::conformance {
namespace {

using net::RxFrame;
using net::TxFrame;
using nic_dpdk::DpdkPort;
using support::Bytes;

TxFrame frame_of(const Bytes& content, std::uint32_t* in_use, std::size_t part = 1000) {
  TxFrame frame;
  frame.head.fill(std::byte{0x11});
  frame.head_length = 54;
  frame.part_count = 1;
  frame.parts[0] = {content.data(), static_cast<std::uint32_t>(part), in_use};
  return frame;
}

std::unique_ptr<DpdkPort> must_open(const std::string& device) {
  std::string why_not;
  auto port = open_port(device, why_not);
  EXPECT_NE(port, nullptr) << why_not;
  return port;
}

std::string error_of(const std::string& device) {
  std::string message;
  const auto port = open_port(device, message);
  EXPECT_EQ(port, nullptr) << device;
  return message;
}

// Content that changes after the frame was taken is seen changed: nothing has copied it.
TEST(NicDpdk, PayloadGoesByReference) {
  const std::string device = fresh_ring();
  const auto port = must_open(device);
  ASSERT_NE(port, nullptr);
  RingEnd far(device);
  Bytes content(1000, std::byte{0xaa});
  std::uint32_t in_use = 0;
  const TxFrame frame = frame_of(content, &in_use);
  ASSERT_EQ(port->tx_burst({&frame, 1}), 1u);
  EXPECT_EQ(in_use, 1u);
  EXPECT_EQ(port->parts_in_use(), 1u);
  std::fill(content.begin(), content.end(), std::byte{0xbb});
  std::vector<Bytes> got;
  far.get(got);
  ASSERT_EQ(got.size(), 1u);
  EXPECT_TRUE(std::equal(content.begin(), content.end(), got[0].begin() + 54));
  EXPECT_EQ(in_use, 0u);
  EXPECT_EQ(port->parts_in_use(), 0u);
  EXPECT_EQ(port->counters().payload_bytes_zero_copy, 1000u);
  EXPECT_EQ(port->counters().payload_bytes_copied, 0u);
  EXPECT_STREQ(port->copy_reason(), "none");
}

TEST(NicDpdk, OrIsCopiedAndCounted) {
  std::string why_not;
  const std::string device = fresh_ring();
  const auto port = open_port(device, why_not, false);
  ASSERT_NE(port, nullptr) << why_not;
  RingEnd far(device);
  Bytes content(1000, std::byte{0xaa});
  std::uint32_t in_use = 0;
  const TxFrame frame = frame_of(content, &in_use);
  ASSERT_EQ(port->tx_burst({&frame, 1}), 1u);
  EXPECT_EQ(in_use, 0u);
  std::fill(content.begin(), content.end(), std::byte{0xbb});
  std::vector<Bytes> got;
  far.get(got);
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].back(), std::byte{0xaa});
  EXPECT_EQ(port->counters().payload_bytes_zero_copy, 0u);
  EXPECT_EQ(port->counters().payload_bytes_copied, 1000u);
  EXPECT_STREQ(port->copy_reason(), "as_asked");
}

// As for a device that reads by DMA: what lies beside the content isn't referred to.
TEST(NicDpdk, OnlyContentIsReferredTo) {
  Bytes content(2000, std::byte{0xaa});
  Bytes beside(1000, std::byte{0xcc});
  nic_dpdk::DpdkOptions options;
  const std::string device = fresh_ring();
  options.device = *nic_dpdk::parse_device(device);
  options.content = content;
  options.content_only = true;
  const auto port = DpdkPort::create(test_eal(), options);
  ASSERT_TRUE(port) << port.error().message;
  RingEnd far(device);
  std::uint32_t in_use = 0;
  std::uint32_t beside_in_use = 0;
  TxFrame frame = frame_of(content, &in_use, 300);
  frame.parts[1] = {beside.data(), 900, &beside_in_use};
  frame.parts[2] = {content.data() + 1900, 100, &in_use};
  frame.part_count = 3;
  ASSERT_EQ((*port)->tx_burst({&frame, 1}), 1u);
  EXPECT_EQ(in_use, 2u);
  EXPECT_EQ(beside_in_use, 0u);
  std::fill(content.begin(), content.end(), std::byte{0xbb});
  std::fill(beside.begin(), beside.end(), std::byte{0xdd});
  std::vector<Bytes> got;
  far.get(got);
  ASSERT_EQ(got.size(), 1u);
  Bytes expected(54, std::byte{0x11});
  expected.insert(expected.end(), 300, std::byte{0xbb});
  expected.insert(expected.end(), 900, std::byte{0xcc});
  expected.insert(expected.end(), 100, std::byte{0xbb});
  EXPECT_EQ(got[0], expected);
  EXPECT_EQ(in_use, 0u);
  EXPECT_EQ((*port)->counters().payload_bytes_zero_copy, 400u);
  EXPECT_EQ((*port)->counters().payload_bytes_copied, 900u);
  EXPECT_STREQ((*port)->copy_reason(), "outside_arena");
}

// Who is at the other end of a virtio_user reads content where it lies, if that is EAL's memory.
TEST(NicDpdk, ContentIsSharedWithTheOtherSide) {
  const std::span<std::byte> content = shared_content();
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(content.data()) % (2u << 20), 0u);
  const std::string path = "/tmp/penstock-shared-" + std::to_string(::getpid());
  const auto far = must_open("net_vhost0,iface=" + path);
  ASSERT_NE(far, nullptr);
  nic_dpdk::DpdkOptions options;
  options.device = *nic_dpdk::parse_device("net_virtio_user0,path=" + path);
  options.offload = false;
  options.content = content;
  options.content_shared = true;
  const auto port = DpdkPort::create(test_eal(), options);
  ASSERT_TRUE(port) << port.error().message;
  for (int i = 0; i < 3000 && !(far->link_up() && (*port)->link_up()); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  std::fill(content.begin(), content.end(), std::byte{0xaa});
  Bytes beside(13, std::byte{0xcc});
  std::uint32_t in_use = 0;
  std::array<TxFrame, 1> frames{frame_of({}, nullptr)};
  TxFrame& frame = frames[0];
  frame.parts[0] = {beside.data(), 13, nullptr};
  frame.parts[1] = {content.data() + 5000, 1000, &in_use};
  frame.parts[2] = {content.data() + 70'000, 200, &in_use};
  frame.part_count = 3;
  ASSERT_EQ((*port)->tx_burst(frames), 1u);
  EXPECT_EQ(in_use, 2u);
  std::fill(content.begin(), content.end(), std::byte{0xbb});
  std::fill(beside.begin(), beside.end(), std::byte{0xdd});
  std::array<RxFrame, net::kFrameBurst> received;
  std::size_t count = 0;
  for (int i = 0; i < 3000 && count == 0; ++i) {
    count = far->rx_burst(received);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  ASSERT_EQ(count, 1u);
  Bytes expected(54, std::byte{0x11});
  expected.insert(expected.end(), 13, std::byte{0xcc});
  expected.insert(expected.end(), 1200, std::byte{0xbb});
  EXPECT_TRUE(std::ranges::equal(received[0].bytes, expected));
  EXPECT_EQ((*port)->counters().payload_bytes_zero_copy, 1200u);
  EXPECT_EQ((*port)->counters().payload_bytes_copied, 13u);
  EXPECT_STREQ((*port)->copy_reason(), "outside_arena");
}

// More than a 16-bit count could hold, to as many peers.
TEST(NicDpdk, ManyFramesReferToOneSlab) {
  const auto port = must_open("net_null0");
  ASSERT_NE(port, nullptr);
  const Bytes content(1000);
  std::uint32_t in_use = 0;
  std::vector<TxFrame> frames(net::kFrameBurst, frame_of(content, &in_use));
  std::size_t sent = 0;
  for (int i = 0; i < 2000; ++i)
    sent += port->tx_burst(frames);
  EXPECT_EQ(sent, 2000 * net::kFrameBurst);
  EXPECT_EQ(in_use, 0u);
}

TEST(NicDpdk, NothingIsAllocatedAfterTheStart) {
  const auto port = must_open("net_null0");
  ASSERT_NE(port, nullptr);
  const Bytes content(1000);
  std::uint32_t in_use = 0;
  std::vector<TxFrame> frames(net::kFrameBurst, frame_of(content, &in_use));
  std::array<RxFrame, net::kFrameBurst> received;
  std::size_t sent = 0;
  std::size_t got = 0;
  {
    const support::CountAllocations guard;
    for (int i = 0; i < 100; ++i) {
      sent += port->tx_burst(frames);
      got += port->rx_burst(received);
    }
    EXPECT_EQ(support::CountAllocations::counted(), 0u);
  }
  EXPECT_EQ(sent, 100 * net::kFrameBurst);
  EXPECT_EQ(got, 100 * net::kFrameBurst);  // a null device always has frames
  EXPECT_TRUE(port->more_received());
}

// A peer that doesn't take what is sent: short bursts, then all comes home, as often as one likes.
TEST(NicDpdk, AFullRingIsBackpressure) {
  const std::string device = fresh_ring();
  const auto port = must_open(device);
  ASSERT_NE(port, nullptr);
  RingEnd far(device);
  const Bytes content(1000);
  std::uint32_t in_use = 0;
  const std::vector<TxFrame> frames(net::kFrameBurst, frame_of(content, &in_use));
  for (int round = 0; round < 5; ++round) {
    std::size_t sent = 0;
    std::size_t taken = net::kFrameBurst;
    for (int i = 0; i < 100 && taken == net::kFrameBurst; ++i)
      sent += taken = port->tx_burst(frames);
    EXPECT_LT(taken, net::kFrameBurst) << "it never fills";
    EXPECT_EQ(in_use, sent);  // those that weren't taken refer to nothing
    // Some of those that were wait in the port.
    EXPECT_LE(far.waiting(), sent);
    EXPECT_GE(far.waiting() + net::kFrameBurst, sent);
    std::vector<Bytes> got;
    far.get(got);
    EXPECT_EQ(port->tx_burst({}), 0u);
    far.get(got);
    EXPECT_EQ(got.size(), sent);
    EXPECT_EQ(in_use, 0u);
  }
  EXPECT_GT(port->counters().tx_short + port->counters().tx_no_mbuf, 0u);
}

TEST(NicDpdk, AFrameThatIsTooLargeIsLostAlone) {
  const std::string device = fresh_ring();
  const auto port = must_open(device);
  ASSERT_NE(port, nullptr);
  RingEnd far(device);
  const Bytes content(5000);
  std::uint32_t in_use = 0;
  const std::array frames{frame_of(content, &in_use), frame_of(content, &in_use, 5000),
                          frame_of(content, &in_use)};
  EXPECT_EQ(port->tx_burst(frames), 3u);
  EXPECT_EQ(port->counters().tx_refused, 1u);
  std::vector<Bytes> got;
  far.get(got);
  EXPECT_EQ(got.size(), 2u);
  EXPECT_EQ(in_use, 0u);
}

TEST(NicDpdk, FramesInPiecesArePutTogether) {
  const std::string device = fresh_ring();
  const auto port = must_open(device);
  ASSERT_NE(port, nullptr);
  RingEnd far(device);
  Bytes frame(9000);
  for (std::size_t i = 0; i < frame.size(); ++i)
    frame[i] = static_cast<std::byte>(i * 7);
  for (int i = 0; i < 60; ++i)
    ASSERT_TRUE(far.put_in_pieces(frame, 999));
  std::array<RxFrame, net::kFrameBurst> received;
  // 512 KiB is what there is room for at once; the others come with the next burst.
  for (const std::size_t expected : {std::size_t{(512u << 10) / 9000}, std::size_t{2}}) {
    const std::size_t count = port->rx_burst(received);
    ASSERT_EQ(count, expected);
    for (std::size_t i = 0; i < count; ++i)
      ASSERT_TRUE(std::ranges::equal(received[i].bytes, frame)) << i;
    EXPECT_EQ(port->more_received(), count > 2);
  }
  EXPECT_EQ(port->counters().rx_gathered, 60u);
  EXPECT_EQ(port->counters().rx_too_large, 0u);
}

TEST(NicDpdk, AFrameThatNoMemoryIsLargeEnoughForIsDroppedAlone) {
  const std::string device = fresh_ring();
  const auto port = must_open(device);
  ASSERT_NE(port, nullptr);
  RingEnd far(device);
  const Bytes frame(3000, std::byte{5});
  ASSERT_TRUE(far.put_in_pieces(frame, 1000));
  ASSERT_TRUE(far.put_in_pieces(Bytes(513u << 10), 1900));
  ASSERT_TRUE(far.put_in_pieces(frame, 1000));
  std::array<RxFrame, net::kFrameBurst> received;
  ASSERT_EQ(port->rx_burst(received), 2u);
  EXPECT_TRUE(std::ranges::equal(received[1].bytes, frame));
  EXPECT_EQ(port->counters().rx_too_large, 1u);
}

TEST(NicDpdk, ItStopsWithFramesUnderWay) {
  const Bytes content(1000);
  std::uint32_t in_use = 0;
  const std::vector<TxFrame> frames(net::kFrameBurst, frame_of(content, &in_use));
  for (int i = 0; i < 3; ++i) {
    const std::string device = fresh_ring();
    const auto port = must_open(device);
    ASSERT_NE(port, nullptr);
    EXPECT_TRUE(port->link_up());
    EXPECT_EQ(port->tx_burst(frames), frames.size());
    port->stop();
    EXPECT_FALSE(port->link_up());
    std::array<RxFrame, 8> received;
    EXPECT_EQ(port->rx_burst(received), 0u);
    EXPECT_EQ(port->tx_burst(frames), frames.size());  // lost
  }
}

TEST(NicDpdk, ItsOwnStatistics) {
  const auto port = must_open(fresh_ring());
  ASSERT_NE(port, nullptr);
  const Bytes content(1000);
  const TxFrame frame = frame_of(content, nullptr);
  ASSERT_EQ(port->tx_burst({&frame, 1}), 1u);
  bool found = false;
  for (const DpdkPort::Statistic& statistic : port->statistics()) {
    if (statistic.name != "tx_good_packets") continue;
    found = true;
    EXPECT_EQ(statistic.value, 1u);
  }
  EXPECT_TRUE(found);
}

TEST(NicDpdk, ErrorsSayWhichDeviceAndWhatToDo) {
  const std::string unknown = error_of("net_nothing0");
  EXPECT_NE(unknown.find("net_nothing0"), std::string::npos) << unknown;
  EXPECT_NE(unknown.find("librte-net-nothing23"), std::string::npos) << unknown;
  const std::string lacking = error_of("net_af_packet0,iface=notthere0");
  EXPECT_NE(lacking.find("net_af_packet0"), std::string::npos) << lacking;
  EXPECT_NE(lacking.find("notthere0"), std::string::npos) << lacking;  // the driver's words
  const std::string device = fresh_ring();
  const auto first = must_open(device);
  const std::string twice = error_of(device);
  EXPECT_NE(twice.find("exists already"), std::string::npos) << twice;
  nic_dpdk::DpdkOptions options;
  options.device = *nic_dpdk::parse_device("net_null3");
  options.mtu = 60000;
  const auto large = DpdkPort::create(test_eal(), options);
  ASSERT_FALSE(large);
  EXPECT_NE(large.error().message.find("an MTU of 60000"), std::string::npos);
  // It was closed again.
  EXPECT_NE(must_open("net_null3"), nullptr);
}

// Other devices of DPDK's own that any machine has.
TEST(NicDpdk, MemifOpens) {
  const auto port = must_open("net_memif0,role=server,socket=penstock-memif-test");
  ASSERT_NE(port, nullptr);
  EXPECT_FALSE(port->link_up());              // nobody at the other end
  EXPECT_STREQ(port->copy_reason(), "none");  // the driver itself reads it, here
  const Bytes content(1000);
  std::uint32_t in_use = 0;
  const TxFrame frame = frame_of(content, &in_use);
  // A burst waits for somebody to come.
  std::size_t taken = 0;
  while (taken <= 10 * net::kFrameBurst && port->tx_burst({&frame, 1}) == 1)
    ++taken;
  EXPECT_LE(taken, net::kFrameBurst);
  EXPECT_EQ(in_use, taken);
  port->stop();
  EXPECT_EQ(in_use, 0u);
}

TEST(NicDpdk, EalRunsOncePerProcess) {
  test_eal();
  const auto again = nic_dpdk::Eal::start({});
  ASSERT_FALSE(again);
  EXPECT_NE(again.error().message.find("once in a process"), std::string::npos);
}

TEST(NicDpdk, OtherThreadsJoin) {
  test_eal();
  Result<void> joined;
  Result<void> again;
  std::thread([&] {
    joined = nic_dpdk::Eal::join_thread();
    again = nic_dpdk::Eal::join_thread();
  }).join();
  EXPECT_TRUE(joined);
  EXPECT_TRUE(again);
}

TEST(NicDpdk, SignalsAndAffinityStayOurs) {
  test_eal();
  if (const std::string& why_not = support::enter_own_network(); !why_not.empty()) {
    PENSTOCK_SKIP(why_not);
  }
  // The driver that would take a signal.
  const auto port = must_open("net_tap0,iface=signals0");
  cpu_set_t now;
  ASSERT_EQ(::sched_getaffinity(0, sizeof now, &now), 0);
  EXPECT_EQ(static_cast<std::size_t>(CPU_COUNT(&now)), affinity_before_eal());
  sigset_t mask;
  ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, nullptr, &mask), 0);
  for (int number = SIGRTMIN; number <= SIGRTMAX; ++number) {
    struct sigaction action {};
    ASSERT_EQ(::sigaction(number, nullptr, &action), 0);
    EXPECT_TRUE(action.sa_handler == SIG_DFL) << number;
    EXPECT_EQ(::sigismember(&mask, number), 0) << number;
  }
}

}  // namespace
}  // namespace penstock::conformance
