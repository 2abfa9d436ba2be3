// Closing a stream had the kernel look at every operation of every other stream: 1 to 2 ms each
// with 10,000 peers, so that a few hundred broken handshakes a second took half the core.
#include <algorithm>
#include <array>
#include <ctime>
#include <vector>

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "host/clock.hh"
#include "host/fd.hh"
#include "stream_kernel/sockets.hh"
#include "stream_kernel/uring_streams.hh"
#include "support/skip.hh"
#include "uring/ring.hh"

namespace penstock {
namespace {

constexpr std::size_t kOthersMin = 1500, kOthersMax = 8000;
constexpr std::size_t kClosed = 100;

Duration thread_cpu() {
  timespec t{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return Duration{t.tv_sec * 1'000'000'000 + t.tv_nsec};
}

class StreamCloseCost : public testing::Test {
 protected:
  void SetUp() override {
    rlimit files{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = files.rlim_max;
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &files), 0);
    // Both ends are ours.
    others_ = std::min<std::size_t>(files.rlim_cur / 2, kOthersMax + 2 * kClosed);
    if (others_ < kOthersMin + 2 * kClosed) {
      PENSTOCK_SKIP("too few open files are allowed (ulimit -Hn)");
    }
    others_ -= 2 * kClosed;
    auto ring = uring::Ring::create({});
    if (!ring) {
      PENSTOCK_SKIP(ring.error().message);
    }
    ring_ = std::move(*ring);
    const Endpoint any{IpAddress::v4(127, 0, 0, 1), 0};
    auto listeners = stream_kernel::open_listeners({&any, 1}, {});
    ASSERT_TRUE(listeners);
    address_ = listeners->bound[0];
    stream_kernel::StreamOptions options;
    options.streams_max = static_cast<std::uint32_t>(others_ + kClosed + 16);
    auto port = stream_kernel::UringStreams::create(*ring_, std::move(*listeners), options);
    ASSERT_TRUE(port);
    port_ = std::move(*port);
  }

  void turn() {
    ring_->wait(Duration::microseconds(100));
    std::array<StreamEvent, 64> events;
    const std::size_t count = port_->poll_events(clock_.now(), events);
    for (const StreamEvent& event : std::span(events).first(count)) {
      if (event.kind == StreamEvent::Kind::accepted) streams_.push_back(event.stream);
    }
  }

  void open_streams(std::size_t count) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(address_.port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const std::size_t wanted = streams_.size() + count;
    for (std::size_t i = 0; i < count; ++i) {
      host::Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      ASSERT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
      clients_.push_back(std::move(fd));
      turn();
    }
    const Instant deadline = clock_.now() + Duration::seconds(20);
    while (streams_.size() < wanted && clock_.now() < deadline)
      turn();
    ASSERT_EQ(streams_.size(), wanted);
  }

  // CPU time of this thread, kernel included, for each of kClosed streams.
  std::int64_t close_cost_ns() {
    std::int64_t best = INT64_MAX;
    for (int round = 0; round < 5; ++round) {
      open_streams(kClosed);
      for (int i = 0; i < 10; ++i)
        turn();  // all their operations are armed
      const Duration before = thread_cpu();
      for (std::size_t i = 0; i < kClosed; ++i) {
        port_->close(streams_.back(), false);
        streams_.pop_back();
      }
      turn();
      turn();
      best = std::min(best, (thread_cpu() - before).ns);
      port_->validate();
      clients_.resize(clients_.size() - kClosed);
    }
    return best / static_cast<std::int64_t>(kClosed);
  }

  std::size_t others_ = 0;
  host::MonotonicClock clock_;
  Endpoint address_;
  std::unique_ptr<uring::Ring> ring_;
  std::unique_ptr<stream_kernel::UringStreams> port_;
  std::vector<StreamHandle> streams_;
  std::vector<host::Fd> clients_;
};

TEST_F(StreamCloseCost, DoesNotGrowWithTheOthers) {
  const std::int64_t alone = close_cost_ns();
  open_streams(others_);
  const std::int64_t among_others = close_cost_ns();
  // By descriptor it was 50 times as much.
  EXPECT_LT(among_others, 2 * alone + 5'000) << "ns; alone: " << alone;
  RecordProperty("alone_ns", static_cast<int>(alone));
  RecordProperty("among_others_ns", static_cast<int>(among_others));
}

}  // namespace
}  // namespace penstock
