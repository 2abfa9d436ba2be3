#include <gtest/gtest.h>

#include "discovery/announce_manager.hh"

namespace penstock::discovery {
namespace {

const IpAddress kFour = IpAddress::v4(192, 0, 2, 1);
const IpAddress kOther = IpAddress::v4(192, 0, 2, 2);

AnnounceOptions sources(const std::vector<Endpoint>& listening, std::uint16_t port = 0) {
  AnnounceOptions options;
  set_sources(options, listening, port);
  return options;
}

TEST(AnnounceSources, EveryAddressIsBothFamilies) {
  const AnnounceOptions options = sources({{IpAddress{}, 6881}});
  EXPECT_TRUE(options.v4.enabled && options.v6.enabled);
  EXPECT_FALSE(options.v4.address || options.v6.address);
  EXPECT_EQ(options.v4.port, 6881);
  EXPECT_EQ(options.v6.port, 6881);
}

TEST(AnnounceSources, OneAddressIsWhereAnnouncesLeaveFrom) {
  const AnnounceOptions options = sources({{kFour, 6881}, {kOther, 6882}});
  EXPECT_TRUE(options.v4.enabled);
  EXPECT_EQ(options.v4.address, kFour);
  EXPECT_EQ(options.v4.port, 6881);
  EXPECT_FALSE(options.v6.enabled);  // nobody would reach us there
}

TEST(AnnounceSources, AListenerForEveryAddressComesFirst) {
  const AnnounceOptions options = sources({{kFour, 1}, {IpAddress::v4(0, 0, 0, 0), 2}});
  EXPECT_TRUE(options.v4.enabled);
  EXPECT_FALSE(options.v4.address);
  EXPECT_EQ(options.v4.port, 2);
  EXPECT_FALSE(options.v6.enabled);
}

TEST(AnnounceSources, ThePortCanBeAnother) {
  const AnnounceOptions options = sources({{IpAddress{}, 6881}}, 40000);
  EXPECT_EQ(options.v4.port, 40000);
  EXPECT_EQ(options.v6.port, 40000);
}

}  // namespace
}  // namespace penstock::discovery
