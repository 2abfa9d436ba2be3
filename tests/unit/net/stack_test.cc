// Two stacks on a wire: handshakes, bytes both ways, ends, neighbours, backpressure.
#include "stack_world.hh"

namespace penstock::test {
namespace {

using net::DropReason;

class StackTest : public testing::TestWithParam<std::tuple<bool, bool>> {
 protected:
  static bool v4() { return std::get<0>(GetParam()); }
  static bool offload() { return std::get<1>(GetParam()); }

  // Sends all of `bytes`, as room comes.
  void transfer(StackHost& from, StreamHandle stream, const Bytes& bytes, const Bytes& received) {
    std::size_t sent = 0;
    const bool done = world_.run(Duration::seconds(60), [&] {
      sent += from.send(stream, std::span(bytes).subspan(sent));
      return received.size() >= bytes.size();
    });
    EXPECT_TRUE(done) << received.size() << " of " << bytes.size();
    EXPECT_EQ(received, bytes);
  }
  // A connection from a to b.
  StreamHandle open() {
    const StreamHandle client = world_.connect(v4());
    EXPECT_TRUE(world_.run(Duration::seconds(3), [&] {
      return world_.a().stream(client).connected && world_.b().last().accepted;
    }));
    return client;
  }

  StackWorld world_{offload()};
};

INSTANTIATE_TEST_SUITE_P(Families, StackTest, testing::Combine(testing::Bool(), testing::Bool()));

TEST_P(StackTest, AHandshakeWithNeighboursUnknownAtFirst) {
  world_.settle();  // both have announced themselves
  const StreamHandle client = open();
  EXPECT_EQ(world_.b().last().remote.ip, StackWorld::address(0, v4()));
  EXPECT_GE(world_.b().last().remote.port, 16'384);
  EXPECT_EQ(world_.a().stack->counters().questions_out, 1U);
  // The other way the address was learnt from the frame.
  EXPECT_EQ(world_.b().stack->counters().questions_out, 0U);
  EXPECT_FALSE(world_.a().stream(client).closed);
  EXPECT_EQ(world_.a().stack->connections(), 1U);
}

TEST_P(StackTest, BytesBothWays) {
  const StreamHandle client = open();
  const Bytes up = pattern(3'000'000, 1), down = pattern(5'000'000, 2);
  transfer(world_.a(), client, up, world_.b().last().received);
  transfer(world_.b(), world_.b().last_accepted, down, world_.a().stream(client).received);
  EXPECT_EQ(world_.a().stack->tcp_counters().retransmission_timeouts, 0U);
  EXPECT_EQ(world_.a().stack->tcp_counters().bytes_again, 0U);
}

TEST_P(StackTest, OneEventAtATime) {
  world_.a().events_max = world_.b().events_max = 1;
  const StreamHandle client = open();
  transfer(world_.a(), client, pattern(500'000, 3), world_.b().last().received);
}

TEST_P(StackTest, AGracefulEndDeliversEverything) {
  const StreamHandle client = open();
  const Bytes bytes = pattern(100'000, 4);
  ASSERT_EQ(world_.a().send(client, bytes), bytes.size());
  world_.a().stack->close(client, true);
  ASSERT_TRUE(world_.run(Duration::seconds(5), [&] { return world_.b().last().closed; }));
  EXPECT_EQ(world_.b().last().error, StreamError::closed_by_peer);
  EXPECT_EQ(world_.b().last().received, bytes);
  // The passive side is gone, the active one is in TIME-WAIT, without a slot.
  world_.pass(Duration::seconds(1));
  EXPECT_EQ(world_.a().stack->connections(), 0U);
  EXPECT_EQ(world_.b().stack->connections(), 0U);
  EXPECT_FALSE(world_.a().stream(client).closed);  // no event follows close()
  // Handles that ended name nobody.
  EXPECT_EQ(world_.a().send(client, bytes), 0U);
}

TEST_P(StackTest, AnAbortResets) {
  const StreamHandle client = open();
  world_.a().stack->close(client, false);
  ASSERT_TRUE(world_.run(Duration::seconds(1), [&] { return world_.b().last().closed; }));
  EXPECT_EQ(world_.b().last().error, StreamError::reset);
  world_.pass(Duration::milliseconds(1));
  EXPECT_EQ(world_.a().stack->connections(), 0U);
  EXPECT_EQ(world_.b().stack->connections(), 0U);
}

TEST_P(StackTest, APortThatNobodyListensOnRefuses) {
  const StreamHandle client = world_.connect(v4(), 81);
  ASSERT_TRUE(world_.run(Duration::seconds(1), [&] { return world_.a().stream(client).closed; }));
  EXPECT_EQ(world_.a().stream(client).error, StreamError::refused);
  EXPECT_EQ(world_.a().stack->connections(), 0U);
}

TEST_P(StackTest, NobodyAnswersForTheAddress) {
  StreamHandle client;
  const IpAddress nobody = ip(v4() ? "192.0.2.77" : "2001:db8::77");
  ASSERT_TRUE(world_.a().stack->connect({nobody, 6881}, {}, client));
  const Instant began = world_.now;
  ASSERT_TRUE(world_.run(Duration::seconds(10), [&] { return world_.a().stream(client).closed; }));
  EXPECT_EQ(world_.a().stream(client).error, StreamError::unreachable);
  EXPECT_GE(world_.now - began, Duration::seconds(3));
  EXPECT_LE(world_.now - began, Duration::milliseconds(3'100));
  EXPECT_EQ(world_.a().stack->counters().questions_out, 3U);
  EXPECT_EQ(world_.a().stack->connections(), 0U);
}

TEST_P(StackTest, NothingLeadsThere) {
  StreamHandle client;
  const IpAddress far = ip(v4() ? "203.0.113.1" : "2001:db8:1::1");
  ASSERT_TRUE(world_.a().stack->connect({far, 6881}, {}, client));
  world_.settle();
  EXPECT_TRUE(world_.a().stream(client).closed);
  EXPECT_EQ(world_.a().stream(client).error, StreamError::unreachable);
  EXPECT_EQ(world_.a().dropped(DropReason::no_route), 1U);
}

TEST_P(StackTest, HandlesAreLimitedAndComeBack) {
  std::vector<StreamHandle> all;
  StreamHandle one;
  while (world_.a().stack->connect({StackWorld::address(1, v4()), 6881}, {}, one))
    all.push_back(one);
  EXPECT_EQ(all.size(), 64U);
  ASSERT_TRUE(world_.run(Duration::seconds(5), [&] {
    return std::all_of(all.begin(), all.end(),
                       [&](StreamHandle h) { return world_.a().stream(h).connected; });
  }));
  for (const StreamHandle h : all)
    world_.a().stack->close(h, false);
  world_.pass(Duration::seconds(1));
  EXPECT_EQ(world_.a().stack->connections(), 0U);
  EXPECT_EQ(world_.b().stack->connections(), 0U);
  ASSERT_TRUE(world_.a().stack->connect({StackWorld::address(1, v4()), 6881}, {}, one));
  EXPECT_TRUE(std::find(all.begin(), all.end(), one) == all.end());
}

TEST_P(StackTest, AFullDeviceHoldsBackAndLosesNothing) {
  const StreamHandle client = open();
  const Bytes bytes = pattern(2'000'000, 5);
  std::size_t sent = 0;
  const Bytes& received = world_.b().last().received;
  // Two frames of room now and then.
  world_.nic(0).room = 0;
  const bool done = world_.run(Duration::seconds(60), [&] {
    sent += world_.a().send(client, std::span(bytes).subspan(sent));
    world_.nic(0).room = std::max<std::size_t>(world_.nic(0).room, 2);
    return received.size() >= bytes.size();
  });
  EXPECT_TRUE(done);
  EXPECT_EQ(received, bytes);
  EXPECT_GT(world_.a().stack->counters().port_full, 0U);
}

// A loop that goes by next_timeout() alone doesn't spin at one instant, whatever waits for room.
TEST_P(StackTest, AFullDeviceLetsTimePass) {
  world_.settle();
  world_.nic(0).room = 0;
  const StreamHandle client = world_.connect(v4());
  world_.a().cycle(world_.now);
  EXPECT_GT(world_.a().stack->next_timeout(), world_.now);
  world_.nic(0).room = ~std::size_t{0};
  EXPECT_TRUE(
      world_.run(Duration::seconds(1), [&] { return world_.a().stream(client).connected; }));
}

TEST_P(StackTest, ManyConnectionsShareTheDevice) {
  std::vector<StreamHandle> clients;
  for (int i = 0; i < 8; ++i)
    clients.push_back(open());
  const Bytes bytes = pattern(400'000, 6);
  for (const StreamHandle c : clients)
    EXPECT_EQ(world_.a().send(c, bytes), bytes.size());
  std::size_t least = 0, most = 0;
  const auto spread = [&] {
    least = ~std::size_t{0}, most = 0;
    for (auto& [handle, s] : world_.b().streams) {
      least = std::min(least, s.received.size());
      most = std::max(most, s.received.size());
    }
    return most;
  };
  ASSERT_TRUE(world_.run(Duration::seconds(10), [&] { return spread() > 200'000; }));
  EXPECT_GT(least, most / 3);
  ASSERT_TRUE(world_.run(Duration::seconds(10), [&] { return spread(), least == bytes.size(); }));
}

TEST_P(StackTest, PinsAreReleasedOnceAcknowledgedAlsoAfterClose) {
  const StreamHandle client = open();
  Bytes memory = pattern(16'384, 7);
  const SendPart parts[] = {
      {memory.data(), 16'384, SendPart::Kind::slab, 42, {TorrentSlot(1), 16'384, 0}}};
  ASSERT_EQ(world_.a().stack->try_send(client, parts).accepted, 16'384U);
  world_.a().stack->close(client, true);
  EXPECT_TRUE(world_.a().released.empty());
  ASSERT_TRUE(world_.run(Duration::seconds(5), [&] { return !world_.a().released.empty(); }));
  EXPECT_EQ(world_.a().released, std::vector<std::uint64_t>{42});
  EXPECT_EQ(world_.b().last().received, memory);
}

TEST_P(StackTest, WhatWasShedIsAskedForAgain) {
  const StreamHandle client = open();
  Bytes memory = pattern(16'384, 8);
  const Bytes copy = memory;
  EXPECT_FALSE(world_.a().stack->shed_longest_stalled(world_.now));
  world_.nic(0).filter = [](const Bytes&) { return false; };  // nothing gets through
  const SendPart parts[] = {
      {memory.data(), 16'384, SendPart::Kind::slab, 42, {TorrentSlot(1), 16'384, 77}}};
  ASSERT_EQ(world_.a().stack->try_send(client, parts).accepted, 16'384U);
  world_.pass(Duration::milliseconds(100));
  EXPECT_TRUE(world_.a().stack->shed_longest_stalled(world_.now));
  EXPECT_FALSE(world_.a().stack->shed_longest_stalled(world_.now));
  ASSERT_TRUE(world_.run(Duration::seconds(1), [&] { return !world_.a().released.empty(); }));
  std::fill(memory.begin(), memory.end(), std::byte{0xdd});
  ASSERT_TRUE(world_.run(Duration::seconds(5), [&] { return !world_.a().needed.empty(); }));
  const StreamEvent need = world_.a().needed.front();
  EXPECT_EQ(need.pin, 42U);
  EXPECT_EQ(need.content.offset, 77U);
  EXPECT_EQ(need.content.length, 16'384U);
  world_.nic(0).filter = nullptr;
  EXPECT_TRUE(world_.a().stack->on_content(client, 42, need.content, copy.data()));
  ASSERT_TRUE(world_.run(Duration::seconds(10), [&] {
    return world_.b().last().received.size() == copy.size() && world_.a().released.size() == 2;
  }));
  EXPECT_EQ(world_.b().last().received, copy);
}

TEST_P(StackTest, TheLongestStalledIsShedFirst) {
  const StreamHandle streams[] = {open(), open(), open()};
  const Bytes memory = pattern(16'384, 8);
  world_.nic(0).filter = [](const Bytes&) { return false; };
  const std::uint64_t order[] = {1, 2, 0};
  for (const std::uint64_t i : order) {
    const SendPart part{
        memory.data(), 16'384, SendPart::Kind::slab, 10 + i, {TorrentSlot(1), 16'384, 0}};
    ASSERT_EQ(world_.a().stack->try_send(streams[i], std::span(&part, 1)).accepted, 16'384U);
    world_.pass(Duration::milliseconds(300));
  }
  for (const std::uint64_t i : order) {
    world_.a().released.clear();
    EXPECT_TRUE(world_.a().stack->shed_longest_stalled(world_.now));
    ASSERT_TRUE(world_.run(Duration::seconds(1), [&] { return !world_.a().released.empty(); }));
    EXPECT_EQ(world_.a().released, std::vector<std::uint64_t>{10 + i});
  }
  EXPECT_FALSE(world_.a().stack->shed_longest_stalled(world_.now));
}

TEST_P(StackTest, ContentThatIsLostEndsTheStream) {
  const StreamHandle client = open();
  world_.nic(0).filter = [](const Bytes&) { return false; };
  Bytes memory = pattern(5'000, 9);
  const SendPart parts[] = {
      {memory.data(), 5'000, SendPart::Kind::slab, 9, {TorrentSlot(1), 5'000, 0}}};
  ASSERT_EQ(world_.a().stack->try_send(client, parts).accepted, 5'000U);
  world_.pass(Duration::milliseconds(50));
  EXPECT_TRUE(world_.a().stack->shed_longest_stalled(world_.now));
  ASSERT_TRUE(world_.run(Duration::seconds(5), [&] { return !world_.a().needed.empty(); }));
  EXPECT_FALSE(world_.a().stack->on_content(client, 9, world_.a().needed.front().content, nullptr));
  world_.nic(0).filter = nullptr;
  ASSERT_TRUE(world_.run(Duration::seconds(1), [&] { return world_.a().stream(client).closed; }));
  EXPECT_EQ(world_.a().stream(client).error, StreamError::content_lost);
  ASSERT_TRUE(world_.run(Duration::seconds(1), [&] { return world_.b().last().closed; }));
  EXPECT_EQ(world_.b().last().error, StreamError::reset);
}

TEST_P(StackTest, ReadingThatIsOffHoldsThePeerBack) {
  const StreamHandle client = open();
  world_.b().stack->set_reading(world_.b().last_accepted, false);
  const Bytes bytes = pattern(3'000'000, 10);
  std::size_t sent = 0;
  world_.run(Duration::seconds(3), [&] {
    sent += world_.a().send(client, std::span(bytes).subspan(sent));
    return false;
  });
  EXPECT_TRUE(world_.b().last().received.empty());
  world_.b().stack->set_reading(world_.b().last_accepted, true);
  ASSERT_TRUE(world_.run(Duration::seconds(30), [&] {
    sent += world_.a().send(client, std::span(bytes).subspan(sent));
    return world_.b().last().received.size() == bytes.size();
  }));
  EXPECT_EQ(world_.b().last().received, bytes);
}

TEST_P(StackTest, LossAndDisorderBringPagesIntoPlay) {
  const StreamHandle client = open();
  std::size_t frame = 0;
  world_.nic(0).filter = [&](const Bytes&) { return ++frame % 17 != 0; };
  world_.b().events_max = 3;
  transfer(world_.a(), client, pattern(2'000'000, 11), world_.b().last().received);
}

TEST_P(StackTest, ANeighbourThatFallsSilentEndsConnectionsByTheirOwnTime) {
  const StreamHandle client = open();
  world_.nic(1).filter = [](const Bytes&) { return false; };
  world_.a().send(client, pattern(1'000, 12));
  ASSERT_TRUE(world_.run(Duration::seconds(400), [&] { return world_.a().stream(client).closed; }));
  EXPECT_EQ(world_.a().stream(client).error, StreamError::timed_out);
  EXPECT_GT(world_.a().dropped(DropReason::no_neighbour), 0U);
  EXPECT_EQ(world_.a().stack->connections(), 0U);
}

}  // namespace
}  // namespace penstock::test
