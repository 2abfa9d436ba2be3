// How much two own stacks get out of a path, in virtual time: two of the cells that tests/linux
// measures against Linux, and how ten flows share a bottleneck.
#include <array>
#include <cstring>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "net/stack.hh"
#include "support/sim_link.hh"
#include "tcp/shared.hh"

namespace penstock::test {
namespace {

constexpr std::uint64_t kRate = 50'000'000 / 8;  // bytes of frames a second
constexpr std::uint16_t kPort = 5001;
constexpr std::size_t kBlock = 64 * 1024;
constexpr auto ms = Duration::milliseconds;

struct Path {
  std::uint32_t loss = 0;  // per million, towards the receiver
  Duration rtt;
  std::uint64_t seed = 1;
};

// Host A sends over `flows` connections, host B counts what comes.
class BulkWorld {
 public:
  struct Flow {
    StreamHandle stream;
    bool open = false;
    std::uint64_t bytes = 0;
  };

  explicit BulkWorld(const Path& path, std::size_t flows)
      : link_(path.seed, nic(0), nic(1), towards(path), back(path)), sending_(flows) {
    for (std::size_t i = 0; i < block_.size(); ++i)
      block_[i] = static_cast<std::byte>(i % kBlock * 2654435761u >> 13);
    for (int side = 0; side < 2; ++side)
      stacks_[side] =
          std::make_unique<net::Stack>(link_.nic(side), options(side, path.seed), Instant{});
    for (Flow& flow : sending_)
      EXPECT_TRUE(stacks_[0]->connect({address(1), kPort}, {}, flow.stream));
  }
  ~BulkWorld() {
    for (int side = 0; side < 2; ++side)
      link_.stop(side);
  }
  BulkWorld(const BulkWorld&) = delete;
  BulkWorld& operator=(const BulkWorld&) = delete;

  void run(Duration length) {
    const Instant end = now_ + length;
    while (now_ < end) {
      link_.advance_to(now_);
      for (int side = 0; side < 2; ++side)
        step(side);
      link_.advance_to(now_);
      Instant next = link_.next_event();
      for (int side = 0; side < 2; ++side) {
        next = earlier(next, stacks_[side]->next_timeout());
        if (link_.nic(side).has_received()) next = now_;
      }
      now_ = std::max(now_, next);
    }
  }

  [[nodiscard]] const std::vector<Flow>& received() const { return receiving_; }
  [[nodiscard]] std::uint64_t bytes() const {
    std::uint64_t sum = 0;
    for (const Flow& flow : receiving_)
      sum += flow.bytes;
    return sum;
  }
  [[nodiscard]] const tcp::Counters& sender() const { return stacks_[0]->tcp_counters(); }
  [[nodiscard]] bool intact() const { return intact_; }

 private:
  static IpAddress address(int side) {
    return IpAddress::v4(10, 0, 0, static_cast<std::uint8_t>(side + 1));
  }
  static support::NicOptions nic(int side) {
    support::NicOptions n;
    n.mac.bytes = {2, 0, 0, 0, 0, static_cast<std::uint8_t>(side + 1)};
    n.tx_checksum = n.rx_checksum = true;
    n.tso_bytes_max = 65'000;
    n.tx_ring = n.rx_ring = 4096;
    return n;
  }
  // As tests/linux: a bandwidth-delay product of queue, at least 10 ms; loss on one way.
  static support::PathOptions towards(const Path& path) {
    support::PathOptions p;
    p.rate = kRate;
    p.delay = path.rtt / 2;
    p.loss = path.loss;
    const Duration queue = std::max(path.rtt, ms(10));
    p.queue =
        static_cast<std::uint32_t>(kRate * static_cast<std::uint64_t>(queue.ns) / 1'000'000'000);
    return p;
  }
  static support::PathOptions back(const Path& path) {
    support::PathOptions p;
    p.delay = path.rtt / 2;
    return p;
  }
  static net::StackOptions options(int side, std::uint64_t seed) {
    net::StackOptions s;
    s.interfaces.push_back({address(side), 24, {}});
    s.connections_max = 32;
    s.receive_window = tcp::kReceiveWindowMost;
    if (side == 1) s.listen = {kPort};
    s.secret = {seed, static_cast<std::uint64_t>(side)};
    return s;
  }

  void step(int side) {
    std::array<StreamEvent, 64> events;
    std::size_t count = 0;
    do {
      count = stacks_[side]->poll_events(now_, events);
      for (std::size_t i = 0; i < count; ++i)
        on_event(side, events[i]);
    } while (count == events.size());
    if (side == 0) feed();
    stacks_[side]->flush(now_);
  }
  void on_event(int side, const StreamEvent& event) {
    if (side == 0) {
      for (Flow& flow : sending_) {
        if (flow.stream != event.stream) continue;
        EXPECT_NE(event.kind, StreamEvent::Kind::closed);
        flow.open |= event.kind == StreamEvent::Kind::connected;
      }
      return;
    }
    if (event.kind == StreamEvent::Kind::accepted) {
      Flow flow;
      flow.stream = event.stream;
      receiving_.push_back(flow);
    }
    if (event.kind == StreamEvent::Kind::data) on_data(event);
  }
  void on_data(const StreamEvent& event) {
    for (Flow& flow : receiving_) {
      if (flow.stream != event.stream) continue;
      const std::byte* const wanted = &block_[flow.bytes % kBlock];
      intact_ &= event.data.size() <= kBlock &&
                 std::memcmp(event.data.data(), wanted, event.data.size()) == 0;
      flow.bytes += event.data.size();
    }
  }
  void feed() {
    for (Flow& flow : sending_) {
      if (!flow.open) continue;
      for (;;) {
        const SendPart part{.data = &block_[flow.bytes % kBlock],
                            .length = kBlock,
                            .kind = SendPart::Kind::slab,
                            .pin = ++pins_,
                            .content = {}};
        const std::size_t taken = stacks_[0]->try_send(flow.stream, {&part, 1}).accepted;
        flow.bytes += taken;
        if (taken < kBlock) break;
      }
    }
  }

  Instant now_{};
  std::vector<std::byte> block_ = std::vector<std::byte>(2 * kBlock);
  support::SimLink link_;
  std::array<std::unique_ptr<net::Stack>, 2> stacks_;
  std::vector<Flow> sending_;
  std::vector<Flow> receiving_;
  std::uint64_t pins_ = 0;
  bool intact_ = true;
};

struct Outcome {
  double mbps = 0;
  tcp::Counters sender;
};

Outcome bulk(const Path& path, Duration length) {
  BulkWorld world(path, 1);
  world.run(length);
  EXPECT_TRUE(world.intact());
  return {static_cast<double>(world.bytes()) * 8 / length.as_seconds() / 1e6, world.sender()};
}

double jain(const std::vector<std::uint64_t>& values) {
  double sum = 0, squares = 0;
  for (const std::uint64_t value : values) {
    sum += static_cast<double>(value);
    squares += static_cast<double>(value) * static_cast<double>(value);
  }
  return sum * sum / (static_cast<double>(values.size()) * squares);
}

// Nothing on these paths is a reason for a timeout, and nothing that arrived goes again.
void expect_only_what_was_needed(const tcp::Counters& sender) {
  EXPECT_EQ(sender.retransmission_timeouts, 0u);
  EXPECT_EQ(sender.undone, 0u);
  EXPECT_EQ(sender.dsacks_in, 0u);
}

// 47.8 Mbit/s is what segments of 1,448 bytes leave of the rate. Slow start takes seven round
// trips, 1.5 Mbit/s of 20 s; one more is allowed for its end.
TEST(TcpGoodput, ALongPathWithoutLossIsFull) {
  const Outcome outcome = bulk({.rtt = ms(100)}, Duration::seconds(20));
  std::printf("0 %% x 100 ms: %.2f Mbit/s\n", outcome.mbps);
  EXPECT_GE(outcome.mbps, 46.0);
  expect_only_what_was_needed(outcome.sender);
}

// In its Reno-friendly region CUBIC has a window of sqrt(alpha (1 + beta) / (2 (1 - beta) p)) in
// the mean (RFC 9438 §4.3): 12.2 segments, 6.9 Mbit/s. Linux gets 5.5 (tests/linux).
TEST(TcpGoodput, OnePerCentOfLoss) {
  double sum = 0;
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    const Outcome outcome =
        bulk({.loss = 10'000, .rtt = ms(20), .seed = seed}, Duration::seconds(20));
    std::printf("1 %% x 20 ms: %.2f Mbit/s\n", outcome.mbps);
    sum += outcome.mbps;
    EXPECT_EQ(outcome.sender.undone, 0u);
    EXPECT_EQ(outcome.sender.dsacks_in, 0u);
  }
  EXPECT_GE(sum / 3, 6.9);
}

TEST(TcpGoodput, TenFlowsShareFairly) {
  BulkWorld world({.rtt = ms(20)}, 10);
  world.run(Duration::seconds(30));
  std::vector<std::uint64_t> shares;
  for (const BulkWorld::Flow& flow : world.received())
    shares.push_back(flow.bytes);
  ASSERT_EQ(shares.size(), 10u);
  std::printf("Jain's index of ten: %.3f\n", jain(shares));
  EXPECT_GE(jain(shares), 0.95);
}

}  // namespace
}  // namespace penstock::test
