// Figures of the attacks (attack_world.hh, liar_world.hh). Behind tools/sim --suite attack.
//
// usage: attack_sim [--seed N] [--seconds N] [--rate FRAMES_PER_SECOND] [--only flood|blind|liars]
//
// Ends with 1 when established flows lose 5 % or more, a real client doesn't get in, a stack
// allocates, or a lie pays.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "sim/attack_world.hh"
#include "sim/liar_world.hh"

namespace penstock::test {
namespace {

struct Arguments {
  std::uint64_t seed = 1;
  std::uint32_t seconds = 5;
  std::uint32_t rate = 200'000;
  std::string only;
};

double percent(std::uint64_t part, std::uint64_t of) {
  return of == 0 ? 0 : 100 * static_cast<double>(part) / static_cast<double>(of);
}

// The sum over seeds where chance has a part in it.
AttackResult run_some(AttackOptions options) {
  AttackResult sum = AttackWorld(options).run();
  for (int i = 1; options.congested && i < 3; ++i) {
    options.seed += 1000;
    const AttackResult more = AttackWorld(options).run();
    if (sum.wrong.empty()) sum.wrong = more.wrong;
    sum.down += more.down;
    sum.up += more.up;
    sum.slowest += more.slowest;
    sum.allocations += more.allocations;
    sum.newcomer_bytes = std::min(sum.newcomer_bytes, more.newcomer_bytes);
  }
  return sum;
}

bool attacks(const Arguments& arguments, bool v6, bool congested) {
  using Kind = AttackOptions::Kind;
  AttackOptions options;
  options.seed = arguments.seed;
  options.v6 = v6;
  options.congested = congested;
  options.frames_per_second = arguments.rate;
  options.length = Duration::seconds(arguments.seconds);
  const AttackResult without = run_some(options);
  bool good = without.wrong.empty();
  const char* const family = v6 ? "IPv6" : "IPv4";
  std::printf("%s: 4 flows both ways%s, %u s; alone %.2f MB down, %.2f MB up\n", family,
              congested ? " through 100 Mbit/s, three seeds" : ", 64 KiB each in 20 ms",
              arguments.seconds, static_cast<double>(without.down) / 1e6,
              static_cast<double>(without.up) / 1e6);
  for (const auto& [kind, name] :
       {std::pair{Kind::syns, "SYN flood"}, std::pair{Kind::cookies, "SYN and cookie flood"},
        std::pair{Kind::blind, "blind segments"}}) {
    if (arguments.only == "flood" && kind == Kind::blind) continue;
    if (arguments.only == "blind" && kind != Kind::blind) continue;
    options.kind = kind;
    const AttackResult with = run_some(options);
    const bool passed = with.wrong.empty() && with.down * 100 >= without.down * 95 &&
                        with.up * 100 >= without.up * 95 && with.allocations == 0 &&
                        with.newcomer_bytes >= AttackWorld::kNewcomerBytes;
    good = good && passed;
    std::printf(
        "%s %s, %s, %u/s: goodput %.2f %% down, %.2f %% up, slowest flow %.2f %%; newcomer in "
        "after %.1f ms with %llu bytes; allocations %llu; connections at most %u; SYNs %llu, "
        "cookies sent %llu, good %llu; challenge ACKs %llu, at most %llu/s; resets at most %llu/s; "
        "timeouts %llu, recoveries %llu, ring drops %llu; %.0f ns of the stack per frame\n",
        passed ? "ok" : "FAILED", name, family, arguments.rate, percent(with.down, without.down),
        percent(with.up, without.up), percent(with.slowest, without.slowest),
        with.newcomer_connected.as_seconds() * 1e3,
        static_cast<unsigned long long>(with.newcomer_bytes),
        static_cast<unsigned long long>(with.allocations), with.connections_most,
        static_cast<unsigned long long>(with.syns),
        static_cast<unsigned long long>(with.cookies_sent),
        static_cast<unsigned long long>(with.cookies_good),
        static_cast<unsigned long long>(with.challenges),
        static_cast<unsigned long long>(with.challenges_most),
        static_cast<unsigned long long>(with.resets_most),
        static_cast<unsigned long long>(with.timeouts),
        static_cast<unsigned long long>(with.recoveries),
        static_cast<unsigned long long>(with.ring_drops), with.nanoseconds_per_attack_frame);
    if (!with.wrong.empty()) std::printf("  %s\n", with.wrong.c_str());
    std::fflush(stdout);
  }
  return good;
}

bool liars(const Arguments& arguments, bool sack) {
  constexpr int kSeeds = 8;
  std::uint64_t honest = 0;
  bool good = true;
  for (const Lie lie : kLies) {
    LiarOptions options;
    options.lie = lie;
    options.sack = sack;
    options.rate /= 10;
    LiarResult sum;
    double cost = 0;
    for (int i = 0; i < kSeeds; ++i) {
      options.seed = arguments.seed + static_cast<std::uint64_t>(i);
      options.timestamps = options.seed % 2 == 0 || lie == Lie::forging;
      const LiarResult result = LiarWorld(options).run();
      sum.delivered += result.delivered;
      sum.sent += result.sent;
      sum.acks += result.acks;
      sum.allocations += result.allocations;
      cost += result.nanoseconds_per_ack;
      if (!result.wrong.empty()) sum.wrong = result.wrong;
    }
    if (lie == Lie::none) honest = sum.delivered;
    const bool passed = sum.wrong.empty() && sum.allocations == 0 &&
                        sum.delivered * 100 <= honest * (lie == Lie::forging ? 200 : 112);
    good = good && passed;
    std::printf(
        "%s liar, %s SACK, %s: %.2f MB delivered (%.1f %% of honest), %.2f MB sent, %llu "
        "ACKs, %.0f ns of the stack per ACK %s\n",
        passed ? "ok" : "FAILED", sack ? "with" : "without", name_of(lie),
        static_cast<double>(sum.delivered) / 1e6, percent(sum.delivered, honest),
        static_cast<double>(sum.sent) / 1e6, static_cast<unsigned long long>(sum.acks),
        cost / kSeeds, sum.wrong.c_str());
    std::fflush(stdout);
  }
  return good;
}

int usage() {
  std::fprintf(stderr,
               "usage: attack_sim [--seed N] [--seconds N] [--rate FRAMES_PER_SECOND] "
               "[--only flood|blind|liars]\n");
  return 2;
}

int run(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; i += 2) {
    if (i + 1 == argc) return usage();
    const std::string word = argv[i];
    if (word == "--only") {
      arguments.only = argv[i + 1];
      if (arguments.only != "flood" && arguments.only != "blind" && arguments.only != "liars")
        return usage();
      continue;
    }
    char* end = nullptr;
    const unsigned long long number = std::strtoull(argv[i + 1], &end, 10);
    if (*end != '\0' || end == argv[i + 1] || number == 0) return usage();
    if (word == "--seed")
      arguments.seed = number;
    else if (word == "--seconds")
      arguments.seconds = static_cast<std::uint32_t>(number);
    else if (word == "--rate")
      arguments.rate = static_cast<std::uint32_t>(number);
    else
      return usage();
  }
  bool good = true;
  if (arguments.only != "liars") {
    for (const bool congested : {false, true}) {
      for (const bool v6 : {false, true})
        good = attacks(arguments, v6, congested) && good;
    }
  }
  if (arguments.only.empty() || arguments.only == "liars") {
    for (const bool sack : {true, false})
      good = liars(arguments, sack) && good;
  }
  return good ? 0 : 1;
}

}  // namespace
}  // namespace penstock::test

int main(int argc, char** argv) {
  return penstock::test::run(argc, argv);
}
