#include "swarm/admission.hh"

#include <map>
#include <vector>

#include <gtest/gtest.h>

#include "base/random.hh"

namespace penstock {
namespace {

using Verdict = Admission::Verdict;

TEST(Admission, LimitsTheTotal) {
  Admission admission(2, 0, 1);
  EXPECT_EQ(admission.try_admit(IpAddress::v4(10, 0, 0, 1)), Verdict::admitted);
  EXPECT_EQ(admission.try_admit(IpAddress::v4(10, 0, 0, 1)), Verdict::admitted);
  EXPECT_EQ(admission.try_admit(IpAddress::v4(10, 0, 0, 2)), Verdict::too_many);
  admission.release(IpAddress::v4(10, 0, 0, 1));
  EXPECT_EQ(admission.try_admit(IpAddress::v4(10, 0, 0, 2)), Verdict::admitted);
}

TEST(Admission, LimitsOneAddress) {
  Admission admission(100, 2, 1);
  const IpAddress ip = IpAddress::v4(10, 0, 0, 1);
  EXPECT_EQ(admission.try_admit(ip), Verdict::admitted);
  EXPECT_EQ(admission.try_admit(ip), Verdict::admitted);
  EXPECT_EQ(admission.try_admit(ip), Verdict::too_many_from_address);
  EXPECT_EQ(admission.try_admit(IpAddress::v4(10, 0, 0, 2)), Verdict::admitted);
  admission.release(ip);
  EXPECT_EQ(admission.try_admit(ip), Verdict::admitted);
}

TEST(Admission, AnIpv6CustomerIsOneAddress) {
  Admission admission(100, 1, 1);
  EXPECT_EQ(admission.try_admit(parse_ip("2001:db8:0:1::1").value()), Verdict::admitted);
  EXPECT_EQ(admission.try_admit(parse_ip("2001:db8:0:1:ffff::2").value()),
            Verdict::too_many_from_address);
  EXPECT_EQ(admission.try_admit(parse_ip("2001:db8:0:2::1").value()), Verdict::admitted);
}

TEST(Admission, NewLimitsKeepWhoIsIn) {
  Admission admission(4, 0, 1);
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(admission.try_admit(IpAddress::v4(10, 0, 0, 1)), Verdict::admitted);
  admission.set_limits(100, 1);
  EXPECT_EQ(admission.try_admit(IpAddress::v4(10, 0, 0, 1)), Verdict::too_many_from_address);
  EXPECT_EQ(admission.try_admit(IpAddress::v4(10, 0, 0, 2)), Verdict::admitted);
  EXPECT_EQ(admission.try_admit(IpAddress::v4(10, 0, 0, 3)), Verdict::too_many)
      << "the table was built for four";
}

// Against a model, through many collisions and removals.
TEST(Admission, AgreesWithAMap) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Admission admission(64, 3, seed);
    Random random(seed);
    std::map<std::uint8_t, std::uint32_t> model;
    std::vector<std::uint8_t> in;
    for (int step = 0; step < 2000; ++step) {
      const auto host = static_cast<std::uint8_t>(random.below(60));
      if (random.below(2) == 0) {
        const Verdict verdict = admission.try_admit(IpAddress::v4(10, 0, 0, host));
        const Verdict expected = in.size() >= 64    ? Verdict::too_many
                                 : model[host] >= 3 ? Verdict::too_many_from_address
                                                    : Verdict::admitted;
        ASSERT_EQ(verdict, expected);
        if (verdict == Verdict::admitted) {
          ++model[host];
          in.push_back(host);
        }
      } else if (!in.empty()) {
        const std::size_t which = random.below(in.size());
        admission.release(IpAddress::v4(10, 0, 0, in[which]));
        --model[in[which]];
        in[which] = in.back();
        in.pop_back();
      }
      ASSERT_EQ(admission.count(), in.size());
      ASSERT_EQ(admission.count_of(IpAddress::v4(10, 0, 0, host)), model[host]);
    }
    admission.validate();
  }
}

}  // namespace
}  // namespace penstock
