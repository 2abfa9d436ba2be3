// Announces over UDP (BEP 15). Sans-IO: datagrams in and out, and the time.
//
// Every tracker endpoint has one connection id, valid for a minute, shared by all announces to it;
// an announce that finds none waits for one connect. Timers: a request (connect or announce) is
// sent again after 15 s · 2^n; an announce whose connection id ran out meanwhile begins with a new
// one.
//
// DEVIATION(BEP 15 "Time outs"): gives up after n = 2 (105 s) instead of 8 (over an hour), since
// the announcer has other trackers to ask and waits longer each time by itself.
//
// Answers count only from the endpoint that was asked and with the transaction id of what was asked
// (random, so that nobody off the path can guess it).
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/address.hh"
#include "base/random.hh"
#include "base/time.hh"
#include "discovery/announcer.hh"
#include "wire/tracker.hh"

namespace penstock::discovery {

struct UdpAnswer {
  std::uint64_t token = 0;
  AnnounceResult result;
};

class UdpTracker {
 public:
  static constexpr Duration kConnectionLife = Duration::seconds(60);
  static constexpr Duration kFirstTimeout = Duration::seconds(15);
  static constexpr std::uint32_t kAttemptsMax = 3;

  // seed: unpredictable, outside tests.
  explicit UdpTracker(std::uint64_t seed) : random_(seed) {}

  // One announce; answered exactly once by poll_answer unless cancelled. The token is new.
  // path_and_query: of the tracker's URL (BEP 41); may be empty.
  void start(Instant now, std::uint64_t token, const Endpoint& tracker,
             const wire::AnnounceRequest& request, std::string path_and_query);
  void cancel(std::uint64_t token);
  void on_datagram(Instant now, const Endpoint& from, std::span<const std::byte> datagram);
  void on_timeout(Instant now);
  [[nodiscard]] Instant next_timeout() const;
  bool poll_transmit(Endpoint& to, std::vector<std::byte>& datagram);
  bool poll_answer(UdpAnswer& out);

 private:
  struct Request {
    Endpoint tracker;
    wire::AnnounceRequest request;
    std::string path_and_query;
    bool sent = false;  // else it waits for a connection id
    std::uint32_t transaction = 0;
    std::uint32_t attempts = 0;
    Instant retry_at = Instant::never();
  };
  struct Server {
    bool connecting = false;
    std::uint32_t transaction = 0;
    std::uint32_t attempts = 0;
    Instant retry_at = Instant::never();
    std::uint64_t connection = 0;
    Instant valid_until{};  // of connection
    std::set<std::uint64_t> tokens;
  };
  struct Datagram {
    Endpoint to;
    std::vector<std::byte> bytes;
  };

  void connect(Instant now, const Endpoint& tracker, Server& server);
  void announce(Instant now, Request& request, const Server& server);
  void finish(std::uint64_t token, AnnounceResult result);
  void fail_waiting(const Endpoint& tracker, const std::string& error);
  void on_connected(Instant now, Server& server, std::uint64_t connection);
  void on_announce_answer(const Endpoint& from, std::uint64_t token, Server& server,
                          std::span<const std::byte> datagram);
  std::uint32_t new_transaction() { return static_cast<std::uint32_t>(random_.next()); }

  Random random_;
  std::map<Endpoint, Server> servers_;
  std::map<std::uint64_t, Request> requests_;
  std::deque<Datagram> outbox_;
  std::deque<UdpAnswer> answers_;
};

// What an accepted announce says about the next one.
AnnounceResult result_of(const wire::AnnounceResponse& response);

}  // namespace penstock::discovery
