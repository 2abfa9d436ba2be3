// Two own endpoints against an oracle: the bytes of each stream, in order. The input decides what
// the applications do and what becomes of each segment between them: lost, doubled, late, before
// others. When it is used up, the link is good and the applications read, answer and close: both
// connections must end, and with nothing lost unless there was reason for it.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <memory>
#include <vector>

#include "base/assert.hh"
#include "fuzz/input.hh"
#include "fuzz/tcp/application.hh"
#include "fuzz/tcp/device.hh"
#include "tcp/listener.hh"
#include "tcp/shared.hh"
#include "tcp/time_wait.hh"

namespace {

using namespace penstock;
using fuzz::Application;
using fuzz::Flying;
using fuzz::Input;
using fuzz::trace;
using wire::TcpFlags;

constexpr Instant kStart{1'000'000'000'000};
// A peer that is gone is given up after 100 s; TIME-WAIT takes 60, FIN-WAIT-2 too.
constexpr Duration kEndWithin = Duration::seconds(1'000);
// No timer that ends a connection is shorter.
constexpr Duration kPatience = Duration::seconds(50);
constexpr int kStepsMost = 200'000;

// What net/ does for one connection.
struct Endpoint {
  tcp::Shared shared;
  tcp::Listener listener;
  tcp::TimeWaitTable time_wait;
  tcp::TxBurst burst;
  tcp::Flow flow;
  std::uint16_t mss;
  unsigned key;
  bool listens = false;
  std::unique_ptr<tcp::Connection> connection;
  std::unique_ptr<Application> application;
  std::unique_ptr<fuzz::Device> device;
  bool slow = false;
  std::deque<Flying> arriving;

  Endpoint(const tcp::Limits& limits, unsigned which, std::uint16_t path_mss, std::uint32_t tso)
      : shared(limits, {which + 1, 7}),
        listener(shared),
        time_wait(shared),
        burst(tso),
        mss(path_mss),
        key(which) {
    flow.local = *parse_ip(which == 0 ? "192.0.2.1" : "192.0.2.2");
    flow.remote = *parse_ip(which == 0 ? "192.0.2.2" : "192.0.2.1");
    flow.local_port = static_cast<std::uint16_t>(1000 + which);
    flow.remote_port = static_cast<std::uint16_t>(1001 - which);
  }

  void make(SeqNumber iss) {
    ASSERT(application == nullptr);
    connection = std::make_unique<tcp::Connection>(shared);
    application = std::make_unique<Application>(*connection, key, 1 - key);
    device = std::make_unique<fuzz::Device>(key, iss + 1, mss);
  }
  [[nodiscard]] bool over() const { return application != nullptr && application->over; }
  [[nodiscard]] Instant next_timeout() const {
    Instant next = earlier(listener.next_timeout(), time_wait.next_timeout());
    return connection ? earlier(next, connection->next_timeout()) : next;
  }
};

class World {
 public:
  explicit World(Input& input) : in_(input) {
    const std::uint8_t how = in_.byte();
    for (unsigned i = 0; i < 2; ++i) {
      const tcp::Limits limits = choose_limits(in_.byte(), in_.byte());
      const std::uint8_t device = in_.byte();
      ends_[i] = std::make_unique<Endpoint>(
          limits, i, std::uint16_t(i == 0 || (how & 1) != 0 ? 1460 : 536 + 4 * device),
          (device & 1) != 0 ? 65'536 : 0);
    }
    delay_ = Duration::microseconds(std::int64_t{100} << (how >> 4));
    open(0);
    if ((how & 2) != 0)
      open(1);  // RFC 9293 §3.5, figure 7
    else
      ends_[1]->listens = true;
    pump();
  }

  void run() {
    while (!in_.empty() && !(ends_[0]->over() && ends_[1]->over()))
      step();
    finish();
  }

 private:
  static tcp::Limits choose_limits(std::uint8_t a, std::uint8_t b) {
    tcp::Limits limits;
    limits.connections_max = 1;
    limits.time_wait_max = 1;
    limits.syn_backlog = a & 1;  // 0: cookies only
    limits.send_pages = 8U << (a >> 1 & 3);
    limits.receive_pages = 4U << (a >> 3 & 7);
    limits.record_pages = (a & 0x40) != 0 ? 8 : 256;
    limits.receive_window_first = 4'096U << (b & 3);
    limits.receive_window = limits.receive_window_first << (b >> 2 & 3);
    limits.send_buffer = 4'096U << (b >> 4 & 7);
    limits.pacing = (b & 0x80) != 0;
    limits.ecn = (a & 0x80) == 0;
    return limits;
  }

  void open(unsigned which) {
    Endpoint& end = *ends_[which];
    const tcp::Opening opening = end.shared.opening(now_, end.flow, end.mss);
    end.make(opening.iss);
    end.connection->open_active(now_, opening);
  }

  // --- what the input decides ---

  void step() {
    const std::uint8_t what = in_.byte();
    Endpoint& end = *ends_[what >> 3 & 1];
    const unsigned more = what >> 4;
    switch (what & 7) {
      case 0:
      case 1:
        for (unsigned i = 0; i <= more; ++i)
          advance();
        break;
      case 2:
        fates_[what >> 3 & 1].push_back({in_.byte(), 1 + (more & 7)});
        break;
      case 3:
        if (end.application != nullptr && !end.over()) {
          const auto kind = static_cast<Application::Kind>(more % 3);
          end.application->write(now_, 1U + 257U * in_.byte(), kind);
        }
        break;
      case 4:  // late for all that is due
        now_ = now_ + Duration::microseconds(std::int64_t{64} << more);
        deliver();
        break;
      default:
        if (end.application != nullptr && !end.over()) call(end, what & 7, more);
        break;
    }
    pump();
  }

  void call(Endpoint& end, unsigned what, unsigned more) {
    Application& application = *end.application;
    if (what == 5) return application.read(now_, (more & 1) != 0);
    if (what == 6) {
      end.slow = (more & 1) != 0;
      if (!end.slow) end.device->finish();
      if ((more & 2) != 0) application.shed();
      return;
    }
    switch (more & 7) {
      case 0:
        return application.close(now_);
      case 1:
        return end.connection->on_packet_too_big(now_, end.device->sent_end() - 1, in_.half());
      case 2:
        return application.answer(now_, in_.byte() == 77);
      case 3:
        if (in_.byte() == 77) application.abort(now_);
        return;
      default:
        return application.answer(now_, false);
    }
  }

  // How long a segment that is sent now takes. False: for ever.
  bool fate(unsigned from, Duration& delay, bool& twice) {
    delay = delay_;
    twice = false;
    if (fates_[from].empty()) return true;
    Fate& fate = fates_[from].front();
    const unsigned kind = fate.kind;
    if (--fate.count == 0) fates_[from].pop_front();
    switch (kind & 3) {
      case 0:
        ++losses_;
        return false;
      case 1:
        twice = true;
        [[fallthrough]];
      case 2:
        delay = delay + Duration::microseconds(std::int64_t{32} << (kind >> 2 & 15));
        return true;
      default:
        return true;
    }
  }

  // --- the network ---

  void launch(unsigned from, Flying flying) {
    Duration delay;
    bool twice = false;
    const bool arrives = fate(from, delay, twice);
    trace(now_, from == 0 ? "A>" : "B>", flying.segment, flying.bytes.size());
    if (!arrives) return;
    auto& queue = ends_[1 - from]->arriving;
    flying.at = now_ + delay;
    if (twice) {
      Flying other = flying;
      other.at = now_ + delay_;
      insert(queue, std::move(other));
    }
    insert(queue, std::move(flying));
  }
  static void insert(std::deque<Flying>& queue, Flying flying) {
    const auto at = std::upper_bound(queue.begin(), queue.end(), flying.at,
                                     [](Instant t, const Flying& f) { return t < f.at; });
    queue.insert(at, std::move(flying));
  }
  void launch_plain(unsigned from, const tcp::SegmentOut& out) {
    Endpoint& end = *ends_[from];
    fuzz::Device device(end.key, out.seq + 1, 1460);
    for (Flying& flying : device.take(out, false))
      launch(from, std::move(flying));
  }

  // To the next thing that happens. False: nothing will.
  bool advance() {
    Instant next = Instant::never();
    for (const auto& end : ends_) {
      next = earlier(next, end->next_timeout());
      if (!end->arriving.empty()) next = earlier(next, end->arriving.front().at);
    }
    if (next == Instant::never()) return false;
    if (next > now_) now_ = next;
    deliver();
    pump();
    return true;
  }

  void deliver() {
    for (unsigned i = 0; i < 2; ++i) {
      Endpoint& end = *ends_[i];
      if (end.connection && end.connection->next_timeout() <= now_)
        end.connection->on_timeout(now_);
      end.time_wait.on_timeout(now_);
      tcp::Flow flow;
      tcp::SegmentOut again;
      while (end.listener.poll_transmit(now_, flow, again))
        launch_plain(i, again);
      while (!end.arriving.empty() && end.arriving.front().at <= now_) {
        Flying flying = std::move(end.arriving.front());
        end.arriving.pop_front();
        arrive(i, flying);
      }
    }
  }

  void arrive(unsigned at, Flying& flying) {
    Endpoint& end = *ends_[at];
    const wire::TcpSegment& segment = flying.view();
    if (end.connection) {
      end.connection->on_segment(now_, segment);
      end.application->drain();
      return;
    }
    tcp::TimeWaitTable::Answer waited;
    end.time_wait.on_segment(now_, end.flow, segment, waited);
    using Waited = tcp::TimeWaitTable::Verdict;
    if (waited.verdict == Waited::drop) return;
    if (waited.verdict == Waited::reply) return launch_plain(at, waited.reply);
    tcp::Listener::Answer answer;
    if (end.listens) {
      if (segment.has(TcpFlags::syn) && !segment.has(TcpFlags::ack)) {
        const SeqNumber* least = waited.verdict == Waited::reopen ? &waited.iss_least : nullptr;
        end.listener.on_syn(now_, end.flow, segment, end.mss, least, answer);
      } else {
        // An old ACK may still have a cookie that is good: one connection is enough.
        end.listener.on_ack(now_, end.flow, segment, end.mss, end.application == nullptr, answer);
      }
    }
    using Verdict = tcp::Listener::Verdict;
    if (answer.verdict == Verdict::reply) return launch_plain(at, answer.reply);
    if (answer.verdict == Verdict::establish) {
      end.make(answer.opening.iss);
      end.connection->open_passive(now_, answer.opening, true);
      end.connection->on_segment(now_, segment);
      end.application->drain();
      return;
    }
    tcp::SegmentOut reset;
    if (answer.verdict == Verdict::not_here &&
        tcp::reset_to_nobody(now_, end.shared, segment, reset))
      launch_plain(at, reset);
  }

  // Sends what can go, and lets go of what is over.
  void pump() {
    for (unsigned i = 0; i < 2; ++i) {
      Endpoint& end = *ends_[i];
      end.listener.validate();
      end.time_wait.validate();
      if (!end.connection) continue;
      pump(i, end);
      if (end.over()) {
        tcp::TimeWaitState state;
        if (end.connection->time_wait(state)) end.time_wait.add(now_, end.flow, state);
        end.device->finish();
        end.connection.reset();
      }
    }
  }
  void pump(unsigned which, Endpoint& end) {
    end.application->drain();
    for (int round = 0; round < 64; ++round) {
      end.burst.clear();
      end.connection->poll_transmit(now_, end.burst);
      for (std::size_t i = 0; i < end.burst.size(); ++i)
        for (Flying& flying : end.device->take(end.burst[i], end.slow))
          launch(which, std::move(flying));
      end.application->drain();
      end.connection->validate();
      if (end.over() || !end.connection->has_output()) return;
    }
    UNREACHABLE();  // more than the windows allow
  }

  // --- the end ---

  void finish() {
    for (auto& fates : fates_)
      fates.clear();
    quick_ = now_ - kStart < kPatience;
    const Instant limit = now_ + kEndWithin;
    for (int steps = 0; !done(); ++steps) {
      ASSERT(steps < kStepsMost);
      for (const auto& end : ends_)
        if (end->application != nullptr && !end->over()) wind_up(*end);
      pump();
      if (done()) break;
      ASSERT(advance());
      ASSERT(now_ <= limit);
    }
    check_outcome();
  }
  void wind_up(Endpoint& end) {
    Application& application = *end.application;
    end.slow = false;
    end.device->finish();
    if (!application.reading) application.read(now_, true);
    while (!application.needs.empty() && !application.over)
      application.answer(now_, false);
    // A SYN that wasn't answered yet would be forgotten with everything behind it.
    if (!application.closing && application.connected) application.close(now_);
  }
  [[nodiscard]] bool done() const {
    for (const auto& end : ends_)
      if (end->application != nullptr && !end->over()) return false;
    return true;
  }

  void check_outcome() const {
    const Application& a = *ends_[0]->application;
    if (ends_[1]->application == nullptr) {
      ASSERT(a.error != StreamError::none || a.aborted || a.closing);
      return;
    }
    const Application& b = *ends_[1]->application;
    a.check_ended();
    b.check_ended();
    if (fuzz::tracing())
      std::fprintf(stderr, "A %d B %d\n", static_cast<int>(a.error), static_cast<int>(b.error));
    ASSERT(b.delivered <= a.accepted && a.delivered <= b.accepted);
    const bool forced = a.aborted || b.aborted || a.lost_content || b.lost_content;
    if (losses_ == 0 && quick_ && !forced)
      ASSERT(a.error == StreamError::none && b.error == StreamError::none);
    if (a.error == StreamError::none && b.error == StreamError::none && !forced) {
      ASSERT(a.ended && b.ended);
      ASSERT(b.delivered == a.accepted && a.delivered == b.accepted);
    }
  }

  struct Fate {
    std::uint8_t kind;
    unsigned count;
  };

  Input& in_;
  Instant now_ = kStart;
  Duration delay_;
  unsigned losses_ = 0;
  bool quick_ = false;
  std::array<std::unique_ptr<Endpoint>, 2> ends_;
  std::array<std::deque<Fate>, 2> fates_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return fuzz::run_world<World>(data, size);
}
