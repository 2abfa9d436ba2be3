#include "shard/torrent_table.hh"

#include <map>

#include <gtest/gtest.h>

#include "base/random.hh"

namespace penstock {
namespace {

WireInfoHash hash_of(std::uint64_t value) {
  WireInfoHash hash;
  store_be64(hash.bytes.data(), value);
  return hash;
}

TEST(TorrentTable, FindsWhatIsThereAndNothingElse) {
  TorrentTable table(4);
  ShardTorrent a;
  ASSERT_TRUE(table.insert(hash_of(7), &a));
  EXPECT_EQ(table.find(hash_of(7)), &a);
  EXPECT_EQ(table.find(hash_of(8)), nullptr);
  table.erase(hash_of(8));
  table.erase(hash_of(7));
  EXPECT_EQ(table.find(hash_of(7)), nullptr);
  EXPECT_EQ(table.used(), 0u);
}

// Hashes that collide in the table, inserted and erased at random, against a map.
TEST(TorrentTable, CollisionsAgainstAnOracle) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Random random(seed);
    TorrentTable table(32);
    std::map<std::uint64_t, ShardTorrent*> oracle;
    ShardTorrent torrents[4];
    for (int step = 0; step < 4000; ++step) {
      const std::uint64_t key = random.below(96) * 64;  // the low bits choose the place
      if (random.below(2) == 0 && oracle.size() < 32 && !oracle.contains(key)) {
        ShardTorrent* torrent = &torrents[random.below(4)];
        ASSERT_TRUE(table.insert(hash_of(key), torrent));
        oracle[key] = torrent;
      } else {
        table.erase(hash_of(key));
        oracle.erase(key);
      }
      ASSERT_EQ(table.used(), oracle.size());
      for (std::uint64_t k = 0; k < 96; ++k) {
        const auto it = oracle.find(k * 64);
        ASSERT_EQ(table.find(hash_of(k * 64)), it == oracle.end() ? nullptr : it->second)
            << "seed " << seed;
      }
    }
  }
}

}  // namespace
}  // namespace penstock
