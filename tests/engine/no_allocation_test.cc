// The data plane takes no lock and allocates nothing after start: the whole engine at work, on
// either flavour of drivers, under a guard that counts what its threads do.
#include <cstdlib>
#include <mutex>
#include <thread>

#include <pthread.h>

#include "data_plane_guard.hh"
#include "engine_life.hh"

namespace penstock::test {
namespace {

// What makes the guard sing, in a thread that looks like a shard's.
template <class Deed>
GuardReport guarded(const char* thread_name, Deed deed) {
  arm_guard();
  std::thread([&] {
    ::pthread_setname_np(::pthread_self(), thread_name);
    deed();
    ::pthread_setname_np(::pthread_self(), "ended");  // a thread's own end releases memory
  }).join();
  return disarm_guard();
}

TEST(DataPlaneGuard, SingsOnEachThingForbidden) {
  void* volatile memory = nullptr;
  std::mutex mutex;
  EXPECT_EQ(guarded("shard-9", [] {}).total(), 0u);
  EXPECT_EQ(guarded("shard-9", [&] { memory = ::operator new(10); }).allocations, 1u);
  EXPECT_EQ(guarded("shard-9", [&] { ::operator delete(memory); }).releases, 1u);
  EXPECT_EQ(guarded("shard-9", [&] { memory = std::malloc(10); }).allocations, 1u);
  EXPECT_EQ(guarded("shard-9", [&] { std::free(memory); }).releases, 1u);
  EXPECT_EQ(guarded("shard-9", [&] { mutex.lock(); }).locks, 1u);
  mutex.unlock();
  EXPECT_EQ(guarded("steward", [&] { delete new std::mutex; }).total(), 0u);
}

class DataPlane : public ::testing::TestWithParam<Flavour> {};

TEST_P(DataPlane, NeitherAllocatesNorLocks) {
  EngineWorld world(2, GetParam().disable, GetParam().direct);
  const LifeData data(world);
  world.add(data.cold);
  world.add(data.hot);
  ASSERT_FALSE(HasFailure());
  const std::uint64_t threads = disarm_guard().threads;
  EXPECT_GE(threads, 2u);

  arm_guard();
  const Lived lived = live(world, data, Duration::milliseconds(100));
  const GuardReport report = disarm_guard();
  EXPECT_EQ(report.threads, threads);
  EXPECT_EQ(report.allocations, 0u);
  EXPECT_EQ(report.releases, 0u);
  EXPECT_EQ(report.locks, 0u);
  EXPECT_GT(lived.blocks, 5000u);
  EXPECT_GT(lived.misses, 1000u);
  EXPECT_GT(lived.hits, 100u);
  EXPECT_GT(lived.evictions, 500u);
  EXPECT_GT(lived.cross_shard_wants, 1000u);
  EXPECT_GT(lived.accepted, 40u);
}

INSTANTIATE_TEST_SUITE_P(Flavours, DataPlane, ::testing::ValuesIn(kFlavours),
                         [](const auto& flavour) { return flavour.param.name; });

}  // namespace
}  // namespace penstock::test
