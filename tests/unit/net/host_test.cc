#include "net/host.hh"

#include <gtest/gtest.h>

namespace penstock::net {
namespace {

IpAddress ip(std::string_view text) {
  return *parse_ip(text);
}

const Host& host() {
  static const Host kHost({{2, 0, 0, 0, 0, 1}}, 0, 1500,
                          std::vector<Interface>{
                              {ip("192.0.2.1"), 24, ip("192.0.2.254")},
                              {ip("198.51.100.1"), 31, {}},
                              {ip("2001:db8::1"), 64, ip("fe80::1")},
                          });
  return kHost;
}

std::string way(std::string_view remote, std::string_view local = "") {
  const Route route = host().route(ip(remote), local.empty() ? IpAddress{} : ip(local));
  if (route.interface == kNoInterface) return "none";
  return std::to_string(route.interface) + " " + route.next_hop.to_string();
}

TEST(Host, OnTheLinkDirectlyElseByTheGateway) {
  EXPECT_EQ(way("192.0.2.200"), "0 192.0.2.200");
  EXPECT_EQ(way("198.51.100.0"), "1 198.51.100.0");
  EXPECT_EQ(way("198.51.100.2"), "0 192.0.2.254");
  EXPECT_EQ(way("203.0.113.5"), "0 192.0.2.254");
  EXPECT_EQ(way("203.0.113.5", "198.51.100.1"), "none");
  EXPECT_EQ(way("192.0.2.7", "198.51.100.1"), "none");
  EXPECT_EQ(way("2001:db8::77"), "2 2001:db8::77");
  EXPECT_EQ(way("2001:db8:0:1::77"), "2 fe80::1");
  EXPECT_EQ(way("fe80::5"), "2 fe80::5");
}

TEST(Host, GroupsThatAreOurs) {
  EXPECT_TRUE(host().is_own_group(ip("ff02::1")));
  EXPECT_TRUE(host().is_own_group(ip("ff02::1:ff00:1")));
  EXPECT_FALSE(host().is_own_group(ip("ff02::1:ff00:2")));
  EXPECT_FALSE(host().is_own_group(ip("ff02::2")));
}

TEST(Host, AddressesThatNoSenderHas) {
  for (const char* text :
       {"0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"})
    EXPECT_TRUE(is_bogon(ip(text), true)) << text;
  for (const char* text : {"10.0.0.1", "192.0.2.1", "223.255.255.255", "1.0.0.1"})
    EXPECT_FALSE(is_bogon(ip(text), true)) << text;
  for (const char* text : {"::", "::1", "ff02::1", "::192.0.2.1"})
    EXPECT_TRUE(is_bogon(ip(text), false)) << text;
  EXPECT_TRUE(is_bogon(IpAddress::v4(192, 0, 2, 1), false));  // ::ffff:192.0.2.1 on the wire
  for (const char* text : {"2001:db8::1", "fe80::1", "64:ff9b::c000:201"})
    EXPECT_FALSE(is_bogon(ip(text), false)) << text;
}

}  // namespace
}  // namespace penstock::net
