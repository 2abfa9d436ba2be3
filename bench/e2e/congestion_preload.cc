// Preloaded into every server of a comparison: what it listens on gets the congestion control of
// the environment's BENCH_CONGESTION, and so does every connection it accepts. Linux lets an
// ordinary user choose one for a socket where a sysctl may not be set.
#include <cstdlib>
#include <cstring>

#include <dlfcn.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

extern "C" int listen(int fd, int backlog) {
  using Listen = int (*)(int, int);
  static const Listen real = reinterpret_cast<Listen>(dlsym(RTLD_NEXT, "listen"));
  const char* const name = std::getenv("BENCH_CONGESTION");
  if (name != nullptr) {
    ::setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, static_cast<socklen_t>(std::strlen(name)));
  }
  return real(fd, backlog);
}
