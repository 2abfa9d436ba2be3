// Linux's own stack as the peer of a TapPort: that the kernel understands what the port says of
// checksums and segments, and the port what the kernel says.
#include <algorithm>
#include <array>
#include <cstring>
#include <functional>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/endian.hh"
#include "base/random.hh"
#include "host/fd.hh"
#include "nic_tap/tap_port.hh"
#include "support/own_network.hh"
#include "support/raw_packet.hh"
#include "support/skip.hh"

namespace penstock {
namespace {

using net::RxChecksum;
using net::RxFrame;
using net::TxFrame;
using support::Bytes;

constexpr std::uint16_t kOurPort = 4000;
constexpr std::uint8_t kFin = 0x01, kSyn = 0x02, kPsh = 0x08, kAck = 0x10;
constexpr std::size_t kEthernet = 14;

struct Seen {
  Bytes bytes;
  RxChecksum checksum = RxChecksum::unknown;
  std::uint16_t segment_size = 0;

  [[nodiscard]] std::uint16_t type() const { return load_be16(bytes.data() + 12); }
  [[nodiscard]] bool is(const support::Hosts& hosts, std::uint8_t protocol) const {
    const bool four = hosts.us.is_v4();
    return bytes.size() > support::transport_at(hosts) && type() == (four ? 0x0800 : 0x86dd) &&
           bytes[kEthernet + (four ? 9 : 6)] == std::byte{protocol};
  }
};

// One interface a test; the kernel has 10.9.0.2 and fd09::2, we 10.9.0.1 and fd09::1.
class TapAndLinux : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    const std::string& why_not = support::enter_own_network();
    if (!why_not.empty()) {
      PENSTOCK_SKIP(why_not);
    }
    open(true);
  }
  void open(bool offload) {
    port_.reset();
    auto port = nic_tap::TapPort::create({.interface = "tap%d", .offload = offload, .mac = {}});
    if (!port) {
      PENSTOCK_SKIP(port.error().message);
    }
    port_ = std::move(*port);
    const std::string& name = port_->interface();
    ASSERT_TRUE(support::ip("address add 10.9.0.2/24 dev " + name));
    ASSERT_TRUE(support::ip("address add fd09::2/64 dev " + name + " nodad"));
    const bool four = GetParam();
    hosts_ = {port_->info().mac, port_->kernel_mac(), four ? IpAddress::v4(10, 9, 0, 1) : v6("::1"),
              four ? IpAddress::v4(10, 9, 0, 2) : v6("::2")};
    // Neighbours are the stack's to find (its own tests).
    std::array<char, 18> mac;
    const auto& m = hosts_.our_mac.bytes;
    std::snprintf(mac.data(), mac.size(), "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3],
                  m[4], m[5]);
    ASSERT_TRUE(support::ip("neighbour replace " + hosts_.us.to_string() + " lladdr " + mac.data() +
                            " nud permanent dev " + name));
  }
  static IpAddress v6(const std::string& tail) { return *parse_ip("fd09" + tail); }

  // Polls until a frame is what is looked for.
  bool await(const std::function<bool(const Seen&)>& wanted, Seen& out) {
    for (int turn = 0; turn < 2000; ++turn) {
      std::array<RxFrame, net::kFrameBurst> frames;
      const std::size_t count = port_->rx_burst(frames);
      for (std::size_t i = 0; i < count; ++i) {
        out = {{frames[i].bytes.begin(), frames[i].bytes.end()},
               frames[i].checksum,
               frames[i].segment_size};
        if (wanted(out)) return true;
      }
      pollfd entry{port_->fd(), POLLIN, 0};
      if (count == 0) ::poll(&entry, 1, 5);
    }
    return false;
  }
  void send(const Bytes& bytes, std::size_t checksum_at = 0, std::uint16_t segment_size = 0) {
    TxFrame frame;
    const std::size_t head = std::min<std::size_t>(bytes.size(), 80);
    std::memcpy(frame.head.data(), bytes.data(), head);
    frame.head_length = static_cast<std::uint16_t>(head);
    if (bytes.size() > head) {
      frame.part_count = 1;
      frame.parts[0] = {bytes.data() + head, static_cast<std::uint32_t>(bytes.size() - head),
                        nullptr};
    }
    if (checksum_at != 0) {
      frame.transport_at = static_cast<std::uint16_t>(support::transport_at(hosts_));
      frame.checksum_at = static_cast<std::uint16_t>(checksum_at);
    }
    frame.segment_size = segment_size;
    ASSERT_EQ(port_->tx_burst({&frame, 1}), 1u);
    ASSERT_EQ(port_->counters().tx_refused + port_->counters().tx_down, 0u);
  }
  // A kernel socket bound to its address; `port` is the one it drew.
  host::Fd kernel_socket(int type, std::uint16_t& port) {
    host::Fd fd(::socket(GetParam() ? AF_INET : AF_INET6, type | SOCK_CLOEXEC, 0));
    sockaddr_storage address{};
    socklen_t length = 0;
    if (GetParam()) {
      auto& four = reinterpret_cast<sockaddr_in&>(address);
      four.sin_family = AF_INET;
      std::memcpy(&four.sin_addr, hosts_.them.bytes.data() + 12, 4);
      length = sizeof four;
    } else {
      auto& six = reinterpret_cast<sockaddr_in6&>(address);
      six.sin6_family = AF_INET6;
      std::memcpy(&six.sin6_addr, hosts_.them.bytes.data(), 16);
      length = sizeof six;
    }
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
    EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
    port = ntohs(reinterpret_cast<sockaddr_in&>(address).sin_port);
    const timeval patience{5, 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return fd;
  }

  std::unique_ptr<nic_tap::TapPort> port_;
  support::Hosts hosts_;
};

TEST_P(TapAndLinux, ArpIsAnswered) {
  if (!GetParam()) return;  // of IPv4 alone
  send(support::arp_request(hosts_));
  Seen seen;
  ASSERT_TRUE(
      await([](const Seen& s) { return s.type() == 0x0806 && s.bytes[21] == std::byte{2}; }, seen));
  EXPECT_EQ(std::memcmp(seen.bytes.data() + 22, hosts_.their_mac.bytes.data(), 6), 0);
  EXPECT_EQ(std::memcmp(seen.bytes.data(), hosts_.our_mac.bytes.data(), 6), 0);
}

TEST_P(TapAndLinux, EchoComesBack) {
  const bool four = GetParam();
  const std::uint8_t protocol = four ? support::kProtoIcmp : support::kProtoIcmp6;
  const Bytes text(777, std::byte{0x5a});
  const Bytes echo = support::echo_request(four ? 8 : 128, 9, 1, text);
  Bytes frame = support::ip_frame(hosts_, protocol, echo);
  if (!four) support::fill_checksum(frame, hosts_, 2, false);
  send(frame);
  Seen seen;
  ASSERT_TRUE(await(
      [&](const Seen& s) {
        return s.is(hosts_, protocol) &&
               s.bytes[support::transport_at(hosts_)] == (four ? std::byte{0} : std::byte{129});
      },
      seen));
  ASSERT_EQ(seen.bytes.size(), frame.size());
  EXPECT_TRUE(std::equal(text.begin(), text.end(), seen.bytes.end() - 777));
}

TEST_P(TapAndLinux, APartialChecksumIsTakenForGoodAndABadOneIsNot) {
  std::uint16_t port = 0;
  const host::Fd socket = kernel_socket(SOCK_DGRAM, port);
  const Bytes text(1000, std::byte{0x33});
  Bytes frame =
      support::ip_frame(hosts_, support::kProtoUdp, support::udp_datagram(kOurPort, port, text));
  support::fill_checksum(frame, hosts_, 6, false);
  frame.back() ^= std::byte{1};
  send(frame);  // wrong, and not vouched for: must not arrive
  frame.back() ^= std::byte{1};
  support::fill_checksum(frame, hosts_, 6, true);
  frame[frame.size() - 2] = std::byte{0x44};  // to tell them apart
  send(frame, 6);
  Bytes got(2000);
  ASSERT_EQ(::recv(socket.get(), got.data(), got.size(), 0), 1000);
  EXPECT_EQ(got[998], std::byte{0x44});
}

// A connection by hand: Linux listens, we send one frame of 60 KiB.
TEST_P(TapAndLinux, ATsoFrameArrivesAsAStream) {
  std::uint16_t port = 0;
  const host::Fd listener = kernel_socket(SOCK_STREAM, port);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  const auto segment = [&](std::uint32_t sequence, std::uint32_t acknowledged, std::uint8_t flags,
                           std::span<const std::byte> payload) {
    const support::RawTcp tcp{kOurPort, port, sequence, acknowledged, flags, 65535};
    Bytes frame = support::ip_frame(hosts_, support::kProtoTcp, support::tcp_segment(tcp, payload));
    support::fill_checksum(frame, hosts_, 16, true);
    return frame;
  };
  const std::size_t at = support::transport_at(hosts_);
  send(segment(1000, 0, kSyn, {}), 16);
  Seen seen;
  ASSERT_TRUE(await([&](const Seen& s) { return s.is(hosts_, support::kProtoTcp); }, seen));
  ASSERT_EQ(seen.bytes[at + 13], std::byte{kSyn | kAck});
  EXPECT_EQ(seen.checksum, RxChecksum::good);  // of this very host
  const std::uint32_t theirs = load_be32(seen.bytes.data() + at + 4) + 1;
  // No scaling was offered: their window is what the SYN-ACK says.
  const std::size_t size = std::min<std::size_t>(load_be16(seen.bytes.data() + at + 14), 60'000);
  ASSERT_GT(size, 20'000u);
  Bytes payload(size);
  Random random(5);
  for (std::byte& byte : payload)
    byte = static_cast<std::byte>(random.next());
  send(segment(1001, theirs, kAck, {}), 16);
  send(segment(1001, theirs, kAck | kPsh | kFin, payload), 16, 536);
  const host::Fd stream(::accept(listener.get(), nullptr, nullptr));
  ASSERT_TRUE(stream.valid());
  const timeval patience{5, 0};
  ::setsockopt(stream.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  Bytes got(size + 1);
  ASSERT_EQ(::recv(stream.get(), got.data(), got.size(), MSG_WAITALL),
            static_cast<ssize_t>(size));  // then the FIN
  got.resize(size);
  EXPECT_EQ(got, payload);

  // Their data: with offload in frames larger than the MTU, of the segment size that goes without
  // our having said one (RFC 9293 §3.7.1).
  const std::size_t mss = GetParam() ? 536 : 1220;
  ASSERT_EQ(::send(stream.get(), payload.data(), 5000, 0), 5000);
  ASSERT_TRUE(await(
      [&](const Seen& s) { return s.is(hosts_, support::kProtoTcp) && s.bytes.size() > at + 520; },
      seen));
  EXPECT_EQ(seen.checksum, RxChecksum::good);
  EXPECT_EQ(seen.segment_size, mss);
  EXPECT_TRUE((seen.bytes.size() - at - 20) % mss == 0 || seen.bytes.size() - at - 20 == 5000);
  EXPECT_GT(seen.bytes.size(), port_->info().mtu + kEthernet);
}

TEST_P(TapAndLinux, WithoutOffloadTheKernelCutsAndSums) {
  open(false);
  std::uint16_t port = 0;
  const host::Fd socket = kernel_socket(SOCK_DGRAM, port);
  EXPECT_FALSE(port_->info().tx_checksum);
  EXPECT_EQ(port_->info().tso_bytes_max, 0u);
  sockaddr_storage to{};
  socklen_t length = sizeof(sockaddr_in);
  if (GetParam()) {
    auto& four = reinterpret_cast<sockaddr_in&>(to);
    four.sin_family = AF_INET;
    four.sin_port = htons(kOurPort);
    std::memcpy(&four.sin_addr, hosts_.us.bytes.data() + 12, 4);
  } else {
    auto& six = reinterpret_cast<sockaddr_in6&>(to);
    six.sin6_family = AF_INET6;
    six.sin6_port = htons(kOurPort);
    std::memcpy(&six.sin6_addr, hosts_.us.bytes.data(), 16);
    length = sizeof six;
  }
  const Bytes text(900, std::byte{0x21});
  ASSERT_EQ(
      ::sendto(socket.get(), text.data(), text.size(), 0, reinterpret_cast<sockaddr*>(&to), length),
      900);
  Seen seen;
  ASSERT_TRUE(await([&](const Seen& s) { return s.is(hosts_, support::kProtoUdp); }, seen));
  EXPECT_EQ(seen.checksum, RxChecksum::unknown);
  Bytes expected = seen.bytes;
  std::swap(hosts_.us, hosts_.them);
  support::fill_checksum(expected, hosts_, 6, false);
  EXPECT_EQ(seen.bytes, expected) << "the kernel's checksum is wrong";
}

TEST_P(TapAndLinux, ALinkThatIsDownLosesFramesAndComesBack) {
  const Bytes arp = support::arp_request(hosts_);
  TxFrame frame;
  std::memcpy(frame.head.data(), arp.data(), arp.size());
  frame.head_length = static_cast<std::uint16_t>(arp.size());
  ASSERT_TRUE(support::ip("link set down dev " + port_->interface()));
  EXPECT_EQ(port_->tx_burst({&frame, 1}), 1u);
  EXPECT_EQ(port_->counters().tx_down, 1u);
  std::array<RxFrame, net::kFrameBurst> frames;
  port_->rx_burst(frames);  // what the kernel said before
  EXPECT_EQ(port_->rx_burst(frames), 0u);
  ASSERT_TRUE(support::ip("link set up dev " + port_->interface()));
  EXPECT_EQ(port_->tx_burst({&frame, 1}), 1u);
  EXPECT_EQ(port_->counters().tx_down, 1u);
  EXPECT_FALSE(port_->gone());
}

TEST_P(TapAndLinux, AnInterfaceThatIsDeletedIsGone) {
  ASSERT_TRUE(support::ip("link delete dev " + port_->interface()));
  std::array<RxFrame, 4> frames;
  EXPECT_EQ(port_->rx_burst(frames), 0u);
  EXPECT_TRUE(port_->gone());
}

TEST_P(TapAndLinux, ErrorsSayWhatToDo) {
  const auto message = [](const std::string& name) {
    auto port = nic_tap::TapPort::create({.interface = name, .offload = true, .mac = {}});
    return port ? std::string("none") : port.error().message;
  };
  EXPECT_NE(message(port_->interface()).find("in use"), std::string::npos);
  EXPECT_NE(message("a-name-that-is-too-long").find("15 characters"), std::string::npos);
  EXPECT_NE(message("lo").find("ip tuntap add dev"), std::string::npos);
  ASSERT_TRUE(support::ip("tuntap add dev tun77 mode tun"));
  EXPECT_NE(message("tun77").find("TAP"), std::string::npos);
  support::ip("tuntap delete dev tun77 mode tun");
}

INSTANTIATE_TEST_SUITE_P(Families, TapAndLinux, testing::Bool(),
                         [](const testing::TestParamInfo<bool>& family) {
                           return family.param ? "ipv4" : "ipv6";
                         });

}  // namespace
}  // namespace penstock
