#include "base/address.hh"

#include <gtest/gtest.h>

namespace penstock {
namespace {

TEST(Address, PrintsAsRfc5952Says) {
  EXPECT_EQ(parse_ip("2001:db8:0:0:1:0:0:1").value().to_string(), "2001:db8::1:0:0:1");
  EXPECT_EQ(parse_ip("::").value().to_string(), "::");
  EXPECT_EQ(parse_ip("::1").value().to_string(), "::1");
  EXPECT_EQ(parse_ip("fe80::").value().to_string(), "fe80::");
  EXPECT_EQ(parse_ip("1:0:2:3:4:5:6:7").value().to_string(), "1:0:2:3:4:5:6:7");
  EXPECT_EQ(parse_ip("::ffff:192.0.2.1").value().to_string(), "192.0.2.1");
  EXPECT_EQ(parse_ip("127.0.0.1").value().to_string(), "127.0.0.1");
}

TEST(Address, RefusesWhatIsNone) {
  for (const char* text : {"", "1.2.3", "1.2.3.256", "1.2.3.4.5", "01.2.3.4", ":::", "1::2::3",
                           "12345::", "g::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1.2.3.4 "}) {
    EXPECT_FALSE(parse_ip(text).has_value()) << text;
  }
}

TEST(Endpoint, BothFamiliesAndTheWildcard) {
  EXPECT_EQ(parse_endpoint("127.0.0.1:6881").value().to_string(), "127.0.0.1:6881");
  EXPECT_EQ(parse_endpoint("[::1]:6881").value().to_string(), "[::1]:6881");
  EXPECT_TRUE(parse_endpoint(":6881").value().ip.is_unspecified());
  EXPECT_FALSE(parse_endpoint("::1:6881").has_value());
  EXPECT_FALSE(parse_endpoint("127.0.0.1").has_value());
  EXPECT_FALSE(parse_endpoint("127.0.0.1:0").has_value());
  EXPECT_TRUE(parse_endpoint("127.0.0.1:0", true).has_value());
  EXPECT_FALSE(parse_endpoint("127.0.0.1:65536").has_value());
}

}  // namespace
}  // namespace penstock
