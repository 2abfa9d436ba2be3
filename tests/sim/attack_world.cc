#include "sim/attack_world.hh"

#include <algorithm>
#include <vector>

#include "tcp/shared.hh"

namespace penstock::test {
namespace {

using support::Bytes;
using wire::TcpFlags;
using Kind = AttackOptions::Kind;

constexpr std::uint16_t kPort = 7000;
constexpr auto us = Duration::microseconds;
constexpr auto ms = Duration::milliseconds;

constexpr wire::MacAddress mac(std::uint8_t group, std::uint8_t number) {
  return {{2, 0, 0, 0, group, number}};
}

IpAddress address(bool v6, std::uint8_t network, std::uint8_t host) {
  if (!v6) return IpAddress::v4(10, 0, network, host);
  IpAddress out;
  out.bytes = {0xfd, 0, 0, 0, 0, 0, 0, network};
  out.bytes[15] = host;
  return out;
}

support::NicOptions nic(int side) {
  support::NicOptions n;
  n.mac = mac(0, static_cast<std::uint8_t>(side + 1));
  n.tx_checksum = n.rx_checksum = true;
  n.tso_bytes_max = 65'000;
  n.holds_payload = true;
  n.tx_ring = 512;
  n.rx_ring = 1024;
  n.line_rate = 1'250'000'000;
  return n;
}

// 20 ms there and back. The bottleneck has a queue of one such product.
support::PathOptions path(const AttackOptions& options) {
  support::PathOptions p;
  p.rate = options.congested ? 12'500'000 : 125'000'000;
  p.delay = ms(10);
  p.queue = options.congested ? 250'000 : 2'500'000;
  return p;
}

BulkOptions host(const AttackOptions& options, int side) {
  BulkOptions out;
  net::StackOptions& s = out.stack;
  const auto network = static_cast<std::uint8_t>(side + 1);
  s.interfaces.push_back({.address = address(options.v6, network, network),
                          .prefix_length = static_cast<std::uint8_t>(options.v6 ? 64 : 24),
                          .gateway = address(options.v6, network, 254)});
  if (side == 0) s.listen = {kPort};
  s.connections_max = 64;
  s.syn_backlog = 1024;
  s.send_buffer = 1 << 20;
  if (!options.congested) s.receive_window = 1 << 16;
  s.send_pages = s.receive_pages = 2048;
  s.record_pages = 2048;
  s.time_wait_max = 64;
  s.secret = {options.seed, 77 + static_cast<std::uint64_t>(side)};
  // Four times what the stack takes for a SYN (tools/sim --suite attack shows it).
  out.lag = us(50);
  out.frame_cost = us(1);
  return out;
}

}  // namespace

// What the server's segments say about each flow: what an attacker must not know.
class AttackWorld::Watch final : public support::LinkTap {
 public:
  struct Flow {
    SeqNumber nxt;      // of the server
    SeqNumber una;      // as the client acknowledged it
    SeqNumber rcv_nxt;  // of the server
    std::uint32_t window = 0;
    std::uint8_t shift = 0;
    std::uint32_t ts = 0;  // of the client
    bool seen = false;
  };

  void on_sent(Instant, int side, std::span<const std::byte> frame, const char*) override {
    const support::Packet p = support::parse_packet(frame);
    if (!p.is_tcp()) return;
    Flow& flow = flows[side == 0 ? p.tcp.destination_port : p.tcp.source_port];
    if (side == 1) {
      if (p.tcp.has(TcpFlags::ack)) flow.una = p.tcp.ack;
      flow.ts = p.tcp.options.ts_value;
      return;
    }
    const SeqNumber end = p.tcp.seq + p.tcp.length();
    if (p.tcp.has(TcpFlags::syn)) {
      flow.nxt = end;
      flow.shift = p.tcp.options.window_shift;
      if (flow.shift == wire::kNoWindowShift) flow.shift = 0;
    } else {
      if (before(flow.nxt, end)) flow.nxt = end;
      flow.seen = true;
    }
    flow.rcv_nxt = p.tcp.ack;
    flow.window = std::uint32_t{p.tcp.window} << (p.tcp.has(TcpFlags::syn) ? 0 : flow.shift);
  }
  void on_received(Instant, int, std::span<const std::byte>, bool) override {}

  std::map<std::uint16_t, Flow> flows;  // by the client's port
};

AttackWorld::AttackWorld(const AttackOptions& options)
    : options_(options),
      link_(options.seed, nic(0), nic(1), path(options), path(options)),
      watch_(std::make_unique<Watch>()),
      random_(options.seed ^ 0xa77acc) {
  support::RouterOptions router;
  for (std::uint8_t side = 0; side < 2; ++side) {
    router.macs[side] = mac(1, side);
    router.addresses[side] = address(options.v6, static_cast<std::uint8_t>(side + 1), 254);
  }
  link_.set_router(router);
  // Answers to spoofed sources don't take the clients' bottleneck.
  link_.forward_only_to(0, address(options.v6, 2, 2));
  link_.add_tap(*watch_);
  server_ = std::make_unique<BulkHost>(link_, 0, host(options, 0));
  client_ = std::make_unique<BulkHost>(link_, 1, host(options, 1));
}

AttackWorld::~AttackWorld() = default;

std::uint64_t AttackWorld::received(const BulkHost& host) const {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < std::min(options_.flows, host.streams().size()); ++i)
    sum += host.streams()[i].received;
  return sum;
}

Bytes AttackWorld::flood_frame() {
  support::Addressing to{.source_mac = mac(1, 0), .destination_mac = mac(0, 1)};
  to.destination = address(options_.v6, 1, 1);
  to.source = address(options_.v6, 99, 0);
  const std::uint64_t who = random_.next();
  for (std::size_t i = 0; i < 3; ++i)
    to.source.bytes[13 + i] = static_cast<std::uint8_t>(who >> (8 * i));
  if (!options_.v6) to.source.bytes[12] = 100;  // 100.x.x.x
  wire::TcpSegment s;
  s.source_port = static_cast<std::uint16_t>(1024 + random_.below(60'000));
  s.destination_port = kPort;
  s.seq = SeqNumber(static_cast<std::uint32_t>(random_.next()));
  s.window = 65535;
  if (options_.kind == Kind::cookies && random_.below(2) == 0) {
    s.flags = TcpFlags::ack;
    s.ack = SeqNumber(static_cast<std::uint32_t>(random_.next()));
    return support::build_tcp(to, s, {});
  }
  s.flags = TcpFlags::syn;
  wire::TcpOptions options;
  options.mss = 1460;
  options.sack_permitted = options.has_timestamps = true;
  options.window_shift = 7;
  options.ts_value = static_cast<std::uint32_t>(random_.next());
  return support::build_tcp(to, s, support::encode_options(options));
}

// The attacker knows the four-tuple and nothing else; but half of its guesses of SEG.SEQ are right.
// Then something else is wrong about them, as it is but for one in thousands of guesses.
Bytes AttackWorld::blind_frame() {
  support::Addressing to{.source_mac = mac(1, 0), .destination_mac = mac(0, 1)};
  to.destination = address(options_.v6, 1, 1);
  to.source = address(options_.v6, 2, 2);
  // Of the newcomer it learns when it is established.
  auto victim = watch_->flows.begin();
  do {
    victim = std::next(watch_->flows.begin(),
                       static_cast<std::ptrdiff_t>(random_.below(watch_->flows.size())));
  } while (!victim->second.seen);
  const Watch::Flow& flow = victim->second;
  const auto any = [this] { return static_cast<std::uint32_t>(random_.next()); };

  wire::TcpSegment s;
  s.source_port = victim->first;
  s.destination_port = kPort;
  s.window = static_cast<std::uint16_t>(any());
  // What SND.UNA may not have been for a window's length, nor will be soon.
  const SeqNumber wrong_ack = flow.una + (1u << 30) + any() % (1u << 31);
  s.ack = wrong_ack;
  const bool inside = flow.window > 1 && random_.below(2) == 0;
  s.seq = SeqNumber(any());
  // What comes has even lengths: an odd place is never RCV.NXT itself.
  if (inside) s.seq = flow.rcv_nxt + (any() % (flow.window - 1) | 1);
  Bytes payload(random_.below(1400));
  wire::TcpOptions options;
  options.has_timestamps = random_.below(4) != 0;
  options.ts_value = any();
  options.ts_echo = any();
  switch (random_.below(7)) {
    case 0:
      s.flags = TcpFlags::rst;
      break;
    case 1:
      s.flags = TcpFlags::rst | TcpFlags::ack;
      break;
    case 2:
      s.flags = TcpFlags::syn;
      s.seq = SeqNumber(any());
      break;
    case 3:
      s.flags = TcpFlags::syn | TcpFlags::ack;
      break;
    case 4:
      s.flags = TcpFlags::ack | TcpFlags::fin;
      break;
    case 5:
      s.flags = TcpFlags::ack | TcpFlags::psh;
      s.payload = payload;
      // Right ACK and place, but the timestamp is missing or old (RFC 7323 §3.2, §5.3).
      if (inside && random_.below(2) == 0) {
        s.ack = flow.una;
        options.has_timestamps = random_.below(2) == 0;
        options.ts_value = flow.ts - 1'000'000 - any() % (1u << 30);
      }
      break;
    default:
      s.flags = TcpFlags::ack;
      options.sack_count = 1;
      options.sacks[0] = {SeqNumber(any()), SeqNumber(any())};
      break;
  }
  return support::build_tcp(to, s, support::encode_options(options));
}

void AttackWorld::attack(Instant now) {
  if (options_.kind == Kind::none || now < Instant{} + options_.warm_up) return;
  const Duration since = now - (Instant{} + options_.warm_up);
  const auto due = static_cast<std::uint64_t>(since.as_seconds() * options_.frames_per_second);
  for (; sent_ < due; ++sent_)
    link_.inject(0, options_.kind == Kind::blind ? blind_frame() : flood_frame());
}

void AttackWorld::sample(Instant now, AttackResult& out) {
  out.connections_most = std::max(out.connections_most, server_->stack().connections());
  if (now - sampled_ < Duration::seconds(1)) return;
  sampled_ = now;
  const tcp::Counters& c = server_->stack().tcp_counters();
  out.challenges_most = std::max(out.challenges_most, c.challenge_acks - challenges_before_);
  out.resets_most = std::max(out.resets_most, c.resets_out - resets_before_);
  challenges_before_ = c.challenge_acks;
  resets_before_ = c.resets_out;
}

AttackResult AttackWorld::run() {
  AttackResult out;
  const Endpoint remote{address(options_.v6, 1, 1), kPort};
  for (std::size_t i = 0; i < options_.flows; ++i)
    client_->connect(remote);
  const Instant begins = Instant{} + options_.warm_up;
  const Instant ends = begins + options_.length;
  const Instant newcomer_at = begins + options_.length / 4;
  std::size_t newcomer = 0;
  bool begun = false;
  std::uint64_t up = 0;
  std::uint64_t down = 0;
  std::vector<std::uint64_t> each(options_.flows);
  std::chrono::nanoseconds spent{};
  for (Instant now{}; now < ends && out.wrong.empty();) {
    link_.advance_to(now);
    attack(now);
    server_->step(now);
    client_->step(now);
    link_.advance_to(now);
    sample(now, out);
    if (!begun && now >= begins) {
      begun = true;
      up = received(*server_);
      down = received(*client_);
      for (std::size_t i = 0; i < options_.flows; ++i)
        each[i] = client_->streams()[i].received;
      spent = server_->spent();
    }
    if (newcomer == 0 && now >= newcomer_at) newcomer = client_->connect(remote, kNewcomerBytes);
    for (const BulkHost* host : {server_.get(), client_.get()})
      if (!host->wrong().empty()) out.wrong = host->wrong();
    if (!link_.complaint().empty()) out.wrong = link_.complaint();
    Instant next = earlier(server_->next(now), client_->next(now));
    next = earlier(next, link_.next_event());
    if (options_.kind != Kind::none) next = earlier(next, std::max(begins, now + us(50)));
    now = std::max(now + Duration::nanoseconds(1), earlier(next, now + ms(10)));
  }
  out.up = received(*server_) - up;
  out.down = received(*client_) - down;
  out.slowest = ~std::uint64_t{0};
  for (std::size_t i = 0; i < options_.flows; ++i) {
    const BulkHost::Stream& stream = client_->streams()[i];
    out.slowest = std::min(out.slowest, stream.received - each[i]);
    if (stream.closed && out.wrong.empty()) out.wrong = "a flow was closed";
  }
  server_->stack().validate();
  const BulkHost::Stream& late = client_->streams()[newcomer];
  if (late.open) out.newcomer_connected = late.opened - newcomer_at;
  out.newcomer_bytes = late.received;
  const tcp::Counters& c = server_->stack().tcp_counters();
  out.attack_frames = sent_;
  out.ring_drops = link_.counters(1).ring_drops;
  out.syns = c.syns_in;
  out.cookies_sent = c.syn_cookies_sent;
  out.cookies_good = c.syn_cookies_good;
  out.challenges = c.challenge_acks;
  for (BulkHost* host : {server_.get(), client_.get()}) {
    out.timeouts += host->stack().tcp_counters().retransmission_timeouts;
    out.recoveries += host->stack().tcp_counters().recoveries;
  }
  out.allocations = server_->allocations() + client_->allocations();
  out.nanoseconds_per_attack_frame =
      sent_ == 0
          ? 0
          : static_cast<double>((server_->spent() - spent).count()) / static_cast<double>(sent_);
  return out;
}

}  // namespace penstock::test
