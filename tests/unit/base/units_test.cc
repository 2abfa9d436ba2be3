#include "base/units.hh"

#include <gtest/gtest.h>

namespace penstock {
namespace {

TEST(Units, SizesAreBinaryOrDecimalByName) {
  EXPECT_EQ(parse_size("64KiB").value(), 65536u);
  EXPECT_EQ(parse_size("1.5 GiB").value(), 1610612736u);
  EXPECT_EQ(parse_size("10MB").value(), 10000000u);
  EXPECT_EQ(parse_size("512B").value(), 512u);
}

TEST(Units, ABareNumberIsAnErrorThatSaysWhatToWrite) {
  const auto size = parse_size("64");
  ASSERT_FALSE(size.has_value());
  EXPECT_EQ(size.error().kind, ErrorKind::usage);
  EXPECT_NE(size.error().message.find("no unit"), std::string::npos);
  EXPECT_FALSE(parse_rate("100").has_value());
  EXPECT_FALSE(parse_duration("10").has_value());
}

TEST(Units, RatesInBitsAndBytes) {
  EXPECT_EQ(parse_rate("25Gbps").value(), 3125000000u);
  EXPECT_EQ(parse_rate("20MiB/s").value(), 20971520u);
  EXPECT_FALSE(parse_rate("20MiB").has_value());
}

TEST(Units, RefusesWhatIsNoNumber) {
  for (const char* text : {"", "KiB", "-1KiB", "nanKiB", "1e3KiB", "99999999999TiB", "1KiB x"}) {
    EXPECT_FALSE(parse_size(text).has_value()) << text;
  }
}

TEST(Units, Durations) {
  EXPECT_EQ(parse_duration("250ms").value(), Duration::milliseconds(250));
  EXPECT_EQ(parse_duration("2h").value(), Duration::seconds(7200));
}

TEST(Units, FormatsForPeople) {
  EXPECT_EQ(format_size(1610612736), "1.50 GiB");
  EXPECT_EQ(format_size(12), "12 B");
  EXPECT_EQ(format_time_left(3723), "1:02:03");
}

}  // namespace
}  // namespace penstock
