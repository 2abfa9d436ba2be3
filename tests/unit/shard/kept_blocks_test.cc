#include "shard/kept_blocks.hh"

#include <array>
#include <map>

#include <gtest/gtest.h>

#include "base/random.hh"

namespace penstock {
namespace {

// A block that can be told from others.
Block block_of(std::uint32_t number) {
  Block block;
  block.part_count = 1;
  block.parts[0].entry = number;
  return block;
}

TEST(KeptBlocks, ABlockComesBackWithItsLastPin) {
  KeptBlocks kept(8);
  const std::array pins{kept.new_pin(), kept.new_pin(), kept.new_pin()};
  kept.keep(ShardId(3), block_of(7), pins);
  EXPECT_EQ(kept.room(), 5u);
  KeptBlocks::Kept out;
  EXPECT_FALSE(kept.release(pins[1], out));
  EXPECT_FALSE(kept.release(pins[0], out));
  EXPECT_TRUE(kept.release(pins[2], out));
  EXPECT_EQ(out.block.parts[0].entry, 7u);
  EXPECT_EQ(out.home, ShardId(3));
  EXPECT_EQ(kept.room(), 8u);
  kept.validate();
}

// A stream that let go of a pin may ask for it again, much later.
TEST(KeptBlocks, AnOldPinCanBeKeptAgain) {
  KeptBlocks kept(4);
  const std::uint64_t old = kept.new_pin();
  KeptBlocks::Kept out;
  kept.keep(ShardId(0), block_of(1), std::span(&old, 1));
  EXPECT_TRUE(kept.release(old, out));
  for (std::uint32_t i = 0; i < 3; ++i) {
    const std::uint64_t pin = kept.new_pin();
    EXPECT_NE(pin, old);
    kept.keep(ShardId(0), block_of(10 + i), std::span(&pin, 1));
  }
  kept.keep(ShardId(0), block_of(2), std::span(&old, 1));
  EXPECT_EQ(kept.room(), 0u);
  EXPECT_TRUE(kept.release(old, out));
  EXPECT_EQ(out.block.parts[0].entry, 2u);
}

TEST(KeptBlocks, NoneWhereNothingIsKept) {
  KeptBlocks kept(0);
  EXPECT_EQ(kept.room(), 0u);
  kept.validate();
}

TEST(KeptBlocks, AsAMapWould) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    Random random(seed);
    KeptBlocks kept(static_cast<std::uint32_t>(3 + random.below(200)));
    std::map<std::uint64_t, std::uint32_t> number_of;   // by pin
    std::map<std::uint32_t, std::uint32_t> parts_left;  // by number
    std::vector<std::uint64_t> old;
    std::uint32_t number = 0;
    for (int step = 0; step < 5000; ++step) {
      if (random.below(2) == 0 && kept.room() >= 3) {
        std::vector<std::uint64_t> pins;
        if (!old.empty() && random.below(4) == 0) {
          pins.push_back(old.back());
          old.pop_back();
        } else {
          const std::uint64_t count = 1 + random.below(3);
          for (std::uint64_t i = 0; i < count; ++i)
            pins.push_back(kept.new_pin());
        }
        kept.keep(ShardId(0), block_of(++number), pins);
        for (const std::uint64_t pin : pins)
          number_of[pin] = number;
        parts_left[number] = static_cast<std::uint32_t>(pins.size());
      } else if (!number_of.empty()) {
        auto it = number_of.begin();  // mostly in order
        std::advance(it, static_cast<std::ptrdiff_t>(
                             random.below(std::min<std::size_t>(number_of.size(), 5))));
        KeptBlocks::Kept out;
        const bool last = --parts_left[it->second] == 0;
        ASSERT_EQ(kept.release(it->first, out), last);
        if (last) {
          ASSERT_EQ(out.block.parts[0].entry, it->second);
        }
        old.push_back(it->first);
        number_of.erase(it);
      }
      ASSERT_EQ(kept.pins(), number_of.size());
      if (step % 100 == 0) kept.validate();
    }
  }
}

TEST(KeptBlocksDeath, APinIsReleasedOnce) {
  KeptBlocks kept(4);
  const std::uint64_t pin = kept.new_pin(), other = kept.new_pin();
  KeptBlocks::Kept out;
  kept.keep(ShardId(0), block_of(1), std::span(&pin, 1));
  kept.keep(ShardId(0), block_of(2), std::span(&other, 1));
  EXPECT_TRUE(kept.release(pin, out));
  EXPECT_DEATH(kept.release(pin, out), "");
}

}  // namespace
}  // namespace penstock
