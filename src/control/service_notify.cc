#include "control/service_notify.hh"

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <system_error>

#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "control/engine_view.hh"

namespace penstock::control {
namespace {

std::string socket_from_environment() {
  const char* name = std::getenv("NOTIFY_SOCKET");
  return name == nullptr ? "" : name;
}

}  // namespace

ServiceNotifier::ServiceNotifier() : ServiceNotifier(socket_from_environment()) {}

void ServiceNotifier::ready(std::string_view status) const {
  send("READY=1\nSTATUS=" + std::string(status) + "\n");
}

void ServiceNotifier::reloading() const {
  // The time tells this reload's READY=1 from an earlier one (Type=notify-reload).
  send("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(monotonic_now().ns / 1000) + "\n");
}

void ServiceNotifier::stopping() const {
  send("STOPPING=1\n");
}

void ServiceNotifier::send(const std::string& lines) const {
  if (socket_.empty()) return;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_.size() >= sizeof address.sun_path) {
    spdlog::warn("NOTIFY_SOCKET is too long: the service manager isn't told");
    return;
  }
  std::memcpy(address.sun_path, socket_.data(), socket_.size());
  if (socket_.front() == '@') address.sun_path[0] = '\0';
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket_.size());
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const bool sent = fd >= 0 && ::sendto(fd, lines.data(), lines.size(), MSG_NOSIGNAL,
                                        reinterpret_cast<const sockaddr*>(&address),
                                        length) == static_cast<ssize_t>(lines.size());
  if (!sent) {
    spdlog::warn("the service manager isn't told ({}): {}", socket_,
                 std::error_code(errno, std::generic_category()).message());
  }
  if (fd >= 0) ::close(fd);
}

}  // namespace penstock::control
