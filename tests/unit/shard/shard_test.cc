// Whole shards with scripted peers, in virtual time: deadlines, limits and what a shard does when
// others have no room.
#include "shard/shard.hh"

#include <gtest/gtest.h>

#include "crypto/merkle.hh"
#include "support/memory_streams.hh"
#include "support/virtual_clock.hh"
#include "swarm/hash_forest.hh"
#include "test_torrent.hh"
#include "wire/peer_wire.hh"

namespace penstock {
namespace {

using support::MemoryNetwork;
using support::MemoryStreams;
using wire::MessageId;

using Bytes = std::vector<std::byte>;

template <class Container>
void append(Bytes& out, const Container& bytes) {
  const auto* p = reinterpret_cast<const std::byte*>(std::data(bytes));
  out.insert(out.end(), p, p + std::size(bytes));
}

std::array<std::byte, 20> id_of(char c) {
  std::array<std::byte, 20> id;
  id.fill(static_cast<std::byte>(c));
  return id;
}

class SilentParker final : public Parker {
 public:
  void wake() override {}
};

// A peer that says what it is told to, and keeps what it hears.
class ScriptedPeer {
 public:
  ScriptedPeer(MemoryStreams& port, const Endpoint& remote) : port_(port) {
    EXPECT_TRUE(port_.connect(remote, IpAddress{}, stream_));
  }
  void handshake(const WireInfoHash& hash) {
    Bytes bytes;
    append(bytes, wire::encode_handshake({.capabilities = {.extended = false, .fast = true},
                                          .info_hash = hash,
                                          .peer_id = id_of('P')}));
    append(bytes, wire::encode_simple(MessageId::interested));
    say(bytes);
  }
  void say(const Bytes& bytes) { unsent_.insert(unsent_.end(), bytes.begin(), bytes.end()); }
  void request(PieceIndex piece, std::uint32_t begin, std::uint32_t length) {
    Bytes bytes;
    append(bytes, wire::encode_block(MessageId::request, piece, begin, length));
    say(bytes);
  }
  void read(bool on) { port_.set_reading(stream_, on); }
  void step(Instant now) {
    StreamEvent events[16];
    const std::size_t count = port_.poll_events(now, events);
    for (const StreamEvent& event : std::span(events).first(count)) {
      connected |= event.kind == StreamEvent::Kind::connected;
      closed |= event.kind == StreamEvent::Kind::closed;
      heard.insert(heard.end(), event.data.begin(), event.data.end());
    }
    if (!connected || closed || unsent_.empty()) return;
    const SendPart part{unsent_.data(), static_cast<std::uint32_t>(unsent_.size()),
                        SendPart::Kind::small};
    const std::size_t n = port_.try_send(stream_, std::span(&part, 1)).accepted;
    unsent_.erase(unsent_.begin(), unsent_.begin() + static_cast<std::ptrdiff_t>(n));
  }
  // How many messages of a kind it heard, behind the handshake.
  [[nodiscard]] std::size_t count(MessageId id) const {
    std::size_t n = 0;
    for (std::size_t at = wire::kHandshakeSize; at + 5 <= heard.size();) {
      const std::uint32_t length = load_be32(heard.data() + at);
      if (length > 0 && heard[at + 4] == static_cast<std::byte>(id)) ++n;
      at += 4 + length;
    }
    return n;
  }

  bool connected = false;
  bool closed = false;
  Bytes heard;

 private:
  MemoryStreams& port_;
  StreamHandle stream_;
  Bytes unsent_;
};

struct WorldOptions {
  std::uint32_t connections_max = 64;
  std::uint16_t shards = 1;
  std::uint64_t upload_rate = 0;
  std::uint32_t window = 256 * 1024;  // of a stream
  std::uint32_t wants_max = 8192;
};

class ShardWorld {
 public:
  explicit ShardWorld(const WorldOptions& options)
      : network_(clock, {.window = options.window, .short_sends = false}),
        exchange_(options.shards, 1024) {
    for (std::uint16_t i = 0; i < options.shards; ++i) {
      constexpr std::uint32_t kSlabs = 256;
      memory_.emplace_back(
          static_cast<std::byte*>(std::aligned_alloc(kPageSize, std::size_t{kSlabs} * kSlabSize)));
      disks.push_back(std::make_unique<TestDisk>());
      const StoreLimits limits{.shard = ShardId(i), .wants_max = options.wants_max};
      stores_.push_back(std::make_unique<Store>(
          Arena({memory_.back().get(), std::size_t{kSlabs} * kSlabSize}), limits));
      const ShardLimits shard_limits{.connections_max = options.connections_max,
                                     .torrents_max = 16,
                                     .upload_rate = options.upload_rate};
      MemoryStreams& streams =
          network_.add_port(address(i), {.streams_max = shard_limits.streams_max()});
      exchange_.doorbell(ShardId(i)).parker = &parker_;
      shards.push_back(std::make_unique<Shard>(
          ShardId(i), shard_limits, SessionLimits{.peer_id = id_of('S')}, streams, *disks.back(),
          exchange_, *stores_.back(), 1, clock.time()));
    }
  }
  ~ShardWorld() {
    shards.clear();
    stores_.clear();
  }

  // One file of random bytes; its first hash is all ones.
  void add_torrent(std::uint64_t length, std::uint32_t piece_size, Hashes hashes,
                   VerifyMode verify = VerifyMode::lazy) {
    Random random(1);
    torrent_ = make_torrent(*disks[0], "t", piece_size, {{length}}, hashes, random, verify,
                            PoolIndex(0), static_cast<std::uint32_t>(shards.size()));
    for (auto& disk : disks)
      disk->files = disks[0]->files;
    Torrent& t = shared_.torrent;
    t.hash_list[0].bytes.fill(std::byte{1});
    t.hash_count = 1;
    t.blocks = torrent_.content->blocks;
    t.pieces = torrent_.content->pieces.get();
    if (hashes == Hashes::v2) {
      MerkleHasher hasher;
      const MerkleShape shape = MerkleShape::of(length, piece_size);
      root = hasher.root_of_piece_layer(shape, torrent_.content->v2_pieces);
      const HashForest::File file{root, length, PieceIndex(0), torrent_.content->v2_pieces};
      forest_ = std::make_unique<HashForest>(std::span(&file, 1), piece_size);
      t.forest = forest_.get();
      t.has_v2 = true;
    }
    shared_.content = std::move(torrent_.content);
    shared_.counters = std::make_unique<TorrentCounters[]>(shards.size());
    for (std::uint16_t i = 0; i < shards.size(); ++i) {
      EXPECT_TRUE(exchange_.to_shard(ShardId(i))
                      .try_send({.kind = ControlMessage::Kind::add_torrent, .torrent = &shared_}));
    }
  }
  ScriptedPeer& add_peer() {
    const auto number = static_cast<std::uint8_t>(peers_.size() + 1);
    MemoryStreams& port = network_.add_port({IpAddress::v4(10, 1, 0, number), 7000},
                                            {.streams_max = 4, .listening = false});
    peers_.push_back(std::make_unique<ScriptedPeer>(port, address(0)));
    return *peers_.back();
  }
  // As a runner would: sleeps only until something is due.
  void run(Duration time) {
    const Instant until = clock.time() + time;
    while (clock.time() < until) {
      bool busy = false;
      for (auto& shard : shards) {
        shard->do_work(clock.time());
        ++cycles;
      }
      for (auto& peer : peers_)
        peer->step(clock.time());
      Instant next = earlier(network_.next_event(), until);
      for (auto& shard : shards) {
        shard->validate();
        busy |= shard->work_left() || shard->mail_waiting();
        next = earlier(next, shard->next_timeout(clock.time()));
      }
      for (std::size_t i = 0; i < disks.size(); ++i)
        busy |= disks[i]->ready() > 0;
      const Instant soon = clock.time() + Duration::microseconds(1);
      clock.advance_to(busy ? soon : std::max(next, soon));
    }
  }
  void cycle() {
    shards[0]->do_work(clock.time());
    shards[0]->validate();
    for (auto& peer : peers_)
      peer->step(clock.time());
    clock.advance_to(clock.time() + Duration::microseconds(1));
  }
  [[nodiscard]] std::uint64_t closes(CloseReason reason) const {
    return shards[0]->counters().closes[static_cast<std::size_t>(reason)].load();
  }
  [[nodiscard]] const WireInfoHash& hash() const { return shared_.torrent.hash_list[0]; }
  [[nodiscard]] const TorrentContent& content() const { return *shared_.content; }

  support::VirtualClock clock;
  std::vector<std::unique_ptr<TestDisk>> disks;
  std::vector<std::unique_ptr<Shard>> shards;
  Sha256Digest root;
  std::uint64_t cycles = 0;

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  static Endpoint address(std::uint16_t shard) {
    return {IpAddress::v4(10, 0, 0, static_cast<std::uint8_t>(1 + shard)), 6881};
  }

  MemoryNetwork network_;
  Exchange exchange_;
  SilentParker parker_;
  std::vector<std::unique_ptr<std::byte, Free>> memory_;
  std::vector<std::unique_ptr<Store>> stores_;
  TestTorrent torrent_;
  std::unique_ptr<HashForest> forest_;
  ShardTorrent shared_;
  std::vector<std::unique_ptr<ScriptedPeer>> peers_;
};

TEST(Shard, ServesAPeer) {
  ShardWorld world({});
  world.add_torrent(1 << 20, 65536, Hashes::v1);
  ScriptedPeer& peer = world.add_peer();
  peer.handshake(world.hash());
  world.run(Duration::seconds(1));
  EXPECT_EQ(peer.count(MessageId::unchoke), 1u);
  for (std::uint32_t piece = 0; piece < 16; ++piece)
    peer.request(PieceIndex(piece), 0, kBlockSize);
  world.run(Duration::seconds(1));
  EXPECT_EQ(peer.count(MessageId::piece), 16u);
}

// Sixteen peers with four requests each, of which a cycle brings the next block to every one.
class BlocksTogether : public testing::Test {
 protected:
  static constexpr std::uint32_t kPeers = 16;  // as many completions in a cycle are a crowd
  static constexpr std::uint32_t kRequests = 4;

  void SetUp() override {
    world.add_torrent(16 << 20, 65536, Hashes::v1, VerifyMode::trust);
    for (std::uint32_t i = 0; i < kPeers; ++i)
      peers.push_back(&world.add_peer());
    for (ScriptedPeer* peer : peers)
      peer->handshake(world.hash());
    world.run(Duration::seconds(1));
    // The file is open, and no block is a neighbour of another.
    peers[0]->request(PieceIndex(255), 0, kBlockSize);
    world.run(Duration::seconds(1));
    ASSERT_EQ(peers[0]->count(MessageId::piece), 1u);
    peers[0]->heard.resize(wire::kHandshakeSize);
    world.disks[0]->poll_max = 0;
    for (std::uint32_t i = 0; i < kRequests; ++i) {
      for (std::uint32_t p = 0; p < kPeers; ++p)
        peers[p]->request(PieceIndex(2 * (i * kPeers + p)), 0, kBlockSize);
      world.run(Duration::milliseconds(1));
    }
    ASSERT_EQ(world.disks[0]->pending(), kPeers * kRequests);
    world.disks[0]->poll_max = kPeers;
  }
  std::size_t heard() const {
    std::size_t sum = 0;
    for (const ScriptedPeer* peer : peers)
      sum += peer->count(MessageId::piece);
    return sum;
  }
  ShardWorld world{{.window = 1 << 20}};
  std::vector<ScriptedPeer*> peers;
};

TEST_F(BlocksTogether, GoOutTogetherWhileTheDiskKeepsTheShardBusy) {
  for (std::uint32_t i = 0; i + 1 < kRequests; ++i) {
    world.cycle();
    EXPECT_TRUE(world.shards[0]->work_left());
    EXPECT_EQ(heard(), 0u);
  }
  world.cycle();
  world.disks[0]->poll_max = 0;
  world.run(Duration::milliseconds(1));
  EXPECT_EQ(heard(), kPeers * kRequests);
}

TEST_F(BlocksTogether, DoNotWaitOnceTheDiskIsSlow) {
  world.cycle();
  world.cycle();
  EXPECT_EQ(heard(), 0u);
  world.disks[0]->poll_max = kPeers - 1;
  world.cycle();
  world.disks[0]->poll_max = 0;
  world.run(Duration::milliseconds(1));
  EXPECT_EQ(heard(), 3 * kPeers - 1);
}

// The deadline of a peer that stops reading begins when a send was short, long after its timer was
// armed for something later.
TEST(Shard, APeerThatStopsReadingIsClosedInTime) {
  ShardWorld world({});
  world.add_torrent(4 << 20, 65536, Hashes::v1);
  ScriptedPeer& peer = world.add_peer();
  peer.handshake(world.hash());
  world.run(Duration::seconds(20));
  peer.read(false);
  world.disks[0]->hanging.insert("t/0");
  for (std::uint32_t piece = 0; piece < 64; ++piece)
    peer.request(PieceIndex(piece), 0, kBlockSize);
  world.run(Duration::seconds(1));
  world.disks[0]->hanging.clear();
  world.run(Duration::seconds(59));
  EXPECT_EQ(world.closes(CloseReason::reader_stalled), 0u);
  world.run(Duration::seconds(3));
  EXPECT_EQ(world.closes(CloseReason::reader_stalled), 1u);
}

// Two at once, and then not a byte more from the peer: both are answered.
TEST(Shard, LeafHashesNeedNoFurtherInput) {
  ShardWorld world({});
  world.add_torrent(1 << 20, 65536, Hashes::v2);
  ScriptedPeer& peer = world.add_peer();
  peer.handshake(world.hash());
  world.run(Duration::seconds(1));
  Bytes bytes;
  for (std::uint32_t piece : {3u, 7u, 9u}) {
    const wire::HashQuery query{world.root, 0, piece * 4, 4, 3};
    append(bytes, wire::encode_hash_header(MessageId::hash_request, query));
  }
  peer.say(bytes);
  world.run(Duration::seconds(1));
  EXPECT_EQ(peer.count(MessageId::hash_reject), 0u);
  EXPECT_EQ(peer.count(MessageId::hashes), 3u);
}

// Twenty peers share 32 KiB/s, so that a turn comes every ten seconds: a newcomer's handshake does
// not wait for one, and the limit holds.
TEST(Shard, ControlMessagesDoNotWaitForTheRateLimit) {
  ShardWorld world({.upload_rate = 32 * 1024});
  world.add_torrent(4 << 20, 65536, Hashes::v1);
  for (int i = 0; i < 20; ++i) {
    ScriptedPeer& peer = world.add_peer();
    peer.handshake(world.hash());
    world.run(Duration::seconds(20));  // it may be its turn only then, without what is tested
    for (std::uint32_t piece = 0; piece < 64; ++piece)
      peer.request(PieceIndex(piece), 0, kBlockSize);
    world.run(Duration::milliseconds(200));
  }
  world.run(Duration::seconds(5));
  ScriptedPeer& late = world.add_peer();
  late.handshake(world.hash());
  world.run(Duration::milliseconds(500));
  EXPECT_EQ(late.count(MessageId::unchoke), 1u);
  const std::uint64_t before = world.shards[0]->counters().payload_bytes.load();
  world.run(Duration::seconds(60));
  const std::uint64_t sent = world.shards[0]->counters().payload_bytes.load() - before;
  EXPECT_NEAR(static_cast<double>(sent), 60.0 * 32 * 1024, 0.02 * 60 * 32 * 1024);
}

// More peers wait for their turn than a cycle looks at: there is nothing to do all the same.
TEST(Shard, SleepsWhileTheRateLimitSaysWait) {
  ShardWorld world({.connections_max = 128, .upload_rate = 1 << 20});
  world.add_torrent(4 << 20, 65536, Hashes::v1);
  std::vector<ScriptedPeer*> peers;
  for (int i = 0; i < 100; ++i) {
    peers.push_back(&world.add_peer());
    peers.back()->handshake(world.hash());
  }
  world.run(Duration::seconds(1));
  for (ScriptedPeer* peer : peers) {
    for (std::uint32_t piece = 0; piece < 64; ++piece)
      peer->request(PieceIndex(piece), 0, kBlockSize);
  }
  world.run(Duration::seconds(1));
  const std::uint64_t cycles = world.cycles;
  const std::uint64_t before = world.shards[0]->counters().payload_bytes.load();
  world.run(Duration::seconds(4));
  EXPECT_NEAR(static_cast<double>(world.shards[0]->counters().payload_bytes.load() - before),
              4 << 20, 0.02 * (4 << 20));
  EXPECT_LT(world.cycles - cycles, 10'000u);
}

TEST(Shard, RefusalsHaveTheirName) {
  ShardWorld world({});
  world.add_torrent(1 << 20, 65536, Hashes::v1);
  for (int i = 0; i < 70; ++i)
    world.add_peer();
  world.run(Duration::seconds(1));
  EXPECT_EQ(world.closes(CloseReason::too_many_connections), 6u);
  EXPECT_EQ(world.closes(CloseReason::shutdown), 0u);
}

// The disk of another shard hangs and its store is full: asking again must not be all that two
// shards do.
TEST(Shard, AHomeWithoutRoomIsNotAskedWithoutEnd) {
  ShardWorld world({.shards = 2, .wants_max = 8});
  world.add_torrent(64 << 20, 65536, Hashes::v1);
  std::vector<PieceIndex> there;
  for (std::uint32_t i = 0; i < world.content().blocks.piece_count(); ++i) {
    if (world.content().home(PieceIndex(i), 2) == ShardId(1)) there.push_back(PieceIndex(i));
  }
  ASSERT_GT(there.size(), 100u);
  world.disks[1]->hanging.insert("t/0");
  for (int i = 0; i < 4; ++i) {
    ScriptedPeer& peer = world.add_peer();
    peer.handshake(world.hash());
    world.run(Duration::milliseconds(10));
    for (std::uint32_t n = 0; n < 30; ++n)
      peer.request(there[n], 0, kBlockSize);
  }
  world.run(Duration::seconds(1));
  const std::uint64_t wants = world.shards[0]->counters().cross_shard_wants.load();
  const std::uint64_t cycles = world.cycles;
  world.run(Duration::seconds(1));
  EXPECT_LT(world.shards[0]->counters().cross_shard_wants.load() - wants, 10'000u);
  EXPECT_LT(world.cycles - cycles, 25'000u);
  // When it goes on, everybody is served.
  world.disks[1]->hanging.clear();
  world.run(Duration::seconds(2));
  EXPECT_EQ(world.shards[0]->counters().payload_bytes.load(), 4u * 30 * kBlockSize);
}

}  // namespace
}  // namespace penstock
