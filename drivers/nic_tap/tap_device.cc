#include "nic_tap/tap_device.hh"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "host/errors.hh"

namespace penstock::nic_tap {
namespace {

constexpr const char* kTunPath = "/dev/net/tun";

std::string how_to_make(const std::string& name) {
  const std::string shown = name.empty() ? "tap0" : name;
  return "make it once for your user with: sudo ip tuntap add dev " + shown +
         " mode tap user $USER && sudo ip link set " + shown + " up";
}

tl::unexpected<Error> no_tun(int error) {
  if (error == ENOENT || error == ENODEV || error == ENXIO) {
    return fail(std::string(kTunPath) +
                    ": there is no TUN driver here: load it (modprobe tun), or give it to the "
                    "container (--device /dev/net/tun)",
                ErrorKind::io);
  }
  if (error == EACCES || error == EPERM) {
    return fail(std::string(kTunPath) +
                    " can't be opened: permission denied: it is usually open to everybody (chmod "
                    "0666), and each interface has its own owner",
                ErrorKind::io);
  }
  return host::os_error(kTunPath, error);
}

tl::unexpected<Error> no_interface(const std::string& name, int error) {
  const std::string what = "interface " + (name.empty() ? "tap%d" : name);
  switch (error) {
    case EPERM:
      return fail(what + " is not there or not ours: " + how_to_make(name), ErrorKind::io);
    case EBUSY:
      return fail(what + " is in use by another process", ErrorKind::io);
    case EINVAL:
      return fail(what + " is no TAP interface with one queue: remove it or name another, then " +
                      how_to_make(name),
                  ErrorKind::io);
    default:
      return host::os_error(what, error);
  }
}

ifreq request_for(const std::string& name) {
  ifreq request{};
  std::memcpy(request.ifr_name, name.data(), std::min<std::size_t>(name.size(), IFNAMSIZ - 1));
  return request;
}

Result<void> read_facts(TapDevice& device, int socket) {
  ifreq request = request_for(device.name);
  if (::ioctl(socket, SIOCGIFHWADDR, &request) != 0) return host::os_error(device.name, errno);
  if (request.ifr_hwaddr.sa_family != ARPHRD_ETHER) {
    return fail("interface " + device.name + " is no Ethernet (TUN instead of TAP?)");
  }
  std::memcpy(device.kernel_mac.bytes.data(), request.ifr_hwaddr.sa_data, 6);
  request = request_for(device.name);
  if (::ioctl(socket, SIOCGIFMTU, &request) != 0) return host::os_error(device.name, errno);
  if (request.ifr_mtu < 1280) {
    return fail("interface " + device.name + " has an MTU of " + std::to_string(request.ifr_mtu) +
                ": at least 1280 is needed (ip link set " + device.name + " mtu 1500)");
  }
  device.mtu = static_cast<std::uint16_t>(std::min(request.ifr_mtu, 65535));
  return {};
}

Result<void> bring_up(const TapDevice& device, int socket) {
  ifreq request = request_for(device.name);
  if (::ioctl(socket, SIOCGIFFLAGS, &request) != 0) return host::os_error(device.name, errno);
  if ((request.ifr_flags & IFF_UP) != 0) return {};
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
  if (::ioctl(socket, SIOCSIFFLAGS, &request) != 0) {
    return fail("interface " + device.name + " is down: sudo ip link set " + device.name + " up",
                ErrorKind::io);
  }
  return {};
}

}  // namespace

Result<TapDevice> open_tap(const std::string& name, bool receive_offload) {
  if (name.size() >= IFNAMSIZ) {
    return fail("interface \"" + name + "\": at most 15 characters", ErrorKind::usage);
  }
  TapDevice device;
  const host::Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return host::os_error("socket", errno);
  ifreq request = request_for(name);
  const bool existed = !name.empty() && ::ioctl(socket.get(), SIOCGIFINDEX, &request) == 0;
  device.made = !existed;

  device.fd = host::Fd(::open(kTunPath, O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!device.fd.valid()) return no_tun(errno);
  const int fd = device.fd.get();
  request = request_for(name);
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  if (::ioctl(fd, TUNSETIFF, &request) != 0) return no_interface(name, errno);
  device.name = request.ifr_name;

  const int header_size = 10;  // virtio_net_hdr without num_buffers
  const int little_endian = 1;
  const unsigned long offload = receive_offload ? TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 : 0;
  if (::ioctl(fd, TUNSETVNETHDRSZ, &header_size) != 0 ||
      ::ioctl(fd, TUNSETVNETLE, &little_endian) != 0 || ::ioctl(fd, TUNSETOFFLOAD, offload) != 0) {
    return host::os_error("interface " + device.name + ": setting up its headers", errno);
  }
  if (auto up = bring_up(device, socket.get()); !up) return tl::unexpected(up.error());
  if (auto facts = read_facts(device, socket.get()); !facts) return tl::unexpected(facts.error());
  return device;
}

}  // namespace penstock::nic_tap
