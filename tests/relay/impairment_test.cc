#include "relay/impairment.hh"

#include <algorithm>
#include <cstring>

#include <gtest/gtest.h>

namespace penstock::relay {
namespace {

using Bytes = std::vector<std::byte>;

// Frame `n`, recognisable.
Bytes frame_of(std::uint32_t n, std::size_t size = 1000) {
  Bytes bytes(size);
  std::memcpy(bytes.data(), &n, sizeof n);
  return bytes;
}

std::uint32_t number_of(std::span<const std::byte> bytes) {
  std::uint32_t n = 0;
  std::memcpy(&n, bytes.data(), sizeof n);
  return n;
}

struct Out {
  std::uint32_t number;
  Instant due;
};

// All that comes out until `now`.
std::vector<Out> drain(Link& link, Instant now) {
  std::vector<Out> out;
  Instant due;
  for (auto frame = link.poll_due(now, due); !frame.empty(); frame = link.poll_due(now, due))
    out.push_back({number_of(frame), due});
  return out;
}

constexpr Instant at_ms(std::int64_t ms) {
  return Instant{} + Duration::milliseconds(ms);
}

TEST(Impairment, WithoutAnyFramesPassAtOnce) {
  Link link({}, 1);
  EXPECT_EQ(link.next_due(), Instant::never());
  link.on_frame(at_ms(5), frame_of(7));
  EXPECT_EQ(link.next_due(), at_ms(5));
  const auto out = drain(link, at_ms(5));
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].number, 7u);
}

TEST(Impairment, RateAndDelayAddUp) {
  // 1,000 bytes take 1 ms.
  Link link({.rate = 1'000'000, .delay = Duration::milliseconds(20)}, 1);
  for (std::uint32_t i = 0; i < 3; ++i)
    link.on_frame(at_ms(0), frame_of(i));
  EXPECT_TRUE(drain(link, at_ms(20)).empty());
  const auto out = drain(link, at_ms(100));
  ASSERT_EQ(out.size(), 3u);
  for (std::uint32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(out[i].number, i);
    EXPECT_EQ(out[i].due, at_ms(21 + i));
  }
  // The link was idle since: nothing is saved up.
  link.on_frame(at_ms(100), frame_of(9));
  EXPECT_EQ(link.next_due(), at_ms(121));
}

TEST(Impairment, TheQueueIsInBytes) {
  Link link({.rate = 1'000'000, .queue = 2500}, 1);
  for (std::uint32_t i = 0; i < 5; ++i)
    link.on_frame(at_ms(0), frame_of(i));
  EXPECT_EQ(link.counters().queue_drops, 3u);
  EXPECT_EQ(drain(link, at_ms(10)).size(), 2u);
  link.on_frame(at_ms(10), frame_of(9, 600));
  EXPECT_EQ(drain(link, at_ms(11)).size(), 1u);
}

TEST(Impairment, LossIsAsAskedForAndRepeats) {
  for (const std::uint32_t run : {1u, 5u}) {
    const LinkOptions options{.loss = 20'000, .loss_run = run, .frames_max = 16};
    Link link(options, 42), twin(options, 42), other(options, 43);
    std::uint64_t runs = 0;
    bool before = false, differs = false;
    for (std::uint32_t i = 0; i < 200'000; ++i) {
      link.on_frame(at_ms(i), frame_of(i, 60));
      twin.on_frame(at_ms(i), frame_of(i, 60));
      other.on_frame(at_ms(i), frame_of(i, 60));
      const bool lost = drain(link, at_ms(i)).empty();
      ASSERT_EQ(drain(twin, at_ms(i)).empty(), lost);
      differs |= drain(other, at_ms(i)).empty() != lost;
      runs += lost && !before ? 1 : 0;
      before = lost;
    }
    EXPECT_TRUE(differs);
    const auto lost = static_cast<double>(link.counters().lost);
    EXPECT_NEAR(lost / 200'000, 0.02, 0.003) << run;
    EXPECT_NEAR(lost / static_cast<double>(runs), run, run * 0.1) << run;
  }
}

TEST(Impairment, JitterKeepsTheOrder) {
  Link link({.delay = Duration::milliseconds(10), .jitter = Duration::milliseconds(9)}, 3);
  for (std::uint32_t i = 0; i < 1000; ++i)
    link.on_frame(at_ms(i), frame_of(i));
  const auto out = drain(link, at_ms(2000));
  ASSERT_EQ(out.size(), 1000u);
  bool varies = false;
  for (std::uint32_t i = 0; i < 1000; ++i) {
    EXPECT_EQ(out[i].number, i);
    const Duration took = out[i].due - at_ms(i);
    EXPECT_GE(took, Duration::milliseconds(10));
    EXPECT_LE(took, Duration::milliseconds(19));
    varies |= took > Duration::milliseconds(15);
  }
  EXPECT_TRUE(varies);
}

TEST(Impairment, ReorderingPutsSomeBehindOthers) {
  Link link({.reorder = 100'000, .reorder_by = Duration::milliseconds(5)}, 3);
  for (std::uint32_t i = 0; i < 1000; ++i)
    link.on_frame(at_ms(i), frame_of(i));
  const auto out = drain(link, at_ms(2000));
  ASSERT_EQ(out.size(), 1000u);
  const auto behind = std::ranges::count_if(out, [&, most = 0u](const Out& o) mutable {
    const bool is = o.number < most;
    most = std::max(most, o.number);
    return is;
  });
  EXPECT_GT(behind, 40);
  EXPECT_LE(static_cast<std::uint64_t>(behind), link.counters().reordered);
  EXPECT_NEAR(static_cast<double>(link.counters().reordered), 100, 40);
}

TEST(Impairment, DuplicatesComeOutTwiceAndOneBitFlips) {
  Link link({.duplicate = 1'000'000, .corrupt = 1'000'000}, 3);
  const Bytes sent = frame_of(1, 200);
  link.on_frame(at_ms(0), sent);
  Instant due;
  for (int copy = 0; copy < 2; ++copy) {
    const auto got = link.poll_due(at_ms(0), due);
    ASSERT_EQ(got.size(), sent.size());
    int bits = 0;
    for (std::size_t i = 0; i < sent.size(); ++i) {
      const auto flipped = static_cast<unsigned>(sent[i] ^ got[i]);
      bits += __builtin_popcount(flipped);
      if (flipped != 0) {
        EXPECT_GE(i, 14u);
      }
    }
    EXPECT_EQ(bits, 1);
  }
  EXPECT_TRUE(link.poll_due(at_ms(0), due).empty());
}

TEST(Impairment, WhatDoesNotFitIsCounted) {
  Link link({.delay = Duration::seconds(1), .frame_max = 100, .frames_max = 2}, 3);
  link.on_frame(at_ms(0), frame_of(1, 101));
  EXPECT_EQ(link.counters().too_large, 1u);
  for (std::uint32_t i = 0; i < 3; ++i)
    link.on_frame(at_ms(0), frame_of(i, 100));
  EXPECT_EQ(link.counters().no_slot, 1u);
  EXPECT_EQ(link.on_the_way(), 2u);
  EXPECT_EQ(drain(link, at_ms(1000)).size(), 2u);
}

}  // namespace
}  // namespace penstock::relay
