#include "cli/bench_stack.hh"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>
#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/random.hh"
#include "base/units.hh"
#include "cli/cpu_list.hh"
#include "cli/leech_run.hh"
#include "cli/seed_process.hh"
#include "cli/torrent_file.hh"
#include "control/dataset/make_torrent.hh"
#include "control/network_words.hh"

namespace penstock::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// Of a frame of 1,500 bytes on the wire, with timestamps: what times are told for.
constexpr double kSegment = 1448;
// The network between the two, which nobody else is in.
constexpr const char* kSeedAddress = "10.0.0.1";
constexpr const char* kLoadAddress = "10.0.0.2";
constexpr std::uint16_t kPort = 6881;
// Of memif's buffers, beside the packet: Ethernet, and what keeps them aligned.
constexpr std::uint32_t kMemifRoom = 548;
// Blocks that the cache lacked in a second, of those it was asked for: warm below this.
constexpr double kMissesMax = 0.001;
constexpr int kWarmSecondsMax = 120;

struct StackOptions {
  std::string via = "memif";
  bool tso = false;
  bool verify = false;
  double zipf = 0;
  std::uint32_t mtu = 1500;
  std::uint32_t connections = 100;
  std::uint32_t depth = 40;
  std::string size = "1GiB";
  std::string duration = "10s";
  std::string warmup = "2s";
  std::string cpus;
  std::string directory;
};

// Gone at the end, with all in it.
class Folder {
 public:
  static Result<std::unique_ptr<Folder>> make(const std::string& above) {
    std::error_code error;
    const fs::path parent = above.empty() ? fs::temp_directory_path(error) : fs::path(above);
    std::string path = (parent / "penstock-bench-XXXXXX").string();
    if (error || ::mkdtemp(path.data()) == nullptr) {
      return fail("\"" + parent.string() +
                      "\": no directory can be made there: name another one "
                      "with --dir",
                  ErrorKind::io);
    }
    return std::unique_ptr<Folder>(new Folder(path));
  }
  ~Folder() {
    std::error_code error;
    fs::remove_all(path_, error);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  [[nodiscard]] std::string operator/(const char* name) const { return (path_ / name).string(); }
  [[nodiscard]] std::string path() const { return path_.string(); }

 private:
  explicit Folder(std::string path) : path_(std::move(path)) {}
  const fs::path path_;
};

Result<void> write_noise(const std::string& path, std::uint64_t size) {
  std::ofstream file(path, std::ios::binary);
  Random random(1);
  std::vector<std::uint64_t> words((1u << 20) / sizeof(std::uint64_t));
  for (std::uint64_t left = size; left > 0;) {
    for (std::uint64_t& word : words)
      word = random.next();
    const std::uint64_t n = std::min<std::uint64_t>(left, words.size() * sizeof words[0]);
    file.write(reinterpret_cast<const char*>(words.data()), static_cast<std::streamsize>(n));
    left -= n;
  }
  file.close();
  if (!file) {
    return fail("\"" + path + "\": can't be written: is there room? (--size, --dir)",
                ErrorKind::io);
  }
  return {};
}

// Pseudo-random content and its torrent.
Result<std::shared_ptr<const Metainfo>> make_dataset(Context& context, const Folder& folder,
                                                     std::uint64_t size) {
  if (auto written = write_noise(folder / "content", size); !written)
    return tl::unexpected(std::move(written).error());
  auto tree = control::scan_tree(folder / "content");
  if (!tree) return tl::unexpected(std::move(tree).error());
  auto made = control::make_torrent(*tree, {},
                                    [&](std::uint64_t) { return !context.interrupt.requested(); });
  if (!made) return tl::unexpected(std::move(made).error());
  if (made->stopped) return std::shared_ptr<const Metainfo>();
  if (auto written = write_file(folder / "content.torrent", made->file, false); !written)
    return tl::unexpected(std::move(written).error());
  return std::make_shared<const Metainfo>(std::move(made->metainfo));
}

Result<void> pin(unsigned cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (::sched_setaffinity(0, sizeof set, &set) == 0) return {};
  return fail("--cpus: there is no processor " + std::to_string(cpu), ErrorKind::usage);
}

// For kSegment bytes; 0: nothing was sent.
double busy_ns(double seconds, double bytes) {
  return bytes > 0 ? seconds * 1e9 / bytes * kSegment : 0;
}

// The seed's figures at two times, and what it did between them.
struct SeedWindow {
  nlohmann::json begin, end;

  [[nodiscard]] double of(const char* name) const {
    return end.value(name, 0.0) - begin.value(name, 0.0);
  }
  [[nodiscard]] double busy_ns_per_segment() const {
    return busy_ns(of("busy_seconds"), of("uploaded_bytes"));
  }
};

Json machine() {
  Json out{{"processors", static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN))}};
  utsname system{};
  if (::uname(&system) == 0) out["kernel"] = system.release;
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("model name")) continue;
    const std::size_t colon = line.find(": ");
    if (colon != std::string::npos) out["processor"] = line.substr(colon + 2);
    break;
  }
  return out;
}

class StackRun {
 public:
  StackRun(Context& context, const StackOptions& options, SeedProcess& seed, LeechRun& leech)
      : context_(context), options_(options), seed_(seed), leech_(leech) {}

  // False: interrupted.
  Result<bool> run(Duration warmup, Duration duration) {
    if (!leech_.warm_up(warmup)) return false;
    nlohmann::json before = seed_.status();
    for (int second = 0; second < kWarmSecondsMax; ++second) {
      if (!leech_.warm_up(Duration::milliseconds(1100))) return false;
      const SeedWindow window{before, seed_.status()};
      if (seed_.gone()) return fail("the seed ended by itself");
      if (window.of("cache_misses") <= kMissesMax * window.of("cache_hits")) break;
      before = window.end;
    }
    window_.begin = seed_.status();
    const bool whole = leech_.measure(duration);
    window_.end = seed_.status();
    leech_.close();
    return whole;
  }

  [[nodiscard]] Json results(std::uint64_t size) const {
    const nlohmann::json& end = window_.end;
    Json leecher = leech_.results();
    leecher["busy_ns_per_1448_bytes"] = leecher_ns();
    return {
        {"via", options_.via},
        {"tso", options_.tso},
        {"mtu", options_.mtu},
        {"connections", options_.connections},
        {"depth", options_.depth},
        {"dataset_bytes", size},
        {"rate_bytes_per_second", leech_.rate()},
        {"rate_ci95_bytes_per_second", leech_.rate_ci95()},
        {"gbit_per_second", leech_.rate() * 8e-9},
        {"seeder",
         {{"seconds", window_.of("seconds")},
          {"bytes", static_cast<std::uint64_t>(window_.of("uploaded_bytes"))},
          {"busy_seconds", window_.of("busy_seconds")},
          {"busy_ns_per_1448_bytes", window_.busy_ns_per_segment()},
          {"cache_misses", static_cast<std::uint64_t>(window_.of("cache_misses"))},
          {"payload_bytes_zero_copy", end.value("payload_bytes_zero_copy", std::uint64_t{0})},
          {"payload_bytes_copied", end.value("payload_bytes_copied", nlohmann::json::object())}}},
        {"leecher", std::move(leecher)},
        {"machine", machine()}};
  }

  void print() const {
    char text[256];
    std::snprintf(text, sizeof text,
                  "%s%s, %.1f Gbit/s\nseeder       busy %.0f%%, %.0f ns for 1,448 bytes\n"
                  "leecher      busy %.0f ns for 1,448 bytes\n",
                  options_.via.c_str(), options_.tso ? " with TSO" : "", leech_.rate() * 8e-9,
                  100 * window_.of("busy_seconds") / window_.of("seconds"),
                  window_.busy_ns_per_segment(), leecher_ns());
    leech_.print();
    context_.console.print("over         " + std::string(text));
  }

 private:
  [[nodiscard]] double leecher_ns() const {
    return busy_ns(leech_.busy_seconds(), static_cast<double>(leech_.bytes()));
  }

  Context& context_;
  const StackOptions& options_;
  SeedProcess& seed_;
  LeechRun& leech_;
  SeedWindow window_;
};

// DPDK's devices at the two ends of the link.
struct Link {
  std::string seed, load;
};

// memif-copy: the seed's processor copies, and the load's, which is the wall else, does not.
Link make_link(const StackOptions& options, const Folder& folder) {
  if (options.via == "vhost") {
    const std::string socket = folder / "link";
    return {"net_virtio_user0,queues=1,queue_size=1024,path=" + socket,
            "net_vhost0,queues=1,iface=" + socket + (options.tso ? ",tso=1" : "")};
  }
  const std::string memif = "net_memif0,socket=penstock-bench-" + std::to_string(::getpid()) +
                            ",bsize=" + std::to_string(options.mtu + kMemifRoom);
  if (options.via == "memif-copy")
    return {memif + ",role=server", memif + ",role=client,zero-copy=yes"};
  return {memif + ",role=client,zero-copy=yes", memif + ",role=server"};
}

std::vector<std::string> seed_arguments(const StackOptions& options, const Folder& folder,
                                        std::uint64_t size, const Link& link,
                                        const std::vector<std::uint32_t>& cpus) {
  std::vector<std::string> words{
      folder / "content.torrent", "--data", folder.path(), "--state", folder / "state", "--listen",
      ":" + std::to_string(kPort), "--verify", "trust", "--idle", "spin",
      // Content, and room for what reads and checks of it need.
      "--cache", std::to_string(size + size / 8 + (64u << 20)) + "B", "--max-peers",
      std::to_string(options.connections + 16), "--device", link.seed, "--mtu",
      std::to_string(options.mtu), "--address", std::string(kSeedAddress) + "/24"};
  if (!cpus.empty()) {
    words.emplace_back("--cpus");
    words.push_back(std::to_string(cpus[0]));
  }
  return words;
}

Result<ExitStatus> stack(Context& context, const StackOptions& options,
                         const control::LoadFactory& factory) {
  const auto size = parse_size(options.size);
  if (!size) return tl::unexpected(size.error().context("--size"));
  if (*size < (1u << 20)) return fail("--size: at least 1MiB", ErrorKind::usage);
  const auto duration = parse_duration(options.duration);
  if (!duration) return tl::unexpected(duration.error().context("--duration"));
  // The seed tells of itself once a second.
  if (*duration < Duration::seconds(3)) return fail("--duration: at least 3s", ErrorKind::usage);
  const auto warmup = parse_duration(options.warmup);
  if (!warmup) return tl::unexpected(warmup.error().context("--warmup"));
  auto cpus = parse_cpu_list(options.cpus);
  if (!cpus) return tl::unexpected(std::move(cpus).error().context("--cpus"));
  if (!cpus->empty() && cpus->size() != 2)
    return fail("--cpus: two, the seeder's and the leecher's", ErrorKind::usage);
  if (options.tso && options.via != "vhost")
    return fail("--tso: --via vhost alone can do it", ErrorKind::usage);
  auto folder = Folder::make(options.directory);
  if (!folder) return tl::unexpected(std::move(folder).error());
  context.console.status("making " + format_size(*size) + " of content");
  auto metainfo = make_dataset(context, **folder, *size);
  if (!metainfo) return tl::unexpected(std::move(metainfo).error());
  if (*metainfo == nullptr) return ExitStatus::interrupted;

  const Link link = make_link(options, **folder);
  cpu_set_t all;
  CPU_ZERO(&all);
  ::sched_getaffinity(0, sizeof all, &all);
  if (!cpus->empty()) {
    if (auto pinned = pin((*cpus)[1]); !pinned) return tl::unexpected(std::move(pinned).error());
  }
  LoadPlan plan;
  plan.connections = options.connections;
  plan.depth = options.depth;
  plan.verify = options.verify;
  plan.zipf = options.zipf;
  plan.peer = {*parse_ip(kSeedAddress), kPort};
  control::OwnNetwork network;
  network.driver = control::OwnNetwork::Driver::dpdk;
  network.device = link.load;
  network.mtu = static_cast<std::uint16_t>(options.mtu);
  network.addresses.push_back({*parse_ip(kLoadAddress), 24, {}});
  std::unique_ptr<control::LoadApi> load;
  std::unique_ptr<SeedProcess> seed;  // ends first: it is the one that may be in its device
  const auto start_load = [&]() -> Result<void> {
    auto started = factory(plan, *metainfo, network);
    if (!started) return tl::unexpected(std::move(started).error());
    load = std::move(*started);
    return {};
  };
  const auto start_seed = [&]() -> Result<void> {
    auto started = SeedProcess::start(seed_arguments(options, **folder, *size, link, *cpus), all);
    if (!started) return tl::unexpected(std::move(started).error());
    seed = std::move(*started);
    return {};
  };
  // Who connects must find who listens.
  const bool seed_listens = options.via == "memif-copy";
  if (auto first = seed_listens ? start_seed() : start_load(); !first)
    return tl::unexpected(std::move(first).error());
  if (auto second = seed_listens ? start_load() : start_seed(); !second)
    return tl::unexpected(std::move(second).error());
  LeechRun leech(context, plan, "dpdk", *load);
  StackRun run(context, options, *seed, leech);
  const auto whole = run.run(*warmup, *duration);
  if (!whole) return tl::unexpected(whole.error());
  context.console.clear_status();
  if (!*whole) return ExitStatus::interrupted;
  const ExitStatus status = leech.status();
  if (!context.report.enabled()) run.print();
  context.report.finish(status, run.results(*size));
  return status;
}

}  // namespace

void register_bench_stack(Program& program, CLI::App& group, control::LoadFactory factory) {
  auto options = std::make_shared<StackOptions>();
  CLI::App& app = program.add_command(
      group, "stack", "Seed and load generator over a link of shared memory, with our own TCP",
      "Examples:\n"
      "  penstock bench stack --cpus 0,1\n"
      "  penstock bench stack --connections 1000 --size 4GiB --json\n"
      "Two processes, real BitTorrent sessions, random pieces of a dataset in memory: what a core\n"
      "can do, without a NIC and without root.",
      [options, factory = std::move(factory)](Context& context) {
        return stack(context, *options, factory);
      });
  app.add_option("--via", options->via,
                 "The link between them; by memif-copy alone the seeder copies content")
      ->type_name("memif|memif-copy|vhost")
      ->check(CLI::IsMember({"memif", "memif-copy", "vhost"}))
      ->capture_default_str();
  app.add_flag("--tso", options->tso, "With vhost: frames of up to 64 KiB, which nobody cuts");
  app.add_flag("--verify", options->verify, "Check the hash of every piece");
  add_zipf_option(app, options->zipf);
  app.add_option("--mtu", options->mtu, "Largest IP packet on the link")
      ->type_name("BYTES")
      ->check(CLI::Range(control::kMtuMin, control::kMtuMax))
      ->capture_default_str();
  app.add_option("--connections", options->connections, "Connections at once")
      ->type_name("N")
      ->check(CLI::Range(1, 40000))
      ->capture_default_str();
  app.add_option("--depth", options->depth, "Requests outstanding a connection")
      ->type_name("N")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  app.add_option("--size", options->size, "Of the dataset, all of it in the cache")
      ->type_name("SIZE")
      ->capture_default_str();
  app.add_option("--duration", options->duration, "Length of the measured window")
      ->type_name("TIME")
      ->capture_default_str();
  app.add_option("--warmup", options->warmup, "Time before it, at least")
      ->type_name("TIME")
      ->capture_default_str();
  app.add_option("--cpus", options->cpus, "The seeder's processor and the leecher's, such as 0,1")
      ->type_name("LIST");
  app.add_option("--dir", options->directory, "Where the dataset is made (default: $TMPDIR)")
      ->type_name("DIR");
}

}  // namespace penstock::cli
