#include "app/load_run.hh"

#include <bit>
#include <cstring>
#include <utility>

#include "app/process_limits.hh"
#include "base/piece_states.hh"
#include "host/clock.hh"
#include "shard/load/generator.hh"
#include "shard/load/http_link.hh"
#include "shard/load/peer_link.hh"
#include "stream_kernel/uring_streams.hh"
#include "swarm/torrent.hh"
#include "uring/ring.hh"

namespace penstock::app {
namespace {

// One receive takes up to a buffer: large ones keep the generator's share of system calls and
// completions small. 8 MiB in all stay near the processor: with 32 MiB the generator needs a fifth
// more time a byte, with 4 MiB 500 connections run out of buffers.
constexpr std::uint32_t kBufferSize = 128 * 1024;
constexpr std::uint32_t kBufferCount = 64;
// The ring, pipes and streams of the process.
constexpr std::uint32_t kOwnDescriptors = 16;

class LoadRun final : public control::LoadApi {
 public:
  LoadRun(const LoadPlan& plan, std::shared_ptr<const Metainfo> metainfo)
      : plan_(plan),
        metainfo_(std::move(metainfo)),
        map_(plan.http_path.empty() ? BlockMap(*metainfo_)
                                    : BlockMap(metainfo_->blocks.total_size, plan.range_size)),
        pieces_(metainfo_->blocks.piece_count(), PieceState::lost) {}

  Result<void> start() {
    const std::uint64_t files = raise_descriptor_limit();
    if (files < plan_.connections + kOwnDescriptors) {
      return fail(std::to_string(plan_.connections) + " connections need more than the " +
                  std::to_string(files) + " open files that are allowed: raise \"ulimit -n\"");
    }
    auto ring = uring::Ring::create({});
    if (!ring) return tl::unexpected(std::move(ring).error().context("the load generator"));
    ring_ = std::move(*ring);
    stream_kernel::StreamOptions options;
    options.streams_max = std::bit_ceil(2 * plan_.connections + 64);
    options.buffer_count = kBufferCount;
    options.buffer_size = kBufferSize;
    options.splice = false;
    auto streams = stream_kernel::UringStreams::create(*ring_, {}, options);
    if (!streams) return tl::unexpected(std::move(streams).error());
    streams_ = std::move(*streams);

    if (metainfo_->v1_hash) torrent_.hash_list[torrent_.hash_count++] = *metainfo_->v1_hash;
    if (metainfo_->v2_hash) {
      torrent_.hash_list[torrent_.hash_count++] = truncate(*metainfo_->v2_hash);
    }
    torrent_.has_v2 = metainfo_->has_v2;
    torrent_.blocks = metainfo_->blocks;
    torrent_.pieces = &pieces_;
    generator_ = std::make_unique<LoadGenerator>(
        plan_, *metainfo_, map_, [this] { return make_link(); }, *streams_, clock_.now());
    return {};
  }

  Duration run(Duration duration) override {
    const Instant begin = clock_.now();
    const Instant end = begin + duration;
    Instant now = begin;
    while (now < end) {
      const bool more = generator_->do_work(now);
      const Instant until = earlier(end, generator_->next_timeout());
      now = clock_.now();
      ring_->wait(more || until <= now ? Duration{} : until - now);
      now = clock_.now();
    }
    return now - begin;
  }
  void begin_window() override { generator_->begin_window(); }

  void snapshot(control::LoadSnapshot& out) override {
    out.counters = generator_->counters();
    out.latency = generator_->latency();
    out.active = generator_->active();
    out.connection_bytes.clear();
    for (std::uint32_t i = 0; i < plan_.connections; ++i)
      out.connection_bytes.push_back(generator_->window_bytes(i));
    out.closes.clear();
    for (const LoadGenerator::Close& close : generator_->closes())
      out.closes.push_back({close.reason, close.count});
    out.system_calls = ring_->counters().enters + streams_->counters().syscalls();
  }
  [[nodiscard]] std::string io_name() const override { return "io_uring"; }

 private:
  static void fill_peer_id(std::array<std::byte, 20>& id) {
    std::memcpy(id.data(), "-PS0100-", 8);
    host::SystemEntropy().fill(std::span(id).subspan(8));
  }
  std::unique_ptr<LoadLink> make_link() {
    if (plan_.http_path.empty()) {
      SessionLimits limits;
      fill_peer_id(limits.peer_id);
      limits.close_redundant = false;
      // Two queues, which may begin and end within a page, and a message being read.
      const std::uint32_t pages = 2 * (plan_.depth / RequestQueue::kPerPage + 2) + 1;
      return std::make_unique<PeerLink>(limits, pages, torrent_, plan_.depth > 0);
    }
    return std::make_unique<HttpLink>(plan_.http_path, plan_.peer.to_string(), plan_.range_size);
  }

  const LoadPlan plan_;
  const std::shared_ptr<const Metainfo> metainfo_;
  const BlockMap map_;
  PieceStates pieces_;  // a leecher that never has anything
  Torrent torrent_;
  host::MonotonicClock clock_;
  // Destroyed from the last to the first.
  std::unique_ptr<uring::Ring> ring_;
  std::unique_ptr<stream_kernel::UringStreams> streams_;
  std::unique_ptr<LoadGenerator> generator_;
};

}  // namespace

Result<std::unique_ptr<control::LoadApi>> start_load(const LoadPlan& plan,
                                                     std::shared_ptr<const Metainfo> metainfo) {
  auto run = std::make_unique<LoadRun>(plan, std::move(metainfo));
  auto started = run->start();
  if (!started) return tl::unexpected(std::move(started).error());
  return run;
}

}  // namespace penstock::app
