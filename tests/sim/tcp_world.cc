#include "sim/tcp_world.hh"

#include <algorithm>

#include "net/drop_reason.hh"
#include "tcp/drop_reason.hh"
#include "tcp/shared.hh"

namespace penstock::test {

class TcpWorld::Capture final : public support::LinkTap {
 public:
  explicit Capture(support::PcapngWriter& file) : file_(file) {
    file.add_interface("A");
    file.add_interface("B");
  }
  void on_sent(Instant now, int side, std::span<const std::byte> frame, const char* fate) override {
    file_.write(now, static_cast<std::uint32_t>(side), true, frame, fate);
  }
  void on_received(Instant now, int side, std::span<const std::byte> frame, bool intact) override {
    file_.write(now, static_cast<std::uint32_t>(side), false, frame, intact ? "" : "corrupted");
  }

 private:
  support::PcapngWriter& file_;
};

namespace {

constexpr Duration kQuiet = Duration::seconds(200);  // past TIME-WAIT and FIN-WAIT-2
// A TCP gives up within this (user timeout, RFC 9293 §3.8.3), if it has something to send.
constexpr Duration kGiveUp = Duration::seconds(400);
constexpr std::uint64_t kStepsMax = 20'000'000;
constexpr std::uint32_t kStepsAtOnce = 20'000;

WireObserver::Options observer_options(const TcpWorldPlan& plan) {
  WireObserver::Options o;
  Duration more{};
  for (int side = 0; side < 2; ++side) {
    o.mtu[side] = plan.nics[side].mtu;
    more = std::max(more, plan.lag[side] * 3 + plan.paths[side].thin_acks);
    const support::NicOptions& n = plan.nics[side];
    if (n.line_rate == 0) continue;
    // A ring full of the largest frames stands before an ACK.
    const std::uint64_t frame = std::max<std::uint64_t>(n.mtu, n.tso_bytes_max) + 100;
    more = std::max(more, Duration::nanoseconds(static_cast<std::int64_t>(
                              n.tx_ring * frame * 1'000'000'000 / n.line_rate)));
  }
  o.ack_within = Duration::milliseconds(500) + more;
  return o;
}

bool lossy(const TcpWorldPlan& plan) {
  for (const support::PathOptions& p : plan.paths) {
    if (p.loss != 0 || p.corrupt != 0 || p.bad_loss != 0 || p.dead_from != Instant::never()) {
      return true;
    }
  }
  return false;
}

const char* name_of(StreamError error) {
  switch (error) {
    case StreamError::none:
      return "none";
    case StreamError::closed_by_peer:
      return "closed_by_peer";
    case StreamError::reset:
      return "reset";
    case StreamError::timed_out:
      return "timed_out";
    case StreamError::refused:
      return "refused";
    case StreamError::unreachable:
      return "unreachable";
    case StreamError::no_resources:
      return "no_resources";
    case StreamError::content_lost:
      return "content_lost";
  }
  return "?";
}

}  // namespace

TcpWorld::TcpWorld(const TcpWorldPlan& plan, support::PcapngWriter* pcap)
    : plan_(place_wraps(plan)),
      link_(plan.seed, plan.nics[0], plan.nics[1], plan.paths[0], plan.paths[1]),
      observer_(observer_options(plan)) {
  if (plan.routed) link_.set_router(plan.router);
  link_.add_tap(observer_);
  if (pcap != nullptr) {
    capture_ = std::make_unique<Capture>(*pcap);
    link_.add_tap(*capture_);
  }
  Random random(Random(plan.seed ^ 0x5eed).next());
  for (int side = 0; side < 2; ++side) {
    stacks_[side] = std::make_unique<net::Stack>(link_.nic(side), plan_.stacks[side], Instant{});
    apps_[side] = std::make_unique<TcpApp>(*stacks_[side], plan_.apps[side], random.next());
  }
  for (std::size_t i = 0; i < plan_.connections.size(); ++i) {
    const ConnectionPlan& c = plan_.connections[i];
    Pair pair;
    pair.client_side = plan_.client_side[i];
    pair.client = std::make_unique<Leg>(c, true, random.next());
    Endpoint remote{plan_.stacks[1 - pair.client_side].interfaces[0].address, c.port};
    if (c.kind == ConnectionPlan::Kind::nowhere) remote.ip.bytes[15] = 77;
    apps_[pair.client_side]->add_client(*pair.client, remote);
    const bool served =
        c.kind != ConnectionPlan::Kind::refused && c.kind != ConnectionPlan::Kind::nowhere;
    if (served) {
      pair.server = std::make_unique<Leg>(c, false, random.next());
      apps_[1 - pair.client_side]->add_server(*pair.server);
    }
    pairs_.push_back(std::move(pair));
  }
}

// Initial sequence numbers and timestamps come from secrets: a life of the same world, as long as
// its first handshake, shows them.
TcpWorldPlan TcpWorld::place_wraps(const TcpWorldPlan& plan) {
  TcpWorldPlan placed = plan;
  const auto wanted = [&plan](int side) {
    return plan.wraps[side].bytes != 0 || plan.wraps[side].milliseconds != 0;
  };
  if (!wanted(0) && !wanted(1)) return placed;
  constexpr int kSteps = 2000;
  for (TcpWorldPlan::Wrap& wrap : placed.wraps)
    wrap = {};
  TcpWorld world(placed);
  Instant now{};
  bool known[2] = {false, false};
  for (int i = 0; i < kSteps && !(known[0] && known[1]) && now != Instant::never(); ++i) {
    world.step(now);
    now = std::max(now, world.next(now));
    for (int side = 0; side < 2; ++side) {
      SeqNumber iss;
      std::uint32_t stamp = 0;
      if (known[side] ||
          !world.observer_.numbers(plan.client_side[0], plan.connections[0].port, side, iss, stamp))
        continue;
      known[side] = true;
      const TcpWorldPlan::Wrap& wrap = plan.wraps[side];
      net::StackOptions& stack = placed.stacks[side];
      if (wrap.bytes != 0) stack.sequence_offset = wrap.at - wrap.bytes - iss.value;
      if (wrap.milliseconds != 0) stack.timestamp_offset = wrap.at - wrap.milliseconds - stamp;
    }
  }
  return placed;
}

TcpWorld::~TcpWorld() {
  // A device is stopped before the memory that it reads goes.
  for (int side = 0; side < 2; ++side)
    link_.stop(side);
}

// Tells the servers whom to expect, as soon as a SYN showed the client's port. Two clients may have
// the same one, to different ports of a server: then it is who acknowledged the SYN-ACK.
void TcpWorld::name_servers() {
  for (Pair& pair : pairs_) {
    if (pair.server == nullptr || pair.server->state != Leg::State::waiting) continue;
    if (!pair.server->greeted)
      pair.server->greeted = observer_.greeted(pair.client_side, pair.client->plan.port);
    if (pair.named) continue;
    const std::uint16_t port = observer_.client_port(pair.client_side, pair.client->plan.port);
    if (port == 0) continue;
    pair.named = true;
    apps_[1 - pair.client_side]->name_server(port, *pair.server);
  }
}

void TcpWorld::step_host(Instant now, int side) {
  if (now < due_[side]) return;
  apps_[side]->step(now);
  stacks_[side]->flush(now);
  if (plan_.lag[side].ns != 0) due_[side] = now + plan_.lag[side];
}

void TcpWorld::step(Instant now) {
  link_.advance_to(now);
  name_servers();
  for (int side = 0; side < 2; ++side)
    step_host(now, side);
  for (int side = 0; side < 2; ++side) {
    const net::StackCounters& counters = stacks_[side]->counters();
    if (counters.dropped[static_cast<std::size_t>(net::DropReason::no_neighbour)] != 0)
      observer_.expect_holes(side);
    const std::uint64_t dropped =
        stacks_[side]->tcp_counters().dropped[static_cast<std::size_t>(tcp::DropReason::no_page)];
    if (dropped != without_page_[side]) observer_.expect_repetition(side);
    without_page_[side] = dropped;
  }
  link_.advance_to(now);
  if (++steps_ % 16 == 0) {
    for (const auto& stack : stacks_)
      stack->validate();
    observer_.check_overdue(now);
  }
}

Instant TcpWorld::next(Instant now) const {
  Instant next = link_.next_event();
  for (int side = 0; side < 2; ++side) {
    Instant host = earlier(stacks_[side]->next_timeout(), apps_[side]->next());
    if (const_cast<support::SimLink&>(link_).nic(side).has_received()) host = now;
    if (host == Instant::never()) continue;
    next = earlier(next, std::max(host, due_[side]));
  }
  return next;
}

bool TcpWorld::over() const {
  for (const Pair& pair : pairs_) {
    if (pair.client->state != Leg::State::closed) return false;
    if (pair.server != nullptr && pair.named && pair.server->state != Leg::State::closed &&
        pair.server->state != Leg::State::waiting) {
      return false;
    }
  }
  return true;
}

std::string TcpWorld::first_wrong(Instant now) const {
  if (!observer_.wrong().empty()) return observer_.wrong();
  if (!link_.complaint().empty()) return link_.complaint();
  for (int side = 0; side < 2; ++side) {
    if (!apps_[side]->wrong().empty()) {
      return support::describe(now) + ": host " + (side == 0 ? "A: " : "B: ") +
             apps_[side]->wrong();
    }
  }
  return {};
}

namespace {

std::string leg_text(const Leg& leg) {
  constexpr const char* kStates[] = {"waiting", "connecting", "open", "closed"};
  return std::string(" ") + kStates[static_cast<int>(leg.state)] + (leg.blocked ? " blocked" : "") +
         (leg.reading ? "" : " not reading") + " sent " + std::to_string(leg.accepted) + " of " +
         std::to_string(leg.to_send()) + " received " + std::to_string(leg.received) + " of " +
         std::to_string(leg.to_receive());
}

}  // namespace

// A server that answered with a cookie knows of a connection only from the segment that follows its
// SYN-ACK. As long as that doesn't come it can neither send (RFC 4987 §3.6) nor tell what comes
// instead from what is nobody's. One that gave up a half-open connection knows as little.
bool TcpWorld::unknown_to_server(const Pair& pair) const {
  if (pair.server == nullptr || pair.server->state != Leg::State::waiting) return false;
  const tcp::Counters& counters = stacks_[1 - pair.client_side]->tcp_counters();
  return lossy(plan_) && (counters.syn_cookies_sent != 0 || counters.half_open_expired != 0);
}

// Who hasn't got on for longer than the bound.
std::string TcpWorld::stuck(Instant now) const {
  for (const Pair& pair : pairs_) {
    for (const Leg* leg : {pair.client.get(), pair.server.get()}) {
      if (leg == nullptr || leg->state == Leg::State::waiting || leg->state == Leg::State::closed) {
        continue;
      }
      // One end alone may wait for the other: both must stand.
      Instant last = std::max(leg->progressed, leg->plan.starts);
      const Leg* other = leg == pair.client.get() ? pair.server.get() : pair.client.get();
      if (other != nullptr && other->state == Leg::State::open) {
        last = std::max(last, other->progressed);
      }
      if (plan_.cut) last = std::max(last, plan_.paths[0].dead_from);
      Duration bound = plan_.bound;
      // A dead peer is found out by the user timeout; an idle connection only by the application.
      const bool alone = plan_.cut || (other != nullptr && other->state == Leg::State::closed);
      if (alone) bound = bound + kGiveUp;
      if (leg->plan.kind == ConnectionPlan::Kind::nowhere) bound = bound + kGiveUp;
      if (now - last <= bound) continue;
      // Who has closed isn't told that his TCP gave up.
      const bool gave_up = other != nullptr && may_time_out(plan_) &&
                           (other->error == StreamError::timed_out || other->closed_by_us);
      if (alone && (plan_.cut || gave_up || other->content_lost || leg->content_lost ||
                    leg->plan.kind != ConnectionPlan::Kind::exchange)) {
        apps_[leg->client ? pair.client_side : 1 - pair.client_side]->give_up(
            now, *(leg->client ? pair.client : pair.server));
        continue;
      }
      if (unknown_to_server(pair) && leg->accepted == 0) {
        apps_[pair.client_side]->give_up(now, *pair.client);
        continue;
      }
      return support::describe(now) + ": connection " + std::to_string(leg->plan.port) +
             (leg->client ? ", client" : ", server") + ": no progress since " +
             support::describe(last) + ":" + leg_text(*leg) +
             (other == nullptr ? "" : "; the other:" + leg_text(*other));
    }
  }
  return {};
}

// How a leg ended, against what its plan allows.
std::string TcpWorld::judge_leg(const Leg& leg) const {
  using Kind = ConnectionPlan::Kind;
  const std::string who =
      "connection " + std::to_string(leg.plan.port) + (leg.client ? ", client: " : ", server: ");
  if (leg.state != Leg::State::closed || leg.closed_by_us) return {};
  const std::string ended = std::string("ended with ") + name_of(leg.error);
  switch (leg.plan.kind) {
    case Kind::refused:
      if (leg.error == StreamError::refused || plan_.cut) return {};
      if (leg.error == StreamError::unreachable && lossy(plan_)) return {};
      return who + ended + " instead of refused";
    case Kind::nowhere:
      if (leg.error == StreamError::unreachable || leg.error == StreamError::timed_out) return {};
      return who + ended + " instead of unreachable";
    case Kind::early:
    case Kind::abort:
      return {};
    case Kind::exchange:
      break;
  }
  // Three questions for the neighbour's address may all be lost (RFC 4861 §7.2.2).
  if (leg.client && !leg.connected && leg.error == StreamError::unreachable && lossy(plan_))
    return {};
  if (leg.error != StreamError::closed_by_peer) return who + ended;
  if (!leg.all_received() || !leg.all_sent()) {
    return who + "ended early (sent " + std::to_string(leg.accepted) + " of " +
           std::to_string(leg.to_send()) + ", received " + std::to_string(leg.received) + " of " +
           std::to_string(leg.to_receive()) + ")";
  }
  return {};
}

static bool timed_out(const Leg* leg) {
  return leg != nullptr && leg->error == StreamError::timed_out;
}

std::string TcpWorld::judge() const {
  for (const Pair& pair : pairs_) {
    const bool lost =
        pair.client->content_lost || (pair.server != nullptr && pair.server->content_lost);
    if (lost || plan_.cut || unknown_to_server(pair)) continue;
    if (may_time_out(plan_) && (timed_out(pair.client.get()) || timed_out(pair.server.get())))
      continue;
    if (pair.server != nullptr && pair.server->state == Leg::State::waiting &&
        pair.client->plan.kind == ConnectionPlan::Kind::exchange && pair.client->connected) {
      return "connection " + std::to_string(pair.client->plan.port) + " was never accepted";
    }
    for (const Leg* leg : {pair.client.get(), pair.server.get()}) {
      if (leg == nullptr) continue;
      if (std::string wrong = judge_leg(*leg); !wrong.empty()) return wrong;
    }
  }
  for (int side = 0; side < 2; ++side) {
    if (const std::size_t held = apps_[side]->pins_held(); held != 0) {
      return std::string("host ") + (side == 0 ? "A" : "B") + ": " + std::to_string(held) +
             " pins were never released:" + apps_[side]->pins_text();
    }
  }
  // Past TIME-WAIT nothing is left of anybody.
  for (int side = 0; side < 2; ++side) {
    if (const std::uint32_t left = stacks_[side]->connections(); left != 0) {
      return std::string("host ") + (side == 0 ? "A" : "B") + ": " + std::to_string(left) +
             " connections are left over";
    }
  }
  return {};
}

std::string TcpWorld::dropped() const {
  std::string text;
  const auto add = [&text](std::string_view name, std::uint64_t count) {
    if (count != 0) text += " " + std::string(name) + " " + std::to_string(count);
  };
  for (int side = 0; side < 2; ++side) {
    text += side == 0 ? "  A dropped:" : "  B dropped:";
    const tcp::Counters& c = stacks_[side]->tcp_counters();
    for (std::size_t i = 0; i < tcp::kDropReasons; ++i)
      add(tcp::name(static_cast<tcp::DropReason>(i)), c.dropped[i]);
    const net::StackCounters& n = stacks_[side]->counters();
    for (std::size_t i = 0; i < net::kDropReasons; ++i)
      add(net::name(static_cast<net::DropReason>(i)), n.dropped[i]);
    add("| timeouts", c.retransmission_timeouts);
    add("probes", c.tail_loss_probes);
    add("recoveries", c.recoveries);
    add("window probes", c.window_probes);
    add("cookies", c.syn_cookies_sent);
    add("good cookies", c.syn_cookies_good);
    add("page shortages", c.page_shortages);
    add("record shortages", c.record_shortages);
    add("challenges withheld", c.challenges_withheld);
    text += "\n";
  }
  return text;
}

TcpWorld::Result TcpWorld::run() {
  Result result;
  Instant now{};
  Instant over_since = Instant::never();
  std::uint32_t at_once = 0;
  while (result.wrong.empty()) {
    step(now);
    result.wrong = first_wrong(now);
    if (result.wrong.empty()) result.wrong = stuck(now);
    if (!over()) {
      over_since = Instant::never();
    } else if (over_since == Instant::never()) {
      over_since = now;
    }
    const Instant then = next(now);
    if (then == Instant::never() && over_since != Instant::never()) break;
    if (over_since != Instant::never() && then > over_since + kQuiet + plan_.bound) break;
    if (then == Instant::never()) {
      if (result.wrong.empty()) {
        result.wrong =
            support::describe(now) + ": nothing is going to happen, and connections are open";
      }
      break;
    }
    at_once = then <= now ? at_once + 1 : 0;
    if (result.wrong.empty() && (at_once > kStepsAtOnce || steps_ > kStepsMax)) {
      result.wrong = support::describe(now) + ": time stands still";
    }
    now = std::max(now, then);
  }
  if (result.wrong.empty()) result.wrong = judge();
  result.dropped = dropped();
  result.hash = observer_.trace_hash();
  result.ended = now;
  result.steps = steps_;
  result.frames = observer_.frames();
  result.retransmitted = observer_.retransmitted();
  for (int side = 0; side < 2; ++side) {
    result.sheds += apps_[side]->sheds();
    result.needs += apps_[side]->needs();
    for (const Leg* leg : apps_[side]->legs())
      result.bytes += leg->received;
  }
  return result;
}

}  // namespace penstock::test
