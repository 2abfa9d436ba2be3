// Making TCP sockets: addresses, listeners, connections, congestion control.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <sys/socket.h>

#include "base/address.hh"
#include "base/result.hh"
#include "host/fd.hh"
#include "stream/byte_stream.hh"

namespace penstock::stream_kernel {

struct ListenOptions {
  std::string congestion = "cubic";  // see StreamOptions
  int backlog = 1024;                // the kernel caps it at net.core.somaxconn
};

// The listening sockets of one shard. Every shard has its own on the same addresses (SO_REUSEPORT):
// the kernel spreads connections over them.
struct Listeners {
  std::vector<host::Fd> sockets;
  std::vector<Endpoint> bound;  // what they listen on, with the port drawn where 0 was asked
  std::string congestion;       // what accepted connections inherit, as read back
};

// :: (or no address) listens on both families; an IPv6 address on IPv6 alone; 0.0.0.0 on IPv4. All
// or none. Any thread.
[[nodiscard]] Result<Listeners> open_listeners(std::span<const Endpoint> endpoints,
                                               const ListenOptions& options);

// Returns the length.
socklen_t to_sockaddr(const Endpoint& endpoint, sockaddr_storage& out);
[[nodiscard]] Endpoint to_endpoint(const sockaddr_storage& address);
// The remote side; a zero endpoint when the peer is gone already.
[[nodiscard]] Endpoint peer_of(int fd);

// Tries `wanted`, then reno; leaves the system's default when neither may be set.
void set_congestion(int fd, const std::string& wanted);
[[nodiscard]] std::string congestion_of(int fd);

// A non-blocking connect, begun: writable when decided. On failure no descriptor, and why.
[[nodiscard]] host::Fd begin_connect(const Endpoint& remote, const IpAddress& local,
                                     const std::string& congestion, StreamError& error);
// SO_ERROR, read and cleared.
[[nodiscard]] int take_socket_error(int fd);
// What was written and isn't acknowledged (SIOCOUTQ), bytes.
[[nodiscard]] std::size_t bytes_in_flight(int fd);
// close() will send RST and forget what is queued.
void reset_on_close(int fd);

// The table is in drivers/README.md.
[[nodiscard]] StreamError to_stream_error(int error);

}  // namespace penstock::stream_kernel
