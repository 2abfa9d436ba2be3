#include "nic_xdp/kernel_interface.hh"

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>

#include <ifaddrs.h>
#include <linux/ethtool.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "host/errors.hh"
#include "host/fd.hh"

namespace penstock::nic_xdp {
namespace {

class Questions {
 public:
  explicit Questions(const std::string& name)
      : socket_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    std::memcpy(request_.ifr_name, name.data(), std::min<std::size_t>(name.size(), IFNAMSIZ - 1));
  }
  // 0 or errno.
  int ask(unsigned long what) { return ::ioctl(socket_.get(), what, &request_) == 0 ? 0 : errno; }
  template <class T>
  int ask_ethtool(T& question) {
    request_.ifr_data = reinterpret_cast<char*>(&question);
    return ask(SIOCETHTOOL);
  }
  [[nodiscard]] const ifreq& answer() const { return request_; }

 private:
  host::Fd socket_;
  ifreq request_{};
};

IpAddress address_of(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    std::array<std::uint8_t, 4> b;
    std::memcpy(b.data(), &reinterpret_cast<const sockaddr_in*>(address)->sin_addr, 4);
    return IpAddress::v4(b[0], b[1], b[2], b[3]);
  }
  IpAddress out;
  std::memcpy(out.bytes.data(), &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr, 16);
  return out;
}

std::uint8_t prefix_length(const sockaddr* mask) {
  const bool four = mask->sa_family == AF_INET;
  const void* const begin =
      four ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in*>(mask)->sin_addr)
           : &reinterpret_cast<const sockaddr_in6*>(mask)->sin6_addr;
  std::array<std::uint8_t, 16> bytes{};
  std::memcpy(bytes.data(), begin, four ? 4 : 16);
  int bits = 0;
  for (const std::uint8_t byte : bytes)
    bits += std::popcount(byte);
  return static_cast<std::uint8_t>(bits);
}

Result<void> read_addresses(KernelInterface& interface) {
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return host::os_error("addresses of interfaces", errno);
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(list, &::freeifaddrs);
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr || entry->ifa_netmask == nullptr) continue;
    const int family = entry->ifa_addr->sa_family;
    if (interface.name != entry->ifa_name || (family != AF_INET && family != AF_INET6)) continue;
    const IpAddress address = address_of(entry->ifa_addr);
    if (family == AF_INET6 && address.bytes[0] == 0xfe && (address.bytes[1] & 0xc0) == 0x80)
      continue;
    interface.addresses.push_back({address, prefix_length(entry->ifa_netmask), {}});
  }
  return {};
}

// /proc/net/route: "Iface Destination Gateway Flags RefCnt Use Metric Mask …", hexadecimal in the
// machine's order; a line each.
IpAddress default_gateway_v4(const std::string& interface) {
  std::ifstream file("/proc/net/route");
  std::string line;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string name, destination, gateway, flags, skip, mask;
    words >> name >> destination >> gateway >> flags >> skip >> skip >> skip >> mask;
    if (name != interface || destination != "00000000" || mask != "00000000") continue;
    const auto bits = static_cast<std::uint32_t>(std::strtoul(gateway.c_str(), nullptr, 16));
    if (bits == 0) continue;
    std::array<std::uint8_t, 4> b;
    std::memcpy(b.data(), &bits, 4);
    return IpAddress::v4(b[0], b[1], b[2], b[3]);
  }
  return {};
}

// /proc/net/ipv6_route: "destination prefix source prefix next-hop metric refcnt use flags device".
IpAddress default_gateway_v6(const std::string& interface) {
  std::ifstream file("/proc/net/ipv6_route");
  std::string line;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string destination, prefix, source, source_prefix, gateway, skip, name;
    words >> destination >> prefix >> source >> source_prefix >> gateway;
    words >> skip >> skip >> skip >> skip >> name;
    if (name != interface || prefix != "00" || gateway.size() != 32) continue;
    IpAddress address;
    for (std::size_t i = 0; i < 16; ++i) {
      address.bytes[i] =
          static_cast<std::uint8_t>(std::strtoul(gateway.substr(2 * i, 2).c_str(), nullptr, 16));
    }
    if (!address.is_unspecified()) return address;
  }
  return {};
}

void read_hardware(KernelInterface& interface, Questions& questions) {
  ethtool_channels channels{};
  channels.cmd = ETHTOOL_GCHANNELS;
  if (questions.ask_ethtool(channels) == 0)
    interface.rx_queues = std::max(1u, channels.combined_count + channels.rx_count);
  ethtool_drvinfo driver{};
  driver.cmd = ETHTOOL_GDRVINFO;
  if (questions.ask_ethtool(driver) == 0) {
    driver.driver[sizeof driver.driver - 1] = 0;
    interface.driver = driver.driver;
  }
}

}  // namespace

Result<KernelInterface> read_interface(const std::string& name) {
  if (name.empty() || name.size() >= IFNAMSIZ)
    return fail("interface \"" + name + "\": 1 to 15 characters", ErrorKind::usage);
  KernelInterface interface;
  interface.name = name;
  Questions questions(name);
  if (const int error = questions.ask(SIOCGIFINDEX); error != 0) {
    if (error == ENODEV)
      return fail("there is no interface " + name + " (ip link lists them)", ErrorKind::not_found);
    return host::os_error("interface " + name, error);
  }
  interface.index = static_cast<unsigned>(questions.answer().ifr_ifindex);
  if (const int error = questions.ask(SIOCGIFHWADDR); error != 0)
    return host::os_error("interface " + name, error);
  if (questions.answer().ifr_hwaddr.sa_family != ARPHRD_ETHER)
    return fail("interface " + name + " is no Ethernet", ErrorKind::io);
  std::memcpy(interface.mac.bytes.data(), questions.answer().ifr_hwaddr.sa_data, 6);
  if (const int error = questions.ask(SIOCGIFMTU); error != 0)
    return host::os_error("interface " + name, error);
  if (questions.answer().ifr_mtu < 1280) {
    return fail("interface " + name + " has an MTU of " +
                    std::to_string(questions.answer().ifr_mtu) + ": at least 1280 is needed",
                ErrorKind::io);
  }
  interface.mtu = static_cast<std::uint16_t>(std::min(questions.answer().ifr_mtu, 65535));
  if (const int error = questions.ask(SIOCGIFFLAGS); error != 0)
    return host::os_error("interface " + name, error);
  if ((questions.answer().ifr_flags & IFF_UP) == 0)
    return fail("interface " + name + " is down: sudo ip link set " + name + " up", ErrorKind::io);
  read_hardware(interface, questions);
  if (auto done = read_addresses(interface); !done) return tl::unexpected(done.error());
  const IpAddress v4 = default_gateway_v4(name);
  const IpAddress v6 = default_gateway_v6(name);
  for (auto& address : interface.addresses)
    address.gateway = address.address.is_v4() ? v4 : v6;
  return interface;
}

}  // namespace penstock::nic_xdp
