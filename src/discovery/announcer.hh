// When to announce what to which tracker, for thousands of torrents. Sans-IO.
//
// Purpose: every swarm we seed is known to one tracker of its list, at the tracker's own pace, and
// no tracker is ever pressed by us.
//
// Algorithm. A swarm (one info-hash; a hybrid torrent has two) has its trackers in tiers (BEP 12):
// shuffled once within a tier, tried in order until one answers, which moves to the front of its
// tier; every announce begins at the first. Trackers
// on one host share a bound of announces under way; swarms that must wait for it queue in order.
// A host that can't be reached is left alone for a growing time for all swarms at once, then probed
// by one announce (so that a dead tracker of 1,000 torrents costs one timeout, not 1,000).
//
// Timers, one a swarm: the next announce. Armed by a success for the tracker's interval (never less
// than its "min interval" or ours) plus up to a tenth at random, so that announces spread; by a
// round in which trackers refused for 60 s · 2^n, at most an hour; by blocked hosts, and trackers
// that said when to come again (BEP 31), for the first that may be asked.
//
// Events: "started" in the first announce that a tracker answers, "stopped" to every tracker that
// knows us when the swarm goes. "completed" is for those who download: we never send it.
//
// Invariants: a swarm has at most one announce under way; a host at most per_host_max; validate()
// re-derives both.
//
// Sources: BEP 3, 12, 15, 31 (retry in). Not thread-safe: the manager's thread owns it.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/digest.hh"
#include "base/random.hh"
#include "base/time.hh"
#include "wire/tracker.hh"

namespace penstock::discovery {

using wire::AnnounceEvent;

struct AnnouncerLimits {
  std::uint32_t per_host_max = 4;    // announces under way at one host
  std::uint32_t in_flight_max = 64;  // in all
  Duration interval_min = Duration::seconds(60);
};

// One announce to make. The answer is on_result() with the same token, exactly once.
struct Announce {
  std::uint64_t token = 0;
  std::string url;  // of the tracker: http, https or udp
  WireInfoHash info_hash;
  AnnounceEvent event = AnnounceEvent::none;
  std::string tracker_id;  // BEP 3: what the tracker gave us to say again; mostly empty
};

enum class AnnounceOutcome : std::uint8_t {
  accepted,
  refused,      // the tracker answered, but not that: "failure reason", an HTTP error, nonsense
  unreachable,  // the host: no address, no connection, no answer in time
};

struct AnnounceResult {
  AnnounceOutcome outcome = AnnounceOutcome::accepted;
  Duration interval = Duration::seconds(1800);  // accepted: until the next one
  Duration interval_min{};                      // accepted: the tracker's "min interval"
  Duration retry_in{};     // refused: BEP 31; zero when it didn't say, max() for never. Kept up to
                           // a day: torrents are registered late, and trackers change hands
  std::string tracker_id;  // accepted
  std::string error;       // refused, unreachable: why
};

struct AnnouncerCounters {
  std::uint64_t started = 0;  // announces handed out, by event
  std::uint64_t stopped = 0;
  std::uint64_t regular = 0;
  std::uint64_t accepted = 0;  // results
  std::uint64_t refused = 0;
  std::uint64_t unreachable = 0;
  std::uint64_t swarms = 0;     // now
  std::uint64_t in_flight = 0;  // now
};

struct SwarmStatus {
  bool known_to_tracker = false;
  std::string tracker;  // that answered last or is tried now
  std::string error;    // of the last failure; empty after a success
};

// The part of a tracker URL that names the server: "udp://host:port". Empty when the URL is none
// that we can announce to.
std::string tracker_host(std::string_view url);

class Announcer {
 public:
  Announcer(const AnnouncerLimits& limits, std::uint64_t seed);
  ~Announcer();
  Announcer(const Announcer&) = delete;
  Announcer& operator=(const Announcer&) = delete;

  // Seeds from now on; the first announce is due at once. Trackers of unknown kinds are skipped.
  // False when it is there already or has no tracker we can ask.
  bool add(Instant now, const WireInfoHash& info_hash,
           const std::vector<std::vector<std::string>>& tiers);
  // Seeds no longer: trackers that know us are told, then it is forgotten.
  void remove(Instant now, const WireInfoHash& info_hash);
  // All of them.
  void remove_all(Instant now);
  void set_limits(const AnnouncerLimits& limits) { limits_ = limits; }

  // The next announce to make, while there is one and the bounds allow it.
  bool poll_announce(Instant now, Announce& out);
  void on_result(Instant now, std::uint64_t token, const AnnounceResult& result);
  // When poll_announce may have something although nothing else happened.
  [[nodiscard]] Instant next_timeout() const;
  // Nothing is under way or waiting to be said: after remove_all, the stop is complete.
  [[nodiscard]] bool idle() const { return swarms_.empty(); }

  [[nodiscard]] const AnnouncerCounters& counters() const { return counters_; }
  [[nodiscard]] bool status(const WireInfoHash& info_hash, SwarmStatus& out) const;
  void validate() const;

 private:
  struct Host;
  struct Tracker;
  struct Swarm;
  struct HashOf {
    std::size_t operator()(const WireInfoHash& hash) const;
  };

  Tracker* intern(const std::string& url);
  void schedule(Swarm& swarm, Instant at);
  void unschedule(Swarm& swarm);
  bool choose_tracker(Instant now, Swarm& swarm);
  bool dispatch(Instant now, Swarm& swarm, Announce& out);
  void end_round(Instant now, Swarm& swarm);
  void accepted(Instant now, Swarm& swarm, Tracker& tracker, const AnnounceResult& result);
  void stopped_one(Instant now, Swarm& swarm, const Tracker& tracker);
  void block(Instant now, Host& host);
  bool next_number(Instant now, std::uint64_t& number);
  void forget(Swarm& swarm);
  void begin_stop(Instant now, Swarm& swarm);
  Duration spread(Duration base);

  AnnouncerLimits limits_;
  Random random_;
  std::map<std::string, std::unique_ptr<Host>> hosts_;
  std::map<std::string, std::unique_ptr<Tracker>> trackers_;  // by URL; shared by swarms
  std::unordered_map<WireInfoHash, std::unique_ptr<Swarm>, HashOf> swarms_;
  std::set<std::pair<Instant, std::uint64_t>> due_;  // when, swarm number
  std::unordered_map<std::uint64_t, Swarm*> by_number_;
  // Hosts with waiting swarms and, perhaps, room: looked at before the swarms that are due.
  std::deque<Host*> ready_;
  std::uint64_t last_number_ = 0;
  AnnouncerCounters counters_;
};

}  // namespace penstock::discovery
