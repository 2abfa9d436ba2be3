#include "control/metrics.hh"

#include <set>
#include <sstream>

#include <gtest/gtest.h>

#include "fake_engine.hh"

namespace penstock::control {
namespace {

std::string text_of_two_shards() {
  EngineOptions options;
  options.shards = 2;
  test::FakeEngine engine(options);
  EngineSnapshot snapshot;
  engine.snapshot(snapshot);
  return metrics_text(snapshot, ApplianceCounters{.broken_files = 4});
}

TEST(Metrics, SaysWhatTheEngineCounted) {
  const std::string text = text_of_two_shards();
  const auto has = [&](const char* line) {
    return text.find(std::string("\n") + line + "\n") != std::string::npos;
  };
  EXPECT_TRUE(has("penstock_uploaded_bytes_total{shard=\"0\"} 1000"));
  EXPECT_TRUE(has("penstock_uploaded_bytes_total{shard=\"1\"} 1001"));
  EXPECT_TRUE(has("penstock_shard_busy_seconds_total{shard=\"1\"} 1.5"));
  EXPECT_TRUE(has("penstock_connections_closed_total{reason=\"peer_closed\"} 6"));
  EXPECT_TRUE(has("penstock_connections_closed_total{reason=\"handshake_timeout\"} 1"));
  EXPECT_TRUE(has("penstock_torrent_files{state=\"broken\"} 4"));
}

TEST(Metrics, NamesKeepTheConventions) {
  std::istringstream lines(text_of_two_shards());
  std::string line;
  std::set<std::string> names;
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::string hash;
    std::string kind;
    std::string name;
    std::string type;
    words >> hash >> kind >> name >> type;
    if (hash != "#") continue;
    EXPECT_TRUE(name.starts_with("penstock_")) << line;
    if (kind == "HELP") {
      EXPECT_TRUE(names.insert(name).second) << "twice: " << name;
      EXPECT_FALSE(type.empty()) << "no help: " << name;
    }
    if (kind == "TYPE") {
      EXPECT_EQ(type == "counter", name.ends_with("_total")) << line;
    }
  }
  EXPECT_GE(names.size(), 40u);
}

// Of own TCP alone: the kernel doesn't tell.
TEST(Metrics, HowContentWentToTheDevice) {
  EngineSnapshot snapshot;
  snapshot.shards.resize(2);
  EXPECT_EQ(metrics_text(snapshot, {}).find("penstock_payload_"), std::string::npos);
  snapshot.shards[0].payload = {70, 0, "none"};
  snapshot.shards[1].payload = {500, 13, "outside_arena"};
  const std::string text = metrics_text(snapshot, {});
  for (const char* line :
       {"penstock_payload_zero_copy_bytes_total{shard=\"0\"} 70\n",
        "penstock_payload_zero_copy_bytes_total{shard=\"1\"} 500\n",
        "{shard=\"0\",reason=\"none\"} 0\n", "{shard=\"1\",reason=\"outside_arena\"} 13\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << text;
  }
}

TEST(Metrics, LargeCountersAreExact) {
  EngineSnapshot snapshot;
  snapshot.shards.resize(1);
  snapshot.shards[0].payload_bytes = 1'234'567'890'123'457;
  const std::string text = metrics_text(snapshot, {});
  EXPECT_NE(text.find("penstock_uploaded_bytes_total{shard=\"0\"} 1234567890123457\n"),
            std::string::npos);
}

}  // namespace
}  // namespace penstock::control
