// Two hosts with own stacks, a bad link between them, and applications that exchange bytes: all of
// it drawn from one seed, in virtual time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "net/stack.hh"
#include "sim/tcp_app.hh"
#include "sim/wire_observer.hh"
#include "support/pcapng.hh"
#include "support/sim_link.hh"

namespace penstock::test {

struct TcpWorldPlan {
  std::uint64_t seed = 0;
  bool v6 = false;
  bool routed = false;  // two networks and a router instead of one link
  support::RouterOptions router;
  support::NicOptions nics[2];
  support::PathOptions paths[2];
  net::StackOptions stacks[2];
  AppOptions apps[2];
  std::vector<ConnectionPlan> connections;
  std::vector<int> client_side;  // of each connection
  // A host looks at its port only so often, as one that is busy with others does.
  Duration lag[2];
  // No connection that isn't done stays without progress for longer (see liveness_bound).
  Duration bound;
  // Where 32 bits come to `at` in the first connection: so many bytes, or milliseconds, after its
  // beginning. Each side's; 0: wherever.
  struct Wrap {
    std::uint32_t bytes = 0;
    std::uint32_t milliseconds = 0;
    std::uint32_t at = 0;
  };
  Wrap wraps[2];
  // The link is cut for good at some time: connections may end as timed out.
  bool cut = false;

  static TcpWorldPlan draw(std::uint64_t seed);
  [[nodiscard]] std::string describe() const;
};

// The longest that a TCP may go without progress on these paths. A segment and its acknowledgement
// both come through with probability 1 - p; the chance that n tries in a row fail is p^n. n is
// chosen so that p^n < 10^-9, and the tries are spaced as RFC 6298 says: RTO, 2 RTO, 4 RTO … at
// most 60 s. The first RTO is what a path, a queue, a handshake and a stalled reader can stretch it
// to.
Duration liveness_bound(const TcpWorldPlan& plan);
// All tries within the user timeout (RFC 9293 §3.8.3) fail more often than once in 10^4: who gives
// up then does what he should.
bool may_time_out(const TcpWorldPlan& plan);

class TcpWorld {
 public:
  struct Result {
    std::string wrong;  // empty: nothing
    std::uint64_t hash = 0;
    Instant ended;
    std::uint64_t steps = 0;
    std::uint64_t frames = 0;
    std::uint64_t retransmitted = 0;
    std::uint64_t bytes = 0;  // delivered
    std::uint64_t sheds = 0;
    std::uint64_t needs = 0;
    std::string dropped;  // what the stacks dropped, and why
  };

  // pcap: the capture is written there; nullptr: none.
  explicit TcpWorld(const TcpWorldPlan& plan, support::PcapngWriter* pcap = nullptr);
  ~TcpWorld();
  TcpWorld(const TcpWorld&) = delete;
  TcpWorld& operator=(const TcpWorld&) = delete;

  Result run();

 private:
  class Capture;

  static TcpWorldPlan place_wraps(const TcpWorldPlan& plan);
  void step(Instant now);
  void step_host(Instant now, int side);
  void name_servers();
  [[nodiscard]] bool over() const;
  [[nodiscard]] Instant next(Instant now) const;
  [[nodiscard]] std::string judge() const;
  [[nodiscard]] std::string judge_leg(const Leg& leg) const;
  [[nodiscard]] std::string dropped() const;
  [[nodiscard]] std::string stuck(Instant now) const;
  [[nodiscard]] std::string first_wrong(Instant now) const;

  const TcpWorldPlan plan_;
  support::SimLink link_;
  WireObserver observer_;
  std::unique_ptr<Capture> capture_;
  std::unique_ptr<net::Stack> stacks_[2];
  std::unique_ptr<TcpApp> apps_[2];
  struct Pair {
    std::unique_ptr<Leg> client;
    std::unique_ptr<Leg> server;
    int client_side = 0;
    bool named = false;
  };
  [[nodiscard]] bool unknown_to_server(const Pair& pair) const;
  std::vector<Pair> pairs_;
  Instant due_[2];  // when a host looks next
  std::uint64_t steps_ = 0;
  std::uint64_t without_page_[2] = {0, 0};  // segments dropped so far for want of a page
};

}  // namespace penstock::test
