#include "app/shard_runner.hh"

#include "host/clock.hh"
#include "host/cpu.hh"

namespace penstock::app {

namespace {
// What streams of our own get to send what they have accepted, and FIN, when the shard stops.
constexpr Duration kDrainMax = Duration::seconds(1);
}  // namespace

struct ShardRunner::PoolRequest {
  std::string directory;
  std::promise<Result<PoolIndex>> answer;
};

ShardRunner::ShardRunner(RunnerOptions options, Exchange& exchange)
    : options_(std::move(options)), exchange_(exchange) {}

Result<std::unique_ptr<ShardRunner>> ShardRunner::start(RunnerOptions options, Exchange& exchange) {
  std::unique_ptr<ShardRunner> runner(new ShardRunner(std::move(options), exchange));
  std::promise<Result<void>> promise;
  std::future<Result<void>> started = promise.get_future();
  runner->thread_ = std::thread([r = runner.get(), p = std::move(promise)]() mutable {
    r->run([&p](Result<void> result) { p.set_value(std::move(result)); });
  });
  if (auto result = started.get(); !result) {
    runner->thread_.join();
    return tl::unexpected(
        std::move(result).error().context("shard " + std::to_string(runner->options_.id.value)));
  }
  return runner;
}

ShardRunner::~ShardRunner() {
  join();
}

void ShardRunner::wait_stopped() {
  stopped_.get_future().wait();
}

void ShardRunner::join() {
  if (!thread_.joinable()) return;
  released_.set_value();
  thread_.join();
}

Result<PoolIndex> ShardRunner::open_pool(const std::string& directory) {
  PoolRequest request{directory, {}};
  auto answer = request.answer.get_future();
  pool_request_.store(&request, std::memory_order_release);
  exchange_.doorbell(options_.id).ring_if_parked();
  return answer.get();
}

void ShardRunner::serve_pool_request(ShardIo& io) {
  PoolRequest* request = pool_request_.exchange(nullptr, std::memory_order_acquire);
  request->answer.set_value(io.open_pool(request->directory));
}

template <class Started>
void ShardRunner::run(Started started) {
  host::name_thread("shard-" + std::to_string(options_.id.value));
  if (options_.cpu) {
    if (auto pinned = host::pin_to_cpu(*options_.cpu); !pinned) {
      started(tl::unexpected(std::move(pinned).error()));
      return;
    }
  }
  auto io = make_shard_io(options_.io);
  if (!io) {
    started(tl::unexpected(std::move(io).error()));
    return;
  }
  listening_ = (*io)->bound();
  io_name_ = (*io)->name();
  congestion_ = (*io)->congestion();
  host::MonotonicClock clock;
  store_ = std::make_unique<Store>(options_.arena, options_.store_limits);
  shard_ = std::make_unique<Shard>(options_.id, options_.limits, options_.session_limits,
                                   (*io)->streams(), (*io)->storage(), exchange_, *store_,
                                   options_.seed, clock.now());
  exchange_.doorbell(options_.id).parker = io->get();
  started(Result<void>());
  loop(**io, *shard_);
  stopped_.set_value();
  released_.get_future().wait();
}

// One io_uring_enter (or epoll_wait) a cycle: it submits, and it sleeps only when nothing is left
// to do. Before it sleeps the shard says that it is parked and looks at its mailboxes once more
// (base/parker.hh).
void ShardRunner::loop(ShardIo& io, Shard& shard) {
  host::MonotonicClock clock;
  ShardCounters& counters = shard.counters();
  Doorbell& doorbell = exchange_.doorbell(options_.id);
  Instant now = clock.now();
  Instant drain_until = Instant::never();
  for (;;) {
    if (pool_request_.load(std::memory_order_relaxed) != nullptr) serve_pool_request(io);
    bool found = shard.do_work(now);
    found |= io.flush(now);
    if (shard.stopped()) {
      drain_until = earlier(drain_until, now + kDrainMax);
      if (!io.draining() || now >= drain_until) break;
    }
    const Instant done = clock.now();
    ShardCounters::add(found ? counters.cycles_busy : counters.cycles_idle, 1);
    ShardCounters::add(found ? counters.busy_ns : counters.idle_ns,
                       static_cast<std::uint64_t>((done - now).ns));
    system_calls_.store(io.system_calls(), std::memory_order_relaxed);
    splice_trouble_.store(io.splice_trouble(), std::memory_order_relaxed);
    failure_.store(io.failure(), std::memory_order_relaxed);
    const control::PayloadBytes payload = io.payload();
    zero_copy_.store(payload.zero_copy, std::memory_order_relaxed);
    copied_.store(payload.copied, std::memory_order_relaxed);
    copy_reason_.store(payload.reason, std::memory_order_relaxed);
    if (shard.work_left() || options_.idle == control::IdleMode::spin) {
      io.wait(Duration{});
      now = clock.now();
      continue;
    }
    doorbell.flag.prepare();
    const Instant until =
        earlier(drain_until, earlier(shard.next_timeout(done), io.next_timeout()));
    const bool asked = pool_request_.load(std::memory_order_relaxed) != nullptr;
    if (!asked && !shard.mail_waiting() && until > done) {
      ShardCounters::add(counters.parks, 1);
      io.wait(until == Instant::never() ? Duration::max() : until - done);
    } else {
      io.wait(Duration{});
    }
    doorbell.flag.leave();
    now = clock.now();
    ShardCounters::add(counters.idle_ns, static_cast<std::uint64_t>((now - done).ns));
  }
}

void ShardRunner::read_counters(control::ShardSnapshot& out) const {
  const ShardCounters& c = shard_->counters();
  const auto read = [](const ShardCounters::Word& word) {
    return word.load(std::memory_order_relaxed);
  };
  out.cycles_busy = read(c.cycles_busy);
  out.cycles_idle = read(c.cycles_idle);
  out.parks = read(c.parks);
  out.busy_ns = static_cast<std::int64_t>(read(c.busy_ns));
  out.idle_ns = static_cast<std::int64_t>(read(c.idle_ns));
  out.connections = static_cast<std::uint32_t>(read(c.connections));
  out.accepted = read(c.accepted);
  out.received_bytes = read(c.received_bytes);
  out.sent_bytes = read(c.sent_bytes);
  out.payload_bytes = read(c.payload_bytes);
  out.cross_shard_wants = read(c.cross_shard_wants);
  out.sheds = read(c.sheds);
  out.needs = read(c.needs);
  out.system_calls = system_calls_.load(std::memory_order_relaxed);
  out.payload = {zero_copy_.load(std::memory_order_relaxed),
                 copied_.load(std::memory_order_relaxed),
                 copy_reason_.load(std::memory_order_relaxed)};
  shard_->read_store_counters(out.store);
  out.closes.resize(kCloseReasonCount);
  for (std::size_t i = 0; i < kCloseReasonCount; ++i)
    out.closes[i] = read(c.closes[i]);
}

}  // namespace penstock::app
