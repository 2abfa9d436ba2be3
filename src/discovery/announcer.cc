#include "discovery/announcer.hh"

#include <algorithm>
#include <cstring>

#include "base/assert.hh"

namespace penstock::discovery {
namespace {

// A swarm whose every tracker failed tries again after this, doubled each time.
constexpr Duration kRoundBackoffMin = Duration::seconds(60);
constexpr Duration kRoundBackoffMax = Duration::seconds(3600);
// A host that can't be reached: short at first, since trackers restart.
constexpr Duration kHostBackoffMin = Duration::seconds(15);
constexpr Duration kHostBackoffMax = Duration::seconds(1800);
// What a tracker may ask for at most: more is a mistake of its operator's.
constexpr Duration kIntervalMax = Duration::seconds(24 * 3600);

Duration backoff(Duration least, Duration most, std::uint32_t failures) {
  Duration wait = least;
  for (std::uint32_t i = 1; i < failures && wait < most; ++i)
    wait = wait * 2;
  return std::min(wait, most);
}

}  // namespace

// A server: what is shared by all trackers on it.
struct Announcer::Host {
  std::string name;
  std::uint32_t in_flight = 0;
  std::uint32_t failures = 0;  // in a row; while > 0 one probe at a time
  Instant blocked_until{};
  std::deque<std::uint64_t> waiting;  // swarm numbers; some may be gone
  bool ready = false;                 // in ready_

  [[nodiscard]] bool has_room(const AnnouncerLimits& limits) const {
    return in_flight < (failures > 0 ? 1 : limits.per_host_max);
  }
};

struct Announcer::Tracker {
  std::string url;
  Host* host = nullptr;
};

struct Announcer::Swarm {
  enum class Phase : std::uint8_t { seeding, stopping };
  std::uint64_t number = 0;
  WireInfoHash info_hash;
  Phase phase = Phase::seeding;
  std::vector<std::vector<Tracker*>> tiers;
  std::size_t tier = 0;  // the tracker to ask next
  std::size_t place = 0;
  std::vector<Tracker*> introduced;  // that know us: want a "stopped"
  Tracker* asked = nullptr;          // the announce under way
  AnnounceEvent asked_event = AnnounceEvent::none;
  bool scheduled = false;
  bool waiting = false;  // in a host's queue
  Instant at{};          // when scheduled
  std::uint32_t failed_rounds = 0;
  std::size_t tried = 0;  // trackers that failed or were passed over in this round
  bool refused = false;   // in this round, by one that didn't say when to come again
  // Those that did: none of them is asked before (BEP 31).
  std::map<const Tracker*, Instant> not_before;
  Tracker* last = nullptr;  // that answered last
  std::string tracker_id;
  std::string error;

  [[nodiscard]] Tracker* current() const { return tiers[tier][place]; }
  [[nodiscard]] bool knows(const Tracker* tracker) const {
    return std::find(introduced.begin(), introduced.end(), tracker) != introduced.end();
  }
  [[nodiscard]] std::size_t tracker_count() const {
    std::size_t count = 0;
    for (const auto& list : tiers)
      count += list.size();
    return count;
  }
  void begin_round() {
    tier = 0;
    place = 0;
    tried = 0;
    refused = false;
  }
  // When this tracker may be asked.
  [[nodiscard]] Instant open_at(const Tracker* tracker) const {
    const auto told = not_before.find(tracker);
    const Instant host = tracker->host->blocked_until;
    return told == not_before.end() ? host : std::max(host, told->second);
  }
  void next_tracker() {
    if (++place < tiers[tier].size()) return;
    place = 0;
    tier = (tier + 1) % tiers.size();
  }
};

std::string tracker_host(std::string_view url) {
  const std::size_t scheme_end = url.find("://");
  if (scheme_end == std::string_view::npos) return {};
  std::string scheme(url.substr(0, scheme_end));
  for (char& c : scheme) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  if (scheme != "http" && scheme != "https" && scheme != "udp") return {};
  std::string_view rest = url.substr(scheme_end + 3);
  rest = rest.substr(0, rest.find_first_of("/?#"));
  const std::size_t user_end = rest.rfind('@');
  if (user_end != std::string_view::npos) rest.remove_prefix(user_end + 1);
  if (rest.empty() || rest.front() == ':') return {};
  for (const char c : url) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte == 0x7f) return {};
  }
  std::string host = scheme + "://";
  for (const char c : rest) {
    host += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return host;
}

std::size_t Announcer::HashOf::operator()(const WireInfoHash& hash) const {
  std::size_t value = 0;
  std::memcpy(&value, hash.bytes.data(), sizeof value);
  return value;
}

Announcer::Announcer(const AnnouncerLimits& limits, std::uint64_t seed)
    : limits_(limits), random_(seed) {}
Announcer::~Announcer() = default;

Announcer::Tracker* Announcer::intern(const std::string& url) {
  const auto known = trackers_.find(url);
  if (known != trackers_.end()) return known->second.get();
  const std::string host_name = tracker_host(url);
  if (host_name.empty()) return nullptr;
  auto& host = hosts_[host_name];
  if (!host) {
    host = std::make_unique<Host>();
    host->name = host_name;
  }
  auto& tracker = trackers_[url];
  tracker = std::make_unique<Tracker>();
  tracker->url = url;
  tracker->host = host.get();
  return tracker.get();
}

bool Announcer::add(Instant now, const WireInfoHash& info_hash,
                    const std::vector<std::vector<std::string>>& tiers) {
  const auto known = swarms_.find(info_hash);
  if (known != swarms_.end()) {
    // Dropped in again before its "stopped" was through: it simply goes on.
    Swarm& swarm = *known->second;
    if (swarm.phase == Swarm::Phase::seeding) return false;
    swarm.phase = Swarm::Phase::seeding;
    swarm.introduced.clear();  // "started" once more, whatever of the stop was heard
    if (swarm.asked == nullptr && !swarm.waiting) schedule(swarm, now);
    return true;
  }
  auto swarm = std::make_unique<Swarm>();
  for (const auto& tier : tiers) {
    std::vector<Tracker*> list;
    for (const std::string& url : tier) {
      Tracker* tracker = intern(url);
      if (tracker != nullptr && std::find(list.begin(), list.end(), tracker) == list.end()) {
        list.push_back(tracker);
      }
    }
    // BEP 12: shuffled when first read.
    for (std::size_t i = list.size(); i > 1; --i) {
      std::swap(list[i - 1], list[random_.below(i)]);
    }
    if (!list.empty()) swarm->tiers.push_back(std::move(list));
  }
  if (swarm->tiers.empty()) return false;
  swarm->number = ++last_number_;
  swarm->info_hash = info_hash;
  by_number_[swarm->number] = swarm.get();
  schedule(*swarm, now);
  swarms_[info_hash] = std::move(swarm);
  ++counters_.swarms;
  return true;
}

void Announcer::schedule(Swarm& swarm, Instant at) {
  ASSERT(!swarm.waiting && swarm.asked == nullptr);
  unschedule(swarm);
  swarm.scheduled = true;
  swarm.at = at;
  due_.emplace(at, swarm.number);
}

void Announcer::unschedule(Swarm& swarm) {
  if (!swarm.scheduled) return;
  due_.erase({swarm.at, swarm.number});
  swarm.scheduled = false;
}

void Announcer::forget(Swarm& swarm) {
  unschedule(swarm);
  by_number_.erase(swarm.number);
  --counters_.swarms;
  const WireInfoHash key = swarm.info_hash;
  swarms_.erase(key);
}

void Announcer::begin_stop(Instant now, Swarm& swarm) {
  swarm.phase = Swarm::Phase::stopping;
  if (swarm.asked != nullptr) return;  // goes on in on_result
  if (swarm.introduced.empty()) {
    forget(swarm);  // a queue that still has its number skips it
    return;
  }
  if (!swarm.waiting) schedule(swarm, now);
}

void Announcer::remove(Instant now, const WireInfoHash& info_hash) {
  const auto known = swarms_.find(info_hash);
  if (known != swarms_.end() && known->second->phase == Swarm::Phase::seeding) {
    begin_stop(now, *known->second);
  }
}

void Announcer::remove_all(Instant now) {
  std::vector<Swarm*> all;
  all.reserve(swarms_.size());
  for (const auto& [hash, swarm] : swarms_)
    all.push_back(swarm.get());
  for (Swarm* swarm : all) {
    if (swarm->phase == Swarm::Phase::seeding) begin_stop(now, *swarm);
  }
}

// Moves the swarm on to a tracker that may be asked. False: none is left in this round.
bool Announcer::choose_tracker(Instant now, Swarm& swarm) {
  const std::size_t count = swarm.tracker_count();
  for (; swarm.tried < count; ++swarm.tried) {
    if (swarm.open_at(swarm.current()) <= now) return true;
    swarm.next_tracker();
  }
  end_round(now, swarm);
  return false;
}

// Every tracker failed or was passed over: wait, then begin again at the first.
void Announcer::end_round(Instant now, Swarm& swarm) {
  Instant at = Instant::never();
  for (const auto& tier : swarm.tiers) {
    for (const Tracker* tracker : tier)
      at = earlier(at, swarm.open_at(tracker));
  }
  at = std::max(at, now) +
       Duration::nanoseconds(static_cast<std::int64_t>(random_.below(1'000'000'000)));
  if (swarm.refused) {
    ++swarm.failed_rounds;
    at = now + spread(backoff(kRoundBackoffMin, kRoundBackoffMax, swarm.failed_rounds));
  }
  swarm.begin_round();
  schedule(swarm, at);
}

// Makes the announce, or queues the swarm at its host, or finds that there is nothing to say.
bool Announcer::dispatch(Instant now, Swarm& swarm, Announce& out) {
  Tracker* tracker = nullptr;
  AnnounceEvent event = AnnounceEvent::none;
  if (swarm.phase == Swarm::Phase::stopping) {
    // A host that doesn't answer isn't told: it will notice.
    std::erase_if(swarm.introduced, [&](const Tracker* t) { return t->host->blocked_until > now; });
    if (swarm.introduced.empty()) {
      forget(swarm);
      return false;
    }
    tracker = swarm.introduced.back();
    event = AnnounceEvent::stopped;
  } else {
    if (!choose_tracker(now, swarm)) return false;
    tracker = swarm.current();
    event = swarm.knows(tracker) ? AnnounceEvent::none : AnnounceEvent::started;
  }
  Host& host = *tracker->host;
  if (!host.has_room(limits_)) {
    swarm.waiting = true;
    host.waiting.push_back(swarm.number);
    return false;
  }
  ++host.in_flight;
  ++counters_.in_flight;
  ++(event == AnnounceEvent::started   ? counters_.started
     : event == AnnounceEvent::stopped ? counters_.stopped
                                       : counters_.regular);
  swarm.asked = tracker;
  swarm.asked_event = event;
  out.token = swarm.number;
  out.url = tracker->url;
  out.info_hash = swarm.info_hash;
  out.event = event;
  out.tracker_id = event == AnnounceEvent::started ? std::string() : swarm.tracker_id;
  return true;
}

// The next swarm to look at: first those that waited for a host that has room again, or that is
// blocked, so that they must look elsewhere.
bool Announcer::next_number(Instant now, std::uint64_t& number) {
  while (!ready_.empty()) {
    Host& host = *ready_.front();
    const bool open = host.has_room(limits_) || host.blocked_until > now;
    if (open && !host.waiting.empty()) {
      number = host.waiting.front();
      host.waiting.pop_front();
      return true;
    }
    host.ready = false;
    ready_.pop_front();
  }
  if (due_.empty() || due_.begin()->first > now) return false;
  number = due_.begin()->second;
  return true;
}

bool Announcer::poll_announce(Instant now, Announce& out) {
  std::uint64_t number = 0;
  while (counters_.in_flight < limits_.in_flight_max && next_number(now, number)) {
    const auto found = by_number_.find(number);
    if (found == by_number_.end()) continue;  // removed while it waited
    Swarm& swarm = *found->second;
    swarm.waiting = false;
    unschedule(swarm);
    if (dispatch(now, swarm, out)) return true;
  }
  return false;
}

Instant Announcer::next_timeout() const {
  if (counters_.in_flight >= limits_.in_flight_max) return Instant::never();
  if (!ready_.empty()) return Instant{};
  return due_.empty() ? Instant::never() : due_.begin()->first;
}

void Announcer::block(Instant now, Host& host) {
  ++host.failures;
  host.blocked_until = now + spread(backoff(kHostBackoffMin, kHostBackoffMax, host.failures));
}

Duration Announcer::spread(Duration base) {
  return base + Duration::nanoseconds(static_cast<std::int64_t>(
                    random_.below(static_cast<std::uint64_t>(base.ns) / 10 + 1)));
}

void Announcer::on_result(Instant now, std::uint64_t token, const AnnounceResult& result) {
  const auto found = by_number_.find(token);
  ASSERT(found != by_number_.end() && found->second->asked != nullptr);
  Swarm& swarm = *found->second;
  Tracker& tracker = *swarm.asked;
  Host& host = *tracker.host;
  const AnnounceEvent event = swarm.asked_event;
  swarm.asked = nullptr;
  --host.in_flight;
  --counters_.in_flight;
  if (result.outcome == AnnounceOutcome::unreachable) {
    ++counters_.unreachable;
    block(now, host);
  } else {
    host.failures = 0;
    host.blocked_until = Instant{};
    ++(result.outcome == AnnounceOutcome::accepted ? counters_.accepted : counters_.refused);
  }
  if (event == AnnounceEvent::stopped) {
    stopped_one(now, swarm, tracker);
  } else if (result.outcome == AnnounceOutcome::accepted) {
    accepted(now, swarm, tracker, result);
  } else {
    swarm.error = result.error;
    if (result.outcome == AnnounceOutcome::refused) {
      std::erase(swarm.introduced, &tracker);  // whatever it knew of us, it doesn't any more
      if (result.retry_in > Duration{}) {
        swarm.not_before[&tracker] = now + spread(std::min(result.retry_in, kIntervalMax));
      } else {
        swarm.refused = true;
      }
    }
    ++swarm.tried;
    swarm.next_tracker();
    if (swarm.phase == Swarm::Phase::stopping) {
      begin_stop(now, swarm);
    } else {
      schedule(swarm, now);  // the next tracker, or the end of the round
    }
  }
  if (!host.waiting.empty() && !host.ready) {
    host.ready = true;
    ready_.push_back(&host);
  }
}

void Announcer::accepted(Instant now, Swarm& swarm, Tracker& tracker,
                         const AnnounceResult& result) {
  if (!swarm.knows(&tracker)) swarm.introduced.push_back(&tracker);
  swarm.error.clear();
  swarm.not_before.erase(&tracker);
  swarm.tracker_id = result.tracker_id.empty() ? swarm.tracker_id : result.tracker_id;
  swarm.failed_rounds = 0;
  swarm.last = &tracker;
  // BEP 12: to the front of its tier.
  for (auto& list : swarm.tiers) {
    const auto place = std::find(list.begin(), list.end(), &tracker);
    if (place == list.end()) continue;
    std::rotate(list.begin(), place, place + 1);
    break;
  }
  swarm.begin_round();
  if (swarm.phase == Swarm::Phase::stopping) {
    begin_stop(now, swarm);
    return;
  }
  const Duration wanted = std::max({result.interval, result.interval_min, limits_.interval_min});
  schedule(swarm, now + spread(std::min(wanted, kIntervalMax)));
}

void Announcer::stopped_one(Instant now, Swarm& swarm, const Tracker& tracker) {
  // Said once, heard or not: stopping must come to an end.
  std::erase(swarm.introduced, &tracker);
  if (swarm.phase == Swarm::Phase::seeding) {
    schedule(swarm, now);  // it came back meanwhile
  } else {
    begin_stop(now, swarm);
  }
}

bool Announcer::status(const WireInfoHash& info_hash, SwarmStatus& out) const {
  const auto known = swarms_.find(info_hash);
  if (known == swarms_.end()) return false;
  const Swarm& swarm = *known->second;
  out.known_to_tracker = !swarm.introduced.empty();
  out.tracker = (swarm.last != nullptr ? swarm.last : swarm.current())->url;
  out.error = swarm.error;
  return true;
}

void Announcer::validate() const {
  std::map<const Host*, std::uint32_t> in_flight;
  std::uint64_t total = 0;
  for (const auto& [hash, swarm] : swarms_) {
    ASSERT(by_number_.at(swarm->number) == swarm.get());
    // Exactly one of: asked, waiting, scheduled. Otherwise it would be forgotten for ever.
    ASSERT((swarm->asked != nullptr) + swarm->waiting + swarm->scheduled == 1);
    ASSERT(!swarm->scheduled || due_.contains({swarm->at, swarm->number}));
    if (swarm->asked == nullptr) continue;
    ++in_flight[swarm->asked->host];
    ++total;
  }
  ASSERT(total == counters_.in_flight && total <= limits_.in_flight_max);
  ASSERT(swarms_.size() == counters_.swarms && by_number_.size() == swarms_.size());
  for (const auto& [name, host] : hosts_) {
    const auto counted = in_flight.find(host.get());
    ASSERT(host->in_flight == (counted == in_flight.end() ? 0 : counted->second));
    // Nobody waits at a host whose next answer, or next_number, wouldn't let them go on.
    ASSERT(host->in_flight > 0 || host->ready ||
           std::none_of(host->waiting.begin(), host->waiting.end(),
                        [&](std::uint64_t number) { return by_number_.contains(number); }));
  }
}

}  // namespace penstock::discovery
