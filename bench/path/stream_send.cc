// The bare send path over loopback: what a shard's streams cost without session, policy and store.
//
// A sender (one core) answers 17-byte requests with a 13-byte header and 16 KiB out of an arena of
// cold slabs; a load thread (another core) keeps `depth` requests in flight on each connection and
// reads with plain recv. Printed: MB/s, the sender's and both threads' CPU seconds per GiB, system
// calls per GiB.
//
//   stream_send [--flavour uring|epoll] [--connections N] [--seconds S] [--no-splice]
//               [--splice-min BYTES] [--depth D] [--arena-mib N] [--pages small|huge]
//               [--congestion NAME] [--gather US] [--batch N]
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/random.hh"
#include "host/arena_mapping.hh"
#include "host/clock.hh"
#include "host/cpu.hh"
#include "stream_kernel/epoll_streams.hh"
#include "stream_kernel/sockets.hh"
#include "stream_kernel/uring_streams.hh"
#include "uring/ring.hh"

using namespace penstock;

namespace {

constexpr std::size_t kRequestSize = 17;
constexpr std::size_t kHeaderSize = 13;
constexpr std::size_t kReplySize = kHeaderSize + kBlockSize;

struct Options {
  bool uring = true;
  std::uint32_t connections = 100;
  int seconds = 3;
  std::uint32_t depth = 40;
  std::uint64_t arena_mib = 1024;
  host::PageChoice pages = host::PageChoice::small;
  Duration gather{};
  std::uint32_t batch = 1;
  stream_kernel::StreamOptions streams;
};

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_THREAD, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// --- the load ---

struct LoadResult {
  std::atomic<std::uint64_t> bytes{0};
  std::atomic<bool> stop{false};
  std::atomic<double> cpu{0};
};

struct LoadConnection {
  int fd = -1;
  std::uint64_t received = 0;
  std::uint64_t asked = 0;
};

void ask(LoadConnection& c, std::uint32_t depth) {
  std::array<char, kRequestSize * 256> requests{};
  const std::uint64_t due = c.received / kReplySize + depth - c.asked;
  const std::size_t length = kRequestSize * std::min<std::uint64_t>(due, 256);
  if (length == 0) return;
  const ssize_t n = ::send(c.fd, requests.data(), length, MSG_NOSIGNAL);
  if (n > 0) c.asked += static_cast<std::uint64_t>(n) / kRequestSize;
}

void load(const Endpoint& address, const Options& options, LoadResult& result) {
  if (host::usable_cpus().size() > 1) (void)host::pin_to_cpu(host::usable_cpus()[1]);
  std::vector<LoadConnection> connections(options.connections);
  const int epoll = ::epoll_create1(0);
  for (std::size_t i = 0; i < connections.size(); ++i) {
    sockaddr_storage to{};
    const socklen_t length = stream_kernel::to_sockaddr(address, to);
    connections[i].fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    stream_kernel::set_congestion(connections[i].fd, options.streams.congestion);
    if (::connect(connections[i].fd, reinterpret_cast<sockaddr*>(&to), length) != 0) std::abort();
    epoll_event event{.events = EPOLLIN, .data = {.u64 = i}};
    ::epoll_ctl(epoll, EPOLL_CTL_ADD, connections[i].fd, &event);
    ask(connections[i], options.depth);
  }
  std::vector<char> buffer(1 << 20);
  std::array<epoll_event, 64> events;
  std::uint64_t total = 0;
  while (!result.stop.load(std::memory_order_relaxed)) {
    const int n = ::epoll_wait(epoll, events.data(), events.size(), 100);
    for (int i = 0; i < n; ++i) {
      LoadConnection& c = connections[events[static_cast<std::size_t>(i)].data.u64];
      const ssize_t got = ::recv(c.fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (got <= 0) continue;
      c.received += static_cast<std::uint64_t>(got);
      total += static_cast<std::uint64_t>(got);
      ask(c, options.depth);
    }
    result.bytes.store(total, std::memory_order_relaxed);
    result.cpu.store(cpu_seconds(), std::memory_order_relaxed);
  }
  for (const LoadConnection& c : connections)
    ::close(c.fd);
  ::close(epoll);
}

// --- the sender ---

// What is to be sent to one peer: whole replies, the first of which may be sent in part.
struct Outgoing {
  std::uint64_t request_bytes = 0;
  std::uint64_t replies_done = 0;
  std::size_t offset = 0;  // in the reply under way
  bool blocked = false;
  bool queued = false;
  std::array<const std::byte*, kSendPartsMax / 2> blocks{};
  std::size_t block_count = 0;  // chosen and not yet sent to the end
};

class Sender {
 public:
  Sender(StreamPort& port, Arena arena, std::uint32_t streams_max)
      : port_(port), arena_(arena), peers_(streams_max), random_(1) {}

  // True when something happened.
  bool turn(Instant now) {
    std::array<StreamEvent, 256> events;
    bool busy = false;
    std::size_t n = 0;
    do {
      n = port_.poll_events(now, events);
      busy |= n > 0;
      for (std::size_t i = 0; i < n; ++i)
        take(events[i]);
    } while (n == events.size());
    for (const StreamHandle handle : active_)
      pump(handle);
    active_.clear();
    return busy;
  }
  [[nodiscard]] std::size_t exposed() const { return exposed_; }

 private:
  void take(const StreamEvent& event) {
    Outgoing& peer = peers_[stream_index(event.stream)];
    if (event.kind == StreamEvent::Kind::accepted) peer = Outgoing{};
    if (event.kind == StreamEvent::Kind::data) peer.request_bytes += event.data.size();
    if (event.kind == StreamEvent::Kind::writable) peer.blocked = false;
    if (event.kind == StreamEvent::Kind::closed || peer.queued) return;
    peer.queued = true;
    active_.push_back(event.stream);
  }

  void pump(StreamHandle handle) {
    Outgoing& peer = peers_[stream_index(handle)];
    peer.queued = false;
    while (!peer.blocked) {
      const std::uint64_t owed = peer.request_bytes / kRequestSize - peer.replies_done;
      while (peer.block_count < std::min<std::uint64_t>(owed, peer.blocks.size())) {
        const std::uint64_t slab = random_.below(arena_.slab_count());
        peer.blocks[peer.block_count++] = arena_.slab(SlabIndex(static_cast<std::uint32_t>(slab))) +
                                          kBlockSize * random_.below(kSlabSize / kBlockSize);
      }
      if (peer.block_count == 0) return;
      send(handle, peer);
    }
  }

  void send(StreamHandle handle, Outgoing& peer) {
    static const std::array<std::byte, kHeaderSize> kHeader{};
    std::array<SendPart, kSendPartsMax> parts;
    std::size_t count = 0;
    std::size_t wanted = 0;
    for (std::size_t i = 0; i < peer.block_count; ++i) {
      const std::size_t skip = i == 0 ? peer.offset : 0;
      if (skip < kHeaderSize) {
        parts[count++] = {kHeader.data() + skip, static_cast<std::uint32_t>(kHeaderSize - skip),
                          SendPart::Kind::small};
      }
      const std::size_t into = skip > kHeaderSize ? skip - kHeaderSize : 0;
      parts[count++] = {peer.blocks[i] + into, static_cast<std::uint32_t>(kBlockSize - into),
                        SendPart::Kind::hot_slab};
      wanted += kReplySize - skip;
    }
    const SendResult result = port_.try_send(handle, {parts.data(), count});
    exposed_ += result.exposed ? 1 : 0;
    peer.blocked = result.accepted < wanted;
    const std::size_t reached = peer.offset + result.accepted;
    const std::size_t done = reached / kReplySize;
    peer.offset = reached % kReplySize;
    peer.replies_done += done;
    std::copy(peer.blocks.begin() + static_cast<std::ptrdiff_t>(done),
              peer.blocks.begin() + static_cast<std::ptrdiff_t>(peer.block_count),
              peer.blocks.begin());
    peer.block_count -= done;
  }

  StreamPort& port_;
  Arena arena_;
  std::vector<Outgoing> peers_;
  std::vector<StreamHandle> active_;
  Random random_;
  std::size_t exposed_ = 0;
};

struct Snapshot {
  double wall, own, load;
  std::uint64_t bytes, calls;
};

template <class Wait, class Calls>
void run(const Options& options, const Endpoint& address, StreamPort& port, Arena arena, Wait wait,
         Calls calls, const stream_kernel::StreamCounters& counters) {
  host::MonotonicClock clock;
  Sender sender(port, arena, options.streams.streams_max);
  LoadResult result;
  std::thread loader([&] { load(address, options, result); });
  const auto snapshot = [&] {
    return Snapshot{static_cast<double>(clock.now().ns) * 1e-9, cpu_seconds(), result.cpu.load(),
                    result.bytes.load(), calls()};
  };
  const Instant start = clock.now();
  Snapshot from{};
  bool warm = false;
  bool busy = false;
  for (;;) {
    wait(busy);
    const Instant now = clock.now();
    busy = sender.turn(now);
    if (!warm && now - start > Duration::seconds(1)) {
      from = snapshot();
      warm = true;
    }
    if (now - start > Duration::seconds(1 + options.seconds)) break;
  }
  const Snapshot to = snapshot();
  result.stop = true;
  loader.join();
  const double gib = static_cast<double>(to.bytes - from.bytes) / (1u << 30);
  std::printf(
      "%s %s connections=%u pages=%s: %.0f MB/s, sender %.3f, both %.3f CPU-s/GiB, "
      "%.0f calls/GiB, spliced %.0f %%, refused %.1f %%\n",
      options.uring ? "uring" : "epoll", options.streams.splice ? "splice" : "copy",
      options.connections, options.pages == host::PageChoice::huge ? "huge" : "small",
      gib * (1u << 30) / 1e6 / (to.wall - from.wall), (to.own - from.own) / gib,
      (to.own - from.own + to.load - from.load) / gib,
      static_cast<double>(to.calls - from.calls) / gib,
      100.0 * static_cast<double>(counters.bytes_spliced) /
          static_cast<double>(counters.bytes_sent()),
      100.0 * static_cast<double>(counters.bytes_refused) /
          static_cast<double>(counters.bytes_sent()));
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    const std::string value = i + 1 < argc ? argv[i + 1] : "";
    if (name == "--no-splice") {
      options.streams.splice = false;
      continue;
    }
    ++i;
    if (name == "--flavour") options.uring = value == "uring";
    if (name == "--connections") options.connections = static_cast<unsigned>(std::stoul(value));
    if (name == "--seconds") options.seconds = std::stoi(value);
    if (name == "--depth") options.depth = static_cast<unsigned>(std::stoul(value));
    if (name == "--arena-mib") options.arena_mib = std::stoull(value);
    if (name == "--pages" && value == "huge") options.pages = host::PageChoice::huge;
    if (name == "--congestion") options.streams.congestion = value;
    if (name == "--splice-min") {
      options.streams.splice_bytes_min = static_cast<unsigned>(std::stoul(value));
    }
    if (name == "--gather") options.gather = Duration::microseconds(std::stoll(value));
    if (name == "--batch") options.batch = static_cast<unsigned>(std::stoul(value));
  }
  options.streams.streams_max = options.connections + 16;
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  (void)host::pin_to_cpu(host::usable_cpus()[0]);
  auto mapping = host::map_arena(options.arena_mib << 20, options.pages);
  if (!mapping) return std::fprintf(stderr, "%s\n", mapping.error().message.c_str()), 1;
  const Arena arena = mapping->arena();
  std::memset(arena.memory().data(), 0x5a, arena.memory().size());
  const Endpoint any{IpAddress::v4(127, 0, 0, 1), 0};
  auto listeners =
      stream_kernel::open_listeners({&any, 1}, {.congestion = options.streams.congestion});
  if (!listeners) return std::fprintf(stderr, "%s\n", listeners.error().message.c_str()), 1;
  const Endpoint address = listeners->bound[0];
  std::printf("congestion=%s ", listeners->congestion.c_str());
  if (!options.uring) {
    auto port = stream_kernel::EpollStreams::create(std::move(*listeners), options.streams);
    if (!port) return std::fprintf(stderr, "%s\n", port.error().message.c_str()), 1;
    run(
        options, address, **port, arena,
        [&](bool busy) { (*port)->wait(busy ? Duration{} : Duration::milliseconds(10)); },
        [&] { return (*port)->counters().syscalls(); }, (*port)->counters());
    return 0;
  }
  auto ring = uring::Ring::create({});
  if (!ring) return std::fprintf(stderr, "%s\n", ring.error().message.c_str()), 1;
  auto port = stream_kernel::UringStreams::create(**ring, std::move(*listeners), options.streams);
  if (!port) return std::fprintf(stderr, "%s\n", port.error().message.c_str()), 1;
  run(
      options, address, **port, arena,
      [&](bool) {
        (*ring)->wait({.timeout = Duration::milliseconds(10),
                       .batch = options.batch,
                       .gather = options.gather});
      },
      [&] { return (*port)->counters().syscalls() + (*ring)->counters().enters; },
      (*port)->counters());
  return 0;
}
