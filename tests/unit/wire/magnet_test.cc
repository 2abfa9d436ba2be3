#include "wire/magnet.hh"

#include <gtest/gtest.h>

#include "bytes.hh"
#include "wire/uri.hh"

namespace penstock {
namespace {

const std::string kHex = "c12fe1c06bba254a9dc9f519b335aa7c1367a88a";
const std::string kHex2 = "caf1e1c30e81cb361b9ee167c4aa64228a7fa4fa9f6105232b28ad099f3a302e";

std::string error_of(std::string_view link) {
  const auto magnet = parse_magnet(link);
  return magnet ? "" : magnet.error().message;
}

TEST(Uri, percent_encoding) {
  std::string out;
  append_percent_encoded(out, "aZ0-._~ /%\xff");
  EXPECT_EQ(out, "aZ0-._~%20%2F%25%FF");
  EXPECT_EQ(percent_decode("a%20b+c%2F%2f%"), "a b c//%");
  EXPECT_EQ(percent_decode("%4"), "%4");
  EXPECT_EQ(percent_decode("%zz%41"), "%zzA");
}

TEST(Magnet, hexadecimal_hash) {
  const auto magnet = parse_magnet("magnet:?xt=urn:btih:" + kHex);
  ASSERT_TRUE(magnet);
  EXPECT_EQ(magnet->v1_hash->hex(), kHex);
  EXPECT_FALSE(magnet->v2_hash);
  EXPECT_EQ(magnet->wire_hash(), *magnet->v1_hash);
}

TEST(Magnet, base32_and_case) {
  const auto magnet = parse_magnet("MAGNET:?xt=URN:BTIH:YEX6DQDLXISUVHOJ6UM3GNNKPQJWPKEK");
  ASSERT_TRUE(magnet);
  EXPECT_EQ(magnet->v1_hash->hex(), kHex);
  EXPECT_EQ(parse_magnet("magnet:?xt=urn:btih:yex6dqdlxisuvhoj6um3gnnkpqjwpkek"), *magnet);
  std::string upper = kHex;
  for (char& c : upper)
    c = static_cast<char>(std::toupper(c));
  EXPECT_EQ(parse_magnet("magnet:?xt=urn:btih:" + upper), *magnet);
}

TEST(Magnet, v2_and_hybrid) {
  const auto v2 = parse_magnet("magnet:?xt=urn:btmh:1220" + kHex2);
  ASSERT_TRUE(v2);
  EXPECT_EQ(v2->v2_hash->hex(), kHex2);
  EXPECT_EQ(v2->wire_hash().hex(), kHex2.substr(0, 40));
  const auto hybrid = parse_magnet("magnet:?xt=urn:btih:" + kHex + "&xt=urn:btmh:1220" + kHex2);
  ASSERT_TRUE(hybrid);
  EXPECT_TRUE(hybrid->v1_hash && hybrid->v2_hash);
  EXPECT_EQ(hybrid->wire_hash().hex(), kHex);
}

TEST(Magnet, everything_else) {
  const auto magnet = parse_magnet(
      "magnet:?xt=urn:btih:" + kHex +
      "&dn=Big+Buck%20Bunny&xl=276445467&tr=udp%3A%2F%2Ft.example%3A80&tr.1=http%3A%2F%2Fx%2Fa"
      "&tr=udp%3A%2F%2Ft.example%3A80&ws=https%3A%2F%2Fw.example%2F&x.pe=192.0.2.1:6881"
      "&x.pe=%5B2001%3Adb8%3A%3A1%5D%3A51413&x.pe=host.example:1&so=0,2,4-6&as=ignored&&x");
  ASSERT_TRUE(magnet);
  EXPECT_EQ(magnet->name, "Big Buck Bunny");
  EXPECT_EQ(magnet->length, 276445467u);
  EXPECT_EQ(magnet->trackers, (std::vector<std::string>{"udp://t.example:80", "http://x/a"}));
  EXPECT_EQ(magnet->web_seeds, (std::vector<std::string>{"https://w.example/"}));
  ASSERT_EQ(magnet->peers.size(), 3u);
  EXPECT_EQ(magnet->peers[0], (std::pair<std::string, std::uint16_t>{"192.0.2.1", 6881}));
  EXPECT_EQ(magnet->peers[1], (std::pair<std::string, std::uint16_t>{"2001:db8::1", 51413}));
  EXPECT_EQ(magnet->peers[2].first, "host.example");
  EXPECT_EQ(magnet->select_only,
            (std::vector<std::pair<std::uint32_t, std::uint32_t>>{{0, 0}, {2, 2}, {4, 6}}));
  EXPECT_EQ(parse_magnet(format_magnet(*magnet)), *magnet);
}

TEST(Magnet, golden_format) {
  Magnet magnet;
  magnet.v1_hash = parse_magnet("magnet:?xt=urn:btih:" + kHex)->v1_hash;
  magnet.v2_hash = parse_magnet("magnet:?xt=urn:btmh:1220" + kHex2)->v2_hash;
  magnet.name = "a b";
  magnet.trackers = {"http://t/announce?k=1&x"};
  magnet.peers = {{"2001:db8::1", 80}};
  magnet.select_only = {{1, 1}, {3, 5}};
  EXPECT_EQ(format_magnet(magnet),
            "magnet:?xt=urn:btih:" + kHex + "&xt=urn:btmh:1220" + kHex2 +
                "&dn=a%20b&tr=http%3A%2F%2Ft%2Fannounce%3Fk%3D1%26x&x.pe=[2001:db8::1]:80"
                "&so=1,3-5");
}

TEST(Magnet, copied_out_of_a_page) {
  const auto magnet = parse_magnet("magnet:?xt=urn:btih:" + kHex + "&amp;dn=x");
  ASSERT_TRUE(magnet);
  EXPECT_EQ(magnet->name, "x");
}

TEST(Magnet, what_makes_no_sense_is_passed_over) {
  const auto magnet = parse_magnet("magnet:?xt=urn:sha1:ABC&xt=urn:btih:" + kHex +
                                   "&x.pe=nohost&x.pe=:1&x.pe=h:0&x.pe=h:65536&x.pe=1:2:3"
                                   "&so=x,5-4,-,7&xl=-1&tr=&tr=a%0Ab&tr.x=http");
  ASSERT_TRUE(magnet);
  EXPECT_TRUE(magnet->peers.empty());
  EXPECT_EQ(magnet->select_only, (std::vector<std::pair<std::uint32_t, std::uint32_t>>{{7, 7}}));
  EXPECT_FALSE(magnet->length);
  EXPECT_TRUE(magnet->trackers.empty());
}

TEST(Magnet, refused) {
  EXPECT_NE(error_of("http://example"), "");
  EXPECT_NE(error_of("magnet:?dn=x"), "");
  EXPECT_NE(error_of("magnet:?xt=urn:btih:"), "");
  EXPECT_NE(error_of("magnet:?xt=urn:btih:" + kHex.substr(1)), "");
  EXPECT_NE(error_of("magnet:?xt=urn:btih:" + kHex + "0"), "");
  EXPECT_NE(error_of("magnet:?xt=urn:btih:g" + kHex.substr(1)), "");
  EXPECT_NE(error_of("magnet:?xt=urn:btih:1" + std::string(31, 'a')), "");
  EXPECT_NE(error_of("magnet:?xt=urn:btmh:1120" + kHex2), "");
  EXPECT_NE(error_of("magnet:?xt=urn:btmh:1220" + kHex2.substr(2)), "");
  EXPECT_NE(error_of("magnet:?xt=urn:btih:" + std::string(40, '0')), "");
  EXPECT_NE(error_of("magnet:?xt=urn:btih:" + kHex + "&xt=urn:btih:" + std::string(40, '1')), "");
  EXPECT_NE(error_of("magnet:?xt=urn:btih:" + kHex + "&dn=" + std::string(70'000, 'x')), "");
}

}  // namespace
}  // namespace penstock
