#include "stream_kernel/sockets.hh"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>

#include "host/errors.hh"

namespace penstock::stream_kernel {
namespace {

void set_int(int fd, int level, int name, int value) {
  // Only options whose absence costs speed and nothing else are set through this.
  ::setsockopt(fd, level, name, &value, sizeof value);
}

bool is_any_v6(const IpAddress& ip) {
  return ip == IpAddress{};
}

Result<host::Fd> open_listener(const Endpoint& endpoint, const ListenOptions& options) {
  const std::string where = "listening on " + endpoint.to_string();
  Endpoint wanted = endpoint;
  host::Fd fd(::socket(wanted.ip.is_v4() ? AF_INET : AF_INET6,
                       SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid() && errno == EAFNOSUPPORT && is_any_v6(wanted.ip)) {
    // A kernel without IPv6: every address is every IPv4 address.
    wanted.ip = IpAddress::v4(0, 0, 0, 0);
    fd = host::Fd(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  }
  if (!fd.valid()) return host::os_error(where, errno);
  const int yes = 1;
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
      ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes) != 0) {
    return host::os_error(where, errno);
  }
  if (!wanted.ip.is_v4()) {
    const int v6_only = is_any_v6(wanted.ip) ? 0 : 1;
    if (::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof v6_only) != 0) {
      return host::os_error(where, errno);
    }
  }
  // Before accept, so that connections inherit them and it costs no call each.
  set_int(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1);
  set_congestion(fd.get(), options.congestion);
  sockaddr_storage address{};
  const socklen_t length = to_sockaddr(wanted, address);
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0) {
    return host::os_error(where, errno);
  }
  if (::listen(fd.get(), options.backlog) != 0) return host::os_error(where, errno);
  return fd;
}

}  // namespace

Result<Listeners> open_listeners(std::span<const Endpoint> endpoints,
                                 const ListenOptions& options) {
  Listeners out;
  for (const Endpoint& endpoint : endpoints) {
    auto fd = open_listener(endpoint, options);
    if (!fd) return tl::unexpected(std::move(fd).error());
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    if (::getsockname(fd->get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) {
      return host::os_error("listening on " + endpoint.to_string(), errno);
    }
    out.bound.push_back(to_endpoint(address));
    out.congestion = congestion_of(fd->get());
    out.sockets.push_back(std::move(*fd));
  }
  return out;
}

socklen_t to_sockaddr(const Endpoint& endpoint, sockaddr_storage& out) {
  std::memset(&out, 0, sizeof out);
  if (endpoint.ip.is_v4()) {
    auto* const v4 = reinterpret_cast<sockaddr_in*>(&out);
    v4->sin_family = AF_INET;
    v4->sin_port = htons(endpoint.port);
    std::memcpy(&v4->sin_addr, endpoint.ip.bytes.data() + 12, 4);
    return sizeof *v4;
  }
  auto* const v6 = reinterpret_cast<sockaddr_in6*>(&out);
  v6->sin6_family = AF_INET6;
  v6->sin6_port = htons(endpoint.port);
  std::memcpy(&v6->sin6_addr, endpoint.ip.bytes.data(), 16);
  return sizeof *v6;
}

Endpoint to_endpoint(const sockaddr_storage& address) {
  Endpoint out;
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    const auto* const b = reinterpret_cast<const std::uint8_t*>(&v4.sin_addr);
    out.ip = IpAddress::v4(b[0], b[1], b[2], b[3]);
    out.port = ntohs(v4.sin_port);
  } else if (address.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    std::memcpy(out.ip.bytes.data(), &v6.sin6_addr, 16);
    out.port = ntohs(v6.sin6_port);
  }
  return out;
}

Endpoint peer_of(int fd) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return {};
  return to_endpoint(address);
}

void set_congestion(int fd, const std::string& wanted) {
  for (const std::string& name : {wanted, std::string("reno")}) {
    const auto length = static_cast<socklen_t>(name.size());
    if (!name.empty() && ::setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name.data(), length) == 0) {
      return;
    }
  }
}

std::string congestion_of(int fd) {
  char name[32] = {};
  socklen_t length = sizeof name - 1;
  if (::getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length) != 0) return "unknown";
  return name;
}

host::Fd begin_connect(const Endpoint& remote, const IpAddress& local,
                       const std::string& congestion, StreamError& error) {
  const int family = remote.ip.is_v4() ? AF_INET : AF_INET6;
  host::Fd fd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) {
    error = to_stream_error(errno);
    return fd;
  }
  set_int(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1);
  set_congestion(fd.get(), congestion);
  sockaddr_storage address{};
  if (!local.is_unspecified()) {
    // The port is drawn at connect, so that one local port can serve many remotes.
    set_int(fd.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    const socklen_t length = to_sockaddr({local, 0}, address);
    if (local.is_v4() != remote.ip.is_v4() ||
        ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0) {
      error = StreamError::unreachable;
      return host::Fd();
    }
  }
  const socklen_t length = to_sockaddr(remote, address);
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0 &&
      errno != EINPROGRESS && errno != EINTR) {
    error = to_stream_error(errno);
    return host::Fd();
  }
  return fd;
}

int take_socket_error(int fd) {
  int error = 0;
  socklen_t length = sizeof error;
  if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return errno;
  return error;
}

std::size_t bytes_in_flight(int fd) {
  int bytes = 0;
  if (::ioctl(fd, SIOCOUTQ, &bytes) != 0 || bytes < 0) return 0;
  return static_cast<std::size_t>(bytes);
}

void reset_on_close(int fd) {
  const linger at_once{1, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

StreamError to_stream_error(int error) {
  switch (error) {
    case 0:
      return StreamError::none;
    case ECONNREFUSED:
      return StreamError::refused;
    case ETIMEDOUT:
      return StreamError::timed_out;
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ENETDOWN:
    case EHOSTDOWN:
    case ENONET:
    case EAFNOSUPPORT:
    case EACCES:  // a firewall's answer, or a broadcast address
    case EPERM:
    case EINVAL:  // connect() to an address no connection can have
      return StreamError::unreachable;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
    case EADDRNOTAVAIL:  // every local port to this remote is taken
    case EADDRINUSE:
      return StreamError::no_resources;
    default:  // ECONNRESET, EPIPE, EPROTO, ECONNABORTED, and ICMP errors of other kinds
      return StreamError::reset;
  }
}

}  // namespace penstock::stream_kernel
