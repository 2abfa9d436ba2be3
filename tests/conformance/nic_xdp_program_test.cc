// The verdicts of the XDP program, frame by frame, in the kernel (BPF_PROG_TEST_RUN). Without a
// socket in the map, what is ours is dropped: XDP_DROP stands for "ours" here, and shows that the
// kernel never sees it.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <initializer_list>

#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/endian.hh"
#include "nic_xdp/xdp_program.hh"
#include "support/raw_packet.hh"
#include "support/skip.hh"

namespace penstock::nic_xdp {
namespace {

using support::Bytes;
using Ports = std::initializer_list<std::uint16_t>;

constexpr std::uint32_t kOurs = XDP_DROP;
constexpr std::uint32_t kPassed = XDP_PASS;
constexpr std::size_t kIp = 14;

std::uint32_t verdict_of(const XdpProgram& program, const Bytes& frame) {
  Bytes out(frame.size() + 512);
  bpf_attr attributes{};
  attributes.test.prog_fd = static_cast<std::uint32_t>(program.fd());
  attributes.test.data_in = reinterpret_cast<std::uintptr_t>(frame.data());
  attributes.test.data_size_in = static_cast<std::uint32_t>(frame.size());
  attributes.test.data_out = reinterpret_cast<std::uintptr_t>(out.data());
  attributes.test.data_size_out = static_cast<std::uint32_t>(out.size());
  attributes.test.repeat = 1;
  if (::syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attributes, sizeof attributes) != 0) {
    ADD_FAILURE() << std::strerror(errno);
    return ~0u;
  }
  EXPECT_TRUE(std::equal(frame.begin(), frame.end(), out.begin())) << "the frame was changed";
  return attributes.test.retval;
}

class XdpVerdicts : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    ProgramOptions options;
    options.mac = kOurMac;
    options.addresses = {IpAddress::v4(10, 9, 0, 77), IpAddress::v4(10, 9, 0, 1),
                         *parse_ip("fd09::77"), *parse_ip("fd09::1")};
    options.tcp = {{6881, 6881}, {40000, 40010}};
    options.udp = {{6882, 6882}};
    load(options);
    const bool four = GetParam();
    // The sender is "us" to those who build frames.
    hosts_ = {{{0x02, 0, 0, 0, 0, 0x99}},
              kOurMac,
              four ? IpAddress::v4(10, 9, 0, 2) : *parse_ip("fd09::2"),
              four ? IpAddress::v4(10, 9, 0, 1) : *parse_ip("fd09::1")};
  }
  void load(const ProgramOptions& options) {
    auto program = XdpProgram::load(options, 4, false);
    if (!program) {
      PENSTOCK_SKIP(program.error().message);
    }
    program_ = std::move(*program);
  }
  [[nodiscard]] Bytes tcp_to(std::uint16_t port, std::size_t payload = 20) const {
    return support::ip_frame(
        hosts_, support::kProtoTcp,
        support::tcp_segment({.source = 33333, .destination = port}, Bytes(payload, std::byte{7})));
  }
  [[nodiscard]] Bytes udp_to(std::uint16_t port) const {
    return support::ip_frame(hosts_, support::kProtoUdp,
                             support::udp_datagram(33333, port, Bytes(20, std::byte{7})));
  }
  [[nodiscard]] std::uint32_t verdict(const Bytes& frame) const {
    return verdict_of(program_, frame);
  }
  static Bytes inserted(const Bytes& frame, std::size_t at, const Bytes& more) {
    Bytes out(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(at));
    out.insert(out.end(), more.begin(), more.end());
    out.insert(out.end(), frame.begin() + static_cast<std::ptrdiff_t>(at), frame.end());
    return out;
  }
  // An IPv6 extension header in front of what follows the IPv6 header.
  static Bytes extended(const Bytes& frame, std::uint8_t type, Bytes header) {
    header[0] = frame[kIp + 6];
    Bytes out = inserted(frame, kIp + 40, header);
    out[kIp + 6] = std::byte{type};
    return out;
  }

  static constexpr wire::MacAddress kOurMac{{0x02, 0, 0, 0x0a, 0x0b, 0xc1}};
  XdpProgram program_;
  support::Hosts hosts_;
};

TEST_P(XdpVerdicts, PortsDecide) {
  for (const std::uint16_t port : Ports{6881, 40000, 40005, 40010})
    EXPECT_EQ(verdict(tcp_to(port)), kOurs) << port;
  for (const std::uint16_t port : Ports{0, 22, 80, 6880, 6882, 39999, 40011, 65535})
    EXPECT_EQ(verdict(tcp_to(port)), kPassed) << port;
  EXPECT_EQ(verdict(udp_to(6882)), kOurs);
  EXPECT_EQ(verdict(udp_to(6881)), kPassed);
  // From one of our ports isn't to it.
  EXPECT_EQ(
      verdict(support::ip_frame(hosts_, support::kProtoTcp,
                                support::tcp_segment({.source = 6881, .destination = 50000}, {}))),
      kPassed);
}

TEST_P(XdpVerdicts, AddressesDecide) {
  const std::size_t last = GetParam() ? kIp + 19 : kIp + 39;
  Bytes frame = tcp_to(6881);
  frame[last] = std::byte{GetParam() ? std::uint8_t{77} : std::uint8_t{0x77}};
  EXPECT_EQ(verdict(frame), kOurs);
  frame[last] = std::byte{0x02};
  EXPECT_EQ(verdict(frame), kPassed);
  // A byte elsewhere in the address.
  frame = tcp_to(6881);
  frame[GetParam() ? kIp + 16 : kIp + 24] ^= std::byte{0x40};
  EXPECT_EQ(verdict(frame), kPassed);
}

TEST_P(XdpVerdicts, OnlyFramesToOurMac) {
  for (const std::size_t at : {0u, 3u, 4u, 5u}) {
    Bytes frame = tcp_to(6881);
    frame[at] ^= std::byte{0x10};
    EXPECT_EQ(verdict(frame), kPassed) << at;
  }
}

TEST_P(XdpVerdicts, OtherProtocolsPass) {
  EXPECT_EQ(verdict(support::arp_request(hosts_)), kPassed);
  const bool four = GetParam();
  EXPECT_EQ(verdict(support::ip_frame(
                hosts_, four ? support::kProtoIcmp : support::kProtoIcmp6,
                support::echo_request(four ? 8 : 128, 1, 1, Bytes(40, std::byte{1})))),
            kPassed);
  // SCTP with our port at the same place, and no IP at all.
  EXPECT_EQ(
      verdict(support::ip_frame(hosts_, 132, support::tcp_segment({.destination = 6881}, {}))),
      kPassed);
  Bytes frame = tcp_to(6881);
  store_be16(frame.data() + 12, 0x88b5);
  EXPECT_EQ(verdict(frame), kPassed);
  // The header of the one version with the number of the other.
  frame = tcp_to(6881);
  frame[kIp] = static_cast<std::byte>((static_cast<unsigned>(frame[kIp]) & 0x0f) | 0x50);
  EXPECT_EQ(verdict(frame), kPassed);
}

TEST_P(XdpVerdicts, TaggedFramesPass) {
  const Bytes tag{std::byte{0x81}, std::byte{0x00}, std::byte{0x00}, std::byte{0x05}};
  EXPECT_EQ(verdict(inserted(tcp_to(6881), 12, tag)), kPassed);
}

// Cut anywhere, it is never read beyond its end; ours from the ports on.
TEST_P(XdpVerdicts, ShortFrames) {
  const Bytes whole = tcp_to(6881);
  const std::size_t ports_end = support::transport_at(hosts_) + 4;
  for (std::size_t size = 14; size <= whole.size(); ++size) {
    const Bytes frame(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_EQ(verdict(frame), size < ports_end ? kPassed : kOurs) << size;
  }
}

TEST_P(XdpVerdicts, HeadersOfAnyLength) {
  if (GetParam()) {
    for (std::uint8_t words = 0; words <= 15; ++words) {
      Bytes frame =
          words > 5 ? inserted(tcp_to(6881), kIp + 20, Bytes((words - 5u) * 4)) : tcp_to(6881);
      frame[kIp] = std::byte(static_cast<std::uint8_t>(0x40 | words));
      EXPECT_EQ(verdict(frame), words < 5 ? kPassed : kOurs) << int{words};
    }
    return;
  }
  for (const std::uint8_t type : std::initializer_list<std::uint8_t>{0, 43, 60}) {
    EXPECT_EQ(verdict(extended(tcp_to(6881), type, Bytes(8))), kOurs) << int{type};
    EXPECT_EQ(verdict(extended(tcp_to(80), type, Bytes(8))), kPassed) << int{type};
    Bytes longer(24);
    longer[1] = std::byte{2};
    EXPECT_EQ(verdict(extended(tcp_to(6881), type, longer)), kOurs) << int{type};
    longer[1] = std::byte{255};  // ends behind the frame
    EXPECT_EQ(verdict(extended(tcp_to(6881), type, longer)), kPassed) << int{type};
  }
  Bytes frame = tcp_to(6881);
  for (int i = 1; i <= 5; ++i) {
    frame = extended(frame, 60, Bytes(8));
    EXPECT_EQ(verdict(frame), i <= 4 ? kOurs : kPassed) << i;
  }
}

// The first fragment has the port: ours, so that the kernel never has a whole packet. The others
// are nobody's.
TEST_P(XdpVerdicts, Fragments) {
  const auto fragment = [&](std::uint16_t port, std::uint16_t units, bool more) {
    if (GetParam()) {
      Bytes frame = tcp_to(port);
      store_be16(frame.data() + kIp + 6, static_cast<std::uint16_t>(units | (more ? 0x2000 : 0)));
      return frame;
    }
    Bytes header(8);
    store_be16(header.data() + 2, static_cast<std::uint16_t>(units << 3 | (more ? 1 : 0)));
    return extended(tcp_to(port), 44, header);
  };
  EXPECT_EQ(verdict(fragment(6881, 0, true)), kOurs);
  EXPECT_EQ(verdict(fragment(6881, 0, false)), kOurs);
  EXPECT_EQ(verdict(fragment(80, 0, true)), kPassed);
  EXPECT_EQ(verdict(fragment(6881, 1, true)), kPassed);
  EXPECT_EQ(verdict(fragment(6881, 185, false)), kPassed);
  EXPECT_EQ(verdict(fragment(6881, 0x1000, false)), kPassed);
  if (GetParam()) {
    Bytes whole = tcp_to(6881);
    store_be16(whole.data() + kIp + 6, 0x4000);  // DF
    EXPECT_EQ(verdict(whole), kOurs);
  }
}

TEST_P(XdpVerdicts, OneFamilyAlone) {
  ProgramOptions options;
  options.mac = kOurMac;
  options.addresses = {hosts_.them};
  options.tcp = {{6881, 6881}};
  load(options);
  EXPECT_EQ(verdict(tcp_to(6881)), kOurs);
  EXPECT_EQ(verdict(udp_to(6882)), kPassed);
  const bool four = GetParam();
  hosts_.us = four ? *parse_ip("fd09::2") : IpAddress::v4(10, 9, 0, 2);
  hosts_.them = four ? *parse_ip("fd09::1") : IpAddress::v4(10, 9, 0, 1);
  EXPECT_EQ(verdict(tcp_to(6881)), kPassed);
}

TEST_P(XdpVerdicts, AnExclusiveInterfaceIsOursAltogether) {
  ProgramOptions options;
  options.exclusive = true;
  load(options);
  EXPECT_EQ(verdict(support::arp_request(hosts_)), kOurs);
  EXPECT_EQ(verdict(tcp_to(80)), kOurs);
  EXPECT_EQ(verdict(Bytes(14)), kOurs);
}

TEST_P(XdpVerdicts, ManyAddressesAndPorts) {
  ProgramOptions options;
  options.mac = kOurMac;
  for (std::uint8_t i = 100; i < 250; ++i) {
    options.addresses.push_back(IpAddress::v4(10, 9, 0, i));
    options.addresses.push_back(*parse_ip("fd09::" + std::to_string(i)));
    options.tcp.push_back({i, i});
  }
  options.addresses.push_back(hosts_.them);
  load(options);
  EXPECT_EQ(verdict(tcp_to(249)), kOurs);
  EXPECT_EQ(verdict(tcp_to(250)), kPassed);
}

TEST(XdpProgramOptions, NothingOfOursIsAnError) {
  ProgramOptions options;
  options.addresses = {IpAddress::v4(10, 9, 0, 1)};
  EXPECT_FALSE(XdpProgram::load(options, 1, false));
}

INSTANTIATE_TEST_SUITE_P(Families, XdpVerdicts, testing::Bool(),
                         [](const auto& family) { return family.param ? "IPv4" : "IPv6"; });

}  // namespace
}  // namespace penstock::nic_xdp
