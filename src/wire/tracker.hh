// What announces and scrapes say, whatever the transport (BEP 3, 15, 48).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/address.hh"
#include "base/digest.hh"
#include "wire/peer_wire.hh"

namespace penstock::wire {

// The numbers are those of BEP 15.
enum class AnnounceEvent : std::uint32_t { none = 0, completed = 1, started = 2, stopped = 3 };

struct AnnounceRequest {
  WireInfoHash info_hash;
  PeerId peer_id{};
  std::uint64_t downloaded = 0;  // bytes since `started`
  std::uint64_t uploaded = 0;
  std::uint64_t left = 0;
  AnnounceEvent event = AnnounceEvent::none;
  std::uint16_t port = 0;          // where we listen
  std::int32_t peers_wanted = -1;  // -1: as many as the tracker likes
  std::uint32_t key = 0;           // the same for all announces of a process
  std::optional<IpAddress> ip;     // only if it isn't the one that we announce from
  std::string tracker_id;          // HTTP: what the last response gave
};

struct AnnounceResponse {
  std::uint32_t interval_s = 0;      // seconds until the next announce; 0: not said
  std::uint32_t min_interval_s = 0;  // 0: not said
  std::optional<std::uint32_t> seeds, leeches, downloads;
  std::vector<Endpoint> peers;
  // Peers that a non-compact response names by host.
  std::vector<std::pair<std::string, std::uint16_t>> named_peers;
  std::optional<IpAddress> external_ip;  // BEP 24: how the tracker sees us
  std::string tracker_id, warning;       // HTTP
};

struct ScrapeEntry {
  WireInfoHash info_hash;
  std::uint32_t seeds = 0, downloads = 0, leeches = 0;
};

// More peers than one response may bring.
inline constexpr std::size_t kTrackerPeersMax = 2000;

}  // namespace penstock::wire
