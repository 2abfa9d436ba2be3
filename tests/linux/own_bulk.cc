// own_bulk send|receive: bulk TCP by own stack over a TAP interface, without BitTorrent. See
// README.md. What is sent is what relay/transfer.py sends and checks: a counter of four bytes, high
// byte first, that begins anew after 256 KiB.
#include <array>
#include <csignal>
#include <cstring>
#include <iostream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/endian.hh"
#include "host/clock.hh"
#include "net/stack.hh"
#include "nic_tap/tap_port.hh"
#include "tcp/shared.hh"

namespace penstock::own_bulk {
namespace {

constexpr std::size_t kBlock = 256 * 1024;
constexpr std::uint32_t kPart = 64 * 1024;
// As long as the kernel's largest by default (tcp_wmem): the window of a long path.
constexpr std::uint32_t kSendBuffer = 4 << 20;
constexpr Duration kConnectMost = Duration::seconds(30);
// For what is still under way after the last byte was queued.
constexpr Duration kLingerMost = Duration::seconds(30);
constexpr Duration kAnswersFor = Duration::milliseconds(500);
constexpr std::int64_t kSecondsMax = 3600;
constexpr std::uint32_t kFlowsMax = 64;
// A sleep shorter than this would end too late for the pacer: look instead.
constexpr Duration kSleepMin = Duration::microseconds(50);

volatile std::sig_atomic_t told_to_end = 0;

struct Options {
  bool sends = false;
  std::string interface;
  IpAddress address;
  IpAddress peer;
  std::uint16_t port = 5001;
  std::int64_t seconds = 10;
  std::uint32_t flows = 1;
  bool offload = true;
};

struct Flow {
  StreamHandle stream;
  std::uint64_t bytes = 0;
  Instant began = Instant::never();  // connected, accepted
  Instant ended = Instant::never();  // its last byte was taken, or came
  StreamError error = StreamError::none;
  bool open = false;
  bool wrong = false;
};

Result<void> set_option(Options& out, const std::string& word, const std::string& value) {
  const auto number = [&value] { return std::strtoll(value.c_str(), nullptr, 10); };
  if (word == "--interface") {
    out.interface = value;
  } else if (word == "--address" || word == "--peer") {
    auto ip = parse_ip(value);
    if (!ip) return tl::unexpected(std::move(ip).error());
    (word == "--peer" ? out.peer : out.address) = *ip;
  } else if (word == "--port") {
    out.port = static_cast<std::uint16_t>(number());
  } else if (word == "--seconds") {
    out.seconds = number();
    if (out.seconds < 1 || out.seconds > kSecondsMax) return fail("--seconds: 1 … 3600");
  } else if (word == "--flows") {
    out.flows = static_cast<std::uint32_t>(number());
    if (out.flows < 1 || out.flows > kFlowsMax) return fail("--flows: 1 … 64");
  } else if (word == "--offload") {
    out.offload = value != "no";
  } else {
    return fail(word + " is no option");
  }
  return {};
}

Result<Options> parse(int count, char** arguments) {
  Options out;
  if (count < 2) return fail("send or receive?");
  const std::string what = arguments[1];
  if (what != "send" && what != "receive") return fail("\"" + what + "\": send or receive?");
  out.sends = what == "send";
  for (int i = 2; i < count; i += 2) {
    if (i + 1 == count) return fail(std::string(arguments[i]) + " lacks its value");
    if (auto set = set_option(out, arguments[i], arguments[i + 1]); !set)
      return tl::unexpected(std::move(set).error());
  }
  if (out.interface.empty() || out.address.is_unspecified())
    return fail("--interface and --address are needed");
  if (out.sends && out.peer.is_unspecified()) return fail("--peer is needed");
  return out;
}

net::StackOptions stack_options(const Options& options) {
  net::StackOptions out;
  out.connections_max = kFlowsMax * 2;
  out.send_buffer = kSendBuffer;
  out.receive_window = tcp::kReceiveWindowMost;
  if (!options.sends) out.listen = {options.port};
  out.tso = options.offload;
  const bool four = options.address.is_v4();
  out.interfaces.push_back({options.address, static_cast<std::uint8_t>(four ? 24 : 64), {}});
  host::SystemEntropy().fill(std::as_writable_bytes(std::span(out.secret)));
  return out;
}

class Bulk {
 public:
  Bulk(const Options& options, nic_tap::TapPort& port)
      : options_(options),
        port_(port),
        content_(2 * kBlock),
        stack_(port, stack_options(options), clock_.now()) {
    for (std::size_t i = 0; i < content_.size(); i += 4)
      store_be32(&content_[i], static_cast<std::uint32_t>(i % kBlock / 4));
  }

  bool run() {
    const Instant start = clock_.now();
    end_ = start + Duration::seconds(options_.seconds);
    if (options_.sends) connect();
    // For peers that never come, or never end.
    const Instant limit = end_ + kConnectMost + kLingerMost;
    Instant now = start;
    while (now < limit && told_to_end == 0 && !port_.gone()) {
      poll(now);
      if (options_.sends)
        feed(now);
      else
        stop_when_over(now);
      stack_.flush(now);
      if (done(now)) break;
      wait(now, limit);
      now = clock_.now();
    }
    seconds_ = (clock_.now() - start).as_seconds();
    return now < limit && !port_.gone();
  }

  [[nodiscard]] nlohmann::ordered_json report() const {
    nlohmann::ordered_json flows = nlohmann::ordered_json::array();
    std::uint64_t bytes = 0;
    bool intact = flows_.size() == options_.flows;
    for (const Flow& flow : flows_) {
      bytes += flow.bytes;
      const bool timed = flow.began != Instant::never() && flow.ended != Instant::never();
      // Who has enough resets the other.
      const bool well = flow.error == StreamError::none || flow.error == StreamError::reset ||
                        flow.error == StreamError::closed_by_peer;
      intact &= !flow.wrong && well && flow.began != Instant::never();
      flows.push_back({{"bytes", flow.bytes},
                       {"seconds", timed ? (flow.ended - flow.began).as_seconds() : 0.0},
                       {"error", static_cast<int>(flow.error)}});
    }
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& t) {
      return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
    };
    const tcp::Counters& c = stack_.tcp_counters();
    return {{"schema", "penstock.own_bulk/1"},
            {"bytes", bytes},
            {"intact", intact},
            {"seconds", seconds_},
            {"cpu_seconds", seconds(usage.ru_utime) + seconds(usage.ru_stime)},
            {"flows", flows},
            {"counters",
             {{"segments_in", c.segments_in},
              {"segments_out", c.segments_out},
              {"bytes_out", c.bytes_out},
              {"bytes_again", c.bytes_again},
              {"recoveries", c.recoveries},
              {"timeouts", c.retransmission_timeouts},
              {"tail_loss_probes", c.tail_loss_probes},
              {"undone", c.undone},
              {"dsacks_in", c.dsacks_in},
              {"window_probes", c.window_probes},
              {"record_shortages", c.record_shortages},
              {"page_shortages", c.page_shortages},
              {"port_full", stack_.counters().port_full},
              {"tx_short", port_.counters().tx_short}}},
            {"final", true}};
  }

 private:
  void connect() {
    flows_.resize(options_.flows);
    for (Flow& flow : flows_) {
      flow.open = stack_.connect({options_.peer, options_.port}, {}, flow.stream);
      if (!flow.open) flow.error = StreamError::no_resources;
    }
  }
  Flow* find(StreamHandle stream) {
    for (Flow& flow : flows_)
      if (flow.open && flow.stream == stream) return &flow;
    return nullptr;
  }
  void poll(Instant now) {
    std::array<StreamEvent, 64> events;
    std::size_t count = 0;
    // Bounded: a burst of the port each.
    for (int turn = 0; turn < 16; ++turn) {
      count = stack_.poll_events(now, events);
      for (std::size_t i = 0; i < count; ++i)
        on_event(now, events[i]);
      if (count < events.size()) break;
    }
  }
  void on_event(Instant now, const StreamEvent& event) {
    if (event.kind == StreamEvent::Kind::accepted) {
      if (flows_.size() == options_.flows) return stack_.close(event.stream, false);
      flows_.push_back({.stream = event.stream, .began = now, .open = true});
      return;
    }
    Flow* const flow = find(event.stream);
    if (flow == nullptr) return;
    switch (event.kind) {
      case StreamEvent::Kind::connected:
        flow->began = now;
        break;
      case StreamEvent::Kind::data:
        flow->wrong |=
            std::memcmp(event.data.data(), &content_[flow->bytes % kBlock], event.data.size()) != 0;
        flow->bytes += event.data.size();
        break;
      case StreamEvent::Kind::closed:
        flow->open = false;
        flow->error = event.error;
        if (flow->ended == Instant::never()) flow->ended = now;
        break;
      default:  // released: the content is always there
        break;
    }
  }
  void feed(Instant now) {
    for (Flow& flow : flows_) {
      if (!flow.open || flow.began == Instant::never()) continue;
      if (now >= end_) {
        stack_.close(flow.stream, true);
        flow.open = false;
        flow.ended = now;
        continue;
      }
      for (;;) {
        const SendPart part{.data = &content_[flow.bytes % kBlock],
                            .length = kPart,
                            .kind = SendPart::Kind::slab,
                            .pin = ++pins_,
                            .content = {}};
        const std::size_t taken = stack_.try_send(flow.stream, {&part, 1}).accepted;
        flow.bytes += taken;
        if (taken < kPart) break;
      }
    }
  }
  void stop_when_over(Instant now) {
    for (Flow& flow : flows_) {
      if (!flow.open || now - flow.began < Duration::seconds(options_.seconds)) continue;
      stack_.close(flow.stream, false);
      flow.open = false;
      flow.ended = now;
    }
  }
  bool done(Instant now) {
    if (flows_.size() < options_.flows) return false;
    for (const Flow& flow : flows_)
      if (flow.open) return false;
    if (idle_since_ == Instant::never()) idle_since_ = now;
    // A receiver's reset may get lost: it answers for a while.
    const Duration most = options_.sends ? kLingerMost : kAnswersFor;
    return (options_.sends && stack_.connections() == 0) || now - idle_since_ >= most;
  }
  // When a receiver has something to do without a frame.
  [[nodiscard]] Instant next_end() const {
    Instant next = idle_since_ == Instant::never() ? idle_since_ : idle_since_ + kAnswersFor;
    for (const Flow& flow : flows_)
      if (flow.open) next = earlier(next, flow.began + Duration::seconds(options_.seconds));
    return next;
  }
  void wait(Instant now, Instant limit) {
    Instant due = earlier(stack_.next_timeout(), limit);
    if (options_.sends && now < end_) due = earlier(due, end_);
    if (!options_.sends) due = earlier(due, next_end());
    const Duration most = due - now;
    if (most < kSleepMin || port_.more_received()) return;
    pollfd entry{port_.fd(), POLLIN, 0};
    const timespec time{static_cast<time_t>(most.ns / 1'000'000'000),
                        static_cast<long>(most.ns % 1'000'000'000)};
    ::ppoll(&entry, 1, &time, nullptr);
  }

  const Options& options_;
  nic_tap::TapPort& port_;
  host::MonotonicClock clock_;
  std::vector<std::byte> content_;  // twice, so that any stretch of a block is in one piece
  std::vector<Flow> flows_;
  std::uint64_t pins_ = 0;
  Instant end_{};
  Instant idle_since_ = Instant::never();
  double seconds_ = 0;
  net::Stack stack_;  // refers to the content
};

int main(int count, char** arguments) {
  auto options = parse(count, arguments);
  if (!options) {
    std::cerr << "own_bulk: " << options.error().message
              << "\nusage: own_bulk send|receive --interface NAME --address OURS [--peer THEIRS] "
                 "[--port N] [--seconds N] [--flows N] [--offload yes|no]\n";
    return 2;
  }
  auto port = nic_tap::TapPort::create(
      {.interface = options->interface, .offload = options->offload, .mac = {}});
  if (!port) {
    std::cerr << "own_bulk: " << port.error().message << '\n';
    return 1;
  }
  ::prctl(PR_SET_TIMERSLACK, 1);
  struct sigaction action {};
  action.sa_handler = [](int) { told_to_end = 1; };
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  Bulk bulk(*options, **port);
  std::cout << R"({"event":"ready"})" << std::endl;
  const bool ended = bulk.run();
  const auto report = bulk.report();
  std::cout << report.dump() << std::endl;
  return ended && report["intact"].get<bool>() ? 0 : 1;
}

}  // namespace
}  // namespace penstock::own_bulk

int main(int count, char** arguments) {
  return penstock::own_bulk::main(count, arguments);
}
