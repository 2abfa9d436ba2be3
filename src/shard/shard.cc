// The cycle.
#include "shard/shard.hh"

#include <algorithm>
#include <cstring>

#include "shard/connection.hh"

namespace penstock {

namespace {
constexpr std::size_t kStreamEventBurst = 128;
constexpr std::size_t kCompletionBurst = 128;
constexpr int kReadyBurst = 512;
constexpr int kTimerBurst = 256;
constexpr int kStoreEventBurst = 64;
// A cycle pumps no more connections than this, so that input isn't kept waiting.
constexpr std::uint32_t kPumpBurst = 64;
// Sleep at most this long while something waits for room that no event announces.
constexpr Duration kStallRetry = Duration::microseconds(200);
}  // namespace

Shard::Shard(ShardId id, const ShardLimits& limits, const SessionLimits& session_limits,
             StreamPort& streams, Storage& storage, Exchange& exchange, Store& store, Instant now)
    : id_(id),
      limits_(limits),
      session_limits_(session_limits),
      streams_(streams),
      storage_(storage),
      exchange_(exchange),
      store_(store),
      pools_(std::make_unique<Pools>(limits, exchange.shard_count())),
      torrents_(limits.torrents_max),
      wheel_(now) {}

Shard::~Shard() = default;

bool Shard::do_work(Instant now) {
  stalled_ = false;
  bool any = take_control(now);
  any |= take_mail(now);
  any |= take_stream_events(now);
  any |= take_completions(now);
  any |= run_store(now);
  any |= run_timers(now);
  any |= pump_all(now);
  any |= submit_io();
  flush_mail();
  if (any) publish_store_counters();
  return any;
}

bool Shard::take_stream_events(Instant now) {
  std::array<StreamEvent, kStreamEventBurst> events;
  const std::size_t count = streams_.poll_events(now, events);
  for (const StreamEvent& event : std::span(events).first(count)) {
    if (event.kind == StreamEvent::Kind::accepted) {
      on_accepted(now, event);
      continue;
    }
    Connection* c = find(event.stream);
    if (c == nullptr) continue;  // closed by us in this burst
    switch (event.kind) {
      case StreamEvent::Kind::data:
        ShardCounters::add(counters_.received_bytes, event.data.size());
        c->session.on_data(now, event.data);
        after_input(now, *c);
        break;
      case StreamEvent::Kind::writable:
        c->writable = true;
        activate(*c);
        break;
      case StreamEvent::Kind::closed:
        c->session.on_stream_closed(event.error);
        forget(now, *c);
        break;
      case StreamEvent::Kind::connected:
      case StreamEvent::Kind::accepted:
        break;
    }
  }
  return count > 0;
}

bool Shard::take_completions(Instant now) {
  std::array<StorageCompletion, kCompletionBurst> completions;
  const std::size_t count = storage_.poll_completions(completions);
  for (const StorageCompletion& completion : std::span(completions).first(count)) {
    store_.on_completion(now, completion);
  }
  return count > 0;
}

bool Shard::run_store(Instant now) {
  bool any = store_.do_work(now);
  BlockReady ready;
  for (int i = 0; i < kReadyBurst && store_.poll_ready(ready); ++i) {
    any = true;
    if (Token::unpack(ready.token).shard == id_.value) {
      on_block_ready(now, ready, id_);
    } else {
      answer(ready.token, ready.status, ready.block);
    }
  }
  StoreEvent event;
  for (int i = 0; i < kStoreEventBurst && !reports_full() && store_.poll_event(event); ++i) {
    any = true;
    on_store_event(event);
  }
  return any;
}

bool Shard::run_timers(Instant now) {
  bool any = false;
  for (int i = 0; i < kTimerBurst; ++i) {
    TimerWheel::Node* node = wheel_.poll_expired(now);
    if (node == nullptr) break;
    Connection& c = Connection::of(*node);
    if (c.session.next_timeout() <= now) {
      any = true;
      c.session.on_timeout(now);
    }
    after_input(now, c);
  }
  if (choker_.next_timeout() <= now) {
    choker_.on_timeout(now);
    choker_changed_ = true;
  }
  if (choker_changed_) {
    choker_changed_ = false;
    any = true;
    apply_choker(now);
  }
  return any;
}

bool Shard::pump_all(Instant now) {
  bool any = false;
  const std::uint32_t turns = std::min(active_count_, kPumpBurst);
  for (std::uint32_t i = 0; i < turns && active_ != nullptr; ++i) {
    Connection& c = *active_;
    switch (pump(now, c)) {
      case Pumped::more:
        any = true;
        active_ = c.next_active;  // to the end of the turn
        break;
      case Pumped::idle:
      case Pumped::waiting:
        deactivate(c);
        break;
      case Pumped::limited:
        active_ = c.next_active;
        break;
    }
    after_pump(now, c);
  }
  return any;
}

bool Shard::submit_io() {
  bool any = false;
  StorageOp op;
  while (store_.poll_io(op)) {
    if (!storage_.try_submit(op)) {
      store_.io_refused(op);
      stalled_ = true;
      break;
    }
    any = true;
  }
  return any;
}

Instant Shard::next_timeout(Instant now) const {
  Instant next = earlier(wheel_.next(), store_.next_timeout());
  next = earlier(next, choker_.next_timeout());
  if (active_ != nullptr) next = earlier(next, rates_.next_timeout(now));
  if (stalled_) next = earlier(next, now + kStallRetry);
  return next;
}

void Shard::report(const ShardReport& report) {
  const bool sent = exchange_.from_shard(id_).try_send(report);
  ASSERT(sent);  // reports_full was asked before
}

bool Shard::reports_full() const {
  return !exchange_.from_shard(id_).roomy();
}

void Shard::publish_store_counters() {
  std::array<std::uint64_t, sizeof(StoreCounters) / sizeof(std::uint64_t)> words;
  std::memcpy(words.data(), &store_.counters(), sizeof(StoreCounters));
  for (std::size_t i = 0; i < words.size(); ++i) {
    store_counters_[i].store(words[i], std::memory_order_relaxed);
  }
}

void Shard::read_store_counters(StoreCounters& out) const {
  std::array<std::uint64_t, sizeof(StoreCounters) / sizeof(std::uint64_t)> words;
  for (std::size_t i = 0; i < words.size(); ++i) {
    words[i] = store_counters_[i].load(std::memory_order_relaxed);
  }
  std::memcpy(&out, words.data(), sizeof(StoreCounters));
}

}  // namespace penstock
