// Announces to HTTP(S) and UDP trackers: the thread and the sockets around Announcer.
//
// One thread for any number of torrents: libcurl's multi interface for HTTP (connections are kept
// and used again), one non-blocking UDP socket a family, one poll for all of them. Names of UDP
// trackers are resolved on a thread of their own, since getaddrinfo blocks.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/address.hh"
#include "base/digest.hh"
#include "base/result.hh"
#include "base/time.hh"
#include "discovery/announcer.hh"

namespace penstock::discovery {

struct AnnounceSettings {
  AnnouncerLimits limits;
  Duration timeout = Duration::seconds(30);  // of an HTTP announce
};

// Where peers reach us over one family. A tracker lists the address that it is asked from: where we
// listen on one address only, announces leave from it.
struct AnnounceSource {
  bool enabled = false;
  std::optional<IpAddress> address;  // nullopt: whichever the routes choose
  std::uint16_t port = 0;
};

struct AnnounceOptions {
  AnnounceSettings settings;
  AnnounceSource v4;
  AnnounceSource v6;
  std::array<std::byte, 20> peer_id{};
  std::string user_agent;
  // Bytes uploaded of the torrent that was added with this key. Called on the manager's thread.
  std::function<std::uint64_t(std::uint64_t key)> uploaded;
};

// The sources that follow from where we listen (as EngineApi::listening says; "::" is both
// families). port: instead of the listeners'; 0: theirs.
void set_sources(AnnounceOptions& options, const std::vector<Endpoint>& listening,
                 std::uint16_t port);

class AnnounceManager {
 public:
  static Result<std::unique_ptr<AnnounceManager>> start(AnnounceOptions options);
  // Stops without telling anybody, unless stop() was called.
  ~AnnounceManager();
  AnnounceManager(const AnnounceManager&) = delete;
  AnnounceManager& operator=(const AnnounceManager&) = delete;

  // All functions may be called from any thread; the work is done on the manager's.

  // hashes: one, or two of a hybrid torrent (BEP 52: each is a swarm of its own).
  void add(std::uint64_t key, const std::vector<WireInfoHash>& hashes,
           const std::vector<std::vector<std::string>>& tiers);
  void remove(const std::vector<WireInfoHash>& hashes);
  void set_settings(const AnnounceSettings& settings);
  // Tells the trackers that we go, for at most this long. Returns what was left unsaid, in swarms.
  std::uint64_t stop(Duration deadline);

  [[nodiscard]] AnnouncerCounters counters() const;
  [[nodiscard]] std::optional<SwarmStatus> status(const WireInfoHash& hash) const;

 private:
  class Worker;
  explicit AnnounceManager(std::unique_ptr<Worker> worker);
  std::unique_ptr<Worker> worker_;
};

}  // namespace penstock::discovery
