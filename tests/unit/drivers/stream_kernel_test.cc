// What only kernel sockets have: listeners, limits, and the choice between copy and reference.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/clock.hh"
#include "host/fd.hh"
#include "stream_kernel/epoll_streams.hh"
#include "stream_kernel/send_path.hh"
#include "stream_kernel/sockets.hh"
#include "stream_kernel/uring_streams.hh"
#include "support/skip.hh"
#include "uring/ring.hh"

namespace penstock::stream_kernel {
namespace {

const Endpoint kLoopback{IpAddress::v4(127, 0, 0, 1), 0};

Endpoint v6(std::uint8_t last, std::uint16_t port) {
  Endpoint out{{}, port};
  out.ip.bytes[15] = last;
  return out;
}

bool has_ipv6() {
  const Endpoint loopback = v6(1, 0);
  return open_listeners({&loopback, 1}, {}).has_value();
}

// A blocking connection; invalid when refused.
host::Fd dial(const Endpoint& to, int family) {
  host::Fd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_storage address{};
  const socklen_t length = to_sockaddr(to, address);
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0) return host::Fd();
  return fd;
}

int int_option(int fd, int level, int name) {
  int value = -1;
  socklen_t length = sizeof value;
  EXPECT_EQ(::getsockopt(fd, level, name, &value, &length), 0);
  return value;
}

TEST(Listeners, TellThePortTheyDrewAndShareIt) {
  const auto first = open_listeners({&kLoopback, 1}, {});
  ASSERT_TRUE(first);
  const Endpoint bound = first->bound.at(0);
  EXPECT_EQ(bound.ip, kLoopback.ip);
  EXPECT_NE(bound.port, 0);
  EXPECT_TRUE(open_listeners({&bound, 1}, {})) << "a second shard on the same address";
}

TEST(Listeners, AllOrNone) {
  const std::array<Endpoint, 2> addresses{kLoopback, {IpAddress::v4(192, 0, 2, 77), 1}};
  const auto listeners = open_listeners(addresses, {});
  ASSERT_FALSE(listeners);
  EXPECT_NE(listeners.error().message.find("192.0.2.77:1"), std::string::npos);
}

TEST(Listeners, AcceptedConnectionsInheritNoDelayAndCongestion) {
  const auto listeners = open_listeners({&kLoopback, 1}, {.congestion = "reno"});
  ASSERT_TRUE(listeners);
  EXPECT_EQ(listeners->congestion, "reno");
  const host::Fd client = dial(listeners->bound[0], AF_INET);
  ASSERT_TRUE(client.valid());
  pollfd wait{listeners->sockets[0].get(), POLLIN, 0};
  ASSERT_EQ(::poll(&wait, 1, 10'000), 1);
  const host::Fd accepted(::accept(listeners->sockets[0].get(), nullptr, nullptr));
  EXPECT_EQ(congestion_of(accepted.get()), "reno");
  EXPECT_NE(int_option(accepted.get(), IPPROTO_TCP, TCP_NODELAY), 0);
}

TEST(Listeners, UnknownCongestionControlFallsBackToReno) {
  const auto listeners = open_listeners({&kLoopback, 1}, {.congestion = "nonesuch"});
  ASSERT_TRUE(listeners);
  EXPECT_EQ(listeners->congestion, "reno");
}

TEST(Listeners, NoAddressMeansBothFamilies) {
  const Endpoint any{};
  const auto listeners = open_listeners({&any, 1}, {});
  ASSERT_TRUE(listeners);
  const std::uint16_t port = listeners->bound[0].port;
  EXPECT_TRUE(dial({IpAddress::v4(127, 0, 0, 1), port}, AF_INET).valid());
  EXPECT_TRUE(!has_ipv6() || dial(v6(1, port), AF_INET6).valid());
}

TEST(Listeners, AnIpv6AddressIsIpv6Alone) {
  if (!has_ipv6()) return;
  const Endpoint loopback = v6(1, 0);
  const auto listeners = open_listeners({&loopback, 1}, {});
  ASSERT_TRUE(listeners);
  EXPECT_EQ(int_option(listeners->sockets[0].get(), IPPROTO_IPV6, IPV6_V6ONLY), 1);
  EXPECT_EQ(listeners->bound[0].ip, loopback.ip);
}

TEST(Addresses, SurviveTheSockaddr) {
  for (const Endpoint& endpoint : {Endpoint{IpAddress::v4(203, 0, 113, 7), 6881}, v6(9, 443)}) {
    sockaddr_storage address{};
    to_sockaddr(endpoint, address);
    EXPECT_EQ(to_endpoint(address), endpoint);
  }
}

TEST(StreamErrors, FollowTheTable) {
  EXPECT_EQ(to_stream_error(0), StreamError::none);
  EXPECT_EQ(to_stream_error(ECONNREFUSED), StreamError::refused);
  EXPECT_EQ(to_stream_error(ETIMEDOUT), StreamError::timed_out);
  for (const int e : {ENETUNREACH, EHOSTUNREACH, ENETDOWN, EHOSTDOWN, ENONET, EAFNOSUPPORT, EACCES,
                      EPERM, EINVAL}) {
    EXPECT_EQ(to_stream_error(e), StreamError::unreachable) << e;
  }
  for (const int e : {EMFILE, ENFILE, ENOMEM, ENOBUFS, EADDRNOTAVAIL, EADDRINUSE})
    EXPECT_EQ(to_stream_error(e), StreamError::no_resources) << e;
  for (const int e : {ECONNRESET, EPIPE, ECONNABORTED, EPROTO, 4095})
    EXPECT_EQ(to_stream_error(e), StreamError::reset) << e;
}

// --- the send path by itself, over a socket pair of TCP ---

class SendPathTest : public testing::Test {
 protected:
  void SetUp() override {
    auto listeners = open_listeners({&kLoopback, 1}, {});
    ASSERT_TRUE(listeners);
    receiver_ = dial(listeners->bound[0], AF_INET);
    pollfd wait{listeners->sockets[0].get(), POLLIN, 0};
    ASSERT_EQ(::poll(&wait, 1, 10'000), 1);
    sender_ = host::Fd(::accept4(listeners->sockets[0].get(), nullptr, nullptr, SOCK_NONBLOCK));
    ASSERT_TRUE(sender_.valid());
    pages_ = static_cast<std::byte*>(
        ::mmap(nullptr, kPagesSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    for (std::size_t i = 0; i < kPagesSize; ++i)
      pages_[i] = static_cast<std::byte>(i * 7 + i / 251);
  }
  void TearDown() override { ::munmap(pages_, kPagesSize); }
  SendPart part(std::size_t at, std::size_t length, SendPart::Kind kind) const {
    return {pages_ + at, static_cast<std::uint32_t>(length), kind};
  }
  void expect(std::span<const SendPart> parts) {
    for (const SendPart& p : parts) {
      std::vector<std::byte> got(p.length);
      ASSERT_EQ(::recv(receiver_.get(), got.data(), got.size(), MSG_WAITALL), p.length);
      ASSERT_EQ(std::memcmp(got.data(), p.data, got.size()), 0);
    }
  }
  static constexpr std::size_t kPagesSize = 1 << 20;
  host::Fd sender_, receiver_;
  std::byte* pages_ = nullptr;
  StreamCounters counters_;
};

using Kind = SendPart::Kind;

TEST_F(SendPathTest, ColdSlabsAreNeverSentByReference) {
  SendPath path({.splice_bytes_min = 1}, counters_);
  ASSERT_TRUE(path.splices()) << path.splice_trouble();
  const std::array parts{part(0, 13, Kind::small), part(4096, 50'000, Kind::slab)};
  const auto sent = path.send(sender_.get(), parts);
  EXPECT_EQ(sent.accepted, 50'013u);
  EXPECT_FALSE(sent.exposed || sent.full);
  EXPECT_EQ(counters_.vmsplice_calls, 0u);
  EXPECT_EQ(counters_.sendmsg_calls, 1u);
  expect(parts);
}

TEST_F(SendPathTest, AShortHotRunIsCopied) {
  SendPath path({.splice_bytes_min = 32 * 1024}, counters_);
  const std::array parts{part(0, 13, Kind::small), part(4096, 16384, Kind::hot_slab)};
  EXPECT_FALSE(path.send(sender_.get(), parts).exposed);
  EXPECT_EQ(counters_.bytes_copied, 16397u);
  expect(parts);
}

TEST_F(SendPathTest, MixedBatchesAreSplitIntoRuns) {
  SendPath path({.splice_bytes_min = 32 * 1024}, counters_);
  const std::array parts{
      part(0, 13, Kind::small),  part(4096, 16384, Kind::slab),
      part(13, 13, Kind::small), part(20480, 16384, Kind::slab),
      part(26, 13, Kind::small), part(65536, 16384, Kind::hot_slab),
      part(39, 13, Kind::small), part(81920 + 7, 16384, Kind::hot_slab),
      part(52, 13, Kind::small), part(200'000, 16384, Kind::slab),
      part(65, 13, Kind::small), part(300'000, 16384, Kind::hot_slab),
      part(78, 5, Kind::small),
  };
  const auto sent = path.send(sender_.get(), parts);
  EXPECT_TRUE(sent.exposed);
  EXPECT_EQ(sent.accepted, 6u * 16397 + 5);
  EXPECT_EQ(counters_.sendmsg_calls, 2u);
  EXPECT_EQ(counters_.vmsplice_calls, 1u);
  EXPECT_EQ(counters_.bytes_spliced, 2u * 16397);
  expect(parts);
}

// Framed blocks: each part begins where the last one ends, with a tail now and then between them;
// together they are one pipeful, exactly, or more.
TEST_F(SendPathTest, PartsThatTouchAreOneRun) {
  for (const std::uint32_t shift : {0u, 1u, 4083u}) {
    SendPath path({.splice_bytes_min = 32 * 1024}, counters_);
    std::vector<SendPart> parts;
    std::uint32_t bytes = 0;
    for (std::uint32_t i = 0; i < 40; ++i) {
      parts.push_back(part(shift + i * 16397, 16397, Kind::hot_slab));
      if (i % 4 == 3) parts.push_back(part(i, 52, Kind::small));
      bytes += 16397 + (i % 4 == 3 ? 52 : 0);
    }
    const auto before = counters_.bytes_spliced;
    std::vector<std::byte> got(bytes);
    std::size_t sent = 0;
    std::thread reader([&] {
      EXPECT_EQ(::recv(receiver_.get(), got.data(), got.size(), MSG_WAITALL),
                static_cast<ssize_t>(got.size()));
    });
    std::size_t first = 0;
    while (first < parts.size()) {
      std::size_t taken = path.send(sender_.get(), std::span(parts).subspan(first)).accepted;
      sent += taken;
      while (taken > 0) {
        const auto here =
            static_cast<std::uint32_t>(std::min<std::size_t>(taken, parts[first].length));
        parts[first].data += here;
        parts[first].length -= here;
        taken -= here;
        if (parts[first].length == 0) ++first;
      }
    }
    reader.join();
    EXPECT_EQ(sent, bytes);
    EXPECT_GT(counters_.bytes_spliced, before + bytes / 2);
    std::size_t at = 0;
    for (std::uint32_t i = 0; i < 40; ++i) {
      ASSERT_EQ(std::memcmp(got.data() + at, pages_ + shift + i * 16397, 16397), 0) << i;
      at += 16397;
      if (i % 4 != 3) continue;
      ASSERT_EQ(std::memcmp(got.data() + at, pages_ + i, 52), 0) << i;
      at += 52;
    }
  }
}

TEST_F(SendPathTest, SwitchedOffItCopiesAll) {
  SendPath path({.splice = false}, counters_);
  EXPECT_FALSE(path.splices());
  EXPECT_STREQ(path.splice_trouble(), "");
  const std::array parts{part(0, 300'000, Kind::hot_slab)};
  EXPECT_FALSE(path.send(sender_.get(), parts).exposed);
  EXPECT_EQ(counters_.vmsplice_calls, 0u);
}

TEST_F(SendPathTest, AShortSpliceLeavesNothingInThePipe) {
  SendPath path({.splice_bytes_min = 1}, counters_);
  std::vector<std::byte> expected;
  for (int i = 0; i < 1000; ++i) {
    const std::array parts{part(100, 700'000, Kind::hot_slab)};
    const auto sent = path.send(sender_.get(), parts);
    expected.insert(expected.end(), pages_ + 100, pages_ + 100 + sent.accepted);
    if (sent.full) break;
  }
  ASSERT_GT(counters_.bytes_refused, 0u);
  // The same pipe, another stream.
  auto listeners = open_listeners({&kLoopback, 1}, {});
  ASSERT_TRUE(listeners);
  const host::Fd other = dial(listeners->bound[0], AF_INET);
  pollfd wait{listeners->sockets[0].get(), POLLIN, 0};
  ASSERT_EQ(::poll(&wait, 1, 10'000), 1);
  const host::Fd accepted(::accept4(listeners->sockets[0].get(), nullptr, nullptr, SOCK_NONBLOCK));
  const std::array parts{part(5000, 20'000, Kind::hot_slab)};
  ASSERT_EQ(path.send(accepted.get(), parts).accepted, 20'000u);
  std::vector<std::byte> got(20'000);
  ASSERT_EQ(::recv(other.get(), got.data(), got.size(), MSG_WAITALL), 20'000);
  EXPECT_EQ(std::memcmp(got.data(), pages_ + 5000, got.size()), 0);
  got.resize(expected.size());
  ASSERT_EQ(::recv(receiver_.get(), got.data(), got.size(), MSG_WAITALL),
            static_cast<ssize_t>(got.size()));
  EXPECT_TRUE(got == expected);
}

TEST_F(SendPathTest, AResetStreamIsAnErrorNotASignal) {
  SendPath path({.splice_bytes_min = 1}, counters_);
  reset_on_close(receiver_.get());
  receiver_.reset();
  const std::array parts{part(0, 100'000, Kind::hot_slab)};
  int error = 0;
  for (int i = 0; i < 10 && error != EPIPE; ++i) {
    error = path.send(sender_.get(), parts).error;
    ASSERT_NE(error, 0);
  }
  EXPECT_EQ(error, EPIPE);
}

// --- limits, in both flavours ---

struct Port {
  std::unique_ptr<uring::Ring> ring;
  std::unique_ptr<UringStreams> uring;
  std::unique_ptr<EpollStreams> epoll;
  host::MonotonicClock clock;
  std::vector<StreamEvent> events;
  std::size_t data = 0;

  StreamPort& port() {
    return uring != nullptr ? static_cast<StreamPort&>(*uring) : static_cast<StreamPort&>(*epoll);
  }
  const StreamCounters& counters() const {
    return uring != nullptr ? uring->counters() : epoll->counters();
  }
  bool until(const std::function<bool()>& condition) {
    const Instant deadline = clock.now() + Duration::seconds(20);
    while (!condition()) {
      if (clock.now() > deadline) return false;
      if (uring != nullptr) {
        ring->wait(Duration::milliseconds(5));
      } else {
        epoll->wait(Duration::milliseconds(5));
      }
      std::array<StreamEvent, 16> out;
      const std::size_t n = port().poll_events(clock.now(), out);
      for (std::size_t i = 0; i < n; ++i) {
        data += out[i].data.size();
        events.push_back(out[i]);
      }
    }
    return true;
  }
  std::size_t count(StreamEvent::Kind kind) const {
    return static_cast<std::size_t>(std::count_if(
        events.begin(), events.end(), [&](const StreamEvent& e) { return e.kind == kind; }));
  }
};

class PortTest : public testing::TestWithParam<bool> {
 protected:
  void open(const StreamOptions& options) {
    auto listeners = open_listeners({&kLoopback, 1}, {});
    ASSERT_TRUE(listeners);
    address_ = listeners->bound[0];
    if (GetParam()) {
      auto ring = uring::Ring::create({});
      if (!ring) {
        PENSTOCK_SKIP(ring.error().message);
      }
      port_.ring = std::move(*ring);
      auto streams = UringStreams::create(*port_.ring, std::move(*listeners), options);
      ASSERT_TRUE(streams);
      port_.uring = std::move(*streams);
    } else {
      auto streams = EpollStreams::create(std::move(*listeners), options);
      ASSERT_TRUE(streams);
      port_.epoll = std::move(*streams);
    }
  }
  Endpoint address_;
  Port port_;
};

TEST_P(PortTest, OutOfDescriptorsPausesAcceptingAndGoesOn) {
  open({.streams_max = 16, .buffer_count = 16});
  if (IsSkipped()) return;
  std::vector<host::Fd> clients;
  for (int i = 0; i < 3; ++i)
    clients.push_back(dial(address_, AF_INET));
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  const host::Fd next(::dup(0));  // the lowest free descriptor
  none.rlim_cur = static_cast<rlim_t>(next.get());
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  const bool paused = port_.until([&] { return port_.counters().accept_pauses > 0; });
  const std::uint64_t pauses = port_.counters().accept_pauses;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(paused);
  EXPECT_LT(pauses, 10u) << "it spins";
  EXPECT_TRUE(port_.until([&] { return port_.count(StreamEvent::Kind::accepted) == 3; }));
}

// A send that was short although the socket has room (here: vmsplice meets a page that isn't there)
// is followed by `writable` too.
TEST_P(PortTest, AShortSendThatTheSocketIsNotToBlameForGoesOn) {
  open({.streams_max = 16, .buffer_count = 16});
  if (IsSkipped()) return;
  const host::Fd client = dial(address_, AF_INET);
  ASSERT_TRUE(port_.until([&] { return port_.count(StreamEvent::Kind::accepted) == 1; }));
  const StreamHandle stream = port_.events[0].stream;
  // Nothing that was to be told of the socket's room before is left.
  ASSERT_EQ(::send(client.get(), "x", 1, 0), 1);
  ASSERT_TRUE(port_.until([&] { return port_.data == 1; }));
  constexpr std::size_t kSize = 128 * 1024;
  auto* const pages = static_cast<std::byte*>(
      ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  for (std::size_t i = 0; i < kSize; ++i)
    pages[i] = static_cast<std::byte>(i * 7 + i / 251);
  ASSERT_EQ(::mprotect(pages + kSize / 2, kSize / 2, PROT_NONE), 0);
  const SendPart whole{pages, kSize, SendPart::Kind::hot_slab};
  const std::size_t first = port_.port().try_send(stream, std::span(&whole, 1)).accepted;
  EXPECT_EQ(first, port_.counters().bytes_spliced);
  ASSERT_GT(first, 0u) << "nothing was spliced";
  ASSERT_EQ(::mprotect(pages + kSize / 2, kSize / 2, PROT_READ | PROT_WRITE), 0);
  ASSERT_TRUE(port_.until([&] { return port_.count(StreamEvent::Kind::writable) == 1; }));
  const SendPart rest{pages + first, static_cast<std::uint32_t>(kSize - first),
                      SendPart::Kind::hot_slab};
  EXPECT_EQ(port_.port().try_send(stream, std::span(&rest, 1)).accepted, kSize - first);
  std::vector<std::byte> got(kSize);
  ASSERT_EQ(::recv(client.get(), got.data(), kSize, MSG_WAITALL), ssize_t{kSize});
  EXPECT_EQ(std::memcmp(got.data(), pages, kSize), 0);
  ::munmap(pages, kSize);
}

TEST_P(PortTest, OutOfHandlesResetsTheConnection) {
  open({.streams_max = 2, .buffer_count = 16});
  if (IsSkipped()) return;
  std::vector<host::Fd> clients;
  for (int i = 0; i < 5; ++i)
    clients.push_back(dial(address_, AF_INET));
  ASSERT_TRUE(port_.until([&] { return port_.counters().accepts_refused == 3; }));
  EXPECT_EQ(port_.count(StreamEvent::Kind::accepted), 2u);
  char byte = 0;
  EXPECT_EQ(::recv(clients[4].get(), &byte, 1, 0), -1);
  EXPECT_EQ(errno, ECONNRESET);
}

TEST_P(PortTest, ConnectsFromTheAddressItIsTold) {
  open({.streams_max = 4, .buffer_count = 16});
  if (IsSkipped()) return;
  StreamHandle handle;
  ASSERT_TRUE(port_.port().connect(address_, IpAddress::v4(127, 0, 0, 9), handle));
  ASSERT_TRUE(port_.until([&] { return port_.count(StreamEvent::Kind::accepted) == 1; }));
  for (const StreamEvent& event : port_.events) {
    if (event.kind != StreamEvent::Kind::accepted) continue;
    EXPECT_EQ(event.endpoint.ip, IpAddress::v4(127, 0, 0, 9));
  }
}

TEST_P(PortTest, AnAddressThatIsNotOursIsUnreachable) {
  open({.streams_max = 4, .buffer_count = 16});
  if (IsSkipped()) return;
  StreamHandle handle;
  ASSERT_TRUE(port_.port().connect(address_, IpAddress::v4(192, 0, 2, 1), handle));
  ASSERT_TRUE(port_.until([&] { return !port_.events.empty(); }));
  EXPECT_EQ(port_.events[0].kind, StreamEvent::Kind::closed);
  EXPECT_EQ(port_.events[0].error, StreamError::unreachable);
}

TEST_P(PortTest, LingeringEndsWithItsTime) {
  open({.streams_max = 1, .buffer_count = 16, .linger = Duration::milliseconds(50)});
  if (IsSkipped()) return;
  const host::Fd client = dial(address_, AF_INET);
  ASSERT_TRUE(port_.until([&] { return !port_.events.empty(); }));
  port_.port().close(port_.events[0].stream, true);
  // The peer never closes; the only handle comes back nevertheless.
  StreamHandle handle;
  EXPECT_TRUE(port_.until([&] { return port_.port().connect(address_, {}, handle); }));
}

INSTANTIATE_TEST_SUITE_P(Flavours, PortTest, testing::Bool(),
                         [](const auto& p) { return p.param ? "uring" : "epoll"; });

// Only the io_uring flavour shares its buffers with what streams hold.
TEST(UringBuffers, APausedHoarderDoesNotStarveTheOthers) {
  auto ring = uring::Ring::create({});
  if (!ring) return;  // the suite above says so
  auto listeners = open_listeners({&kLoopback, 1}, {});
  ASSERT_TRUE(listeners);
  const Endpoint address = listeners->bound[0];
  Port port;
  port.ring = std::move(*ring);
  auto streams = UringStreams::create(
      *port.ring, std::move(*listeners),
      {.streams_max = 8, .buffer_count = 8, .buffer_size = 1024, .splice = false});
  ASSERT_TRUE(streams);
  port.uring = std::move(*streams);
  const host::Fd hoarder = dial(address, AF_INET);
  ASSERT_TRUE(port.until([&] { return port.count(StreamEvent::Kind::accepted) == 1; }));
  const StreamHandle paused = port.events[0].stream;
  const host::Fd honest = dial(address, AF_INET);
  ASSERT_TRUE(port.until([&] { return port.count(StreamEvent::Kind::accepted) == 2; }));
  // Received, and then paused before it is polled: all buffers are the hoarder's.
  const std::vector<char> flood(8 * 1024);
  ASSERT_EQ(::send(hoarder.get(), flood.data(), flood.size(), 0), 8 * 1024);
  port.ring->wait(Duration::seconds(5));
  port.uring->set_reading(paused, false);
  ASSERT_EQ(::send(honest.get(), "hello", 5, 0), 5);
  EXPECT_TRUE(port.until([&] { return port.data == 5; }));
  EXPECT_EQ(port.counters().hoarders_reset, 1u);
  EXPECT_TRUE(port.until([&] { return port.count(StreamEvent::Kind::closed) == 1; }));
  for (const StreamEvent& event : port.events) {
    if (event.kind != StreamEvent::Kind::closed) continue;
    EXPECT_EQ(event.error, StreamError::no_resources);
    EXPECT_EQ(event.stream, paused);
  }
}

}  // namespace
}  // namespace penstock::stream_kernel
