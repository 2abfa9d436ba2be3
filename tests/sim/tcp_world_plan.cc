#include <algorithm>
#include <cmath>
#include <cstdio>

#include "sim/tcp_world.hh"
#include "tcp/limits.hh"

namespace penstock::test {
namespace {

// Between low and high, each order of magnitude alike.
std::uint64_t draw_log(Random& random, std::uint64_t low, std::uint64_t high) {
  const double u = static_cast<double>(random.below(1 << 24)) / (1 << 24);
  const double value =
      std::exp(std::log(static_cast<double>(low)) +
               u * (std::log(static_cast<double>(high)) - std::log(static_cast<double>(low))));
  return std::clamp(static_cast<std::uint64_t>(value), low, high);
}

Duration draw_time(Random& random, Duration low, Duration high) {
  return Duration::nanoseconds(static_cast<std::int64_t>(
      draw_log(random, static_cast<std::uint64_t>(low.ns), static_cast<std::uint64_t>(high.ns))));
}

bool one_in(Random& random, std::uint64_t n) {
  return random.below(n) == 0;
}

constexpr auto us = Duration::microseconds;
constexpr auto ms = Duration::milliseconds;

support::PathOptions draw_path(Random& r, std::uint64_t rate, Duration delay, std::uint16_t mtu) {
  support::PathOptions p;
  p.rate = rate;
  p.delay = delay;
  // From a few packets to several bandwidth-delay products.
  const auto product =
      static_cast<std::uint64_t>(static_cast<double>(rate) * delay.as_seconds() * 2);
  p.queue = static_cast<std::uint32_t>(
      draw_log(r, 8 * 1024, std::max<std::uint64_t>(4 * product, 64 * 1024)));
  p.queue = std::min(p.queue, static_cast<std::uint32_t>(2 * rate));  // at most 2 s of waiting
  p.queue = std::max<std::uint32_t>(p.queue, 4u * mtu);
  if (one_in(r, 4)) p.mark_above = p.queue / 2;
  if (one_in(r, 4)) p.jitter = draw_time(r, us(10), ms(20));
  if (one_in(r, 2)) p.loss = static_cast<std::uint32_t>(draw_log(r, 500, 100'000));
  if (one_in(r, 6)) {
    p.good_mean = draw_time(r, ms(100), ms(3000));
    p.bad_mean = draw_time(r, ms(1), ms(100));
    p.bad_loss = static_cast<std::uint32_t>(200'000 + r.below(800'001));
  }
  if (one_in(r, 4)) {
    p.reorder = static_cast<std::uint32_t>(draw_log(r, 1000, 200'000));
    p.reorder_by = draw_time(r, us(100), ms(100));
  }
  if (one_in(r, 5)) p.duplicate = static_cast<std::uint32_t>(draw_log(r, 1000, 100'000));
  if (one_in(r, 5)) p.corrupt = static_cast<std::uint32_t>(draw_log(r, 500, 30'000));
  if (one_in(r, 6)) p.thin_acks = draw_time(r, us(100), ms(20));
  return p;
}

support::NicOptions draw_nic(Random& r, int side) {
  support::NicOptions n;
  n.mac.bytes = {2, 0, 0, 0, 0, static_cast<std::uint8_t>(side + 1)};
  const std::uint16_t mtus[] = {1500, 1500, 1500, 1400, 1280, 9000};
  n.mtu = mtus[r.below(std::size(mtus))];
  n.tx_checksum = one_in(r, 2);
  if (n.tx_checksum && one_in(r, 2)) {
    n.tso_bytes_max = static_cast<std::uint32_t>(16 * 1024 + r.below(48 * 1024));
  }
  n.rx_checksum = one_in(r, 2);
  n.merges = one_in(r, 3);
  n.holds_payload = one_in(r, 2);
  n.tx_ring = static_cast<std::uint32_t>(draw_log(r, 8, 512));
  n.rx_ring = static_cast<std::uint32_t>(draw_log(r, 64, 4096));
  if (one_in(r, 3)) n.line_rate = draw_log(r, 12'500'000, 1'250'000'000);
  if (one_in(r, 4)) n.short_bursts = 200'000;
  return n;
}

net::StackOptions draw_stack(Random& r, bool v6, int side) {
  net::StackOptions s;
  net::Interface interface;
  if (v6) {
    interface.address.bytes = {0xfd, 0, 0, 1};
    interface.address.bytes[15] = static_cast<std::uint8_t>(side + 1);
    interface.prefix_length = 64;
  } else {
    interface.address = IpAddress::v4(10, 0, 0, static_cast<std::uint8_t>(side + 1));
    interface.prefix_length = 24;
  }
  s.interfaces.push_back(interface);
  s.connections_max = 64;
  s.syn_backlog = one_in(r, 3) ? 1 : 64;  // 1: cookies as soon as two come at once
  s.send_buffer = static_cast<std::uint32_t>(draw_log(r, 8 * 1024, 1 << 20));
  s.receive_window = static_cast<std::uint32_t>(draw_log(r, 4 * 1024, 1 << 20));
  s.receive_window_first =
      std::min(s.receive_window, static_cast<std::uint32_t>(draw_log(r, 4 * 1024, 64 * 1024)));
  // Enough for everybody, or so few that they run out.
  s.send_pages = s.receive_pages = one_in(r, 6) ? 64 : 4096;
  s.record_pages = one_in(r, 6) ? 128 : 2048;
  s.time_wait_max = 64;
  s.neighbours_max = 16;  // validate() looks at all
  s.ecn = !one_in(r, 3);
  s.pacing = !one_in(r, 4);
  s.tso = !one_in(r, 4);
  s.secret = {r.next(), r.next()};
  return s;
}

AppOptions draw_app(Random& r) {
  AppOptions a;
  a.think_most = draw_time(r, us(10), ms(500));
  a.write_most = static_cast<std::uint32_t>(draw_log(r, 100, 128 * 1024));
  a.pinned = static_cast<std::uint32_t>(r.below(1001));
  if (one_in(r, 3)) a.stops_reading = static_cast<std::uint32_t>(draw_log(r, 1, 200));
  a.stop_most = draw_time(r, ms(1), ms(3000));
  if (one_in(r, 3)) a.shed_every = draw_time(r, ms(1), ms(500));
  a.content_most = draw_time(r, us(10), ms(500));
  if (one_in(r, 12)) a.content_lost = 50;
  return a;
}

ConnectionPlan draw_connection(Random& r, std::size_t index, std::uint64_t bytes_most) {
  ConnectionPlan c;
  c.port = static_cast<std::uint16_t>(7000 + index);
  c.starts = Instant{} + ms(static_cast<std::int64_t>(r.below(3000)));
  for (std::uint64_t& bytes : c.bytes)
    bytes = one_in(r, 4) ? 0 : draw_log(r, 1, bytes_most);
  const std::uint64_t kind = r.below(24);
  using Kind = ConnectionPlan::Kind;
  c.kind = kind < 17   ? Kind::exchange
           : kind < 19 ? Kind::early
           : kind < 22 ? Kind::abort
           : kind < 23 ? Kind::refused
                       : Kind::nowhere;
  const std::uint64_t closer = r.below(3);
  c.closes[0] = closer != 1;
  c.closes[1] = closer != 0;
  if (c.kind == Kind::abort) c.aborts = c.starts + draw_time(r, us(1), ms(10'000));
  return c;
}

void cut_link(Random& r, TcpWorldPlan& plan) {
  const Instant from = Instant{} + draw_time(r, ms(10), ms(5000));
  if (one_in(r, 3)) {
    plan.cut = true;
    for (support::PathOptions& path : plan.paths)
      path.dead_from = from;
    return;
  }
  const Duration length = draw_time(r, ms(10), ms(20'000));
  const std::uint64_t which = r.below(3);
  for (int side = 0; side < 2; ++side) {
    if (which != 2 && which != static_cast<std::uint64_t>(side)) continue;
    plan.paths[side].dead_from = from;
    plan.paths[side].dead_until = from + length;
  }
}

// Each matter has a sequence of its own: a draw more in one leaves the others as they are.
enum class Matter : std::uint64_t {
  world,
  link,
  host_a,
  host_b,
  path_a,
  path_b,
  connections,
  wraps,
  devices
};

Random sequence(std::uint64_t seed, Matter matter) {
  // Neighbouring seeds must not be the same sequence, one number apart.
  return Random(Random(Random(seed).next() + static_cast<std::uint64_t>(matter)).next());
}

// Each host into a network of its own.
void place_router(TcpWorldPlan& plan) {
  for (int side = 0; side < 2; ++side) {
    net::Interface& interface = plan.stacks[side].interfaces[0];
    const auto number = static_cast<std::uint8_t>(side + 1);
    IpAddress& gateway = interface.gateway;
    if (plan.v6) {
      interface.address.bytes[7] = number;
      gateway = interface.address;
      gateway.bytes[15] = 254;
    } else {
      interface.address = IpAddress::v4(10, 0, number, number);
      gateway = IpAddress::v4(10, 0, number, 254);
    }
    plan.router.addresses[side] = gateway;
    plan.router.macs[side].bytes = {2, 0, 0, 0, 1, number};
  }
}

void draw_paths(TcpWorldPlan& plan) {
  Random r = sequence(plan.seed, Matter::link);
  const std::uint64_t rate = draw_log(r, 30'000, 60'000'000);
  const Duration delay = draw_time(r, us(10), ms(300));
  for (int side = 0; side < 2; ++side) {
    const bool alike = side == 0 || !one_in(r, 4);
    Random p = sequence(plan.seed, side == 0 ? Matter::path_a : Matter::path_b);
    const std::uint64_t own_rate = draw_log(p, 30'000, 60'000'000);
    const Duration own_delay = draw_time(p, us(10), ms(300));
    plan.paths[side] =
        draw_path(p, alike ? rate : own_rate, alike ? delay : own_delay, plan.nics[side].mtu);
  }
  if (one_in(r, 5)) {
    const std::uint16_t low = plan.v6 ? 1280 : 600;
    const auto mtu = static_cast<std::uint16_t>(low + r.below(1500 - low));
    const bool answers = !one_in(r, 3);
    for (support::PathOptions& path : plan.paths) {
      path.mtu = mtu;
      path.answer_too_big = answers;
    }
  }
  if (one_in(r, 10)) cut_link(r, plan);
}

void draw_connections(TcpWorldPlan& plan) {
  Random r = sequence(plan.seed, Matter::connections);
  const std::size_t count = 1 + (one_in(r, 2) ? 0 : r.below(8));
  const std::uint64_t least = std::min(plan.paths[0].rate, plan.paths[1].rate);
  const std::uint64_t total = std::min<std::uint64_t>(least * 10, 800'000);
  for (std::size_t i = 0; i < count; ++i) {
    plan.connections.push_back(draw_connection(r, i, std::max<std::uint64_t>(total / count, 2)));
    plan.client_side.push_back(static_cast<int>(r.below(2)));
    const ConnectionPlan& c = plan.connections.back();
    if (c.kind != ConnectionPlan::Kind::refused) {
      plan.stacks[1 - plan.client_side.back()].listen.push_back(c.port);
    }
  }
}

void draw_wraps(TcpWorldPlan& plan) {
  Random r = sequence(plan.seed, Matter::wraps);
  if (!one_in(r, 4)) return;
  for (int side = 0; side < 2; ++side) {
    TcpWorldPlan::Wrap& wrap = plan.wraps[side];
    const std::uint64_t bytes = plan.connections[0].bytes[side == plan.client_side[0] ? 0 : 1];
    if (!one_in(r, 3)) wrap.bytes = static_cast<std::uint32_t>(draw_log(r, 1, bytes + 2));
    if (!one_in(r, 3)) wrap.milliseconds = static_cast<std::uint32_t>(draw_log(r, 1, 10'000));
    // 2^31 is where signed numbers wrap.
    wrap.at = one_in(r, 4) ? 1u << 31 : 0;
  }
}

// How long a ring full of the largest frames takes.
Duration ring_time(const support::NicOptions& nic) {
  if (nic.line_rate == 0) return {};
  const std::uint64_t frame = std::max<std::uint64_t>(nic.mtu, nic.tso_bytes_max) + 100;
  return Duration::nanoseconds(
      static_cast<std::int64_t>(nic.tx_ring * frame * 1'000'000'000 / nic.line_rate));
}

// A device that is the bottleneck, and keeps what is sent again while its ACK comes.
void draw_slow_devices(TcpWorldPlan& plan) {
  Random r = sequence(plan.seed, Matter::devices);
  for (support::NicOptions& nic : plan.nics) {
    if (!one_in(r, 8)) continue;
    nic.line_rate = draw_log(r, 50'000, 5'000'000);
    nic.holds_payload = true;
    while (ring_time(nic) > Duration::seconds(2)) {
      nic.line_rate *= 2;
      nic.tx_ring = std::max(nic.tx_ring / 2, 8u);
    }
  }
}

}  // namespace

TcpWorldPlan TcpWorldPlan::draw(std::uint64_t seed) {
  TcpWorldPlan plan;
  plan.seed = seed;
  Random r = sequence(seed, Matter::world);
  plan.v6 = one_in(r, 2);
  for (int side = 0; side < 2; ++side) {
    Random h = sequence(seed, side == 0 ? Matter::host_a : Matter::host_b);
    plan.nics[side] = draw_nic(h, side);
    plan.stacks[side] = draw_stack(h, plan.v6, side);
    plan.apps[side] = draw_app(h);
    if (one_in(h, 4)) plan.lag[side] = draw_time(h, us(10), ms(5));
  }
  draw_slow_devices(plan);
  plan.routed = one_in(r, 4);
  if (plan.routed) place_router(plan);
  draw_paths(plan);
  draw_connections(plan);
  draw_wraps(plan);
  plan.bound = liveness_bound(plan);
  return plan;
}

namespace {

// Of one try to get something over and hear of it.
struct Odds {
  double lost = 0;   // that it fails
  Duration timeout;  // before the first one is repeated
};

constexpr Duration kTimeoutMost = Duration::seconds(60);

Odds odds(const TcpWorldPlan& plan) {
  double through = 1;
  Duration round{};
  for (int side = 0; side < 2; ++side) {
    const support::PathOptions& p = plan.paths[side];
    double lost = p.loss / 1e6 + p.corrupt / 1e6;
    if (p.bad_mean.ns != 0) {
      const double bad = p.bad_mean.as_seconds();
      lost += bad / (bad + p.good_mean.as_seconds()) * p.bad_loss / 1e6;
    }
    through *= 1 - std::min(lost, 0.9);
    round = round + p.delay + p.jitter + p.reorder_by + p.thin_acks + plan.lag[side] * 2;
    round = round + ring_time(plan.nics[side]);
    if (p.rate != 0) round = round + ms(static_cast<std::int64_t>(1000ULL * p.queue / p.rate));
    round = round + p.bad_mean * 5;
  }
  // Full queues drop, too: one packet in ten at least is taken to go that way.
  return {std::max(0.1, 1 - through), ms(1000) + round * 3};
}

}  // namespace

Duration liveness_bound(const TcpWorldPlan& plan) {
  Duration outage{};
  for (const support::PathOptions& p : plan.paths) {
    if (p.dead_until != Instant::never() && p.dead_from < p.dead_until)
      outage = std::max(outage, p.dead_until - p.dead_from);
  }
  const auto [lost, first] = odds(plan);
  const int tries = static_cast<int>(std::ceil(9 / -std::log10(lost)));
  Duration stall = std::max(plan.apps[0].stop_most, plan.apps[1].stop_most);
  stall = std::max(stall, std::max(plan.apps[0].content_most, plan.apps[1].content_most));
  stall = std::max(stall, std::max(plan.apps[0].think_most, plan.apps[1].think_most));
  Duration timeout = first;
  Duration sum = stall * 3 + outage * 3;
  for (int i = 0; i < tries; ++i) {
    sum = sum + timeout;
    timeout = std::min(timeout * 2, kTimeoutMost);
  }
  // A path that swallows large packets is found by timeouts: four of them may go by (RFC 4821).
  for (const support::PathOptions& path : plan.paths) {
    if (path.mtu < 9000 && !path.answer_too_big) sum = sum + Duration::seconds(60);
  }
  return sum;
}

bool may_time_out(const TcpWorldPlan& plan) {
  auto [lost, timeout] = odds(plan);
  double all_lost = 1;
  for (Duration spent{}; spent + timeout <= tcp::Limits{}.user_timeout;) {
    spent = spent + timeout;
    timeout = std::min(timeout * 2, kTimeoutMost);
    all_lost *= lost;
  }
  return all_lost > 1e-4;
}

std::string TcpWorldPlan::describe() const {
  std::string text =
      "seed " + std::to_string(seed) + (v6 ? ", IPv6" : ", IPv4") + (routed ? ", routed\n" : "\n");
  char line[512];
  for (int side = 0; side < 2; ++side) {
    const support::PathOptions& p = paths[side];
    const support::NicOptions& n = nics[side];
    std::snprintf(
        line, sizeof line,
        "  %c: mtu %u tso %u csum %d holds %d ring %u/%u line %llu lag %.3f ms | send %u "
        "window %u backlog %u tso %d | think %.1f ms writes %u pinned %u stops %u for "
        "%.0f ms shed %.0f ms lost %u\n",
        'A' + side, n.mtu, n.tso_bytes_max, n.tx_checksum, n.holds_payload, n.tx_ring, n.rx_ring,
        static_cast<unsigned long long>(n.line_rate), lag[side].as_seconds() * 1e3,
        stacks[side].send_buffer, stacks[side].receive_window, stacks[side].syn_backlog,
        stacks[side].tso, apps[side].think_most.as_seconds() * 1e3, apps[side].write_most,
        apps[side].pinned, apps[side].stops_reading, apps[side].stop_most.as_seconds() * 1e3,
        apps[side].shed_every.as_seconds() * 1e3, apps[side].content_lost);
    text += line;
    std::snprintf(line, sizeof line,
                  "     path: %llu B/s delay %.3f ms jitter %.3f queue %u mark %d mtu %u%s loss "
                  "%.4f bursts %.4f (%.0f/%.0f ms) dup %.4f corrupt %.4f reorder %.4f by %.1f ms "
                  "thin %.1f ms%s\n",
                  static_cast<unsigned long long>(p.rate), p.delay.as_seconds() * 1e3,
                  p.jitter.as_seconds() * 1e3, p.queue, p.mark_above != ~0u, p.mtu,
                  p.answer_too_big ? "" : " (black hole)", p.loss / 1e6, p.bad_loss / 1e6,
                  p.good_mean.as_seconds() * 1e3, p.bad_mean.as_seconds() * 1e3, p.duplicate / 1e6,
                  p.corrupt / 1e6, p.reorder / 1e6, p.reorder_by.as_seconds() * 1e3,
                  p.thin_acks.as_seconds() * 1e3, cut ? " cut" : "");
    text += line;
    if (wraps[side].bytes != 0 || wraps[side].milliseconds != 0) {
      std::snprintf(line, sizeof line, "     at %#x after %u bytes, %u ms\n", wraps[side].at,
                    wraps[side].bytes, wraps[side].milliseconds);
      text += line;
    }
  }
  constexpr const char* kKinds[] = {"exchange", "early", "abort", "refused", "nowhere"};
  for (std::size_t i = 0; i < connections.size(); ++i) {
    const ConnectionPlan& c = connections[i];
    std::snprintf(
        line, sizeof line, "  %u: %s by %c at %.3f s, %llu and %llu bytes, closed by%s%s\n", c.port,
        kKinds[static_cast<int>(c.kind)], 'A' + client_side[i],
        static_cast<double>(c.starts.ns) / 1e9, static_cast<unsigned long long>(c.bytes[0]),
        static_cast<unsigned long long>(c.bytes[1]), c.closes[0] ? " client" : "",
        c.closes[1] ? " server" : "");
    text += line;
  }
  std::snprintf(line, sizeof line, "  liveness bound %.1f s\n", bound.as_seconds());
  return text + line;
}

}  // namespace penstock::test
