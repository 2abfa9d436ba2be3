// Seeded lives of whole shards: 1 to 3 shards, torrents of odd shapes, peers that stall, leave and
// come back, bad bytes on the disk, disks that run out of queue, memory and handles, few upload
// slots, rate limits, caches far smaller than the data. Every byte that arrives is compared;
// everybody is served in bounded time; nothing is written that the kernel may still be sending;
// invariants hold throughout.
//
// PENSTOCK_SIM_SEEDS=FIRST-LAST runs others.
#include <cstdio>

#include <gtest/gtest.h>

#include "sim/swarm_world.hh"
#include "support/faulty_storage.hh"

namespace penstock::test {
namespace {

struct SlabMemory {
  explicit SlabMemory(std::uint32_t slabs)
      : data(
            static_cast<std::byte*>(std::aligned_alloc(kPageSize, std::size_t{slabs} * kSlabSize))),
        size(std::size_t{slabs} * kSlabSize) {}
  ~SlabMemory() { std::free(data); }
  SlabMemory(const SlabMemory&) = delete;
  SlabMemory& operator=(const SlabMemory&) = delete;
  std::byte* data;
  std::size_t size;
};

class SilentParker final : public Parker {
 public:
  void wake() override {}
};

class SwarmWorld {
 public:
  explicit SwarmWorld(std::uint64_t seed)
      : random_(seed),
        shard_count_(static_cast<std::uint16_t>(1 + random_.below(3))),
        network_(clock_, link(seed)),
        exchange_(shard_count_, 16384),
        leech_shared_(SessionLimits{.peer_id = id_of('L')}, 4096) {
    for (std::uint16_t i = 0; i < shard_count_; ++i)
      add_shard(ShardId(i));
    const std::uint64_t torrents = 1 + random_.below(3);
    for (std::uint64_t i = 0; i < torrents; ++i)
      add_torrent(i);
    const std::uint64_t peers = 1 + random_.below(6);
    for (std::uint64_t i = 0; i < peers; ++i)
      add_leecher(i);
  }

  ~SwarmWorld() {
    leechers_.clear();
    shards_.clear();
    stores_.clear();
  }

  // Until everybody has everything. False: somebody has not, in this much virtual time.
  bool run(Duration limit) {
    const Instant until = clock_.time() + limit;
    for (std::uint64_t step = 0; clock_.time() < until; ++step) {
      bool any = false;
      for (auto& shard : shards_)
        any |= shard->do_work(clock_.time());
      for (auto& leecher : leechers_)
        leecher->step(clock_.time());
      if (step % 64 == 0) validate();
      drain_reports();
      if (done()) return true;
      if (any || work_left()) {
        clock_.advance(Duration::microseconds(1));
      } else {
        clock_.advance_to(std::max(next(), clock_.time() + Duration::microseconds(1)));
      }
    }
    return false;
  }

  bool done() const {
    return std::all_of(leechers_.begin(), leechers_.end(),
                       [](const auto& leecher) { return leecher->complete(); });
  }

  // Torrents are taken away under load; the shards must let go of them.
  bool remove_all(Duration limit) {
    for (auto& torrent : torrents_) {
      for (std::uint16_t i = 0; i < shard_count_; ++i) {
        EXPECT_TRUE(exchange_.to_shard(ShardId(i))
                        .try_send({.kind = ControlMessage::Kind::remove_torrent,
                                   .torrent = &torrent->shared}));
      }
    }
    const Instant until = clock_.time() + limit;
    while (clock_.time() < until && removed_ < torrents_.size() * shard_count_) {
      for (auto& shard : shards_)
        shard->do_work(clock_.time());
      validate();
      drain_reports();
      clock_.advance(Duration::microseconds(20));
    }
    return removed_ == torrents_.size() * shard_count_;
  }

  void check() {
    for (std::size_t i = 0; i < leechers_.size(); ++i) {
      EXPECT_EQ(leechers_[i]->wrong(), 0u) << "leecher " << i << " got wrong bytes";
      if (!flipped_) {
        EXPECT_EQ(leechers_[i]->refused(), 0u) << "leecher " << i;
      }
    }
    EXPECT_EQ(ledger_.violations(), 0u) << "a page was written that may still be on its way out";
    bool refused = false;
    for (const auto& leecher : leechers_)
      refused |= leecher->refused() > 0;
    if (refused) {
      EXPECT_GT(lost_, 0u) << "a piece was refused and nobody was told why";
    }
  }
  [[nodiscard]] std::uint64_t cross_shard_wants() const {
    std::uint64_t n = 0;
    for (const auto& shard : shards_)
      n += shard->counters().cross_shard_wants.load();
    return n;
  }
  [[nodiscard]] std::uint16_t shard_count() const { return shard_count_; }

 private:
  static std::array<std::byte, 20> id_of(char c) {
    std::array<std::byte, 20> id;
    id.fill(static_cast<std::byte>(c));
    return id;
  }
  static support::LinkOptions link(std::uint64_t seed) {
    Random random(seed * 31);
    support::LinkOptions options;
    options.seed = seed;
    options.segment_max = static_cast<std::uint32_t>(1 + random.below(40'000));
    options.window = static_cast<std::uint32_t>(20'000 + random.below(1 << 20));
    return options;
  }

  void add_shard(ShardId id) {
    const auto slabs = static_cast<std::uint32_t>(64 + random_.below(64));
    memory_.push_back(std::make_unique<SlabMemory>(slabs));
    support::MemoryStorageOptions disk;
    disk.seed = random_.next();
    disk.ledger = &ledger_;
    storages_.push_back(std::make_unique<MemoryStorage>(clock_, disk));
    storages_.back()->add_pool(disk_);
    faulty_.push_back(std::make_unique<support::FaultyStorage>(*storages_.back(), random_.next()));
    for (std::uint64_t faults = random_.below(3) == 0 ? 1 + random_.below(8) : 0; faults > 0;
         --faults) {
      using Kind = StorageOp::Kind;
      using Effect = support::FaultyStorage::Effect;
      const Kind kind = random_.below(4) == 0 ? Kind::open : Kind::read;
      const Effect effect = random_.below(2) == 0 ? Effect::refuse : Effect::fail;
      faulty_.back()->add({effect, kind, random_.below(kind == Kind::open ? 8 : 60),
                           1 + random_.below(3), IoError::exhausted});
    }
    StoreLimits limits;
    limits.shard = id;
    limits.policy = random_.below(2) == 0 ? StoreLimits::Policy::s3fifo : StoreLimits::Policy::lru;
    stores_.push_back(
        std::make_unique<Store>(Arena({memory_.back()->data, memory_.back()->size}), limits));
    support::PortOptions port;
    port.ledger = &ledger_;
    ShardLimits shard_limits;
    shard_limits.connections_max = 32;
    shard_limits.torrents_max = 16;
    if (random_.below(4) == 0) shard_limits.upload_rate = 2'000'000 + random_.below(20'000'000);
    if (random_.below(4) == 0)
      shard_limits.upload_slots = static_cast<std::uint32_t>(1 + random_.below(3));
    port.streams_max = shard_limits.streams_max();
    MemoryStreams& streams = network_.add_port(address_of(id), port);
    exchange_.doorbell(id).parker = &parker_;
    shards_.push_back(std::make_unique<Shard>(
        id, shard_limits, SessionLimits{.peer_id = id_of('S')}, streams, *faulty_.back(), exchange_,
        *stores_.back(), random_.next(), clock_.time()));
  }
  static Endpoint address_of(ShardId id) {
    return {IpAddress::v4(10, 0, 0, static_cast<std::uint8_t>(1 + id.value)), 6881};
  }

  void add_torrent(std::uint64_t number) {
    auto torrent = std::make_unique<SimTorrent>();
    torrent->name = "t" + std::to_string(number);
    auto content = std::make_unique<TorrentContent>();
    content->slot = TorrentSlot(static_cast<std::uint32_t>(number));
    const auto piece_size = static_cast<std::uint32_t>(
        random_.below(3) == 0 ? 10'000 + random_.below(60'000) : 16'384u << random_.below(5));
    const std::uint64_t files = 1 + random_.below(8);
    std::uint64_t offset = 0;
    for (std::uint64_t i = 0; i < files; ++i) {
      const std::uint64_t length = random_.below(4) == 0   ? random_.below(500)
                                   : random_.below(4) == 0 ? random_.below(3u << 20)
                                                           : random_.below(200'000);
      content->files.push_back(
          {torrent->name + "/" + std::to_string(i), offset, length, false, {}});
      offset += length;
    }
    if (offset == 0) {
      content->files[0].length = offset = 1;
      for (std::size_t i = 1; i < content->files.size(); ++i)
        content->files[i].offset = 1;
    }
    content->blocks = {offset, piece_size};
    torrent->bytes.resize(offset);
    for (std::byte& byte : torrent->bytes)
      byte = static_cast<std::byte>(random_.next());
    for (std::uint32_t p = 0; p < content->blocks.piece_count(); ++p) {
      content->v1_pieces.push_back(
          sha1({torrent->bytes.data() + content->blocks.piece_offset(PieceIndex(p)),
                content->blocks.piece_length(PieceIndex(p))}));
    }
    for (const ContentFile& file : content->files) {
      const auto begin = torrent->bytes.begin() + static_cast<std::ptrdiff_t>(file.offset);
      disk_.put(file.path, {begin, begin + static_cast<std::ptrdiff_t>(file.length)});
    }
    if (random_.below(3) == 0) {
      flipped_ = true;
      const std::uint64_t at = random_.below(offset);
      for (const ContentFile& file : content->files) {
        if (at >= file.offset && at < file.offset + file.length) {
          disk_.flip(file.path, at - file.offset);
        }
      }
    }
    finish_content(*content, shard_count_);
    Torrent& t = torrent->shared.torrent;
    t.slot = content->slot;
    t.hash_list[0].bytes.fill(static_cast<std::byte>(number + 1));
    t.hash_count = 1;
    t.blocks = content->blocks;
    t.pieces = content->pieces.get();
    torrent->shared.content = std::move(content);
    torrent->shared.counters = std::make_unique<TorrentCounters[]>(shard_count_);
    // Half of them have an upload limit of their own.
    Random limits(offset * 31 + number);
    if (limits.below(2) == 0) {
      torrent->shared.bucket.set_rate(clock_.time(), 500'000 + limits.below(4'000'000));
    }
    for (std::uint16_t i = 0; i < shard_count_; ++i) {
      EXPECT_TRUE(
          exchange_.to_shard(ShardId(i))
              .try_send({.kind = ControlMessage::Kind::add_torrent, .torrent = &torrent->shared}));
    }
    torrents_.push_back(std::move(torrent));
  }

  void add_leecher(std::uint64_t number) {
    MemoryStreams& port =
        network_.add_port({IpAddress::v4(10, 1, 0, static_cast<std::uint8_t>(number + 1)), 7000},
                          {.streams_max = 16, .listening = false});
    const ShardId shard(static_cast<std::uint16_t>(random_.below(shard_count_)));
    leechers_.push_back(std::make_unique<SimLeecher>(port, leech_shared_,
                                                     *torrents_[random_.below(torrents_.size())],
                                                     address_of(shard), random_.next()));
    leechers_.back()->stalls = random_.below(3) == 0 ? 2 : 0;
    leechers_.back()->drops = random_.below(4) == 0 ? 1 : 0;
    ports_.push_back(&port);
  }

  void validate() {
    for (const auto& shard : shards_)
      shard->validate();
    for (const auto& store : stores_)
      store->validate();
  }
  void drain_reports() {
    ShardReport report;
    for (std::uint16_t i = 0; i < shard_count_; ++i) {
      while (exchange_.from_shard(ShardId(i)).try_receive(report)) {
        removed_ += report.kind == ShardReport::Kind::torrent_removed ? 1 : 0;
        lost_ += report.kind == ShardReport::Kind::store_event &&
                         report.event.kind == StoreEvent::Kind::piece_lost
                     ? 1
                     : 0;
      }
    }
  }
  [[nodiscard]] bool work_left() const {
    return std::any_of(shards_.begin(), shards_.end(), [](const auto& shard) {
      return shard->work_left() || shard->mail_waiting();
    });
  }
  [[nodiscard]] Instant next() const {
    Instant next = network_.next_event();
    for (const auto& storage : storages_)
      next = earlier(next, storage->next_event());
    for (const auto& shard : shards_)
      next = earlier(next, shard->next_timeout(clock_.time()));
    for (const auto& leecher : leechers_)
      next = earlier(next, leecher->next());
    return next;
  }

  support::VirtualClock clock_;
  Random random_;
  support::ExposureLedger ledger_;
  std::uint16_t shard_count_;
  MemoryNetwork network_;
  MemoryDisk disk_;
  Exchange exchange_;
  SilentParker parker_;
  SessionShared leech_shared_;
  std::vector<std::unique_ptr<SlabMemory>> memory_;
  std::vector<std::unique_ptr<MemoryStorage>> storages_;
  std::vector<std::unique_ptr<support::FaultyStorage>> faulty_;
  std::vector<std::unique_ptr<Store>> stores_;
  std::vector<std::unique_ptr<SimTorrent>> torrents_;
  std::vector<std::unique_ptr<Shard>> shards_;
  std::vector<std::unique_ptr<SimLeecher>> leechers_;
  std::vector<MemoryStreams*> ports_;
  std::size_t removed_ = 0;
  std::size_t lost_ = 0;
  bool flipped_ = false;
};

TEST(SwarmSim, EverybodyGetsEveryByte) {
  std::uint64_t crossed = 0;
  unsigned long first = 1;
  unsigned long last = 40;
  const char* const range = std::getenv("PENSTOCK_SIM_SEEDS");
  if (range != nullptr) {
    ASSERT_EQ(std::sscanf(range, "%lu-%lu", &first, &last), 2);
  }
  for (std::uint64_t seed = first; seed <= last; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    SwarmWorld world(seed);
    ASSERT_TRUE(world.run(Duration::seconds(600))) << "somebody was not served";
    world.check();
    ASSERT_TRUE(world.remove_all(Duration::seconds(10))) << "a torrent was not let go of";
    if (world.shard_count() > 1) crossed += world.cross_shard_wants();
    if (HasFailure()) return;
  }
  if (range == nullptr) {
    EXPECT_GT(crossed, 0u);
  }
}

// Removal in the middle of transfers.
TEST(SwarmSim, TorrentsCanGoAtAnyTime) {
  for (std::uint64_t seed = 1001; seed <= 1025; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    SwarmWorld world(seed);
    world.run(Duration::microseconds(static_cast<std::int64_t>(Random(seed).below(20'000))));
    ASSERT_TRUE(world.remove_all(Duration::seconds(10))) << "a torrent was not let go of";
  }
}

}  // namespace
}  // namespace penstock::test
