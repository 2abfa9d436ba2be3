#include "app/process_limits.hh"

#include <algorithm>
#include <cerrno>
#include <limits>
#include <string>
#include <utility>

#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "host/errors.hh"
#include "host/fd.hh"
#include "store/store.hh"
#include "stream_kernel/sockets.hh"

namespace penstock::app {
namespace {

// Rings, eventfds, pipes, pools and listeners of a shard; and of the process, HTTP and trackers.
constexpr std::uint64_t kOwnPerShard = 32;
constexpr std::uint64_t kOwn = 128;
constexpr std::uint32_t kLeast = 16;

}  // namespace

DescriptorPlan plan_descriptors(std::uint64_t limit, std::uint32_t peers_wanted,
                                std::uint32_t shards) {
  const std::uint64_t files =
      std::clamp<std::uint64_t>(limit / 4 / shards, kLeast, StoreLimits{}.open_files_max);
  const std::uint64_t taken = kOwn + (kOwnPerShard + files) * shards;
  const std::uint64_t left = limit > taken + kLeast ? limit - taken : kLeast;
  return {static_cast<std::uint32_t>(std::min<std::uint64_t>(peers_wanted, left)),
          static_cast<std::uint32_t>(files)};
}

std::uint64_t raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;  // can't happen; the usual one
  if (limit.rlim_cur < limit.rlim_max) {
    const rlim_t before = std::exchange(limit.rlim_cur, limit.rlim_max);
    if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) limit.rlim_cur = before;
  }
  return limit.rlim_cur == RLIM_INFINITY ? std::numeric_limits<std::uint32_t>::max()
                                         : std::uint64_t{limit.rlim_cur};
}

Result<void> check_ports_free(std::span<const Endpoint> endpoints) {
  for (const Endpoint& endpoint : endpoints) {
    if (endpoint.port == 0) continue;
    sockaddr_storage address{};
    const socklen_t length = stream_kernel::to_sockaddr(endpoint, address);
    const host::Fd probe(::socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    // Whatever else is wrong, the listener itself will say.
    if (!probe.valid()) continue;
    const int yes = 1;
    // Connections of an earlier run that linger don't count.
    ::setsockopt(probe.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (address.ss_family == AF_INET6) {
      const int v6_only = endpoint.ip.is_unspecified() ? 0 : 1;
      ::setsockopt(probe.get(), IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof v6_only);
    }
    if (::bind(probe.get(), reinterpret_cast<sockaddr*>(&address), length) == 0) continue;
    if (errno != EADDRINUSE) continue;
    return host::os_error("listening on " + endpoint.to_string() +
                              " (is another Penstock or client running? another port will do)",
                          EADDRINUSE);
  }
  return {};
}

}  // namespace penstock::app
