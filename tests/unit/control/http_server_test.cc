#include "control/http_server.hh"

#include <gtest/gtest.h>

namespace penstock::control {
namespace {

TEST(HostAllowed, AddressesAndOurNames) {
  const std::vector<std::string> names{"seed.example"};
  EXPECT_TRUE(host_allowed("", names));  // HTTP/1.0
  EXPECT_TRUE(host_allowed("localhost", names));
  EXPECT_TRUE(host_allowed("LocalHost:7881", names));
  EXPECT_TRUE(host_allowed("127.0.0.1:7881", names));
  EXPECT_TRUE(host_allowed("192.0.2.1", names));
  EXPECT_TRUE(host_allowed("[::1]:7881", names));
  EXPECT_TRUE(host_allowed("Seed.Example:7881", names));
}

TEST(HostAllowed, NamesOfOthers) {
  const std::vector<std::string> names{"seed.example"};
  EXPECT_FALSE(host_allowed("evil.example", names));
  EXPECT_FALSE(host_allowed("seed.example.evil.example", names));
  EXPECT_FALSE(host_allowed("localhost.evil.example", names));
  EXPECT_FALSE(host_allowed("[::1", names));
  EXPECT_FALSE(host_allowed("[evil]:80", names));
  EXPECT_FALSE(host_allowed(":7881", names));
}

}  // namespace
}  // namespace penstock::control
