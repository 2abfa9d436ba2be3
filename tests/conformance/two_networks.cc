#include "two_networks.hh"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if.h>
#include <linux/sockios.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.hh"
#include "support/own_network.hh"

namespace penstock::conformance {
namespace {

host::Fd this_network() {
  return host::Fd(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
}

ifreq request_for(const char* interface) {
  ifreq request{};
  std::strcpy(request.ifr_name, interface);
  return request;
}

wire::MacAddress mac_of(const char* interface) {
  const host::Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request = request_for(interface);
  wire::MacAddress mac;
  if (::ioctl(socket.get(), SIOCGIFHWADDR, &request) == 0)
    std::memcpy(mac.bytes.data(), request.ifr_hwaddr.sa_data, 6);
  return mac;
}

// The peer sums and cuts by itself, as what comes from a wire has been.
bool without_offload(const char* interface) {
  const host::Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  for (const std::uint32_t command : {ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_STXCSUM}) {
    ethtool_value value{};
    value.cmd = command;
    ifreq request = request_for(interface);
    request.ifr_data = reinterpret_cast<char*>(&value);
    if (::ioctl(socket.get(), SIOCETHTOOL, &request) != 0) return false;
  }
  return true;
}

}  // namespace

std::unique_ptr<TwoNetworks> TwoNetworks::make(std::string& why_not) {
  why_not = support::enter_own_network();
  if (!why_not.empty()) return nullptr;
  auto networks = std::make_unique<TwoNetworks>();
  networks->near_ = this_network();
  if (::unshare(CLONE_NEWNET) != 0) {
    why_not = std::string("no second network: unshare: ") + std::strerror(errno);
    return nullptr;
  }
  networks->far_ = this_network();
  ASSERT(::setns(networks->near_.get(), CLONE_NEWNET) == 0);
  const std::string far =
      "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(networks->far_.get());
  bool good = support::ip("link add xdp0 type veth peer name xdp1") &&
              support::ip("link set xdp1 netns " + far) &&
              support::ip("address add 10.9.0.1/24 dev xdp0") &&
              support::ip("address add fd09::1/64 dev xdp0 nodad") &&
              support::ip("link set lo up") && support::ip("link set xdp0 up");
  networks->in_far([&] {
    good = good && support::ip("address add 10.9.0.2/24 dev xdp1") &&
           support::ip("address add fd09::2/64 dev xdp1 nodad") &&
           support::ip("link set xdp1 up") && without_offload("xdp1");
    networks->far_mac_ = mac_of("xdp1");
  });
  networks->near_mac_ = mac_of("xdp0");
  if (!good) {
    why_not = "no veth pair between two networks can be made here";
    return nullptr;
  }
  return networks;
}

TwoNetworks::~TwoNetworks() {
  // A test may have deleted it.
  if (mac_of("xdp0") != wire::MacAddress{}) support::ip("link delete xdp0");
}

void TwoNetworks::in_far(const std::function<void()>& what) const {
  ASSERT(::setns(far_.get(), CLONE_NEWNET) == 0);
  what();
  ASSERT(::setns(near_.get(), CLONE_NEWNET) == 0);
}

}  // namespace penstock::conformance
