#include "tap_far_end.hh"

#include <array>
#include <cerrno>
#include <cstring>

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "host/errors.hh"
#include "support/wire_frames.hh"

namespace penstock::conformance {

using nic_tap::VnetHeader;

Result<std::unique_ptr<TapFarEnd>> TapFarEnd::open(const std::string& interface) {
  auto end = std::make_unique<TapFarEnd>();
  constexpr std::uint16_t kEverything = 0x0003;  // ETH_P_ALL
  end->socket_ =
      host::Fd(::socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(kEverything)));
  if (!end->socket_.valid()) return host::os_error("packet socket", errno);
  const int fd = end->socket_.get();
  const int on = 1;
  const int buffer = 64 << 20;
  if (::setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) != 0 ||
      ::setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on) != 0) {
    return host::os_error("packet socket's options", errno);
  }
  ::setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer);
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(kEverything);
  address.sll_ifindex = static_cast<int>(::if_nametoindex(interface.c_str()));
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return host::os_error("binding a packet socket to " + interface, errno);
  }
  end->buffer_.resize(sizeof(VnetHeader) + 70'000);
  return end;
}

bool TapFarEnd::put(std::span<const std::byte> frame) {
  VnetHeader header;
  const std::array<iovec, 2> pieces{
      {{&header, sizeof header}, {const_cast<std::byte*>(frame.data()), frame.size()}}};
  return ::writev(socket_.get(), pieces.data(), 2) > 0;
}

void TapFarEnd::get(std::vector<support::Bytes>& out) {
  for (;;) {
    const ssize_t got = ::recv(socket_.get(), buffer_.data(), buffer_.size(), 0);
    if (got < static_cast<ssize_t>(sizeof(VnetHeader))) return;
    VnetHeader header;
    std::memcpy(&header, buffer_.data(), sizeof header);
    const auto size = static_cast<std::size_t>(got) - sizeof header;
    const auto frames = std::make_unique<support::WireFrames>(
        header, std::span(buffer_).subspan(sizeof header, size));
    for (auto frame = frames->next(); !frame.empty(); frame = frames->next())
      out.emplace_back(frame.begin(), frame.end());
  }
}

}  // namespace penstock::conformance
