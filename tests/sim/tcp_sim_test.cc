// A few worlds of tcp_world.hh, checked by sanitizers; tools/sim runs as many as one likes. A seed
// that failed once gets a test of its own below, with what it found.
//
// PENSTOCK_SIM_SEEDS=FIRST-LAST runs others.
#include <cstdio>
#include <cstdlib>

#include <gtest/gtest.h>

#include "sim/tcp_world.hh"

namespace penstock::test {
namespace {

TcpWorld::Result run(std::uint64_t seed) {
  TcpWorld world(TcpWorldPlan::draw(seed));
  return world.run();
}

TEST(TcpSim, SeedsAreByteExactAndLive) {
  unsigned long long first = 1, last = 200;
  if (const char* range = std::getenv("PENSTOCK_SIM_SEEDS"); range != nullptr) {
    ASSERT_EQ(std::sscanf(range, "%llu-%llu", &first, &last), 2);
  }
  for (std::uint64_t seed = first; seed <= last; ++seed) {
    const TcpWorld::Result result = run(seed);
    ASSERT_EQ(result.wrong, "") << TcpWorldPlan::draw(seed).describe();
  }
}

TEST(TcpSim, TheSameSeedLeavesTheSameTrace) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    EXPECT_EQ(run(seed).hash, run(seed).hash) << seed;
  }
  EXPECT_NE(run(1).hash, run(2).hash);
}

// The liveness bound follows the loss: ten times as many failures in a row take more tries.
TEST(TcpSim, TheBoundIsDerivedFromTheLoss) {
  TcpWorldPlan plan;
  const Duration quiet = liveness_bound(plan);
  plan.paths[0].loss = 300'000;
  EXPECT_GT(liveness_bound(plan), quiet);
  EXPECT_LT(liveness_bound(plan), Duration::seconds(3600));
}

}  // namespace
}  // namespace penstock::test
