#include "relay/interface.hh"

#include <array>
#include <cerrno>
#include <cstring>

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "host/errors.hh"
#include "nic_tap/tap_device.hh"

namespace penstock::relay {
namespace {

using nic_tap::VnetHeader;

constexpr std::size_t kBufferSize = sizeof(VnetHeader) + 14 + 4 + 65535 + 40;
constexpr int kSocketBuffer = 64 << 20;
constexpr std::uint16_t kEverything = 0x0003;  // ETH_P_ALL

Result<host::Fd> packet_socket(const std::string& name) {
  host::Fd fd(::socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return host::os_error("packet socket (CAP_NET_RAW)", errno);
  const int on = 1;
  if (::setsockopt(fd.get(), SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) != 0 ||
      ::setsockopt(fd.get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on) != 0) {
    return host::os_error("packet socket's options", errno);
  }
  // More than an ordinary user may have; without it bursts get lost, which is counted.
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kSocketBuffer, sizeof kSocketBuffer) !=
      0) {
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &kSocketBuffer, sizeof kSocketBuffer);
  }
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDBUFFORCE, &kSocketBuffer, sizeof kSocketBuffer);
  ::setsockopt(fd.get(), SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on);
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(kEverything);
  address.sll_ifindex = static_cast<int>(::if_nametoindex(name.c_str()));
  if (address.sll_ifindex == 0) return fail("interface " + name + " is not there");
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return host::os_error("binding to " + name, errno);
  }
  return fd;
}

}  // namespace

Result<std::unique_ptr<Interface>> Interface::open(const std::string& what) {
  const std::size_t colon = what.find(':');
  const std::string kind = what.substr(0, colon);
  const std::string name = colon == std::string::npos ? "" : what.substr(colon + 1);
  auto end = std::make_unique<Interface>();
  if (kind == "tap") {
    // The kernel cuts and sums: it does so at what the interface costs it anyway.
    auto device = nic_tap::open_tap(name, false);
    if (!device) return tl::unexpected(std::move(device).error());
    end->fd_ = std::move(device->fd);
    end->name_ = device->name;
    end->is_tap_ = true;
  } else if (kind == "packet" && !name.empty()) {
    auto fd = packet_socket(name);
    if (!fd) return tl::unexpected(std::move(fd).error());
    end->fd_ = std::move(*fd);
    end->name_ = name;
  } else {
    return fail("\"" + what + "\" is neither tap:NAME nor packet:NAME", ErrorKind::usage);
  }
  end->buffer_ = std::make_unique_for_overwrite<std::byte[]>(kBufferSize);
  return end;
}

std::span<const std::byte> Interface::receive() {
  for (;;) {
    if (cutting_) {
      if (const auto frame = frames_->next(); !frame.empty()) return frame;
      cutting_ = false;
    }
    const ssize_t got = ::read(fd_.get(), buffer_.get(), kBufferSize);
    if (got <= static_cast<ssize_t>(sizeof(VnetHeader))) return {};
    VnetHeader header;
    std::memcpy(&header, buffer_.get(), sizeof header);
    const std::span<std::byte> frame(buffer_.get() + sizeof header,
                                     static_cast<std::size_t>(got) - sizeof header);
    if (header.gso_type == VnetHeader::kGsoNone && (header.flags & VnetHeader::kNeedsChecksum) == 0)
      return frame;
    counters_.cut += header.gso_type != VnetHeader::kGsoNone ? 1 : 0;
    frames_ = std::make_unique<support::WireFrames>(header, frame);
    counters_.malformed += frames_->sane() ? 0 : 1;
    cutting_ = true;
  }
}

bool Interface::send(std::span<const std::byte> frame) {
  VnetHeader header;
  const std::array<iovec, 2> pieces{
      {{&header, sizeof header}, {const_cast<std::byte*>(frame.data()), frame.size()}}};
  if (::writev(fd_.get(), pieces.data(), 2) >= 0) return true;
  ++counters_.send_failed;
  return false;
}

std::uint64_t Interface::receive_drops() const {
  if (is_tap_) return 0;
  tpacket_stats stats{};
  socklen_t length = sizeof stats;
  ::getsockopt(fd_.get(), SOL_PACKET, PACKET_STATISTICS, &stats, &length);
  return stats.tp_drops;
}

}  // namespace penstock::relay
