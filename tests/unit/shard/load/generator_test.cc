#include "shard/load/generator.hh"

#include <set>

#include <gtest/gtest.h>

#include "support.hh"

namespace penstock {
namespace {

constexpr std::uint32_t kPiece = 4 * kBlockSize;

struct World {
  explicit World(const LoadPlan& wanted, std::uint64_t size = 16 * kPiece)
      : plan(wanted), metainfo(make_v1(size, kPiece)), map(metainfo), seeds(plan.connections) {
    for (ScriptedSeed& seed : seeds)
      seed.piece_size = kPiece;
    std::size_t next = 0;
    generator = std::make_unique<LoadGenerator>(
        plan, metainfo, map,
        [&]() -> std::unique_ptr<LoadLink> {
          return std::make_unique<ScriptedLink>(seeds[next++]);
        },
        streams, now);
  }
  void work() { generator->do_work(now); }
  void pass(Duration duration) {
    now = now + duration;
    work();
  }
  // Connected and unchoked.
  void make_ready() {
    for (ScriptedSeed& seed : seeds) {
      seed.say(LinkEvent::Kind::handshaken);
      seed.say(LinkEvent::Kind::ready);
    }
    work();
    work();
  }
  // Bytes came on the i-th connection: its link is read.
  void hear(std::uint32_t i) { streams.deliver(StreamHandle(i), StreamEvent::Kind::data); }

  LoadPlan plan;
  Metainfo metainfo;
  BlockMap map;
  std::vector<ScriptedSeed> seeds;
  FakeStreams streams;
  Instant now{1'000'000'000};
  std::unique_ptr<LoadGenerator> generator;
};

LoadPlan plan_of(std::uint32_t connections, std::uint32_t depth) {
  LoadPlan plan;
  plan.connections = connections;
  plan.depth = depth;
  return plan;
}

TEST(LoadGenerator, KeepsTheDepthAndSendsRequestsTogether) {
  World world(plan_of(2, 10));
  world.make_ready();
  EXPECT_EQ(world.generator->active(), 2u);
  EXPECT_EQ(world.seeds[0].asked.size(), 10u);
  EXPECT_EQ(world.streams.sends, 2);
  for (int i = 0; i < 4; ++i)
    world.seeds[0].answer(world.seeds[0].asked[static_cast<std::size_t>(i)]);
  world.hear(0);
  world.work();
  EXPECT_EQ(world.seeds[0].asked.size(), 14u);
  EXPECT_EQ(world.seeds[1].asked.size(), 10u);
  EXPECT_EQ(world.streams.sends, 3);
  EXPECT_EQ(world.generator->counters().blocks, 4u);
  EXPECT_EQ(world.generator->counters().payload_bytes, 4u * kBlockSize);
}

TEST(LoadGenerator, AsksForWholePiecesInOrder) {
  World world(plan_of(1, 8));
  world.make_ready();
  const std::vector<Request>& asked = world.seeds[0].asked;
  ASSERT_EQ(asked.size(), 8u);
  for (std::size_t i = 0; i < 8; ++i) {
    EXPECT_EQ(asked[i].piece, asked[i - i % 4].piece);
    EXPECT_EQ(asked[i].begin, i % 4 * kBlockSize);
    EXPECT_EQ(asked[i].length, kBlockSize);
  }
}

TEST(LoadGenerator, TimesARequestUntilItsLastByteWhateverTheOrder) {
  World world(plan_of(1, 4));
  world.make_ready();
  world.generator->begin_window();
  const std::vector<Request> asked = world.seeds[0].asked;
  world.now = world.now + Duration::milliseconds(3);
  world.seeds[0].answer(asked[2]);  // out of order
  world.hear(0);
  world.work();
  EXPECT_EQ(world.generator->latency().count(), 1u);
  EXPECT_EQ(world.generator->latency().max(), Duration::milliseconds(3));
  world.now = world.now + Duration::milliseconds(4);
  world.seeds[0].answer(asked[0]);
  world.hear(0);
  world.work();
  EXPECT_EQ(world.generator->latency().max(), Duration::milliseconds(7));
  EXPECT_EQ(world.generator->window_bytes(0), 2u * kBlockSize);
}

TEST(LoadGenerator, AsksForNothingWhileChokedAndReplacesWhatIsRejected) {
  World world(plan_of(1, 4));
  world.make_ready();
  ScriptedSeed& seed = world.seeds[0];
  const auto reject = [&](std::size_t i) {
    LinkEvent event;
    event.kind = LinkEvent::Kind::rejected;
    event.request = seed.asked[i];
    seed.events.push_back(event);
  };
  seed.say(LinkEvent::Kind::choked);
  reject(0);
  reject(1);
  world.hear(0);
  world.work();
  EXPECT_EQ(world.generator->active(), 0u);
  EXPECT_EQ(world.generator->counters().rejects, 2u);
  EXPECT_EQ(seed.asked.size(), 4u);
  seed.say(LinkEvent::Kind::ready);
  world.hear(0);
  world.work();
  EXPECT_EQ(world.generator->active(), 1u);
  EXPECT_EQ(seed.asked.size(), 6u);
}

TEST(LoadGenerator, WaitsForRoomInTheStream) {
  World world(plan_of(1, 10));
  world.streams.room = 3;
  world.make_ready();
  EXPECT_EQ(world.streams.sent[0], 3u);
  world.work();
  EXPECT_EQ(world.streams.sent[0], 3u);
  world.streams.room = 100;
  world.streams.deliver(StreamHandle(0), StreamEvent::Kind::writable);
  world.work();
  EXPECT_EQ(world.streams.sent[0], 10u);
}

TEST(LoadGenerator, TriesALostConnectionAgainAfterAPause) {
  World world(plan_of(1, 4));
  world.make_ready();
  world.streams.deliver(StreamHandle(0), StreamEvent::Kind::closed);
  world.work();
  EXPECT_EQ(world.generator->active(), 0u);
  EXPECT_EQ(world.streams.next_handle, 1u);
  ASSERT_EQ(world.generator->closes().size(), 1u);
  EXPECT_STREQ(world.generator->closes()[0].reason, "connection_reset");
  world.pass(Duration::milliseconds(100));
  EXPECT_EQ(world.streams.next_handle, 1u);
  world.pass(Duration::milliseconds(500));
  EXPECT_EQ(world.streams.next_handle, 2u);
}

TEST(LoadGenerator, ClosesWhatItsLinkGivesUp) {
  World world(plan_of(1, 4));
  world.make_ready();
  world.seeds[0].say(LinkEvent::Kind::closed, false, "unexpected_piece");
  world.hear(0);
  world.work();
  ASSERT_EQ(world.streams.closed.size(), 1u);
  EXPECT_STREQ(world.generator->closes()[0].reason, "unexpected_piece");
  EXPECT_EQ(world.generator->counters().closes, 1u);
}

TEST(LoadGenerator, GivesEachConnectionAnAddressOfThePrefix) {
  LoadPlan plan = plan_of(600, 1);
  plan.source = IpAddress::v4(127, 1, 0, 0);
  plan.source_bits = 96 + 16;
  World world(plan);
  for (int i = 0; i < 10; ++i)
    world.pass(Duration::milliseconds(50));
  const std::set<IpAddress> different(world.streams.locals.begin(), world.streams.locals.end());
  EXPECT_EQ(different.size(), 600u);
  EXPECT_EQ(world.streams.locals[0], IpAddress::v4(127, 1, 0, 1));
  EXPECT_EQ(world.streams.locals[299], IpAddress::v4(127, 1, 1, 44));
}

TEST(LoadGenerator, OpenLoopTimesFromWhenARequestWasDue) {
  LoadPlan plan = plan_of(2, 1);
  plan.rate = 100 * kBlockSize;  // one every 10 ms
  World world(plan);
  world.make_ready();
  world.work();
  EXPECT_EQ(world.generator->counters().requests, 1u);
  // Four are due by now, but there is room for one: each connection may have one outstanding.
  world.pass(Duration::milliseconds(40));
  EXPECT_EQ(world.generator->counters().requests, 2u);
  EXPECT_EQ(world.generator->counters().overdue, 3u);
  world.generator->begin_window();
  // The first, due at 0, is answered at 40 ms; in its place goes the one that was due at 20.
  world.seeds[0].answer(world.seeds[0].asked[0]);
  world.hear(0);
  world.work();
  EXPECT_EQ(world.generator->latency().max(), Duration::milliseconds(40));
  EXPECT_EQ(world.generator->counters().requests, 3u);
  world.generator->begin_window();
  world.now = world.now + Duration::milliseconds(1);
  world.seeds[0].answer(world.seeds[0].asked[1]);
  world.hear(0);
  world.work();
  EXPECT_EQ(world.generator->latency().max(), Duration::milliseconds(21));
}

TEST(LoadGenerator, ChurnReplacesConnectionsInTurn) {
  LoadPlan plan = plan_of(3, 2);
  plan.churn = 10;
  World world(plan);
  world.make_ready();
  world.pass(Duration::milliseconds(1000));
  EXPECT_EQ(world.streams.closed.size(), 1u);
  world.pass(Duration::milliseconds(200));
  EXPECT_EQ(world.streams.closed.size(), 3u);
  EXPECT_EQ(world.generator->counters().closes, 0u);
  EXPECT_GE(world.streams.next_handle, 5u);
}

TEST(LoadGenerator, IdleConnectionsAskForNothing) {
  World world(plan_of(2, 0));
  world.make_ready();
  EXPECT_TRUE(world.seeds[0].asked.empty());
  EXPECT_EQ(world.streams.sends, 0);
}

TEST(LoadGenerator, VerifiesPieces) {
  LoadPlan plan = plan_of(1, 8);
  plan.verify = true;
  World world(plan);
  world.make_ready();
  ScriptedSeed& seed = world.seeds[0];
  for (std::size_t i = 0; i < 8; ++i)
    seed.answer(seed.asked[i]);
  seed.kept[5][100] ^= std::byte{1};
  world.hear(0);
  world.work();
  EXPECT_EQ(world.generator->counters().pieces_good, 1u);
  EXPECT_EQ(world.generator->counters().pieces_bad, 1u);
}

}  // namespace
}  // namespace penstock
