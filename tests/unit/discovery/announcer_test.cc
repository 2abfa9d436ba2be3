#include "discovery/announcer.hh"

#include <deque>
#include <map>
#include <optional>

#include <gtest/gtest.h>

namespace penstock::discovery {
namespace {

WireInfoHash hash_of(std::uint32_t n) {
  WireInfoHash hash;
  for (int i = 0; i < 4; ++i)
    hash.bytes[i] = static_cast<std::byte>(n >> (8 * i));
  return hash;
}

// The announcer in virtual time, with every rule checked after every step.
class AnnouncerTest : public ::testing::Test {
 protected:
  using Tiers = std::vector<std::vector<std::string>>;

  std::optional<Announce> poll() {
    Announce announce;
    const bool some = announcer_.poll_announce(now_, announce);
    announcer_.validate();
    return some ? std::optional(announce) : std::nullopt;
  }
  Announce expect_poll() {
    const auto announce = poll();
    EXPECT_TRUE(announce.has_value());
    return announce.value_or(Announce{});
  }
  void accept(const Announce& announce, Duration interval = Duration::seconds(1800)) {
    AnnounceResult result;
    result.interval = interval;
    finish(announce, result);
  }
  void refuse(const Announce& announce) {
    finish(announce, {.outcome = AnnounceOutcome::refused, .error = "not registered"});
  }
  void lose(const Announce& announce) {
    finish(announce, {.outcome = AnnounceOutcome::unreachable, .error = "timed out"});
  }
  void finish(const Announce& announce, const AnnounceResult& result) {
    announcer_.on_result(now_, announce.token, result);
    announcer_.validate();
  }
  // Goes to the next timer and says how far that was.
  Duration sleep() {
    const Instant next = announcer_.next_timeout();
    EXPECT_NE(next, Instant::never());
    EXPECT_GE(next, now_);
    const Duration slept = next - now_;
    now_ = next;
    return slept;
  }

  Instant now_{1'000'000'000};
  AnnouncerLimits limits_;
  Announcer announcer_{limits_, 7};
};

TEST_F(AnnouncerTest, StartedThenRegularAtTheTrackersPace) {
  EXPECT_TRUE(announcer_.add(now_, hash_of(1), {{"http://a/announce"}}));
  const Announce first = expect_poll();
  EXPECT_EQ(first.event, AnnounceEvent::started);
  EXPECT_EQ(first.url, "http://a/announce");
  EXPECT_EQ(first.info_hash, hash_of(1));
  EXPECT_FALSE(poll());
  accept(first, Duration::seconds(900));
  EXPECT_FALSE(poll());
  const Duration slept = sleep();
  EXPECT_GE(slept, Duration::seconds(900));
  EXPECT_LE(slept, Duration::seconds(990));
  EXPECT_EQ(expect_poll().event, AnnounceEvent::none);
}

TEST_F(AnnouncerTest, IntervalsAreBounded) {
  announcer_.add(now_, hash_of(1), {{"http://a/announce"}});
  accept(expect_poll(), Duration::seconds(1));
  EXPECT_GE(sleep(), limits_.interval_min);
  AnnounceResult result;
  result.interval = Duration::seconds(300);
  result.interval_min = Duration::seconds(700);
  finish(expect_poll(), result);
  EXPECT_GE(sleep(), Duration::seconds(700));
  accept(expect_poll(), Duration::seconds(1'000'000'000));
  EXPECT_LE(sleep(), Duration::seconds(27 * 3600));
}

TEST_F(AnnouncerTest, StoppedToThoseWhoKnowUs) {
  announcer_.add(now_, hash_of(1), {{"http://a/announce"}, {"http://b/announce"}});
  lose(expect_poll());
  const Announce second = expect_poll();
  EXPECT_EQ(second.url, "http://b/announce");
  accept(second);
  announcer_.remove(now_, hash_of(1));
  const Announce stopped = expect_poll();
  EXPECT_EQ(stopped.event, AnnounceEvent::stopped);
  EXPECT_EQ(stopped.url, "http://b/announce");
  EXPECT_FALSE(announcer_.idle());
  accept(stopped);
  EXPECT_TRUE(announcer_.idle());
}

TEST_F(AnnouncerTest, NothingToStopIsForgottenAtOnce) {
  announcer_.add(now_, hash_of(1), {{"http://a/announce"}});
  announcer_.remove(now_, hash_of(1));
  EXPECT_TRUE(announcer_.idle());
  EXPECT_FALSE(poll());
}

TEST_F(AnnouncerTest, RemovedWhileAnnouncing) {
  announcer_.add(now_, hash_of(1), {{"http://a/announce"}});
  const Announce started = expect_poll();
  announcer_.remove(now_, hash_of(1));
  EXPECT_FALSE(poll());
  accept(started);
  const Announce stopped = expect_poll();
  EXPECT_EQ(stopped.event, AnnounceEvent::stopped);
  lose(stopped);  // said once, heard or not
  EXPECT_TRUE(announcer_.idle());
}

TEST_F(AnnouncerTest, AddedAgainWhileStopping) {
  announcer_.add(now_, hash_of(1), {{"http://a/announce"}});
  accept(expect_poll());
  announcer_.remove(now_, hash_of(1));
  const Announce stopped = expect_poll();
  EXPECT_TRUE(announcer_.add(now_, hash_of(1), {{"http://a/announce"}}));
  accept(stopped);
  EXPECT_EQ(expect_poll().event, AnnounceEvent::started);
}

TEST_F(AnnouncerTest, TiersInOrderAndTheOneThatAnswersFirst) {
  // BEP 12.
  announcer_.add(now_, hash_of(1), {{"http://a/x", "http://b/x"}, {"http://c/x"}});
  const Announce one = expect_poll();
  refuse(one);
  const Announce two = expect_poll();
  EXPECT_NE(one.url, two.url);
  EXPECT_NE(two.url, "http://c/x");
  refuse(two);
  const Announce three = expect_poll();
  EXPECT_EQ(three.url, "http://c/x");
  accept(three);
  sleep();
  // Begins at the first tier again; what answers there moves to its front.
  const Announce four = expect_poll();
  EXPECT_EQ(four.url, one.url);
  refuse(four);
  const Announce five = expect_poll();
  EXPECT_EQ(five.url, two.url);
  accept(five);
  sleep();
  EXPECT_EQ(expect_poll().url, two.url);
}

TEST_F(AnnouncerTest, RefusedRoundsWaitLongerEachTime) {
  announcer_.add(now_, hash_of(1), {{"http://a/x", "http://b/x"}});
  Duration last{};
  for (int round = 0; round < 8; ++round) {
    for (int i = 0; i < 2; ++i) {
      const auto announce = poll();
      ASSERT_TRUE(announce);
      refuse(*announce);
    }
    EXPECT_FALSE(poll());
    const Duration slept = sleep();
    EXPECT_GE(slept, std::min(last, Duration::seconds(3600)));
    last = slept;
  }
  EXPECT_GE(last, Duration::seconds(3600));
  EXPECT_LE(last, Duration::seconds(3960));
  SwarmStatus status;
  ASSERT_TRUE(announcer_.status(hash_of(1), status));
  EXPECT_EQ(status.error, "not registered");
  EXPECT_FALSE(status.known_to_tracker);
}

TEST_F(AnnouncerTest, RetryInIsKept) {
  // BEP 31.
  announcer_.add(now_, hash_of(1), {{"http://a/x"}});
  AnnounceResult result{.outcome = AnnounceOutcome::refused};
  result.retry_in = Duration::seconds(7200);
  finish(expect_poll(), result);
  EXPECT_FALSE(poll());
  EXPECT_GE(sleep(), Duration::seconds(7200));
}

TEST_F(AnnouncerTest, RetryInOfOneTrackerDoesNotKeepTheOthersWaiting) {
  announcer_.add(now_, hash_of(1), {{"http://never/x"}, {"http://down/x"}});
  AnnounceResult never{.outcome = AnnounceOutcome::refused};
  never.retry_in = Duration::max();
  finish(expect_poll(), never);
  const Announce second = expect_poll();
  EXPECT_EQ(second.url, "http://down/x");
  lose(second);
  EXPECT_FALSE(poll());
  // Until the host that was down may be tried again, and not a day.
  EXPECT_LE(sleep(), Duration::seconds(20));
  const Announce again = expect_poll();
  EXPECT_EQ(again.url, "http://down/x");
  accept(again);
  // A day at the most, even for "never".
  Instant until = now_ + Duration::seconds(27 * 3600);
  bool asked = false;
  while (now_ < until && !asked) {
    sleep();
    while (const auto announce = poll()) {
      asked |= announce->url == "http://never/x";
      lose(*announce);
    }
  }
  EXPECT_TRUE(asked);
}

TEST_F(AnnouncerTest, ADeadHostCostsOneProbeNotOneATorrent) {
  constexpr std::uint32_t kSwarms = 1000;
  for (std::uint32_t i = 0; i < kSwarms; ++i) {
    announcer_.add(now_, hash_of(i), {{"http://dead/announce"}, {"http://alive/announce"}});
  }
  std::uint32_t dead = 0;
  std::uint32_t alive = 0;
  while (alive < kSwarms) {
    std::deque<Announce> under_way;
    while (auto announce = poll())
      under_way.push_back(*announce);
    ASSERT_FALSE(under_way.empty());
    ASSERT_LE(under_way.size(), 2 * limits_.per_host_max);
    for (const Announce& announce : under_way) {
      const bool is_dead = announce.url.starts_with("http://dead");
      ++(is_dead ? dead : alive);
      if (is_dead) {
        lose(announce);
      } else {
        accept(announce);
      }
    }
  }
  EXPECT_LE(dead, limits_.per_host_max);
}

TEST_F(AnnouncerTest, AProbeThatComesThroughOpensTheHost) {
  for (std::uint32_t i = 0; i < 20; ++i)
    announcer_.add(now_, hash_of(i), {{"udp://a:1/x"}});
  std::vector<Announce> lost;
  while (auto announce = poll())
    lost.push_back(*announce);
  EXPECT_EQ(lost.size(), limits_.per_host_max);
  for (const Announce& announce : lost)
    lose(announce);
  EXPECT_FALSE(poll());  // blocked for all
  EXPECT_GE(sleep(), Duration::seconds(14));
  now_ = now_ + Duration::seconds(2 * 3600);  // all are due
  const Announce probe = expect_poll();
  EXPECT_FALSE(poll());  // one at a time
  accept(probe);
  for (std::uint32_t i = 0; i < limits_.per_host_max; ++i)
    EXPECT_TRUE(poll());
  EXPECT_FALSE(poll());
}

TEST_F(AnnouncerTest, OneHostsSlownessHoldsUpNobodyElse) {
  for (std::uint32_t i = 0; i < 50; ++i) {
    announcer_.add(now_, hash_of(i), {{"http://slow/x"}});
    announcer_.add(now_, hash_of(100 + i), {{"http://fast/x"}});
  }
  std::uint32_t slow = 0;
  std::uint32_t fast = 0;
  while (auto announce = poll()) {
    if (announce->url == "http://slow/x") {
      ++slow;
    } else {
      ++fast;
      accept(*announce);
    }
  }
  EXPECT_EQ(slow, limits_.per_host_max);
  EXPECT_EQ(fast, 50u);
}

TEST_F(AnnouncerTest, AllAtOnceIsBounded) {
  for (std::uint32_t i = 0; i < 200; ++i) {
    announcer_.add(now_, hash_of(i), {{"http://host" + std::to_string(i) + "/x"}});
  }
  std::uint32_t under_way = 0;
  while (poll())
    ++under_way;
  EXPECT_EQ(under_way, limits_.in_flight_max);
  EXPECT_EQ(announcer_.next_timeout(), Instant::never());
}

TEST_F(AnnouncerTest, AnnouncesSpread) {
  std::map<std::int64_t, int> per_second;
  for (std::uint32_t i = 0; i < 1000; ++i)
    announcer_.add(now_, hash_of(i), {{"http://a/x"}});
  while (auto announce = poll())
    accept(*announce, Duration::seconds(1800));
  for (int i = 0; i < 1000; ++i) {
    sleep();
    const Announce announce = expect_poll();
    ++per_second[now_.ns / 1'000'000'000];
    accept(announce, Duration::seconds(100'000));
  }
  int most = 0;
  for (const auto& [second, count] : per_second)
    most = std::max(most, count);
  EXPECT_LE(most, 25);  // 1,000 over 180 s
}

TEST_F(AnnouncerTest, RemoveAllEndsIdleWhateverTheTrackersDo) {
  Random random(3);
  for (std::uint32_t i = 0; i < 300; ++i) {
    announcer_.add(now_, hash_of(i),
                   {{"http://h" + std::to_string(i % 7) + "/x"}, {"udp://u:1/", "http://w/x"}});
  }
  const auto step = [&](std::deque<Announce>& under_way) {
    while (auto announce = poll())
      under_way.push_back(*announce);
    if (under_way.empty()) {
      if (!announcer_.idle()) sleep();
      return;
    }
    std::swap(under_way[random.below(under_way.size())], under_way.front());
    const Announce announce = under_way.front();
    under_way.pop_front();
    switch (random.below(3)) {
      case 0:
        return accept(announce, Duration::seconds(random.below(100)));
      case 1:
        return refuse(announce);
      default:
        return lose(announce);
    }
  };
  std::deque<Announce> under_way;
  for (int i = 0; i < 3000; ++i) {
    step(under_way);
    if (i % 10 == 0)
      announcer_.remove(now_, hash_of(static_cast<std::uint32_t>(random.below(300))));
    if (i % 11 == 0) {
      announcer_.add(now_, hash_of(static_cast<std::uint32_t>(random.below(300))),
                     {{"http://h1/x", "http://h2/x"}});
    }
  }
  announcer_.remove_all(now_);
  int steps = 0;
  while (!announcer_.idle() && steps < 10'000) {
    step(under_way);
    ++steps;
  }
  EXPECT_TRUE(announcer_.idle());
}

TEST(TrackerHost, Names) {
  EXPECT_EQ(tracker_host("http://Tracker.Example:80/announce?x=1"), "http://tracker.example:80");
  EXPECT_EQ(tracker_host("UDP://t.example:6969"), "udp://t.example:6969");
  EXPECT_EQ(tracker_host("https://user:pw@[2001:db8::1]:443/a"), "https://[2001:db8::1]:443");
  EXPECT_EQ(tracker_host("wss://t.example/"), "");
  EXPECT_EQ(tracker_host("http:///announce"), "");
  EXPECT_EQ(tracker_host("http://a/b c"), "");
  EXPECT_EQ(tracker_host("tracker.example"), "");
}

TEST_F(AnnouncerTest, UnknownKindsOfTrackersAreSkipped) {
  EXPECT_FALSE(announcer_.add(now_, hash_of(1), {{"wss://a/"}, {"dht://"}, {}}));
  EXPECT_FALSE(announcer_.add(now_, hash_of(1), {}));
  EXPECT_TRUE(announcer_.add(now_, hash_of(1), {{"wss://a/", "http://b/x"}}));
  EXPECT_FALSE(announcer_.add(now_, hash_of(1), {{"http://b/x"}}));  // there already
  EXPECT_EQ(expect_poll().url, "http://b/x");
}

}  // namespace
}  // namespace penstock::discovery
