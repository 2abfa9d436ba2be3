// The cycle.
#include "shard/shard.hh"

#include <algorithm>
#include <cstring>

#include "shard/connection.hh"
#include "shard/upload_batch.hh"

namespace penstock {

namespace {
// So many in a cycle: the disk has more to say than the shard has time for.
constexpr std::size_t kCompletionsCrowded = 16;
constexpr int kReadyBurst = 512;
constexpr int kTimerBurst = 256;
constexpr int kStoreEventBurst = 64;
// Pieces whose leaves are hashed at once for peers (BEP 52).
constexpr std::size_t kLeafJobs = 4;
// A cycle pumps no more connections than this, so that input isn't kept waiting.
constexpr std::uint32_t kPumpBurst = 64;
}  // namespace

Shard::Shard(ShardId id, const ShardLimits& limits, const SessionLimits& session_limits,
             StreamPort& streams, Storage& storage, Exchange& exchange, Store& store,
             std::uint64_t seed, Instant now)
    : id_(id),
      limits_(limits),
      streams_(streams),
      storage_(storage),
      exchange_(exchange),
      store_(store),
      shared_(session_limits, limits.request_pages(session_limits.requests_max),
              limits.request_pages_reserve()),
      admission_(limits.connections_max, limits.per_ip_max, seed),
      choker_(limits.connections_max, limits.upload_slots),
      bucket_(exchange.upload_limit()),
      pools_(std::make_unique<Pools>(limits, exchange.shard_count())),
      keeping_(streams.keeps_payload() ? std::make_unique<Keeping>(limits) : nullptr),
      torrents_(limits.torrents_max),
      wheel_(now) {
  ASSERT(keeping_ == nullptr || limits.kept_parts_max > 0);
  bucket_.set_rate(now, limits.upload_rate);
}

Shard::~Shard() = default;

Shard::Pools::Pools(const ShardLimits& limits, std::uint16_t shard_count)
    : connections(std::make_unique<Connection[]>(limits.connections_max)),
      free_connections(limits.connections_max),
      by_stream(limits.streams_max()),
      windows(std::make_unique_for_overwrite<std::byte[]>(limits.connections_max *
                                                          sizeof(UploadWindow))),
      free_windows(limits.connections_max),
      batch(std::make_unique<Batch>()),
      leaf_jobs(kLeafJobs),
      by_slot(limits.torrents_max),
      leaving(limits.torrents_max),
      open_wants(shard_count),
      mailed(shard_count) {
  for (std::uint32_t i = limits.connections_max; i > 0; --i) {
    connections[i - 1].index = i - 1;
    free_connections[free_connection_count++] = &connections[i - 1];
    free_windows[free_window_count++] =
        reinterpret_cast<UploadWindow*>(windows.get() + (i - 1) * sizeof(UploadWindow));
  }
}

bool Shard::do_work(Instant now) {
  stalled_ = work_left_ = false;
  bool any = take_control(now);
  any |= take_mail(now);
  any |= take_stream_events(now);
  any |= take_completions(now);
  any |= run_store(now);
  any |= run_leaf_jobs(now);
  if (keeping_ != nullptr) any |= run_needs(now);
  any |= run_timers(now);
  any |= pump_all(now);
  any |= shed(now);
  any |= submit_io();
  finish_removals();  // last: no event follows the one that was waited for
  flush_mail();
  if (any) publish_store_counters();
  return any;
}

bool Shard::take_stream_events(Instant now) {
  const std::size_t count = streams_.poll_events(now, events_);
  for (const StreamEvent& event : std::span(events_).first(count)) {
    if (event.kind == StreamEvent::Kind::accepted) {
      on_accepted(now, event);
      continue;
    }
    // These come for streams that we have closed, too.
    if (event.kind == StreamEvent::Kind::released) {
      on_released(event.pin);
      continue;
    }
    if (event.kind == StreamEvent::Kind::need) {
      on_need(now, event);
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
        c->session.set_send_blocked(now, false);
        activate(*c);
        break;
      case StreamEvent::Kind::closed:
        c->session.on_stream_closed(event.error);
        forget(now, *c);  // the session has nothing more to say to anyone
        break;
      case StreamEvent::Kind::released:
      case StreamEvent::Kind::need:
      case StreamEvent::Kind::connected:
      case StreamEvent::Kind::accepted:
        break;
    }
  }
  work_left_ |= count == events_.size();
  return count > 0;
}

bool Shard::take_completions(Instant now) {
  const std::size_t count = storage_.poll_completions(completions_);
  for (const StorageCompletion& completion : std::span(completions_).first(count)) {
    store_.on_completion(now, completion);
  }
  work_left_ |= count == completions_.size();
  disk_crowded_ = count >= kCompletionsCrowded;
  return count > 0;
}

bool Shard::run_store(Instant now) {
  const bool more = store_.do_work(now);
  work_left_ |= more;
  bool any = more;
  BlockReady ready;
  for (int i = 0; i < kReadyBurst && store_.poll_ready(ready); ++i) {
    any = true;
    if (Token::unpack(ready.token).shard == id_.value) {
      on_block_ready(now, ready, id_);
    } else {
      answer(ready.token, ready.status, ready.block);
    }
    work_left_ |= i + 1 == kReadyBurst;
  }
  StoreEvent event;
  for (int i = 0; i < kStoreEventBurst && !reports_full() && store_.poll_event(event); ++i) {
    any = true;
    on_store_event(event);
  }
  return any;
}

// A socket says that it has room only when much of what it holds is gone, minutes for a slow but
// honest reader. Who takes a block from one look to the next has not stalled.
void Shard::look_at_reader(Instant now, Connection& c) {
  const std::size_t left = streams_.unacknowledged(c.stream);
  const bool reads = c.unacknowledged >= kBlockSize && left <= c.unacknowledged - kBlockSize;
  c.unacknowledged = left;
  if (!reads) return;
  c.session.set_send_blocked(now, false);
  c.session.set_send_blocked(now, true);
}

bool Shard::run_timers(Instant now) {
  bool any = false;
  for (int i = 0; i < kTimerBurst; ++i) {
    TimerWheel::Node* node = wheel_.poll_expired(now);
    if (node == nullptr) break;
    Connection& c = Connection::of(*node);
    if (c.session.next_timeout() <= now) {
      any = true;
      if (c.session.send_stalled(now)) look_at_reader(now, c);
      c.session.on_timeout(now);
    }
    after_input(now, c);
  }
  if (choker_.next_timeout() <= now) choker_.on_timeout(now);
  any |= apply_choker(now);
  return any;
}

bool Shard::pump_all(Instant now) {
  bool any = false;
  const std::uint32_t turns = std::min(active_count_, kPumpBurst);
  // A round of turns may take several cycles. Once all who are left in it are held back, there is
  // nothing to do until bucket_ready_, or until an event begins another.
  if (held_ >= active_count_) held_ = 0;
  if (held_ == 0) bucket_ready_ = Instant::never();
  for (std::uint32_t i = 0; i < turns && active_ != nullptr; ++i) {
    Connection& c = *active_;
    switch (pump(now, c)) {
      case Pumped::more:
        any = work_left_ = true;
        active_ = c.next_active;  // to the end of the line
        break;
      case Pumped::idle:
      case Pumped::waiting:
        any = true;
        deactivate(c);
        break;
      case Pumped::refused:
        stalled_ = true;
        ++held_;
        bucket_ready_ = earlier(bucket_ready_, now + kStallRetry);  // the round may end later
        active_ = c.next_active;
        break;
      case Pumped::held:
        ++held_;
        bucket_ready_ = earlier(bucket_ready_, c.torrent->bucket.ready_at(now, kBlockSize));
        active_ = c.next_active;
        break;
      case Pumped::limited:
        held_ = 0;
        bucket_ready_ = bucket_.ready_at(now, kBlockSize);
        return speak_all(now) || any;  // it keeps its place until then
    }
    after_pump(now, c);
  }
  work_left_ |= held_ < active_count_;
  return any;
}

// The limit is one of content: what sessions have to say doesn't wait for it, nor for the blocks
// of those before them. Nobody loses or gains a turn.
bool Shard::speak_all(Instant now) {
  if (!words_wait_) return false;
  words_wait_ = false;
  bool any = false;
  Connection* c = active_->next_active;
  for (std::uint32_t left = active_count_ - 1; left > 0; --left) {
    Connection& speaker = *c;
    c = c->next_active;
    if (!speaker.session.small_pending()) continue;
    any = true;
    const Pumped pumped = pump(now, speaker);
    if (pumped == Pumped::idle || pumped == Pumped::waiting) deactivate(speaker);
    after_pump(now, speaker);
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
  next = earlier(next, bucket_ready_);
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
  std::memcpy(static_cast<void*>(&out), words.data(), sizeof(StoreCounters));
}

}  // namespace penstock
