// What control and the commands ask of the data plane, and what it tells them: the engine's face.
//
// Implemented by app/engine (shards on real drivers) and by a fake in the tests. Owner: the command
// that runs (`serve`, `seed`). Every function may be called from any control-side thread, at any
// time between construction and destruction; the engine serialises them itself. None waits for a
// disk or for a peer. The destructor closes listeners and connections, stops the shards and joins.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/address.hh"
#include "base/digest.hh"
#include "base/result.hh"
#include "base/strong.hh"
#include "control/own_network.hh"
#include "store/storage.hh"
#include "store/store.hh"
#include "wire/metainfo.hh"

namespace penstock::control {

// A torrent for as long as the process lives; never reused.
using TorrentId = Strong<struct TorrentIdTag, std::uint64_t>;

enum class VerifyChoice : std::uint8_t {
  lazy,   // a piece is hashed before its first byte is served
  full,   // all pieces are hashed in the background first; served once that is done
  trust,  // what is on disk is taken as right
};

enum class IdleMode : std::uint8_t {
  adaptive,  // shards park when there is nothing to do
  spin,      // they never do: a core each, the lowest latency
};

// What may change while the engine runs.
struct EngineLimits {
  std::uint64_t upload_rate = 0;       // bytes per second over all torrents; 0: unlimited
  std::uint32_t peers_max = 4096;      // connections; 1 …
  std::uint32_t peers_per_ip_max = 0;  // connections from one address to a shard; 0: unlimited
};

// What is fixed from the start on.
struct EngineOptions {
  std::vector<Endpoint> listen;     // at least one; port 0 lets the kernel choose
  std::uint32_t shards = 1;         // 1 …
  std::vector<std::uint32_t> cpus;  // one a shard; empty: not pinned
  IdleMode idle = IdleMode::adaptive;
  std::uint64_t cache_bytes = 256u << 20;  // hard limit over all shards
  StoreLimits::Policy cache_policy = StoreLimits::Policy::s3fifo;
  bool io_direct = true;  // reads bypass the page cache where the file system allows it
  // Verification state is kept here; an existing directory. Empty: not kept.
  std::string state_directory;
  EngineLimits limits;
  // None: the kernel's TCP. Else `listen` has ports alone, at every address of it.
  std::optional<OwnNetwork> network;
};

struct AddTorrent {
  std::shared_ptr<const Metainfo> metainfo;  // identified: at least one info-hash is set
  PoolIndex pool;                            // from open_pool()
  VerifyChoice verify = VerifyChoice::lazy;
  std::uint64_t upload_rate = 0;  // bytes per second of this torrent; 0: unlimited
};

enum class TorrentState : std::uint8_t {
  checking,  // VerifyChoice::full, under way
  seeding,   // offered to peers
  degraded,  // seeding, but pieces are lost
  stopping,  // removed; connections are closing
};

struct TorrentSnapshot {
  TorrentId id;
  TorrentState state = TorrentState::seeding;
  std::uint64_t uploaded_bytes = 0;  // payload of PIECE messages, since it was added
  std::uint32_t peers = 0;           // connections past the handshake
  std::uint32_t pieces_verified = 0;
  std::uint32_t pieces_lost = 0;
};

// How payload went to a device of own TCP, bytes.
struct PayloadBytes {
  std::uint64_t zero_copy = 0;
  std::uint64_t copied = 0;
  const char* reason = "";  // why it is copied; static, snake_case
};

// Counters since the start, but for what says "now".
struct ShardSnapshot {
  std::uint64_t cycles_busy = 0;  // duty cycles that found something to do
  std::uint64_t cycles_idle = 0;
  std::uint64_t parks = 0;
  std::int64_t busy_ns = 0;       // time in busy cycles
  std::int64_t idle_ns = 0;       // time in idle cycles and parked
  std::uint32_t connections = 0;  // now
  std::uint64_t accepted = 0;
  std::uint64_t received_bytes = 0;  // of the streams, protocol and payload
  std::uint64_t sent_bytes = 0;      // of the streams, protocol and payload
  std::uint64_t payload_bytes = 0;   // of PIECE messages
  std::uint64_t cross_shard_wants = 0;
  std::uint64_t system_calls = 0;
  PayloadBytes payload;     // of frames: what was sent twice counts twice
  std::uint64_t sheds = 0;  // streams that gave up memory of content they had to keep
  std::uint64_t needs = 0;  // references to content that streams asked for again
  StoreCounters store;
  std::vector<std::uint64_t> closes;  // index as in EngineSnapshot::close_reasons
};

struct EngineSnapshot {
  std::vector<const char*> close_reasons;  // static strings, snake_case
  std::vector<ShardSnapshot> shards;
  std::vector<TorrentSnapshot> torrents;  // in no particular order
  std::uint64_t arena_bytes = 0;          // of the cache, as mapped
};

class EngineApi {
 public:
  virtual ~EngineApi() = default;

  // A directory with data. The same path gives the same pool. Fails when it can't be opened.
  virtual Result<PoolIndex> open_pool(const std::string& directory) = 0;
  // Serves from now on (VerifyChoice::full: once it is verified). Missing files are no error:
  // their pieces turn out lost. Fails when one of its info-hashes is served already.
  virtual Result<TorrentId> add_torrent(const AddTorrent& torrent) = 0;
  // Closes its connections and forgets it; returns before that is done. ErrorKind::not_found.
  virtual Result<void> remove_torrent(TorrentId id) = 0;
  virtual Result<void> set_limits(const EngineLimits& limits) = 0;
  // As AddTorrent::upload_rate, from now on. ErrorKind::not_found.
  virtual Result<void> set_torrent_rate(TorrentId id, std::uint64_t upload_rate) = 0;
  // Replaces what `out` holds; reuses its memory.
  virtual void snapshot(EngineSnapshot& out) = 0;
  // Where it really listens, in the order of EngineOptions::listen.
  [[nodiscard]] virtual std::vector<Endpoint> listening() const = 0;
};

// Made by app/, which alone names drivers.
using EngineFactory = std::function<Result<std::unique_ptr<EngineApi>>(const EngineOptions&)>;

}  // namespace penstock::control
