#include "app/load_run.hh"

#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "app/nic_device.hh"
#include "app/process_limits.hh"
#include "app/shard_io.hh"
#include "base/piece_states.hh"
#include "host/clock.hh"
#include "shard/load/generator.hh"
#include "shard/load/http_link.hh"
#include "shard/load/peer_link.hh"
#include "swarm/torrent.hh"

namespace penstock::app {
namespace {

// One receive takes up to a buffer: large ones keep the generator's share of system calls and
// completions small. 8 MiB in all stay near the processor: with 32 MiB the generator needs a fifth
// more time a byte, with 4 MiB 500 connections run out of buffers.
constexpr std::uint32_t kBufferSize = 128 * 1024;
constexpr std::uint32_t kBufferCount = 64;
// On an interface shared with Linux we connect from the ports behind its own
// (net.ipv4.ip_local_port_range).
constexpr std::uint16_t kSharedFrom = 61000;
constexpr Duration kFarewell = Duration::milliseconds(50);
// The ring, pipes and streams of the process.
constexpr std::uint32_t kOwnDescriptors = 16;

class LoadRun final : public control::LoadApi {
 public:
  LoadRun(const LoadPlan& plan, std::shared_ptr<const Metainfo> metainfo,
          const std::optional<control::OwnNetwork>& network)
      : plan_(plan),
        metainfo_(std::move(metainfo)),
        network_(network),
        map_(plan.http_path.empty() ? BlockMap(*metainfo_)
                                    : BlockMap(metainfo_->blocks.total_size, plan.range_size)),
        pieces_(metainfo_->blocks.piece_count(), PieceState::lost) {}

  // A kernel would tell the peers that we are gone, and answer those who ask again (RFC 5961 §3.2).
  ~LoadRun() override {
    generator_.reset();
    const Instant begin = clock_.now();
    std::array<StreamEvent, 64> events;
    for (Instant now = begin; io_ && network_ && now - begin < kFarewell; now = clock_.now()) {
      io_->streams().poll_events(now, events);
      io_->flush(now);
      io_->wait(Duration{});
    }
  }

  Result<void> start() {
    const std::uint64_t files = raise_descriptor_limit();
    if (!network_ && files < plan_.connections + kOwnDescriptors) {
      return fail(std::to_string(plan_.connections) + " connections need more than the " +
                  std::to_string(files) + " open files that are allowed: raise \"ulimit -n\"");
    }
    IoOptions options;
    auto capabilities = host::capabilities_from_environment();
    if (!capabilities) return tl::unexpected(std::move(capabilities).error());
    options.capabilities = *capabilities;
    options.capabilities.splice = false;
    options.streams_max = std::bit_ceil(2 * plan_.connections + 64);
    options.receive_buffers = kBufferCount;
    options.receive_buffer_size = kBufferSize;
    if (network_) {
      auto own = own_tcp();
      if (!own) return tl::unexpected(std::move(own).error());
      auto environment = open_nic_environment(own->network, options.capabilities, 0);
      if (!environment)
        return tl::unexpected(std::move(environment).error().context("the load generator"));
      environment_ = std::move(*environment);
      own->environment = environment_.get();
      options.own_tcp = std::move(*own);
    }
    auto io = make_shard_io(options);
    if (!io) return tl::unexpected(std::move(io).error().context("the load generator"));
    io_ = std::move(*io);

    if (metainfo_->v1_hash) torrent_.hash_list[torrent_.hash_count++] = *metainfo_->v1_hash;
    if (metainfo_->v2_hash) {
      torrent_.hash_list[torrent_.hash_count++] = truncate(*metainfo_->v2_hash);
    }
    torrent_.has_v2 = metainfo_->has_v2;
    torrent_.blocks = metainfo_->blocks;
    torrent_.pieces = &pieces_;
    generator_ = std::make_unique<LoadGenerator>(
        plan_, *metainfo_, map_, [this] { return make_link(); }, io_->streams(), clock_.now());
    return {};
  }

  Duration run(Duration duration) override {
    const Instant begin = clock_.now();
    const Instant end = begin + duration;
    Instant now = begin;
    while (now < end) {
      const std::uint64_t before = work_done();
      const bool more = generator_->do_work(now);
      const bool moved = io_->flush(now);
      const Instant done = clock_.now();
      if (moved || work_done() != before) busy_ = busy_ + (done - now);
      const Instant until = earlier(end, earlier(generator_->next_timeout(), io_->next_timeout()));
      io_->wait(more || until <= done ? Duration{} : until - done);
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
    out.system_calls = io_->system_calls();
    out.busy_ns = busy_.ns;
  }
  [[nodiscard]] std::string io_name() const override { return io_->name(); }

 private:
  // Another number than before: a cycle had something to do.
  [[nodiscard]] std::uint64_t work_done() const {
    const LoadCounters& c = generator_->counters();
    return c.received_bytes + c.requests + c.connects + c.closes;
  }
  Result<OwnTcpOptions> own_tcp() const {
    OwnTcpOptions own;
    own.network = *network_;
    if (own.network.driver == control::OwnNetwork::Driver::xdp) own.connect_from = kSharedFrom;
    if (own.network.addresses.empty()) {
      if (auto taken = take_kernel_addresses(own.network); !taken)
        return tl::unexpected(std::move(taken).error());
    }
    if (own.network.addresses.empty())
      return fail("own TCP needs an address of ours (--address)", ErrorKind::usage);
    host::SystemEntropy().fill(std::as_writable_bytes(std::span(own.secret)));
    return own;
  }
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
  const std::optional<control::OwnNetwork> network_;
  const BlockMap map_;
  PieceStates pieces_;  // a leecher that never has anything
  Torrent torrent_;
  host::MonotonicClock clock_;
  Duration busy_;
  // Destroyed from the last to the first.
  std::unique_ptr<NicEnvironment> environment_;
  std::unique_ptr<ShardIo> io_;
  std::unique_ptr<LoadGenerator> generator_;
};

}  // namespace

Result<std::unique_ptr<control::LoadApi>> start_load(
    const LoadPlan& plan, std::shared_ptr<const Metainfo> metainfo,
    const std::optional<control::OwnNetwork>& network) {
  auto run = std::make_unique<LoadRun>(plan, std::move(metainfo), network);
  auto started = run->start();
  if (!started) return tl::unexpected(std::move(started).error());
  return run;
}

}  // namespace penstock::app
