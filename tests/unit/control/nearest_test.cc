#include "control/nearest.hh"

#include <array>

#include <gtest/gtest.h>

namespace penstock::control {
namespace {

TEST(EditDistance, CountsEdits) {
  EXPECT_EQ(edit_distance("", ""), 0u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("cache", "cache"), 0u);
  EXPECT_EQ(edit_distance("chache", "cache"), 1u);
  EXPECT_EQ(edit_distance("cahce", "cache"), 1u);  // one swap
  EXPECT_EQ(edit_distance("polcy", "policy"), 1u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
}

TEST(EditDistance, CaseAndDashesCountNothing) {
  EXPECT_EQ(edit_distance("Max-Peers", "max_peers"), 0u);
}

TEST(EditDistance, LongWordsAreCut) {
  const std::string a(500, 'a');
  const std::string b = std::string(64, 'a') + "bbbb";
  EXPECT_EQ(edit_distance(a, b), 0u);
}

TEST(Nearest, FindsWhatWasMeant) {
  constexpr std::array<std::string_view, 3> kKnown{"upload", "max_peers", "max_peers_per_ip"};
  EXPECT_EQ(nearest("max_peer", kKnown), "max_peers");
  EXPECT_EQ(nearest("uplaod", kKnown), "upload");
  EXPECT_EQ(nearest("maxpeersperip", kKnown), "max_peers_per_ip");
}

TEST(Nearest, NothingNear) {
  constexpr std::array<std::string_view, 2> kKnown{"upload", "a"};
  EXPECT_EQ(nearest("colour", kKnown), "");
  EXPECT_EQ(nearest("b", kKnown), "");
  EXPECT_EQ(nearest("x", {}), "");
}

}  // namespace
}  // namespace penstock::control
