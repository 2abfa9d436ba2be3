// A stack between the device and the peers of tcp_peers.hh, with an application that seeds, and the
// steps that tcp.cc measures.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <span>
#include <vector>

#include "host/arena_mapping.hh"
#include "net/stack.hh"
#include "tcp/shared.hh"
#include "tcp_peers.hh"

namespace penstock::bench {

inline constexpr std::uint32_t kBlockBytes = 13 + 16384;
inline constexpr std::uint32_t kTsoBytes = 16384;
inline constexpr Duration kRoundTrip = Duration::milliseconds(2);
inline constexpr std::size_t kEventsMax = 256;

inline double wall_ns() {
  return std::chrono::duration<double, std::nano>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// What two readings of the clock measure when nothing lies between them.
inline double clock_cost() {
  static const double kCost = [] {
    std::array<double, 1001> costs{};
    for (double& cost : costs) {
      const double from = wall_ns();
      cost = wall_ns() - from;
    }
    std::nth_element(costs.begin(), costs.begin() + 500, costs.end());
    return costs[500];
  }();
  return kCost;
}

inline net::StackOptions options_for(std::uint32_t connections, std::uint32_t in_flight) {
  net::StackOptions options;
  options.interfaces = {{Peers::our_address(), 24, Peers::gateway()}};
  options.listen = {kOurPort};
  options.secret = {0x0123456789abcdef, 0xfedcba9876543210};
  options.connections_max = connections;
  options.send_pages = connections * (2 + in_flight / 500) + 64;
  options.receive_pages = 64;
  options.record_pages = connections * (4 + in_flight / 64) * 9 / 8 + 64;
  return options;
}

struct Phase {
  double ns = 0;
  std::uint64_t count = 0;
  [[nodiscard]] double each() const { return count == 0 ? 0 : ns / static_cast<double>(count); }
};

// callgrind collects between these: --toggle-collect='*measured_input*' or '*measured_output*'.
[[gnu::noinline]] inline std::size_t measured_input(net::Stack& stack, NullPort& port, Instant now,
                                                    std::span<StreamEvent> events) {
  std::size_t count = 0;
  do {
    count += stack.poll_events(now, events.subspan(count));
  } while (port.waiting() != 0);
  return count;
}
struct Block {
  StreamHandle stream;
  std::uint64_t pin = 0;  // need only differ from one to the next
};
inline void give_blocks(net::Stack& stack, std::span<const Block> blocks,
                        const std::byte* content) {
  static const std::array<std::byte, 13> kHeader{};
  constexpr std::uint32_t kContent = kBlockBytes - kHeader.size();
  for (const Block& block : blocks) {
    const std::array<SendPart, 2> parts{
        SendPart{kHeader.data(), kHeader.size(), SendPart::Kind::small},
        SendPart{content, kContent, SendPart::Kind::hot_slab, block.pin,
                 ContentRef{TorrentSlot(1), kContent, block.pin * kContent}}};
    if (stack.try_send(block.stream, parts).accepted != kBlockBytes)
      broken("the stack took less than a block");
  }
}
[[gnu::noinline]] inline void measured_output(net::Stack& stack, Instant now,
                                              std::span<const Block> blocks,
                                              const std::byte* content) {
  give_blocks(stack, blocks, content);
  stack.flush(now);
}

class World {
 public:
  World(std::uint32_t connections, std::uint32_t in_flight, bool tso, std::uint32_t extra = 0)
      : connections_(connections),
        in_flight_(in_flight),
        tso_(tso),
        port_(tso ? kTsoBytes : 0, true),
        peers_(port_, connections + extra, in_flight * kMss),
        stack_(port_, options_for(connections + extra, in_flight), now_),
        handles_(connections + extra),
        content_(kBlockBytes) {
    for (const std::span<std::byte> memory : stack_.memory())
      host::prefer_huge_pages(memory);
    for (std::uint32_t i = 0; i < connections; i += 64)
      establish(i, std::min(64u, connections - i));
  }

  Phase input, output;

  // --- rows ---

  // alone: one ACK of each connection in a burst.
  void send_steps(std::uint64_t acks, bool alone = false) {
    for (input = output = {}; input.count < acks;)
      send_step(alone);
  }
  // Windows open, and the slow start that they need.
  void fill() {
    const std::uint32_t blocks = in_flight_ * kMss / kBlockBytes + 4;
    for (std::uint32_t n = 0; n < blocks; ++n) {
      for (std::uint32_t i = 0; i < connections_; ++i)
        gives_.push_back({handles_[i], ++pin_});
    }
    give();
    constexpr int kParts = 40;
    std::uint64_t before = 0;
    for (int round = 0; round < 40; ++round) {
      for (int part = 0; part < kParts; ++part) {
        now_ = now_ + kRoundTrip / kParts;
        flush_all();
      }
      std::uint64_t under_way = 0;
      for (std::uint32_t i = 0; i < connections_; ++i)
        under_way += peers_.under_way(i);
      if (under_way == before && round > 4) break;
      before = under_way;
      if (round == 39) broken("the windows don't open");
      // All that came in this round, in few ACKs.
      for (std::uint32_t i = 0; i < connections_; i += 64) {
        for (std::uint32_t k = i; k < std::min(i + 64, connections_); ++k)
          peers_.ack(now_, k, in_flight_ * kMss);
        take_all();
        give();
      }
    }
    flush_all();
    std::uint64_t under_way = 0;
    for (std::uint32_t i = 0; i < connections_; ++i)
      under_way += peers_.under_way(i);
    flown_ = static_cast<double>(under_way) / kMss / connections_;
  }
  [[nodiscard]] double flown() const { return flown_; }

  void receive_steps(std::uint64_t segments) {
    constexpr std::uint32_t kTrain = 8;
    const std::uint32_t together = std::min(connections_, 64 / kTrain);
    for (input = output = {}; input.count < segments;) {
      for (std::uint32_t k = 0; k < together; ++k, next_ = (next_ + 1) % connections_) {
        for (std::uint32_t n = 0; n < kTrain; ++n)
          peers_.data(now_, next_, kMss);
      }
      measure(together * kTrain);
      output.count += together * kTrain;
      peers_.read_notes();
      advance(kTrain, together);
    }
  }

  // Connections beyond those that are there come and go, 64 at a time.
  void setup_steps(std::uint64_t connections) {
    constexpr std::uint32_t kTogether = 64;
    for (input = output = {}; input.count < connections;) {
      const std::uint64_t before = input.count;
      const auto all = [&](auto&& make) {
        for (std::uint32_t i = connections_; i < connections_ + kTogether; ++i)
          make(i);
        measure(0);
        peers_.read_notes();
        now_ = now_ + Duration::microseconds(100);
      };
      all([&](std::uint32_t i) { peers_.syn(now_, i); });
      all([&](std::uint32_t i) { peers_.ack(now_, i, 1); });
      all([&](std::uint32_t i) { peers_.ack(now_, i, 0, wire::TcpFlags::fin); });
      all([&](std::uint32_t i) {
        if (!peers_[i].fin) broken("the stack didn't close");
        peers_.ack(now_, i, 1);
      });
      if (stack_.connections() != connections_) broken("connections stay");
      input.count = before + kTogether;
    }
  }

  void check() {
    const tcp::Counters& counters = stack_.tcp_counters();
    for (const std::uint64_t dropped : counters.dropped)
      if (dropped != 0) broken("the stack dropped a segment");
    if (counters.bytes_again + counters.retransmission_timeouts + counters.tail_loss_probes +
            counters.record_shortages + counters.page_shortages !=
        0)
      broken("not the path that was to be measured");
    stack_.validate();
  }

 private:
  void establish(std::uint32_t from, std::uint32_t count) {
    for (std::uint32_t i = from; i < from + count; ++i)
      peers_.syn(now_, i);
    take_all();
    flush_all();
    now_ = now_ + kRoundTrip;
    for (std::uint32_t i = from; i < from + count; ++i)
      peers_.ack(now_, i, 1);
    take_all();
    flush_all();
  }

  void on_event(const StreamEvent& event) {
    if (event.kind == StreamEvent::Kind::accepted) {
      const auto& ip = event.endpoint.ip.bytes;
      handles_[static_cast<std::size_t>(ip[14] << 8 | ip[15])] = event.stream;
    } else if (event.kind == StreamEvent::Kind::released) {
      gives_.push_back({event.stream, ++pin_});
    } else if (event.kind == StreamEvent::Kind::closed &&
               event.error != StreamError::closed_by_peer) {
      broken("a connection ended");
    }
  }
  void take_all() {
    std::size_t count = 0;
    do {
      count = stack_.poll_events(now_, events_);
      for (std::size_t i = 0; i < count; ++i)
        on_event(events_[i]);
    } while (count != 0 || port_.waiting() != 0);
  }
  void flush_all() {
    do {
      peers_.read_notes();
      take_all();
      stack_.flush(now_);
    } while (!port_.notes().empty());
  }
  void give() {
    give_blocks(stack_, gives_, content_.data());
    gives_.clear();
  }
  // The frames that were made go in, and what follows goes out.
  void measure(std::uint64_t count) {
    const double from = wall_ns();
    const std::size_t events = measured_input(stack_, port_, now_, events_);
    const double between = wall_ns();
    input.ns += between - from - clock_cost();
    input.count += count;
    gives_.clear();
    for (std::size_t i = 0; i < events; ++i)
      on_event(events_[i]);
    const double again = wall_ns();
    measured_output(stack_, now_, gives_, content_.data());
    output.ns += wall_ns() - again - clock_cost();
    gives_.clear();
  }

  void send_step(bool alone) {
    const std::uint32_t acks_a_turn = alone ? 1 : tso_ ? 6 : 4;
    const std::uint32_t segments_a_turn = alone ? 2 : tso_ ? 11 : 8;
    const std::uint32_t together = std::min(connections_, 64 / acks_a_turn);
    // Turns of a connection in a burst; half of what is under way at most.
    const std::uint32_t turns = alone ? 1
                                      : std::clamp(64 / acks_a_turn / together, 1u,
                                                   std::max(1u, in_flight_ / 2 / segments_a_turn));
    std::uint64_t acks = 0;
    for (std::uint32_t k = 0; k < together; ++k, next_ = (next_ + 1) % connections_) {
      for (std::uint32_t n = 0; n < turns * acks_a_turn && peers_.under_way(next_) != 0;
           ++n, ++acks)
        peers_.ack(now_, next_, (n % 6 == 5 && tso_ ? 1 : 2) * kMss);
    }
    measure(acks);
    const std::uint64_t bytes = peers_.read_notes();
    sent_bytes_ += bytes;
    output.count += sent_bytes_ / kMss;
    sent_bytes_ %= kMss;
    advance(turns * segments_a_turn, together);
  }
  // So that a round trip is what it is said to be.
  void advance(std::uint32_t segments, std::uint32_t together) {
    const std::int64_t steps =
        std::max<std::int64_t>(1, std::int64_t{in_flight_} * connections_ / (segments * together));
    now_ = now_ + kRoundTrip / steps;
  }

  std::uint32_t connections_;
  std::uint32_t in_flight_;
  bool tso_;
  Instant now_ = Instant{} + Duration::seconds(1000);
  NullPort port_;
  Peers peers_;
  net::Stack stack_;
  std::vector<StreamHandle> handles_;
  std::vector<std::byte> content_;
  std::vector<Block> gives_;
  std::array<StreamEvent, kEventsMax> events_;
  std::uint64_t pin_ = 0;
  std::uint64_t sent_bytes_ = 0;
  std::uint32_t next_ = 0;
  double flown_ = 0;
};

}  // namespace penstock::bench
