// Must hold while somebody attacks (attack_world.hh).
#include <gtest/gtest.h>

#include "sim/attack_world.hh"

namespace penstock::test {
namespace {

using Kind = AttackOptions::Kind;

class AttackSim : public testing::TestWithParam<bool> {
 protected:
  static AttackOptions options(Kind kind) {
    AttackOptions o;
    o.kind = kind;
    o.v6 = GetParam();
    o.length = Duration::seconds(2);
    return o;
  }
  static AttackResult run(Kind kind) { return AttackWorld(options(kind)).run(); }

  static void expect_unharmed(const AttackResult& with, const AttackResult& without) {
    ASSERT_EQ(with.wrong, "");
    ASSERT_EQ(without.wrong, "");
    EXPECT_GE(with.down * 100, without.down * 95) << with.timeouts << " " << with.recoveries;
    EXPECT_GE(with.up * 100, without.up * 95) << with.timeouts << " " << with.recoveries;
    EXPECT_GE(with.slowest * 2, without.slowest);
    EXPECT_EQ(with.allocations, 0u);
    EXPECT_GT(with.newcomer_connected.ns, 0);
    EXPECT_GE(with.newcomer_bytes, AttackWorld::kNewcomerBytes);
  }
};

TEST_P(AttackSim, FloodOfSpoofedSyns) {
  const AttackResult without = run(Kind::none);
  const AttackResult with = run(Kind::syns);
  expect_unharmed(with, without);
  EXPECT_GE(with.attack_frames, 399'900u);
  EXPECT_GT(with.syns, with.attack_frames * 99 / 100);
  EXPECT_GT(with.cookies_sent, with.attack_frames * 9 / 10);
  EXPECT_GE(with.cookies_good, 1u);
  EXPECT_EQ(with.connections_most, 5u);
}

TEST_P(AttackSim, FloodOfSynsAndMadeUpCookies) {
  const AttackResult without = run(Kind::none);
  const AttackResult with = run(Kind::cookies);
  expect_unharmed(with, without);
  EXPECT_EQ(with.cookies_good, 1u);
  // Resets have a budget, drawn anew each second.
  EXPECT_LE(with.resets_most, 3'000u);
  EXPECT_EQ(with.connections_most, 5u);
}

TEST_P(AttackSim, BlindSegments) {
  const AttackResult without = run(Kind::none);
  const AttackResult with = run(Kind::blind);
  expect_unharmed(with, without);
  // RFC 5961 §7: each flow at most ten a second.
  EXPECT_GT(with.challenges, 20u);
  EXPECT_LE(with.challenges_most, 5 * 11u);
}

INSTANTIATE_TEST_SUITE_P(Families, AttackSim, testing::Bool(),
                         [](const auto& family) { return family.param ? "IPv6" : "IPv4"; });

}  // namespace
}  // namespace penstock::test
