// relay A B: joins two interfaces by a bad link. See README.md.
#include <array>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <poll.h>
#include <sys/prctl.h>

#include "base/units.hh"
#include "host/clock.hh"
#include "relay/impairment.hh"
#include "relay/interface.hh"

namespace penstock::relay {
namespace {

constexpr int kBurst = 64;
// A sleep ends about this much too late; what is due sooner is waited for in a loop.
constexpr Duration kSlack = Duration::microseconds(60);
constexpr Duration kLate = Duration::microseconds(100);
constexpr std::int64_t kSecondsMax = 3600;

volatile std::sig_atomic_t ended = 0;

struct Options {
  std::vector<std::string> ends;
  std::array<LinkOptions, 2> links;
  std::uint64_t seed = 1;
  std::int64_t seconds = 60;
  Duration slack = kSlack;
};

// "1%", "0.1%" or per million as a bare number.
Result<std::uint32_t> parse_chance(const std::string& text) {
  char* end = nullptr;
  double value = std::strtod(text.c_str(), &end);
  if (*end == '%') {
    value *= 10'000;
    ++end;
  }
  if (end == text.c_str() || *end != '\0' || !(value >= 0 && value <= 1'000'000)) {
    return fail("\"" + text + "\": a chance is 0% … 100%, or a number per million");
  }
  return static_cast<std::uint32_t>(value + 0.5);
}

// parse_duration's, and microseconds.
Result<Duration> parse_delay(const std::string& text) {
  if (text.size() > 2 && text.ends_with("us")) {
    return Duration::microseconds(std::strtoll(text.c_str(), nullptr, 10));
  }
  return parse_duration(text);
}

template <class T, class U>
bool put(Result<T> value, U& out, std::string& error) {
  if (!value) {
    error = value.error().message;
    return false;
  }
  out = static_cast<U>(*value);
  return true;
}

bool set_option(LinkOptions& link, const std::string& key, const std::string& value,
                std::string& error) {
  if (key == "rate") return put(parse_rate(value), link.rate, error);
  if (key == "queue") return put(parse_size(value), link.queue, error);
  if (key == "delay") return put(parse_delay(value), link.delay, error);
  if (key == "jitter") return put(parse_delay(value), link.jitter, error);
  if (key == "loss") return put(parse_chance(value), link.loss, error);
  if (key == "loss_run") {
    link.loss_run = static_cast<std::uint32_t>(std::strtoul(value.c_str(), nullptr, 10));
    return true;
  }
  if (key == "duplicate") return put(parse_chance(value), link.duplicate, error);
  if (key == "corrupt") return put(parse_chance(value), link.corrupt, error);
  if (key == "reorder") return put(parse_chance(value), link.reorder, error);
  if (key == "reorder_by") return put(parse_delay(value), link.reorder_by, error);
  if (key == "frame_max") return put(parse_size(value), link.frame_max, error);
  error = "\"" + key + "\" is no option of a link";
  return false;
}

// "rate=100Mbps,delay=10ms,loss=1%"
bool set_link(LinkOptions& link, const std::string& text, std::string& error) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    const std::string word = text.substr(at, comma - at);
    const std::size_t equals = word.find('=');
    if (equals == std::string::npos) {
      error = "\"" + word + "\" is no KEY=VALUE";
      return false;
    }
    if (!set_option(link, word.substr(0, equals), word.substr(equals + 1), error)) return false;
    at = comma + 1;
  }
  return true;
}

bool parse(int count, char** arguments, Options& out, std::string& error) {
  for (int i = 1; i < count; ++i) {
    const std::string word = arguments[i];
    if (!word.starts_with("--")) {
      out.ends.push_back(word);
      continue;
    }
    if (++i == count) {
      error = word + " lacks its value";
      return false;
    }
    const std::string value = arguments[i];
    bool good = true;
    if (word == "--seed") {
      out.seed = std::strtoull(value.c_str(), nullptr, 10);
    } else if (word == "--seconds") {
      out.seconds = std::strtoll(value.c_str(), nullptr, 10);
      good = out.seconds > 0 && out.seconds <= kSecondsMax;
      if (!good) error = "--seconds: 1 … " + std::to_string(kSecondsMax);
    } else if (word == "--slack") {
      good = put(parse_delay(value), out.slack, error);
    } else if (word == "--both") {
      good = set_link(out.links[0], value, error) && set_link(out.links[1], value, error);
    } else if (word == "--ab" || word == "--ba") {
      good = set_link(out.links[word == "--ab" ? 0 : 1], value, error);
    } else {
      error = word + " is no option";
      good = false;
    }
    if (!good) return false;
  }
  if (out.ends.size() != 2) error = "two interfaces are needed";
  return out.ends.size() == 2;
}

struct Lateness {
  std::int64_t max_ns = 0;
  std::uint64_t late = 0;  // frames, by more than kLate
};

class Relay {
 public:
  Relay(const Options& options, std::unique_ptr<Interface> a, std::unique_ptr<Interface> b)
      : slack_(options.slack),
        ends_{std::move(a), std::move(b)},
        links_{Link(options.links[0], options.seed),
               Link(options.links[1], options.seed ^ 0x9e3779b97f4a7c15)} {}

  void run(Duration length) {
    ::prctl(PR_SET_TIMERSLACK, 1);
    const Instant start = clock_.now();
    Instant now = start;
    while (ended == 0 && now - start < length) {
      bool any = false;
      for (int side = 0; side < 2; ++side) {
        any |= take(now, side);
        any |= give(now, side);
      }
      now = clock_.now();
      if (!any) {
        const Instant next = earlier(links_[0].next_due(), links_[1].next_due());
        if (next - now > slack_) sleep(earlier(next - slack_, start + length) - now);
        now = clock_.now();
      }
    }
    seconds_ = (now - start).as_seconds();
  }

  void print() const {
    nlohmann::ordered_json out{{"schema", "penstock.relay/1"}, {"seconds", seconds_}};
    for (int side = 0; side < 2; ++side) {
      const LinkCounters& c = links_[side].counters();
      out[side == 0 ? "ab" : "ba"] = {
          {"frames", c.frames},
          {"bytes", c.bytes},
          {"frames_out", c.frames_out},
          {"bytes_out", c.bytes_out},
          {"lost", c.lost},
          {"queue_drops", c.queue_drops},
          {"duplicated", c.duplicated},
          {"reordered", c.reordered},
          {"corrupted", c.corrupted},
          {"too_large", c.too_large},
          {"no_slot", c.no_slot},
          {"queue_bytes_max", c.queue_bytes_max},
          {"on_the_way", links_[side].on_the_way()},
          {"cut", ends_[side]->counters().cut},
          {"malformed", ends_[side]->counters().malformed},
          {"receive_drops", ends_[side]->receive_drops()},
          {"send_failed", ends_[1 - side]->counters().send_failed},
          {"late", late_[side].late},
          {"late_us_max", late_[side].max_ns / 1000},
      };
    }
    out["final"] = true;
    std::cout << out.dump() << std::endl;
  }

 private:
  bool take(Instant now, int side) {
    for (int i = 0; i < kBurst; ++i) {
      const auto frame = ends_[side]->receive();
      if (frame.empty()) return i > 0;
      links_[side].on_frame(now, frame);
    }
    return true;
  }
  bool give(Instant now, int side) {
    for (int i = 0; i < kBurst; ++i) {
      Instant due;
      const auto frame = links_[side].poll_due(now, due);
      if (frame.empty()) return i > 0;
      ends_[1 - side]->send(frame);
      const Duration late = now - due;
      late_[side].max_ns = std::max(late_[side].max_ns, late.ns);
      late_[side].late += late > kLate ? 1 : 0;
    }
    return true;
  }
  void sleep(Duration most) {
    std::array<pollfd, 2> entries{{{ends_[0]->fd(), POLLIN, 0}, {ends_[1]->fd(), POLLIN, 0}}};
    const timespec time{static_cast<time_t>(most.ns / 1'000'000'000),
                        static_cast<long>(most.ns % 1'000'000'000)};
    if (most.ns > 0) ::ppoll(entries.data(), 2, &time, nullptr);
  }

  host::MonotonicClock clock_;
  const Duration slack_;
  std::array<std::unique_ptr<Interface>, 2> ends_;
  std::array<Link, 2> links_;  // from the end of the same index
  std::array<Lateness, 2> late_;
  double seconds_ = 0;
};

int main(int count, char** arguments) {
  Options options;
  std::string error;
  if (!parse(count, arguments, options, error)) {
    std::cerr << "relay: " << error
              << "\nusage: relay END END [--ab LINK] [--ba LINK] [--both LINK] [--seed N] "
                 "[--seconds N] [--slack TIME]\nEND: tap:NAME or packet:NAME; LINK: KEY=VALUE,… "
                 "(README.md)\n";
    return 2;
  }
  std::array<std::unique_ptr<Interface>, 2> ends;
  for (std::size_t i = 0; i < 2; ++i) {
    auto end = Interface::open(options.ends[i]);
    if (!end) {
      std::cerr << "relay: " << end.error().message << '\n';
      return 1;
    }
    ends[i] = std::move(*end);
  }
  struct sigaction action {};
  action.sa_handler = [](int) { ended = 1; };
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  std::cout << nlohmann::ordered_json{{"event", "ready"},
                                      {"a", ends[0]->name()},
                                      {"b", ends[1]->name()}}
                   .dump()
            << std::endl;
  Relay relay(options, std::move(ends[0]), std::move(ends[1]));
  relay.run(Duration::seconds(options.seconds));
  relay.print();
  return 0;
}

}  // namespace
}  // namespace penstock::relay

int main(int count, char** arguments) {
  return penstock::relay::main(count, arguments);
}
