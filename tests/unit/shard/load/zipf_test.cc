#include "shard/load/zipf.hh"

#include <cmath>
#include <numeric>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "shard/load/block_source.hh"
#include "support.hh"

namespace penstock {
namespace {

constexpr std::uint32_t kDraws = 200'000;

// Pearson's statistic against the exact law: its mean is count - 1, its deviation sqrt(2 count).
double chi_square(std::uint32_t count, double exponent, std::uint64_t seed) {
  const ZipfRanks ranks(count, exponent);
  Random random(seed);
  std::vector<std::uint32_t> seen(count);
  for (std::uint32_t i = 0; i < kDraws; ++i)
    ++seen.at(ranks.draw(random));
  double total = 0;
  for (std::uint32_t r = 0; r < count; ++r)
    total += std::pow(r + 1, -exponent);
  double sum = 0;
  for (std::uint32_t r = 0; r < count; ++r) {
    const double expected = kDraws * std::pow(r + 1, -exponent) / total;
    sum += (seen[r] - expected) * (seen[r] - expected) / expected;
  }
  return sum;
}

TEST(Zipf, RanksComeAsOftenAsTheLawSays) {
  for (const double exponent : {0.3, 0.8, 1.0, 1.2, 2.0}) {
    for (const std::uint32_t count : {2u, 3u, 10u, 100u}) {
      EXPECT_LT(chi_square(count, exponent, 7), count + 5 * std::sqrt(2.0 * count))
          << exponent << " of " << count;
    }
  }
}

TEST(Zipf, OneRankIsAlwaysDrawn) {
  const ZipfRanks ranks(1, 1.0);
  Random random(1);
  for (int i = 0; i < 100; ++i)
    EXPECT_EQ(ranks.draw(random), 0u);
}

TEST(Zipf, DemandHasAPlaceForEveryPiece) {
  for (const std::uint32_t count : {1u, 2u, 3u, 100u, 618u, 1000u, 4096u}) {
    const Metainfo info = make_v1(std::uint64_t{count} * kBlockSize, kBlockSize);
    const BlockMap map(info);
    std::set<std::uint32_t> places;
    for (std::uint32_t rank = 0; rank < count; ++rank)
      places.insert(map.in_demand(rank).value);
    EXPECT_EQ(places.size(), count);
    EXPECT_LT(*places.rbegin(), count);
  }
}

// What is asked for most is so for every connection.
TEST(Zipf, ConnectionsWantTheSame) {
  const Metainfo info = make_v1(1000 * kBlockSize, kBlockSize);
  const BlockMap map(info);
  const ZipfRanks ranks(map.piece_count(), 1.5);
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    BlockSource source(map, LoadPattern::pieces, seed, 0, 1, &ranks);
    std::vector<std::uint32_t> seen(map.piece_count());
    for (int i = 0; i < 10'000; ++i) {
      Request request;
      ASSERT_TRUE(source.peek([](PieceIndex) { return true; }, request));
      source.advance();
      ++seen[request.piece.value];
    }
    const auto most = std::max_element(seen.begin(), seen.end());
    EXPECT_EQ(most - seen.begin(), map.in_demand(0).value);
    EXPECT_GT(*most, 3'000u);
  }
}

}  // namespace
}  // namespace penstock
