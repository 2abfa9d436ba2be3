#include "nic_xdp/xsk_rings.hh"

#include <array>
#include <vector>

#include <gtest/gtest.h>

namespace penstock::nic_xdp {
namespace {

// A ring in ordinary memory, the kernel's end played by hand.
struct Ring {
  std::array<std::uint64_t, 8> entries{};
  std::uint32_t producer = 0;
  std::uint32_t consumer = 0;
  std::uint32_t flags = 0;

  explicit Ring(std::uint32_t start = 0) : producer(start), consumer(start) {}
  RingMemory<std::uint64_t> memory() { return {&producer, &consumer, &flags, entries.data(), 8}; }
};

TEST(XskRings, WhatIsWrittenIsSeenOnlyWhenSubmitted) {
  Ring ring;
  ProducerRing writer(ring.memory());
  EXPECT_EQ(writer.room(8), 8u);
  writer.write(11);
  writer.write(12);
  EXPECT_EQ(ring.producer, 0u);
  EXPECT_EQ(writer.pending(), 0u);
  writer.submit();
  EXPECT_EQ(ring.producer, 2u);
  EXPECT_EQ(writer.pending(), 2u);
  EXPECT_EQ(ring.entries[0], 11u);
  EXPECT_EQ(ring.entries[1], 12u);
  ring.consumer = 1;
  EXPECT_EQ(writer.pending(), 1u);
}

TEST(XskRings, AFullRingHasRoomAgainAsTheKernelReads) {
  Ring ring;
  ProducerRing writer(ring.memory());
  for (std::uint64_t i = 0; i < 8; ++i)
    writer.write(i);
  writer.submit();
  EXPECT_EQ(writer.room(1), 0u);
  ring.consumer = 3;
  EXPECT_EQ(writer.room(1), 3u);
  // It looks again only when what it knows isn't enough.
  ring.consumer = 8;
  EXPECT_EQ(writer.room(3), 3u);
  EXPECT_EQ(writer.room(4), 8u);
}

TEST(XskRings, ReadsInOrderAndGivesPlacesBackWhenToldTo) {
  Ring ring;
  ConsumerRing reader(ring.memory());
  EXPECT_EQ(reader.available(1), 0u);
  ring.entries = {5, 6, 7};
  ring.producer = 3;
  EXPECT_EQ(reader.available(8), 3u);
  EXPECT_EQ(reader.peek(), 5u);
  EXPECT_EQ(reader.peek(2), 7u);
  EXPECT_EQ(ring.consumer, 0u);
  reader.release(2);
  EXPECT_EQ(ring.consumer, 2u);
  EXPECT_EQ(reader.available(8), 1u);
  EXPECT_EQ(reader.peek(), 7u);
}

TEST(XskRings, CountsWrapAround) {
  Ring ring(0xfffffffd);
  ProducerRing writer(ring.memory());
  ConsumerRing reader(ring.memory());
  std::uint64_t next_in = 0, next_out = 0;
  for (int turn = 0; turn < 10; ++turn) {
    ASSERT_GE(writer.room(5), 5u);
    for (int i = 0; i < 5; ++i)
      writer.write(next_in++);
    writer.submit();
    ASSERT_EQ(reader.available(8), 5u);
    for (std::uint32_t i = 0; i < 5; ++i)
      EXPECT_EQ(reader.peek(i), next_out++);
    reader.release(5);
  }
  EXPECT_EQ(ring.producer, 0xfffffffdu + 50);
}

TEST(XskRings, TheKernelAsksToBeWoken) {
  Ring ring;
  const ProducerRing writer(ring.memory());
  EXPECT_FALSE(writer.needs_wakeup());
  ring.flags = 1;
  EXPECT_TRUE(writer.needs_wakeup());
}

}  // namespace
}  // namespace penstock::nic_xdp
