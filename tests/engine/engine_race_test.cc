// The same life under ThreadSanitizer, with control asking and changing things meanwhile.
#include <atomic>
#include <thread>

#include "engine_life.hh"

namespace penstock::test {
namespace {

class EngineRace : public ::testing::TestWithParam<Flavour> {};

TEST_P(EngineRace, TwoShardsAndControl) {
  EngineWorld world(2, GetParam().disable, GetParam().direct);
  const LifeData data(world);
  world.add(data.cold);
  world.add(data.hot);
  ASSERT_FALSE(HasFailure());
  std::atomic<bool> over{false};
  std::thread control([&] {
    const std::string more = (world.folder() / "more").string();
    fs::create_directory(more);
    EXPECT_TRUE(world.engine().open_pool(more));
    while (!over.load()) {
      static_cast<void>(world.snapshot());
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  });
  const Lived lived = live(world, data, Duration::milliseconds(100));
  over.store(true);
  control.join();
  EXPECT_GT(lived.blocks, 500u);
  EXPECT_GT(lived.evictions, 50u);
  EXPECT_GT(lived.cross_shard_wants, 100u);
}

INSTANTIATE_TEST_SUITE_P(Flavours, EngineRace, ::testing::ValuesIn(kFlavours),
                         [](const auto& flavour) { return flavour.param.name; });

}  // namespace
}  // namespace penstock::test
