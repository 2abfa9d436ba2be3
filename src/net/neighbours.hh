// Who is behind an IP address on the link: the cache of ARP and NDP, with RFC 4861 §7.3's machine
// for both (unreachability of IPv4 neighbours is probed by unicast ARP, RFC 1122 §2.3.2.1).
//
// Purpose: a MAC address per next hop, known to be right lately, without a timer per packet and
// without memory that strangers can fill. Entries are made only for next hops that somebody here
// *holds*: a connection. What is heard from others changes entries that are there, and makes none,
// so a flood of ARP or a scan of a /64 costs nothing (RFC 6583).
//
// Nothing is queued for a neighbour: segments stay in their connections, which wait for `settled`.
//
// States and timers: incomplete: asks by broadcast, every second, three times, then failed ·
// failed: says so for a second, then resolve() asks again · reachable: trusted for 30 s ± 50 %,
// then stale · stale: trusted; its use starts delay · delay: 5 s, then probe · probe: asks by
// unicast, every second, three times, then incomplete. (Constants: RFC 4861 §10.) ReachableTime
// ends without a timer: resolve() looks at the time. Progress of a connection makes delay and probe
// reachable: on a link that loses, three answers may be lost while traffic flows.
//
// Invariants: an entry that isn't held is in the list of idle ones, the longest idle first, and is
// forgotten when its place is needed. Owner: one stack. Nothing is allocated after construction.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "base/address.hh"
#include "base/fine_wheel.hh"
#include "base/intrusive_list.hh"
#include "base/random.hh"
#include "base/time.hh"
#include "net/flow_table.hh"
#include "wire/ethernet.hh"

namespace penstock::net {

using NeighbourId = std::uint32_t;
inline constexpr NeighbourId kNoNeighbour = ~0u;

class Neighbours {
 public:
  static constexpr Duration kRetransmit = Duration::seconds(1);  // RetransTimer
  static constexpr Duration kReachable = Duration::seconds(30);  // BaseReachableTime
  static constexpr Duration kDelay = Duration::seconds(5);       // DelayFirstProbe
  static constexpr int kSolicitationsMax = 3;  // MaxMulticastSolicit, …Unicast…

  Neighbours(Instant now, std::uint32_t entries_max, const std::array<std::uint64_t, 2>& secret);

  // One more user of an address, which goes out by `interface`. kNoNeighbour: all are in use.
  [[nodiscard]] NeighbourId hold(const IpAddress& address, std::uint32_t interface);
  void release(NeighbourId id);

  enum class Answer : std::uint8_t {
    known,   // `mac`
    asked,   // `settled` follows
    failed,  // it doesn't answer
  };
  // For output to it, now.
  Answer resolve(Instant now, NeighbourId id, wire::MacAddress& mac);

  // Its MAC address by the frame that it sent: good enough until something better is known. Changes
  // nothing where one is known.
  void suggest(NeighbourId id, const wire::MacAddress& mac);

  // It is in delay or probe: confirm() would spare a question.
  [[nodiscard]] bool doubted(NeighbourId id) const {
    return entries_[id].state == State::delay || entries_[id].state == State::probe;
  }
  // It acknowledged something new, or sent something new (RFC 4861 §7.3.1). Only of a doubted one.
  void confirm(Instant now, NeighbourId id) { set_known(now, entries_[id], State::reachable); }

  struct Advertisement {
    bool solicited = true;  // an answer to us: proves that it hears us, too
    bool overrides = true;
  };
  // RFC 4861 §7.2.5, for entries that are there. ARP replies are solicited and override.
  void on_advertisement(Instant now, const IpAddress& address, const wire::MacAddress& mac,
                        Advertisement flags);
  // It asked for us, or spoke up: RFC 4861 §7.2.3, RFC 826.
  void on_heard(const IpAddress& address, const wire::MacAddress& mac);

  struct Question {
    IpAddress address;
    std::uint32_t interface = 0;
    bool unicast = false;  // to `mac`, else to all
    wire::MacAddress mac;
  };
  // Questions that are due. False: no more now.
  bool poll_question(Instant now, Question& out);
  // Of whom it became known, since, how it stands: after `asked`. kNoNeighbour: no more.
  NeighbourId poll_settled();

  [[nodiscard]] Instant next_timeout() const;
  [[nodiscard]] std::uint32_t held() const { return held_; }
  void validate() const;

 private:
  enum class State : std::uint8_t {
    free,
    idle,
    incomplete,
    failed,
    reachable,
    stale,
    delay,
    probe
  };
  struct IdleTag;
  struct SettledTag;
  struct AskTag;
  struct Entry : Hook<IdleTag>, Hook<SettledTag>, Hook<AskTag>, FineTimer {
    IpAddress address;
    wire::MacAddress mac;
    State state = State::free;
    std::uint8_t asked = 0;  // questions of this round
    std::uint32_t interface = 0;
    std::uint32_t holders = 0;
    std::uint32_t hash = 0;
    Instant until{};  // reachable, failed: when that ends
  };

  [[nodiscard]] std::uint32_t hash_of(const IpAddress& address) const;
  [[nodiscard]] Entry* find(const IpAddress& address);
  [[nodiscard]] NeighbourId id_of(const Entry& entry) const {
    return static_cast<NeighbourId>(&entry - entries_.get());
  }
  void forget(Entry& entry);
  void set_known(Instant now, Entry& entry, State state);
  void settle(Entry& entry);
  void start_asking(Entry& entry);
  void stop_asking(Entry& entry);
  bool on_timer(Instant now, Entry& entry, Question& out);
  bool ask(Instant now, Entry& entry, Question& out);

  std::uint32_t entries_max_;
  std::array<std::uint64_t, 2> secret_;
  Random random_;
  std::unique_ptr<Entry[]> entries_;
  FlowTable table_;
  List<Entry, IdleTag> idle_;
  List<Entry, SettledTag> settled_;
  List<Entry, AskTag> asking_;  // whose first question is due
  FineWheel<20> wheel_;         // ticks of 1 ms
  std::uint32_t held_ = 0;
};

}  // namespace penstock::net
