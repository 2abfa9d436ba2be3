// Whole shards with scripted peers, in virtual time: deadlines, limits and what a shard does when
// others have no room.

#include <gtest/gtest.h>

#include "shard_world.hh"

namespace penstock {
namespace {

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
  world.run(Duration::seconds(88));
  EXPECT_EQ(world.closes(CloseReason::reader_stalled), 0u);
  world.run(Duration::seconds(3));
  EXPECT_EQ(world.closes(CloseReason::reader_stalled), 1u);
}

// Its stream never has so much room that it would say so.
TEST(Shard, ASlowReaderHasNotStalled) {
  ShardWorld world({.window = 1 << 20});
  world.add_torrent(8 << 20, 65536, Hashes::v1);
  ScriptedPeer& peer = world.add_peer();
  peer.handshake(world.hash());
  world.run(Duration::seconds(1));
  peer.burst = 1;
  peer.read(false);
  world.disks[0]->poll_max = 1;
  for (std::uint32_t piece = 0; piece < 128; ++piece)
    peer.request(PieceIndex(piece), 0, kBlockSize);
  world.run(Duration::seconds(1));
  for (int i = 0; i < 10; ++i) {
    peer.say(Bytes(4));  // a keepalive
    world.run(Duration::seconds(40));
    peer.read(true);
    const std::size_t enough = peer.heard.size() + kBlockSize;
    for (int n = 0; n < 100 && peer.heard.size() < enough; ++n)
      world.cycle();
    peer.read(false);
  }
  EXPECT_EQ(world.closes(CloseReason::reader_stalled), 0u);
  EXPECT_GE(peer.heard.size(), 10 * kBlockSize);
  EXPECT_LT(peer.heard.size(), 512u << 10);
  world.run(Duration::seconds(91));
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

// A limit is the process's: what one shard's peers don't use, another's may.
TEST(Shard, AllShardsDrawFromOneLimit) {
  for (const bool of_torrent : {false, true}) {
    ShardWorld world({.shards = 2, .upload_rate = of_torrent ? 0u : 1u << 20});
    world.add_torrent(16 << 20, 65536, Hashes::v1);
    if (of_torrent) world.set_torrent_rate(1 << 20);
    const auto sent = [&world](int shard) {
      return static_cast<double>(world.shards[shard]->counters().payload_bytes.load());
    };
    const auto ask = [&world](ScriptedPeer& peer) {
      peer.handshake(world.hash());
      world.run(Duration::seconds(1));
      for (std::uint32_t piece = 0; piece < 250; ++piece) {
        for (std::uint32_t block = 0; block < 4; ++block)
          peer.request(PieceIndex(piece), block * kBlockSize, kBlockSize);
      }
    };
    ask(world.add_peer());
    world.run(Duration::seconds(4));
    EXPECT_NEAR(sent(0), 4 << 20, 0.02 * (4 << 20)) << of_torrent;
    ask(world.add_peer(ShardId(1)));
    const double before[] = {sent(0), sent(1)};
    world.run(Duration::seconds(4));
    EXPECT_NEAR(sent(0) - before[0], 2 << 20, 0.1 * (2 << 20)) << of_torrent;
    EXPECT_NEAR(sent(1) - before[1], 2 << 20, 0.1 * (2 << 20)) << of_torrent;
  }
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
