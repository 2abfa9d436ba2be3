// Runs simulated TCP worlds, one line a seed. Behind tools/sim.
//
// usage: tcp_sim --seed N | --seeds A..B  [--pcap FILE] [--jobs N] [--verbose]
//
// Seeds are shared out to processes, so that one that crashes or hangs names its seed. Ends with 1
// at the first seed (in order) that fails.
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include "sim/tcp_world.hh"

namespace penstock::test {
namespace {

constexpr unsigned kSecondsPerSeed = 60;  // of the real clock: more is a hang

struct Arguments {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  const char* pcap = nullptr;
  long jobs = 0;
  bool verbose = false;
};

int usage() {
  std::fprintf(stderr,
               "usage: tcp_sim --seed N | --seeds A..B [--pcap FILE] [--jobs N] [--verbose]\n");
  return 2;
}

bool parse_number(const char* text, const char* end_with, std::uint64_t& out, const char** rest) {
  char* end = nullptr;
  out = std::strtoull(text, &end, 10);
  if (end == text || std::strncmp(end, end_with, std::strlen(end_with)) != 0) return false;
  *rest = end + std::strlen(end_with);
  return true;
}

bool parse(int argc, char** argv, Arguments& out) {
  bool some = false;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--verbose") {
      out.verbose = true;
      continue;
    }
    if (i + 1 == argc) return false;
    const char* value = argv[++i];
    const char* rest = nullptr;
    if (word == "--seed") {
      if (!parse_number(value, "", out.first, &rest) || *rest != '\0') return false;
      out.last = out.first;
      some = true;
    } else if (word == "--seeds") {
      if (!parse_number(value, "..", out.first, &rest)) return false;
      if (!parse_number(rest, "", out.last, &rest) || *rest != '\0') return false;
      if (out.last < out.first) return false;
      some = true;
    } else if (word == "--pcap") {
      out.pcap = value;
    } else if (word == "--jobs") {
      out.jobs = std::strtol(value, nullptr, 10);
      if (out.jobs < 1) return false;
    } else {
      return false;
    }
  }
  // A capture is of one seed.
  return some && (out.pcap == nullptr || out.first == out.last);
}

std::string run_seed(std::uint64_t seed, const Arguments& arguments, bool& good) {
  const TcpWorldPlan plan = TcpWorldPlan::draw(seed);
  std::unique_ptr<support::PcapngWriter> pcap;
  if (arguments.pcap != nullptr) {
    pcap = std::make_unique<support::PcapngWriter>(arguments.pcap);
    if (!pcap->opened()) {
      good = false;
      return std::string("cannot write ") + arguments.pcap + "\n";
    }
  }
  const auto began = std::chrono::steady_clock::now();
  TcpWorld::Result result;
  {
    TcpWorld world(plan, pcap.get());
    result = world.run();
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  good = result.wrong.empty();
  char line[512];
  std::snprintf(line, sizeof line, "%s %llu %016llx", good ? "ok" : "FAILED",
                static_cast<unsigned long long>(seed),
                static_cast<unsigned long long>(result.hash));
  std::string text = line;
  if (arguments.verbose) {
    std::snprintf(line, sizeof line,
                  " %.1f s virtual, %.0f ms, %llu frames, %llu again, %llu bytes, %llu sheds, %llu "
                  "needs",
                  static_cast<double>(result.ended.ns) / 1e9, took.count() * 1e3,
                  static_cast<unsigned long long>(result.frames),
                  static_cast<unsigned long long>(result.retransmitted),
                  static_cast<unsigned long long>(result.bytes),
                  static_cast<unsigned long long>(result.sheds),
                  static_cast<unsigned long long>(result.needs));
    text += line;
  }
  if (!good) text += ": " + result.wrong + "\n" + plan.describe() + result.dropped;
  if (good) text += "\n";
  return text;
}

// One process: every `jobs`-th seed. A record is "G" or "B", eight digits of length, text.
[[noreturn]] void work(std::uint64_t first, const Arguments& arguments, int out) {
  for (std::uint64_t seed = first; seed <= arguments.last;
       seed += static_cast<std::uint64_t>(arguments.jobs)) {
    alarm(kSecondsPerSeed);
    bool good = false;
    const std::string text = run_seed(seed, arguments, good);
    char head[16];
    std::snprintf(head, sizeof head, "%c%08zu", good ? 'G' : 'B', text.size());
    const std::string record = head + text;
    for (std::size_t at = 0; at < record.size();) {
      const ssize_t n = write(out, record.data() + at, record.size() - at);
      if (n <= 0) _exit(0);  // nobody listens any more
      at += static_cast<std::size_t>(n);
    }
    if (!good) break;
  }
  _exit(0);
}

bool read_all(int in, char* out, std::size_t length) {
  while (length > 0) {
    const ssize_t n = read(in, out, length);
    if (n <= 0) return false;
    out += n;
    length -= static_cast<std::size_t>(n);
  }
  return true;
}

struct Worker {
  pid_t pid = 0;
  int in = -1;
};

// False: the seed failed, or its process ended without a word.
bool read_record(Worker& worker, std::uint64_t seed) {
  char head[10] = {};
  std::string text;
  if (read_all(worker.in, head, 9)) {
    text.resize(std::strtoull(head + 1, nullptr, 10));
    if (read_all(worker.in, text.data(), text.size())) {
      std::fputs(text.c_str(), stdout);
      return head[0] == 'G';
    }
  }
  int status = 0;
  waitpid(worker.pid, &status, 0);
  worker.pid = 0;
  const int sig = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  std::printf("FAILED %llu: %s\n%s", static_cast<unsigned long long>(seed),
              sig == SIGALRM ? "it hangs"
              : sig != 0     ? strsignal(sig)
                             : "its process ended",
              TcpWorldPlan::draw(seed).describe().c_str());
  return false;
}

int run(Arguments arguments) {
  const std::uint64_t count = arguments.last - arguments.first + 1;
  if (arguments.jobs == 0) arguments.jobs = sysconf(_SC_NPROCESSORS_ONLN);
  arguments.jobs =
      static_cast<long>(std::min<std::uint64_t>(static_cast<std::uint64_t>(arguments.jobs), count));
  std::vector<Worker> workers;
  for (long j = 0; j < arguments.jobs; ++j) {
    int ends[2];
    if (pipe(ends) != 0) return std::perror("pipe"), 1;
    std::fflush(stdout);
    const pid_t pid = fork();
    if (pid < 0) return std::perror("fork"), 1;
    if (pid == 0) {
      close(ends[0]);
      work(arguments.first + static_cast<std::uint64_t>(j), arguments, ends[1]);
    }
    close(ends[1]);
    workers.push_back({pid, ends[0]});
  }
  bool good = true;
  for (std::uint64_t seed = arguments.first; good && seed <= arguments.last; ++seed)
    good = read_record(workers[(seed - arguments.first) % workers.size()], seed);
  for (const Worker& worker : workers) {
    close(worker.in);
    if (worker.pid == 0) continue;
    if (!good) kill(worker.pid, SIGKILL);
    waitpid(worker.pid, nullptr, 0);
  }
  std::fflush(stdout);
  return good ? 0 : 1;
}

}  // namespace
}  // namespace penstock::test

int main(int argc, char** argv) {
  penstock::test::Arguments arguments;
  if (!penstock::test::parse(argc, argv, arguments)) return penstock::test::usage();
  return penstock::test::run(arguments);
}
