#include "control/config.hh"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "control/config_keys.hh"

namespace penstock::control {
namespace {

class ConfigTest : public ::testing::Test {
 protected:
  void SetUp() override {
    setenv("HOME", "/home/somebody", 1);
    unsetenv("XDG_STATE_HOME");
  }
  static Config good(const std::string& text) {
    auto loaded = parse_config(text, "t.toml");
    if (!loaded) {
      ADD_FAILURE() << loaded.error().to_string();
      return {};
    }
    return loaded->config;
  }
  static std::string bad(const std::string& text) {
    auto loaded = parse_config(text, "t.toml");
    return loaded ? "no error" : loaded.error().to_string();
  }
};

TEST_F(ConfigTest, EmptyMeansDefaults) {
  const Config config = good("");
  EXPECT_EQ(config.listen_addresses, (std::vector{Endpoint{IpAddress{}, 6881}}));
  EXPECT_EQ(config.cache_size, 256u << 20);
  EXPECT_EQ(config.limits_upload, 0u);
  EXPECT_EQ(config.http_listen, (Endpoint{IpAddress::v4(127, 0, 0, 1), 7881}));
  EXPECT_EQ(config.state, "/home/somebody/.local/state/penstock");
}

TEST_F(ConfigTest, EveryKindOfKey) {
  const Config config = good(R"(
state = "${HOME}/s/"
[listen]
addresses = [":6881", "192.0.2.1:6882"]
[shards]
count = 2
cpus = [4, 6]
idle = "spin"
[cache]
size = "1.5GiB"
policy = "lru"
[disk]
io = "buffered"
[limits]
upload = "10Gbps"
max_peers = 12
[announce]
timeout = "1500ms"
enabled = false
[http]
hosts = ["seed.example"]
[log]
level = "debug"
format = "json"
[[pool]]
name = "a"
path = "data"
[[watch]]
directory = "~/torrents"
pool = "a"
verify = "trust"
create = true
)");
  EXPECT_EQ(config.state, "/home/somebody/s");
  EXPECT_EQ(config.listen_addresses.size(), 2u);
  EXPECT_EQ(config.shards_cpus, (std::vector<std::uint32_t>{4, 6}));
  EXPECT_EQ(config.shards_idle, IdleMode::spin);
  EXPECT_EQ(config.cache_size, 3u << 29);
  EXPECT_EQ(config.cache_policy, StoreLimits::Policy::lru);
  EXPECT_EQ(config.disk_io, DiskIo::buffered);
  EXPECT_EQ(config.limits_upload, 1'250'000'000u);
  EXPECT_EQ(config.announce_timeout, Duration::milliseconds(1500));
  EXPECT_FALSE(config.announce_enabled);
  EXPECT_EQ(config.http_hosts, std::vector<std::string>{"seed.example"});
  EXPECT_EQ(config.log_level, LogLevel::debug);
  EXPECT_EQ(config.log_format, LogFormat::json);
  ASSERT_EQ(config.pools.size(), 1u);
  EXPECT_EQ(config.pools[0].path, "//data");
  ASSERT_EQ(config.watches.size(), 1u);
  EXPECT_EQ(config.watches[0].directory, "/home/somebody/torrents");
  EXPECT_EQ(config.watches[0].verify, VerifyChoice::trust);
  EXPECT_TRUE(config.watches[0].create);
}

TEST_F(ConfigTest, TheKernelsTcpOrOurOwn) {
  EXPECT_FALSE(engine_options(good("")).network);
  const EngineOptions dpdk = engine_options(good(R"(
[network]
device = "0000:01:00.0"
addresses = ["192.0.2.2/24", "2001:db8::2/64"]
gateways = ["192.0.2.1"]
offload = false
)"));
  ASSERT_TRUE(dpdk.network);
  EXPECT_EQ(dpdk.network->driver, OwnNetwork::Driver::dpdk);  // auto
  EXPECT_EQ(dpdk.network->device, "0000:01:00.0");
  ASSERT_EQ(dpdk.network->addresses.size(), 2u);
  EXPECT_EQ(dpdk.network->addresses[0].prefix_length, 24);
  EXPECT_EQ(dpdk.network->addresses[0].gateway, IpAddress::v4(192, 0, 2, 1));
  EXPECT_TRUE(dpdk.network->addresses[1].gateway.is_unspecified());
  EXPECT_FALSE(dpdk.network->offload);
  const EngineOptions xdp = engine_options(good("[network]\ninterface = \"eth1\"\n"));
  ASSERT_TRUE(xdp.network);
  EXPECT_EQ(xdp.network->driver, OwnNetwork::Driver::xdp);
  EXPECT_TRUE(xdp.network->addresses.empty());
}

TEST_F(ConfigTest, DumpedDefaultsAreTheDefaults) {
  const Config config = good(default_config_text());
  EXPECT_TRUE(changes_between(Config{.state = config.state}, config).empty());
}

TEST_F(ConfigTest, DumpNamesEveryKey) {
  const std::string text = default_config_text();
  for (const KeySpec& key : config_keys()) {
    EXPECT_NE(text.find(std::string(key.name) + " = "), std::string::npos) << key.name;
  }
}

struct Broken {
  const char* what;
  const char* text;
  const char* message;
};

// What somebody sees who made the mistake: file, line, column, what was expected.
constexpr Broken kBroken[] = {
    {"unknown key", "[cache]\npolcy = \"lru\"\n",
     "t.toml:2:1: unknown key \"cache.polcy\": did you mean \"cache.policy\"?"},
    {"unknown section", "[chache]\nsize = \"1GiB\"\n",
     "t.toml:1:2: unknown key \"chache\": did you mean \"cache\"?"},
    {"key of another section", "[limits]\nsize = \"1GiB\"\n",
     "t.toml:2:1: unknown key \"limits.size\": did you mean \"cache.size\"?"},
    {"key like nothing", "[disk]\ncolour = 1\n",
     "t.toml:2:1: unknown key \"disk.colour\": [disk] knows io"},
    {"size without quotes", "[cache]\nsize = 1024\n",
     "t.toml:2:8: cache.size: expected a size in quotes, such as \"10GiB\", got the number 1024"},
    {"size without unit", "[cache]\nsize = \"1024\"\n",
     "t.toml:2:8: cache.size: \"1024\" has no unit: expected a size such as \"64KiB\" or "
     "\"10GiB\""},
    {"size out of range", "[cache]\nsize = \"1MiB\"\n",
     "t.toml:2:8: cache.size: expected a size from 16MiB to 64TiB, got \"1MiB\""},
    {"rate in a unit of size", "[limits]\nupload = \"10MiB\"\n",
     "t.toml:2:10: limits.upload: \"10MiB\" has an unknown unit: expected a rate such as "
     "\"25Gbps\" or \"20MiB/s\", or \"unlimited\""},
    {"rate of nothing", "[limits]\nupload = \"1B/s\"\n",
     "t.toml:2:10: limits.upload: expected a rate of at least 16KiB/s, or \"unlimited\", got "
     "\"1B/s\""},
    {"time without unit", "[announce]\ntimeout = \"30\"\n",
     "t.toml:2:11: announce.timeout: \"30\" has no unit: expected a time such as \"250ms\", "
     "\"30s\" or \"5m\""},
    {"count out of range", "[shards]\ncount = 0\n",
     "t.toml:2:9: shards.count: expected a whole number from 1 to 64, got the number 0"},
    {"count as text", "[limits]\nmax_peers = \"many\"\n",
     "t.toml:2:13: limits.max_peers: expected a whole number from 1 to 1000000, got \"many\""},
    {"switch in quotes", "[http]\nenabled = \"yes\"\n",
     "t.toml:2:11: http.enabled: expected true or false (no quotes), got \"yes\""},
    {"unknown choice", "[log]\nlevel = \"verbose\"\n",
     "t.toml:2:9: log.level: expected \"debug\", \"info\", \"warning\" or \"error\", got "
     "\"verbose\""},
    {"address without port", "[http]\nlisten = \"127.0.0.1\"\n",
     "t.toml:2:10: http.listen: \"127.0.0.1\" is not ADDRESS:PORT (for instance 0.0.0.0:6881 or "
     "[::]:6881)"},
    {"no address", "[listen]\naddresses = []\n",
     "t.toml:2:13: listen.addresses: expected a list of at least one address, such as "
     "[\":6881\"] or [\"192.0.2.1:6881\"], got an empty list"},
    {"address twice", "[listen]\naddresses = [\":1\", \":1\"]\n",
     "t.toml:2:13: listen.addresses: \":1\" stands here twice"},
    {"one bracket", "[pool]\nname = \"a\"\n",
     "t.toml:1:1: expected [[pool]] with two brackets, since there may be several"},
    {"value for a section", "cache = 1\n",
     "t.toml:1:9: expected a section [cache], got the number 1"},
    {"required key missing", "[[pool]]\nname = \"a\"\n",
     "t.toml:1:1: [[pool]] lacks the key \"path\": expected path = \"/srv/data\""},
    {"unknown pool",
     "[[pool]]\nname = \"main\"\npath = \"/a\"\n[[watch]]\ndirectory = \"/b\"\npool = \"mian\"\n",
     "t.toml:6:8: watch[0].pool: there is no [[pool]] named \"mian\": did you mean \"main\"?"},
    {"pool twice", "[[pool]]\nname = \"a\"\npath = \"/a\"\n[[pool]]\nname = \"a\"\npath = \"/b\"\n",
     "t.toml:5:8: pool[1].name: there is a [[pool]] named \"a\" already"},
    {"cpus for other shards", "[shards]\ncount = 2\ncpus = [1]\n",
     "t.toml:3:8: shards.cpus: expected one processor a shard (shards.count = 2), got 1"},
    {"unknown backend", "[network]\nbackend = \"dpkd\"\n",
     "t.toml:2:11: network.backend: expected \"auto\", \"kernel\", \"tap\", \"dpdk\" or \"xdp\", "
     "got \"dpkd\""},
    {"backend without a device", "[network]\nbackend = \"dpdk\"\n",
     "t.toml:2:11: network.backend = \"dpdk\" needs network.device: a PCI address, or a virtual "
     "device such as net_tap0,iface=seed0"},
    {"address without prefix", "[network]\nbackend = \"tap\"\naddresses = [\"10.0.0.2\"]\n",
     "t.toml:3:13: network.addresses: \"10.0.0.2\": ADDR/PREFIX is expected, such as 10.0.0.2/24 "
     "or "
     "fd00::2/64"},
    {"interface for nobody", "[network]\nbackend = \"kernel\"\ninterface = \"eth0\"\n",
     "t.toml:3:13: network.interface is for network.backend = \"tap\" and xdp"},
    {"mtu of the kernel's interface", "[network]\ninterface = \"eth1\"\nmtu = 9000\n",
     "t.toml:3:7: network.mtu is for network.backend = \"dpdk\": interfaces of the kernel's have "
     "theirs (ip link)"},
    {"mtu too small",
     "[network]\ndevice = \"net_ring0\"\naddresses = [\"10.0.0.2/8\"]\nmtu = 700\n",
     "t.toml:4:7: network.mtu: from 1280 to 9600"},
    {"somebody else's address",
     "[listen]\naddresses = [\"10.0.0.3:6881\"]\n"
     "[network]\nbackend = \"tap\"\naddresses = [\"10.0.0.2/24\"]\n",
     "t.toml:2:13: listen.addresses 10.0.0.3:6881: with network.backend = \"tap\", give :PORT"},
    {"own TCP for two shards", "[shards]\ncount = 2\n[network]\ninterface = \"eth1\"\n",
     "t.toml:2:9: shards.count: expected 1, since own TCP uses one queue of a device for now, got "
     "2"},
    {"unset variable", "state = \"${PENSTOCK_NOT_SET}/x\"\n",
     "t.toml:1:9: state: the environment variable PENSTOCK_NOT_SET is not set"},
    {"not TOML", "[cache]\nsize = \n",
     "t.toml:2:8: not TOML: Error while parsing key-value pair: expected value, saw '\\n'"},
    {"key twice", "[cache]\nsize = \"1GiB\"\nsize = \"2GiB\"\n",
     "t.toml:3:8: not TOML: Error while parsing key-value pair: cannot redefine existing string "
     "'size'"},
};

TEST_F(ConfigTest, BrokenOnesSayWhereAndWhatWasExpected) {
  for (const Broken& broken : kBroken) {
    EXPECT_EQ(bad(broken.text), broken.message) << broken.what;
  }
}

TEST_F(ConfigTest, AllErrorsAtOnceFromTheTop) {
  EXPECT_EQ(bad("[log]\nlevel = 1\n[cache]\nsize = 2\npolicy = 3\n"),
            "t.toml:2:9: log.level: expected \"debug\", \"info\", \"warning\" or \"error\", got "
            "the number 1\n"
            "t.toml:4:8: cache.size: expected a size in quotes, such as \"10GiB\", got the number "
            "2\n"
            "t.toml:5:10: cache.policy: expected \"s3fifo\" or \"lru\", got the number 3");
}

TEST_F(ConfigTest, ErrorsAreBounded) {
  std::string text = "[disk]\n";
  for (int i = 0; i < 70; ++i)
    text += "unknown_" + std::to_string(i) + " = 1\n";
  const auto loaded = parse_config(text, "t.toml");
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().list.size(), kConfigErrorsMax + 1);
  EXPECT_EQ(loaded.error().list.back().message, "and 20 more errors");
}

class ConfigFilesTest : public ConfigTest {
 protected:
  void SetUp() override {
    ConfigTest::SetUp();
    char name[] = "/tmp/penstock-config-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  void write(const std::string& name, const std::string& text) {
    const std::filesystem::path path = directory_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  std::filesystem::path directory_;
};

TEST_F(ConfigFilesTest, FragmentsReplaceAndAdd) {
  write("p.toml", "[cache]\nsize = \"1GiB\"\n[[pool]]\nname = \"a\"\npath = \"a\"\n");
  write("conf.d/2.toml", "[cache]\nsize = \"3GiB\"\n");
  write("conf.d/1.toml", "[cache]\nsize = \"2GiB\"\n[[pool]]\nname = \"b\"\npath = \"b\"\n");
  write("conf.d/not-read.txt", "x");
  write("conf.d/.hidden.toml", "x");
  const auto loaded = load_config(directory_ / "p.toml");
  ASSERT_TRUE(loaded) << loaded.error().to_string();
  EXPECT_EQ(loaded->config.cache_size, 3ull << 30);
  ASSERT_EQ(loaded->config.pools.size(), 2u);
  EXPECT_EQ(loaded->config.pools[0].path, directory_ / "a");
  EXPECT_EQ(loaded->config.pools[1].path, directory_ / "conf.d" / "b");
  EXPECT_EQ(loaded->files.size(), 3u);
}

TEST_F(ConfigFilesTest, AFragmentsErrorNamesTheFragment) {
  write("p.toml", "");
  write("conf.d/1.toml", "[cache]\nsiz = \"2GiB\"\n");
  const auto loaded = load_config(directory_ / "p.toml");
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().to_string(), (directory_ / "conf.d/1.toml").string() +
                                            ":2:1: unknown key \"cache.siz\": did you mean "
                                            "\"cache.size\"?");
}

TEST_F(ConfigFilesTest, MissingFile) {
  const auto loaded = load_config(directory_ / "no.toml");
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().to_string(),
            (directory_ / "no.toml").string() + ": can't be read: No such file or directory");
}

TEST_F(ConfigTest, OfTwoLimitsTheLowerHolds) {
  const std::string head =
      "[[pool]]\nname = \"a\"\npath = \"/a\"\n[[watch]]\ndirectory = \"/w\"\npool = \"a\"\n";
  const auto rate = [&](const std::string& all, const std::string& own) {
    return limited_watches(good(head + "upload_per_torrent = \"" + own +
                                "\"\n[limits]\nupload_per_torrent = \"" + all + "\"\n"))
        .at(0)
        .upload_per_torrent;
  };
  EXPECT_EQ(rate("unlimited", "unlimited"), 0u);
  EXPECT_EQ(rate("1MiB/s", "unlimited"), 1u << 20);
  EXPECT_EQ(rate("unlimited", "2MiB/s"), 2u << 20);
  EXPECT_EQ(rate("1MiB/s", "2MiB/s"), 1u << 20);
  EXPECT_EQ(rate("3MiB/s", "2MiB/s"), 2u << 20);
}

TEST_F(ConfigTest, ReloadTakesWhatMayChangeAndNamesTheRest) {
  const Config from = good("[[pool]]\nname = \"a\"\npath = \"/a\"\n");
  const Config to = good(
      "[cache]\nsize = \"1GiB\"\n[limits]\nupload = \"1Gbps\"\n"
      "[[pool]]\nname = \"a\"\npath = \"/moved\"\n[[pool]]\nname = \"b\"\npath = \"/b\"\n"
      "[[watch]]\ndirectory = \"/w\"\npool = \"b\"\n");
  std::vector<std::string> now;
  std::vector<std::string> later;
  for (const ConfigChange& change : changes_between(from, to)) {
    (change.restart ? later : now).push_back(change.key);
  }
  EXPECT_EQ(now, (std::vector<std::string>{"limits.upload", "pool \"b\"", "watch \"/w\""}));
  EXPECT_EQ(later, (std::vector<std::string>{"cache.size", "pool \"a\""}));

  const Config result = apply_running_changes(from, to);
  EXPECT_EQ(result.cache_size, from.cache_size);
  EXPECT_EQ(result.limits_upload, 125'000'000u);
  ASSERT_EQ(result.pools.size(), 2u);
  EXPECT_EQ(result.pools[0].path, "/a");
  EXPECT_EQ(result.watches.size(), 1u);
}

}  // namespace
}  // namespace penstock::control
