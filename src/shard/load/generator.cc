#include "shard/load/generator.hh"

#include <algorithm>
#include <cstring>

#include "base/assert.hh"

namespace penstock {
namespace {

constexpr std::uint32_t kNone = ~0u;
// A lost or refused connection is tried again after this; at most so many at once, so that a start
// with thousands does not overrun the seed's backlog.
constexpr Duration kRetryPause = Duration::milliseconds(500);
constexpr std::uint32_t kConnectingMax = 128;
constexpr Duration kHousekeeping = Duration::milliseconds(20);

// The index-th address behind `base`: addition to the low 32 bits.
IpAddress nth_address(const IpAddress& base, std::uint32_t index) {
  IpAddress out = base;
  std::uint32_t carry = index;
  for (std::size_t i = 16; i-- > 12 && carry > 0;) {
    const std::uint32_t sum = out.bytes[i] + (carry & 0xff);
    out.bytes[i] = static_cast<std::uint8_t>(sum);
    carry = (carry >> 8) + (sum >> 8);
  }
  return out;
}

const char* name_of(StreamError error) {
  switch (error) {
    case StreamError::none:
    case StreamError::closed_by_peer:
      return "closed_by_peer";
    case StreamError::reset:
      return "connection_reset";
    case StreamError::timed_out:
      return "connection_timeout";
    case StreamError::refused:
      return "connect_refused";
    case StreamError::unreachable:
      return "connect_unreachable";
    case StreamError::no_resources:
      return "no_resources";
    case StreamError::content_lost:
      return "content_lost";
  }
  return "connection_reset";
}

}  // namespace

LoadGenerator::LoadGenerator(const LoadPlan& plan, const Metainfo& metainfo, const BlockMap& map,
                             const LinkFactory& make_link, StreamPort& streams, Instant now)
    : plan_(plan), streams_(streams), connections_(plan.connections), housekeeping_(now) {
  Random seeds(plan.random_seed);
  if (plan.zipf > 0) ranks_.emplace(map.piece_count(), plan.zipf);
  const std::size_t blocks = std::max(map.block_count(PieceIndex(0)), 1u);
  for (std::uint32_t i = 0; i < plan.connections; ++i) {
    Connection& c = connections_[i];
    c.again = now;
    c.link = make_link();
    c.source = std::make_unique<BlockSource>(map, plan.pattern, seeds.next(), i, plan.connections,
                                             ranks_ ? &*ranks_ : nullptr);
    if (plan.verify) {
      c.checker = std::make_unique<PieceChecker>(metainfo, map, 2 * plan.depth / blocks + 8);
    }
    c.outstanding.reserve(4 * std::size_t{plan.depth} + 16);
    if (plan.source_bits != 0) {
      // Within the prefix, whose first and last addresses are often special.
      const std::uint32_t bits = std::min(128 - plan.source_bits, 31u);
      const std::uint32_t hosts = (1u << bits) > 2 ? (1u << bits) - 2 : 1;
      c.local = nth_address(plan.source, 1 + i % hosts);
    }
  }
  dirty_.reserve(plan.connections);
  if (plan.rate > 0) {
    const double seconds =
        static_cast<double>(map.block(PieceIndex(0), 0).length) / static_cast<double>(plan.rate);
    due_every_ =
        Duration::nanoseconds(std::max<std::int64_t>(static_cast<std::int64_t>(seconds * 1e9), 1));
  }
  if (plan.churn > 0) churn_due_ = now + Duration::seconds(1);
}

LoadGenerator::~LoadGenerator() {
  for (Connection& c : connections_) {
    if (c.state != State::waiting) streams_.close(c.stream, false);
  }
}

void LoadGenerator::begin_window() {
  latency_.clear();
  for (Connection& c : connections_)
    c.window_bytes = 0;
}

LoadGenerator::Connection* LoadGenerator::find(StreamHandle stream) {
  const std::uint32_t slot = stream_index(stream);
  if (slot >= by_stream_.size() || by_stream_[slot] == kNone) return nullptr;
  Connection& c = connections_[by_stream_[slot]];
  return c.state != State::waiting && c.stream == stream ? &c : nullptr;
}

void LoadGenerator::mark(std::uint32_t index) {
  if (connections_[index].dirty) return;
  connections_[index].dirty = true;
  dirty_.push_back(index);
}

// --- connections ---

void LoadGenerator::try_connect(Instant now, std::uint32_t index) {
  Connection& c = connections_[index];
  ++counters_.connects;
  if (!streams_.connect(plan_.peer, c.local, c.stream)) {
    c.again = now + kRetryPause;
    count_close("no_resources");
    return;
  }
  const std::uint32_t slot = stream_index(c.stream);
  if (slot >= by_stream_.size()) by_stream_.resize(slot + 1, kNone);
  by_stream_[slot] = index;
  c.state = State::connecting;
  ++connecting_count_;
}

void LoadGenerator::count_close(const char* reason) {
  for (Close& close : closes_) {
    if (std::strcmp(close.reason, reason) == 0) {
      ++close.count;
      return;
    }
  }
  closes_.push_back({reason, 1});
}

void LoadGenerator::lose(Instant now, std::uint32_t index, const char* reason, Duration pause) {
  Connection& c = connections_[index];
  if (c.state == State::connecting) --connecting_count_;
  if (c.state == State::ready) --ready_count_;
  by_stream_[stream_index(c.stream)] = kNone;
  c.state = State::waiting;
  c.again = now + pause;
  c.send_blocked = false;
  c.outstanding.clear();
  c.first = 0;
  c.link->reset();
  if (c.checker) c.checker->restart();
  count_close(reason);
}

void LoadGenerator::churn(Instant now) {
  while (churn_due_ <= now) {
    churn_due_ = churn_due_ + Duration::seconds(1) / plan_.churn;
    for (std::uint32_t tries = 0; tries < plan_.connections; ++tries) {
      const std::uint32_t index = churn_turn_++ % plan_.connections;
      Connection& c = connections_[index];
      if (c.state != State::ready) continue;
      streams_.close(c.stream, true);
      lose(now, index, "churn", Duration{});
      break;
    }
  }
}

void LoadGenerator::housekeep(Instant now) {
  housekeeping_ = now + kHousekeeping;
  for (std::uint32_t i = 0; i < connections_.size(); ++i) {
    Connection& c = connections_[i];
    if (c.state == State::waiting && c.again <= now && connecting_count_ < kConnectingMax) {
      try_connect(now, i);
    } else if (c.state >= State::open && c.link->next_timeout() <= now) {
      c.link->on_timeout(now);
      read_link(now, i);
    }
  }
}

Instant LoadGenerator::next_timeout() const {
  return earlier(earlier(housekeeping_, churn_due_), due_);
}

// --- input ---

bool LoadGenerator::do_work(Instant now) {
  const std::size_t count = streams_.poll_events(now, events_);
  for (std::size_t i = 0; i < count; ++i)
    on_stream_event(now, events_[i]);
  if (churn_due_ <= now) churn(now);
  if (housekeeping_ <= now) housekeep(now);
  if (plan_.rate > 0) release_due(now);
  for (std::size_t i = 0; i < dirty_.size(); ++i) {
    const std::uint32_t index = dirty_[i];
    connections_[index].dirty = false;
    send(now, index);
  }
  dirty_.clear();
  return count == events_.size();
}

void LoadGenerator::on_stream_event(Instant now, const StreamEvent& event) {
  Connection* const c = find(event.stream);
  if (c == nullptr) return;
  const auto index = static_cast<std::uint32_t>(c - connections_.data());
  switch (event.kind) {
    case StreamEvent::Kind::connected:
      --connecting_count_;
      c->state = State::open;
      c->link->open(now, plan_.peer);
      read_link(now, index);
      break;
    case StreamEvent::Kind::data:
      counters_.received_bytes += event.data.size();
      c->link->on_data(now, event.data);
      read_link(now, index);
      break;
    case StreamEvent::Kind::writable:
      c->send_blocked = false;
      c->link->set_send_blocked(now, false);
      mark(index);
      break;
    case StreamEvent::Kind::closed:
      ++counters_.closes;
      lose(now, index, name_of(event.error), kRetryPause);
      break;
    case StreamEvent::Kind::released:
    case StreamEvent::Kind::need:
      UNREACHABLE();  // it sends small parts only
    case StreamEvent::Kind::accepted:
      UNREACHABLE();  // a generator has no listener
  }
}

void LoadGenerator::read_link(Instant now, std::uint32_t index) {
  LinkEvent event;
  while (connections_[index].link->poll_event(event)) {
    if (!on_link_event(now, index, event)) return;
  }
  mark(index);
}

bool LoadGenerator::on_link_event(Instant now, std::uint32_t index, const LinkEvent& event) {
  Connection& c = connections_[index];
  switch (event.kind) {
    case LinkEvent::Kind::handshaken:
      ++counters_.handshakes;
      break;
    case LinkEvent::Kind::ready:
      if (c.state == State::open) ++ready_count_;
      c.state = State::ready;
      break;
    case LinkEvent::Kind::choked:
      if (c.state == State::ready) --ready_count_;
      c.state = State::open;
      ++counters_.chokes;
      break;
    case LinkEvent::Kind::bytes:
      on_bytes(now, c, event);
      break;
    case LinkEvent::Kind::rejected:
      ++counters_.rejects;
      settle(c, event.request);
      break;
    case LinkEvent::Kind::closed:
      ++counters_.closes;
      streams_.close(c.stream, false);
      lose(now, index, event.reason, kRetryPause);
      return false;
  }
  return true;
}

void LoadGenerator::on_bytes(Instant now, Connection& c, const LinkEvent& event) {
  counters_.payload_bytes += event.data.size();
  c.window_bytes += event.data.size();
  if (c.checker) {
    switch (c.checker->on_bytes(event.request, event.offset, event.data, event.last)) {
      case PieceChecker::Verdict::incomplete:
        break;
      case PieceChecker::Verdict::good:
        ++counters_.pieces_good;
        break;
      case PieceChecker::Verdict::bad:
        ++counters_.pieces_bad;
        break;
    }
  }
  if (!event.last) return;
  ++counters_.blocks;
  const Instant since = settle(c, event.request);
  if (since != Instant::never()) latency_.add(now - since);
}

Instant LoadGenerator::settle(Connection& c, const Request& request) {
  // Nearly always the oldest: seeds answer in order.
  for (std::size_t i = c.first; i < c.outstanding.size(); ++i) {
    if (c.outstanding[i].request != request) continue;
    const Instant since = c.outstanding[i].since;
    if (i == c.first) {
      ++c.first;
      if (c.first == c.outstanding.size()) {
        c.outstanding.clear();
        c.first = 0;
      }
    } else {
      c.outstanding.erase(c.outstanding.begin() + static_cast<std::ptrdiff_t>(i));
    }
    return since;
  }
  return Instant::never();
}

// --- output ---

bool LoadGenerator::ask(Instant now, Connection& c, Instant since) {
  Request request;
  const auto has = [&](PieceIndex piece) { return c.link->has(piece); };
  if (!c.source->peek(has, request) || !c.link->try_request(now, request)) return false;
  c.source->advance();
  if (c.outstanding.size() == c.outstanding.capacity() && c.first > 0) {
    c.outstanding.erase(c.outstanding.begin(),
                        c.outstanding.begin() + static_cast<std::ptrdiff_t>(c.first));
    c.first = 0;
  }
  c.outstanding.push_back({request, since});
  ++counters_.requests;
  return true;
}

void LoadGenerator::top_up(Instant now, Connection& c) {
  if (plan_.rate > 0 || c.state != State::ready) return;
  while (c.outstanding_count() < plan_.depth) {
    if (!ask(now, c, now)) return;
  }
}

// Open loop: whatever is due goes to the next connection that has room.
void LoadGenerator::release_due(Instant now) {
  if (due_ == Instant::never()) {
    if (ready_count_ == plan_.connections) due_ = now;  // it begins when all are there
    return;
  }
  std::uint32_t without_room = 0;
  while (due_ <= now && without_room < plan_.connections) {
    const std::uint32_t index = due_turn_++ % plan_.connections;
    Connection& c = connections_[index];
    const bool room = c.state == State::ready && c.outstanding_count() < plan_.depth;
    if (!room || !ask(now, c, due_)) {
      ++without_room;
      continue;
    }
    without_room = 0;
    mark(index);
    due_ = due_ + due_every_;
  }
  counters_.overdue =
      due_ <= now ? static_cast<std::uint64_t>((now - due_).ns / due_every_.ns) + 1 : 0;
}

void LoadGenerator::send(Instant now, std::uint32_t index) {
  Connection& c = connections_[index];
  if (c.state < State::open) return;
  top_up(now, c);
  while (!c.send_blocked && c.link->output_pending()) {
    const SmallFill fill = c.link->fill_output(now, scratch_, parts_);
    if (fill.bytes == 0) return;
    const SendResult sent = streams_.try_send(c.stream, std::span(parts_).first(fill.parts));
    if (sent.accepted > 0) c.link->on_output_sent(now, sent.accepted);
    if (sent.accepted < fill.bytes) {
      c.send_blocked = true;
      c.link->set_send_blocked(now, true);
    }
  }
}

}  // namespace penstock
