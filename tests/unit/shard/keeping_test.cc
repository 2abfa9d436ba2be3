// Shards over streams that keep what they send until the peer has read it.
#include <gtest/gtest.h>

#include "shard_world.hh"

namespace penstock {
namespace {

constexpr WorldOptions kKeeping{.window = 4 << 20, .kept_parts_max = 8192};
// Of the world's 16 MiB of memory, a torrent may have half pinned.
constexpr std::uint32_t kPieceSize = 65536;

void request_pieces(ScriptedPeer& peer, std::uint32_t first, std::uint32_t count) {
  for (std::uint32_t piece = first; piece < first + count; ++piece) {
    for (std::uint32_t begin = 0; begin < kPieceSize; begin += kBlockSize)
      peer.request(PieceIndex(piece), begin, kBlockSize);
  }
}

// A peer that may ask.
ScriptedPeer& join(ShardWorld& world) {
  ScriptedPeer& peer = world.add_peer();
  peer.handshake(world.hash());
  world.run(Duration::seconds(1));
  EXPECT_EQ(peer.count(MessageId::unchoke), 1u);
  return peer;
}

TEST(ShardKeeping, BlocksAreKeptUntilThePeerHasReadThem) {
  ShardWorld world(kKeeping);
  world.add_torrent(4 << 20, kPieceSize, Hashes::v1);
  ScriptedPeer& peer = join(world);
  peer.read(false);
  request_pieces(peer, 0, 16);
  world.run(Duration::seconds(1));
  EXPECT_EQ(peer.count(MessageId::piece), 0u);
  EXPECT_EQ(world.ports[0]->kept(), 64u);
  peer.read(true);
  world.run(Duration::seconds(1));
  EXPECT_EQ(peer.blocks().size(), 64u);
  EXPECT_TRUE(world.right(peer));
  EXPECT_EQ(world.ports[0]->kept(), 0u);
  EXPECT_EQ(world.shards[0]->counters().sheds.load(), 0u);
  EXPECT_EQ(world.shards[0]->counters().needs.load(), 0u);
  // No pin is left: the store forgets the torrent.
  world.remove_torrent();
  world.run(Duration::seconds(1));
  EXPECT_EQ(world.told(), 1u);
}

// Four that don't read hold all that a torrent may: the fifth is served all the same, and they get
// the right bytes when they go on.
TEST(ShardKeeping, StalledPeersGiveTheirMemoryToOthers) {
  ShardWorld world(kKeeping);
  world.add_torrent(64 << 20, kPieceSize, Hashes::v1);
  std::vector<ScriptedPeer*> stalled;
  for (std::uint32_t i = 0; i < 4; ++i) {
    stalled.push_back(&join(world));
    stalled.back()->read(false);
    request_pieces(*stalled.back(), i * 100, 40);
    world.run(Duration::seconds(1));
  }
  EXPECT_GT(world.ports[0]->kept(), 300u);
  ScriptedPeer& reader = join(world);
  request_pieces(reader, 600, 60);
  world.run(Duration::seconds(2));
  EXPECT_EQ(reader.blocks().size(), 240u);
  EXPECT_TRUE(world.right(reader));
  EXPECT_GT(world.shards[0]->counters().sheds.load(), 0u);
  for (ScriptedPeer* peer : stalled)
    peer->read(true);
  world.run(Duration::seconds(5));
  for (ScriptedPeer* peer : stalled) {
    EXPECT_EQ(peer->blocks().size(), 160u);
    EXPECT_TRUE(world.right(*peer));
  }
  EXPECT_GT(world.shards[0]->counters().needs.load(), 0u);
  EXPECT_EQ(world.ports[0]->kept(), 0u);
}

class ShedStream : public testing::Test {
 protected:
  // A peer that was promised 4 MiB, reads nothing, and whose memory was taken back.
  ShedStream() : world_(kKeeping) {
    world_.add_torrent(64 << 20, kPieceSize, Hashes::v1);
    peer_ = &join(world_);
    peer_->read(false);
    request_pieces(*peer_, 0, 40);
    world_.run(Duration::seconds(1));
    EXPECT_EQ(world_.ports[0]->kept(), 160u);
    EXPECT_TRUE(world_.ports[0]->shed_longest_stalled(world_.clock.time()));
    EXPECT_EQ(world_.ports[0]->kept(), 0u);
    world_.run(Duration::milliseconds(10));
  }
  // Fills the memory with other content, so that what was shed must be read again.
  void wash() {
    ScriptedPeer& other = join(world_);
    for (std::uint32_t piece = 60; piece < 480; piece += 28) {
      request_pieces(other, piece, 28);
      world_.run(Duration::seconds(1));
    }
  }

  ShardWorld world_;
  ScriptedPeer* peer_;
};

TEST_F(ShedStream, GoesOnWhereItWas) {
  wash();
  peer_->read(true);
  world_.run(Duration::seconds(2));
  EXPECT_EQ(peer_->blocks().size(), 160u);
  EXPECT_TRUE(world_.right(*peer_));
  EXPECT_EQ(world_.ports[0]->kept(), 0u);
}

TEST_F(ShedStream, WaitsForADiskThatIsLate) {
  wash();
  world_.disks[0]->hanging.insert("t/0");
  peer_->read(true);
  world_.run(Duration::seconds(10));
  EXPECT_LT(peer_->blocks().size(), 160u);
  EXPECT_FALSE(peer_->closed);
  world_.disks[0]->hanging.clear();
  world_.run(Duration::seconds(2));
  EXPECT_EQ(peer_->blocks().size(), 160u);
  EXPECT_TRUE(world_.right(*peer_));
}

TEST_F(ShedStream, EndsWhenItsContentIsLost) {
  wash();
  world_.disks[0]->bad["t/0"] = {0, 64 << 20};
  peer_->read(true);
  world_.run(Duration::seconds(5));
  EXPECT_TRUE(peer_->closed);
  EXPECT_TRUE(world_.right(*peer_));
  EXPECT_EQ(world_.closes(CloseReason::content_lost), 1u);
  EXPECT_EQ(world_.ports[0]->kept(), 0u);
}

// The session is over, but what was promised is still delivered; the torrent goes when it is.
TEST(ShardKeeping, ATorrentStaysWhileAStreamKeepsSomeOfIt) {
  ShardWorld world(kKeeping);
  world.add_torrent(4 << 20, kPieceSize, Hashes::v1);
  ScriptedPeer& peer = join(world);
  peer.read(false);
  request_pieces(peer, 0, 16);
  world.run(Duration::seconds(1));
  world.remove_torrent();
  world.run(Duration::seconds(1));
  EXPECT_EQ(world.told(), 0u);
  EXPECT_EQ(world.closes(CloseReason::torrent_withdrawn), 1u);
  peer.read(true);
  world.run(Duration::seconds(1));
  EXPECT_EQ(peer.blocks().size(), 64u);
  EXPECT_TRUE(world.right(peer));
  EXPECT_TRUE(peer.closed);
  EXPECT_EQ(world.told(), 1u);
}

// What a stream that ends asks for when its torrent is gone isn't to be had.
TEST_F(ShedStream, IsResetWhenItsTorrentIsGone) {
  world_.remove_torrent();
  world_.run(Duration::seconds(1));
  EXPECT_EQ(world_.told(), 1u);
  peer_->read(true);
  world_.run(Duration::seconds(1));
  EXPECT_TRUE(peer_->closed);
  EXPECT_LT(peer_->blocks().size(), 160u);
  EXPECT_TRUE(world_.right(*peer_));
}

TEST(ShardKeeping, FewPinsSlowDownButDontStop) {
  WorldOptions options = kKeeping;
  options.kept_parts_max = 8;
  ShardWorld world(options);
  world.add_torrent(16 << 20, kPieceSize, Hashes::v1);
  std::vector<ScriptedPeer*> peers;
  for (std::uint32_t i = 0; i < 5; ++i) {
    peers.push_back(&join(world));
    request_pieces(*peers.back(), i * 40, 20);
  }
  world.run(Duration::seconds(20));
  for (const ScriptedPeer* peer : peers) {
    EXPECT_EQ(peer->blocks().size(), 80u);
    EXPECT_TRUE(world.right(*peer));
  }
}

// Blocks over many tiny files are gathered into one run; asked for again in part, they aren't.
TEST(ShardKeeping, TinyFilesAreKeptToo) {
  WorldOptions options = kKeeping;
  options.short_sends = true;
  ShardWorld world(options);
  std::vector<TestFile> files;
  for (std::uint64_t i = 0; i < 700; ++i)
    files.push_back({900 + i});
  world.add_torrent(files, kPieceSize, Hashes::v1);
  ScriptedPeer& peer = join(world);
  peer.read(false);
  request_pieces(peer, 0, 12);
  world.run(Duration::seconds(1));
  EXPECT_TRUE(world.ports[0]->shed_longest_stalled(world.clock.time()));
  world.run(Duration::milliseconds(10));
  peer.read(true);
  world.run(Duration::seconds(3));
  EXPECT_EQ(peer.blocks().size(), 48u);
  EXPECT_TRUE(world.right(peer));
  EXPECT_EQ(world.ports[0]->kept(), 0u);
}

// Peers that stall and go on at random, short sends, memory taken back at random.
TEST(ShardKeeping, NothingIsMixedUp) {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    Random random(seed);
    WorldOptions options = kKeeping;
    options.seed = seed;
    options.short_sends = true;
    options.window = 1 << (17 + random.below(6));
    options.kept_parts_max = static_cast<std::uint32_t>(16 + random.below(600));
    options.shards = static_cast<std::uint16_t>(1 + random.below(2));
    ShardWorld world(options);
    world.add_torrent(32 << 20, kPieceSize, Hashes::v1);
    std::vector<ScriptedPeer*> peers;
    for (std::uint32_t i = 0; i < 8; ++i) {
      peers.push_back(&join(world));
      request_pieces(*peers.back(), static_cast<std::uint32_t>(random.below(450)), 40);
    }
    for (int step = 0; step < 100; ++step) {
      peers[random.below(peers.size())]->read(random.below(2) == 0);
      if (random.below(4) == 0) world.ports[0]->shed_longest_stalled(world.clock.time());
      world.run(Duration::microseconds(static_cast<std::int64_t>(1 + random.below(30'000))));
    }
    for (ScriptedPeer* peer : peers)
      peer->read(true);
    world.run(Duration::seconds(10));
    for (const ScriptedPeer* peer : peers) {
      EXPECT_EQ(peer->blocks().size(), 160u) << seed;
      EXPECT_TRUE(world.right(*peer)) << seed;
      EXPECT_FALSE(peer->closed) << seed;
    }
    EXPECT_EQ(world.ports[0]->kept(), 0u) << seed;
    world.remove_torrent();
    world.run(Duration::seconds(1));
    EXPECT_EQ(world.told(), world.shards.size()) << seed;
  }
}

}  // namespace
}  // namespace penstock
