// XdpPort beside the kernel: our ports are ours, on the kernel's own addresses, and nothing else
// is.
#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <functional>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/endian.hh"
#include "nic_xdp/xdp_port.hh"
#include "support/own_network.hh"
#include "support/raw_packet.hh"
#include "support/skip.hh"
#include "two_networks.hh"

namespace penstock::conformance {
namespace {

using net::RxFrame;
using nic_xdp::XdpOptions;
using nic_xdp::XdpPort;

constexpr std::uint16_t kOurPort = 6881;
constexpr std::size_t kIp = 14;
constexpr std::uint8_t kSyn = 0x02, kAck = 0x10;

XdpOptions options_for_tests() {
  return {.interface = "xdp0", .addresses = {}, .tcp = {{kOurPort, kOurPort}}, .udp = {}};
}

// As `ip` sees it, without asking our code.
bool program_attached() {
  FILE* const pipe = ::popen("ip -json link show dev xdp0", "r");
  std::string text;
  std::array<char, 512> chunk;
  while (std::fgets(chunk.data(), chunk.size(), pipe) != nullptr)
    text += chunk.data();
  EXPECT_EQ(::pclose(pipe), 0);
  return text.find("\"xdp\":") != std::string::npos;
}

bool within(int milliseconds, const std::function<bool()>& condition) {
  for (int i = 0; i < milliseconds / 5; ++i) {
    if (condition()) return true;
    ::usleep(5000);
  }
  return condition();
}

class XdpAndLinux : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    std::string why_not;
    networks_ = TwoNetworks::make(why_not);
    if (networks_ == nullptr) {
      PENSTOCK_SKIP(why_not);
    }
    if (!open(options_for_tests(), why_not)) {
      PENSTOCK_SKIP(why_not);
    }
    const bool four = GetParam();
    hosts_ = {networks_->near_mac(), networks_->far_mac(),
              four ? IpAddress::v4(10, 9, 0, 1) : *parse_ip("fd09::1"),
              four ? IpAddress::v4(10, 9, 0, 2) : *parse_ip("fd09::2")};
  }
  // Closes the port first. False: `why_not`.
  bool open(const XdpOptions& options, std::string& why_not) {
    port_.reset();
    auto port = XdpPort::create(options);
    why_not = port ? "" : port.error().message;
    if (port) port_ = std::move(*port);
    return port_ != nullptr;
  }

  [[nodiscard]] sockaddr_storage endpoint(const IpAddress& address, std::uint16_t port,
                                          socklen_t& length) const {
    sockaddr_storage storage{};
    if (address.is_v4()) {
      auto& four = reinterpret_cast<sockaddr_in&>(storage);
      four.sin_family = AF_INET;
      four.sin_port = htons(port);
      std::memcpy(&four.sin_addr, address.bytes.data() + 12, 4);
      length = sizeof four;
    } else {
      auto& six = reinterpret_cast<sockaddr_in6&>(storage);
      six.sin6_family = AF_INET6;
      six.sin6_port = htons(port);
      std::memcpy(&six.sin6_addr, address.bytes.data(), 16);
      length = sizeof six;
    }
    return storage;
  }
  // A kernel socket of the far side that is connecting to us.
  [[nodiscard]] host::Fd connect_from_far(std::uint16_t port) const {
    host::Fd fd;
    networks_->in_far([&] {
      fd = host::Fd(
          ::socket(GetParam() ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    });
    socklen_t length = 0;
    const sockaddr_storage to = endpoint(hosts_.us, port, length);
    EXPECT_TRUE(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), length) == 0 ||
                errno == EINPROGRESS);
    return fd;
  }
  // 0 when it is connected; else errno, or -1 after `patience_ms`.
  static int outcome(const host::Fd& fd, int patience_ms = 3000) {
    pollfd entry{fd.get(), POLLOUT, 0};
    if (::poll(&entry, 1, patience_ms) == 0) return -1;
    int error = 0;
    socklen_t length = sizeof error;
    ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &length);
    return error;
  }
  [[nodiscard]] host::Fd listen_near(std::uint16_t port) const {
    host::Fd fd(::socket(GetParam() ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
    socklen_t length = 0;
    const sockaddr_storage at = endpoint(hosts_.us, port, length);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&at), length), 0);
    EXPECT_EQ(::listen(fd.get(), 4), 0);
    return fd;
  }

  // Polls until a frame is what is looked for; those before it are gone.
  bool await(const std::function<bool(const support::Bytes&)>& wanted, support::Bytes& out) {
    for (int turn = 0; turn < 1000; ++turn) {
      std::array<RxFrame, net::kFrameBurst> frames;
      const std::size_t count = port_->rx_burst(frames);
      for (std::size_t i = 0; i < count; ++i) {
        out.assign(frames[i].bytes.begin(), frames[i].bytes.end());
        if (wanted(out)) return true;
      }
      pollfd entry{port_->fd(), POLLIN, 0};
      if (count == 0) ::poll(&entry, 1, 5);
    }
    return false;
  }
  bool await_segment(std::uint8_t flags, support::Bytes& out) {
    const std::size_t at = support::transport_at(hosts_);
    return await(
        [&](const support::Bytes& frame) {
          const bool tcp = frame.size() >= at + 20 &&
                           frame[kIp + (GetParam() ? 9 : 6)] == std::byte{support::kProtoTcp};
          return tcp && load_be16(frame.data() + at + 2) == kOurPort &&
                 frame[at + 13] == std::byte{flags};
        },
        out);
  }
  void send(const support::Bytes& bytes) {
    net::TxFrame frame;
    const std::size_t head = std::min<std::size_t>(bytes.size(), 60);
    std::memcpy(frame.head.data(), bytes.data(), head);
    frame.head_length = static_cast<std::uint16_t>(head);
    if (bytes.size() > head) {
      frame.part_count = 1;
      frame.parts[0] = {bytes.data() + head, static_cast<std::uint32_t>(bytes.size() - head),
                        nullptr};
    }
    ASSERT_EQ(port_->tx_burst({&frame, 1}), 1u);
  }
  // Answers a SYN as a listener would.
  void accept(const support::Bytes& syn) {
    const std::byte* const tcp = syn.data() + support::transport_at(hosts_);
    support::Bytes answer =
        support::ip_frame(hosts_, support::kProtoTcp,
                          support::tcp_segment({.source = kOurPort,
                                                .destination = load_be16(tcp),
                                                .sequence = 1000,
                                                .acknowledgement = load_be32(tcp + 4) + 1,
                                                .flags = kSyn | kAck},
                                               {}));
    support::fill_checksum(answer, hosts_, 16, false);
    send(answer);
  }

  std::unique_ptr<TwoNetworks> networks_;
  std::unique_ptr<XdpPort> port_;
  support::Hosts hosts_;
};

TEST_P(XdpAndLinux, OurPortIsOursAndTheOthersAreTheKernels) {
  const host::Fd kernel_server = listen_near(8080);
  const host::Fd ours = connect_from_far(kOurPort);
  support::Bytes syn;
  ASSERT_TRUE(await_segment(kSyn, syn)) << "the SYN went elsewhere";
  accept(syn);
  EXPECT_EQ(outcome(ours), 0);
  support::Bytes ack;
  EXPECT_TRUE(await_segment(kAck, ack));
  // The same address: a kernel's listener, and a port that nobody has.
  EXPECT_EQ(outcome(connect_from_far(8080)), 0);
  EXPECT_EQ(outcome(connect_from_far(8081)), ECONNREFUSED);
  // And nothing reset ours.
  EXPECT_EQ(outcome(ours, 100), 0);
  std::array<RxFrame, net::kFrameBurst> frames;
  port_->rx_burst(frames);
  EXPECT_EQ(port_->counters().rx_frames, 2u) << "frames of the kernel's came to us";
  EXPECT_EQ(port_->kernel_counters().rx_dropped, 0u);
}

TEST_P(XdpAndLinux, GenericModeToo) {
  XdpOptions options = options_for_tests();
  options.driver_mode = false;
  std::string why_not;
  ASSERT_TRUE(open(options, why_not)) << why_not;
  EXPECT_FALSE(port_->device().program().in_driver());
  EXPECT_FALSE(port_->device().notes().empty());
  const host::Fd ours = connect_from_far(kOurPort);
  support::Bytes syn;
  ASSERT_TRUE(await_segment(kSyn, syn));
  accept(syn);
  EXPECT_EQ(outcome(ours), 0);
}

TEST_P(XdpAndLinux, WeHearTheAnswersToOurQuestions) {
  support::Bytes seen;
  if (GetParam()) {
    send(support::arp_request(hosts_));
    ASSERT_TRUE(await(
        [](const support::Bytes& frame) {
          return load_be16(frame.data() + 12) == 0x0806 && frame[21] == std::byte{2};
        },
        seen));
    EXPECT_EQ(std::memcmp(seen.data() + 22, hosts_.their_mac.bytes.data(), 6), 0);
  } else {
    // A neighbour solicitation (RFC 4861 §4.3), by unicast as a probe is.
    support::Bytes question(24);
    question[0] = std::byte{135};
    std::memcpy(question.data() + 8, hosts_.them.bytes.data(), 16);
    support::Bytes frame = support::ip_frame(hosts_, support::kProtoIcmp6, question);
    support::fill_checksum(frame, hosts_, 2, false);
    send(frame);
    ASSERT_TRUE(await(
        [](const support::Bytes& answer) {
          return answer.size() >= 58 && answer[kIp + 6] == std::byte{58} &&
                 answer[kIp + 40] == std::byte{136};
        },
        seen));
  }
  EXPECT_EQ(port_->copies_received(), 1u);
}

// Both have a copy: the kernel for its own flows, the stack for ours. Echo is the kernel's alone.
TEST_P(XdpAndLinux, WeHearIcmpErrors) {
  const bool four = GetParam();
  host::Fd raw;
  networks_->in_far([&] {
    raw = host::Fd(::socket(four ? AF_INET : AF_INET6, SOCK_RAW | SOCK_CLOEXEC,
                            four ? int{IPPROTO_ICMP} : int{IPPROTO_ICMPV6}));
  });
  socklen_t length = 0;
  const sockaddr_storage to = endpoint(hosts_.us, 0, length);
  const auto send_icmp = [&](std::uint8_t type) {
    support::Bytes message = support::echo_request(type, 7, 7, support::Bytes(40));
    EXPECT_GT(::sendto(raw.get(), message.data(), message.size(), 0,
                       reinterpret_cast<const sockaddr*>(&to), length),
              0);
  };
  send_icmp(four ? 8 : 128);
  send_icmp(four ? 3 : 2);
  support::Bytes seen;
  const std::size_t type_at = support::transport_at(hosts_);
  ASSERT_TRUE(await(
      [&](const support::Bytes& frame) {  // neighbours may have been asked for, too
        return load_be16(frame.data() + 12) == (four ? 0x0800 : 0x86dd) &&
               frame[type_at] != std::byte{136};
      },
      seen));
  EXPECT_EQ(seen[support::transport_at(hosts_)],
            std::byte{four ? std::uint8_t{3} : std::uint8_t{2}});
  EXPECT_EQ(port_->counters().rx_frames, 0u);
}

TEST_P(XdpAndLinux, QuestionsOfOthersStayTheKernels) {
  networks_->in_far([] { ASSERT_TRUE(support::ip("neighbour flush dev xdp1")); });
  const host::Fd kernel_server = listen_near(8080);
  EXPECT_EQ(outcome(connect_from_far(8080)), 0);  // ARP or NDP first, answered by the kernel
  std::array<RxFrame, net::kFrameBurst> frames;
  EXPECT_EQ(port_->rx_burst(frames), 0u);
}

TEST_P(XdpAndLinux, TheInterfaceIsTheKernelsAgainAfterSigkill) {
  port_.reset();
  std::array<int, 2> pipe;
  ASSERT_EQ(::pipe(pipe.data()), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(pipe[0]);
    auto port = XdpPort::create(options_for_tests());
    const std::string said = port ? "+" : port.error().message;
    const bool told = ::write(pipe[1], said.data(), said.size()) > 0;
    while (told && port)
      ::pause();
    ::_exit(1);
  }
  ::close(pipe[1]);
  std::array<char, 512> said{};
  ASSERT_GT(::read(pipe[0], said.data(), said.size() - 1), 0);
  ::close(pipe[0]);
  EXPECT_STREQ(said.data(), "+");
  EXPECT_TRUE(program_attached());
  // Nobody answers: it is that process's, which doesn't look.
  EXPECT_EQ(outcome(connect_from_far(kOurPort), 200), -1);
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(within(2000, [] { return !program_attached(); }));
  EXPECT_EQ(outcome(connect_from_far(kOurPort)), ECONNREFUSED);
  // And as well after an orderly end.
  std::string why_not;
  ASSERT_TRUE(open(options_for_tests(), why_not)) << why_not;
  EXPECT_TRUE(program_attached());
  port_.reset();
  EXPECT_TRUE(within(2000, [] { return !program_attached(); }));
}

TEST_P(XdpAndLinux, DownAndUpAgain) {
  ASSERT_TRUE(support::ip("link set xdp0 down"));
  send(support::arp_request(hosts_));
  EXPECT_EQ(port_->counters().tx_down, 1u);
  ASSERT_TRUE(support::ip("link set xdp0 up"));
  ASSERT_TRUE(support::ip("address replace fd09::1/64 dev xdp0 nodad"));  // lost with the link
  EXPECT_FALSE(port_->gone());
  const host::Fd ours = connect_from_far(kOurPort);
  support::Bytes syn;
  ASSERT_TRUE(await_segment(kSyn, syn));
  accept(syn);
  EXPECT_EQ(outcome(ours), 0);
}

TEST_P(XdpAndLinux, DeletedUnderIt) {
  ASSERT_TRUE(support::ip("link delete xdp0"));
  EXPECT_TRUE(within(5000, [&] {
    std::array<RxFrame, net::kFrameBurst> frames;
    for (int i = 0; i < 100; ++i)
      port_->rx_burst(frames);
    return port_->gone();
  }));
  send(support::arp_request(hosts_));  // swallowed, as by a cut cable
  EXPECT_GT(port_->counters().tx_down, 0u);
}

// A device that takes nothing: bursts become short, nothing is lost, all goes out later.
TEST_P(XdpAndLinux, FullIsSaidAndNothingIsLost) {
  XdpOptions options = options_for_tests();
  options.tx_chunks = 64;
  std::string why_not;
  ASSERT_TRUE(open(options, why_not)) << why_not;
  ASSERT_TRUE(support::ip("link set xdp0 down"));
  const support::Bytes bytes = support::arp_request(hosts_);
  std::array<net::TxFrame, 100> frames;
  for (net::TxFrame& frame : frames) {
    std::memcpy(frame.head.data(), bytes.data(), bytes.size());
    frame.head_length = static_cast<std::uint16_t>(bytes.size());
  }
  EXPECT_EQ(port_->tx_burst(frames), 64u);
  EXPECT_EQ(port_->tx_burst(std::span(frames).subspan(64)), 0u);
  EXPECT_EQ(port_->counters().tx_short, 2u);
  ASSERT_TRUE(support::ip("link set xdp0 up"));
  std::size_t sent = 64;
  EXPECT_TRUE(within(2000, [&] {
    sent += port_->tx_burst(std::span(frames).subspan(sent));
    return sent == frames.size();
  }));
  EXPECT_EQ(port_->counters().tx_frames, 100u);
}

class XdpErrors : public XdpAndLinux {
 protected:
  static std::string message(const XdpOptions& options) {
    auto port = XdpPort::create(options);
    return port ? "" : port.error().message;
  }
};

TEST_P(XdpErrors, SayWhatToDo) {
  EXPECT_NE(message(options_for_tests()).find("somebody else's"), std::string::npos)
      << message(options_for_tests());
  port_.reset();
  XdpOptions options = options_for_tests();
  options.interface = "nosuch0";
  EXPECT_EQ(message(options), "there is no interface nosuch0 (ip link lists them)");
  options = options_for_tests();
  options.tcp.clear();
  EXPECT_NE(message(options).find("a port of ours"), std::string::npos) << message(options);
  ASSERT_TRUE(support::ip("link set xdp0 down"));
  EXPECT_EQ(message(options_for_tests()), "interface xdp0 is down: sudo ip link set xdp0 up");
}

TEST_P(XdpErrors, WithoutCapabilities) {
  port_.reset();
  std::array<int, 2> pipe;
  ASSERT_EQ(::pipe(pipe.data()), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const bool dropped = ::setuid(65534) == 0;
    const std::string said = dropped ? message(options_for_tests()) : "setuid";
    ::_exit(::write(pipe[1], said.data(), said.size()) > 0 ? 0 : 1);
  }
  ::close(pipe[1]);
  std::array<char, 1024> said{};
  EXPECT_GT(::read(pipe[0], said.data(), said.size() - 1), 0);
  ::close(pipe[0]);
  ::waitpid(child, nullptr, 0);
  EXPECT_NE(std::string(said.data()).find("setcap cap_net_admin"), std::string::npos)
      << said.data();
}

const auto family = [](const testing::TestParamInfo<bool>& info) {
  return info.param ? "IPv4" : "IPv6";
};
INSTANTIATE_TEST_SUITE_P(Families, XdpAndLinux, testing::Bool(), family);
INSTANTIATE_TEST_SUITE_P(Once, XdpErrors, testing::Values(true), family);

}  // namespace
}  // namespace penstock::conformance
