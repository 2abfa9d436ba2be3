// The store of one shard: cache of extents, read scheduler and verifier of the content whose home
// this shard is.
//
// Sans-IO: wants come in, blocks come out when they are in memory and proven; StorageOps are polled
// and their completions handed in. Never blocks, never reads a clock, never allocates after
// construction (pools sized from StoreLimits).
//
// What it guarantees: a block that `want` or `poll_ready` gives out lies in a verified piece, from
// the very bytes that were hashed or that match the checksum kept of them (unless the torrent is
// trusted).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/arena.hh"
#include "base/strong.hh"
#include "base/time.hh"
#include "store/content.hh"
#include "store/storage.hh"

namespace penstock {

struct StoreLimits {
  ShardId shard;                                    // whose store this is
  std::uint32_t wants_max = 8192;                   // wants pending at once
  std::uint32_t reads_in_flight_max = 256;          // StorageOps of kind read
  std::uint32_t open_files_max = 4096;              // handles kept open
  std::uint32_t hash_bytes_per_cycle = 256 * 1024;  // bound of one do_work
  enum class Policy : std::uint8_t { s3fifo, lru } policy = Policy::s3fifo;
  // Uses of an extent after which it is framed and sent by reference: as many as win back what the
  // copy and the renewal of its pages cost. At most 127; 0: never.
  std::uint8_t frame_after = 8;
};

// One contiguous run of a block, in a pinned slab.
struct BlockPart {
  const std::byte* data = nullptr;
  std::uint32_t length = 0;
  std::uint32_t entry = 0;  // the store's name for what is pinned
  bool hot = false;         // likely to be sent again: worth sending by reference
  bool tail = false;        // a few bytes outside of the arena, to be sent as headers are
};

// A block in memory. Pinned until release(); at most 3 parts (more, over tiny files, are gathered
// into one).
struct Block {
  std::array<BlockPart, 3> parts{};
  std::uint8_t part_count = 0;
  // The wire::kPieceHeaderSize bytes in front of parts[0] are the header of its PIECE message.
  bool framed = false;
};

struct BlockWant {
  TorrentContent* torrent = nullptr;
  PieceIndex piece;
  std::uint32_t begin = 0;   // in the piece, bytes
  std::uint32_t length = 0;  // 1 … kBlockSize, inside the piece
  std::uint64_t token = 0;   // given back by poll_ready
};

enum class WantStatus : std::uint8_t {
  ready,    // the block is pinned
  pending,  // poll_ready will say
  busy,     // no room for another want, or the cache is full of pinned blocks: ask again later
  lost,     // the piece is not to be had: wrong bytes, missing or unreadable file
};

struct BlockReady {
  std::uint64_t token = 0;
  WantStatus status = WantStatus::lost;  // ready or lost
  Block block;                           // ready: pinned
};

// What the shard tells peers and the log.
struct StoreEvent {
  enum class Kind : std::uint8_t {
    piece_lost,       // piece, cause, file, error
    piece_recovered,  // … is offered again
    file_error,       // file, cause, error; IoError::none: it is shorter than the torrent says
    file_changed,     // file: another version of it was found; its pieces are verified anew
  };
  enum class Cause : std::uint8_t {
    wrong_bytes,  // file: the first one that the piece touches
    unreadable,   // some of file can't be read: error
    no_file,      // all of file can't be had: error; a file_error says so, too
  };
  Kind kind = Kind::piece_lost;
  Cause cause = Cause::wrong_bytes;
  TorrentContent* torrent = nullptr;
  PieceIndex piece;
  FileIndex file;
  IoError error = IoError::none;
};

// Plain counters, one writer (the shard); read by control as relaxed snapshots.
struct StoreCounters {
  std::uint64_t hits = 0;  // wants answered from memory at once
  std::uint64_t misses = 0;
  std::uint64_t bytes_wanted = 0;
  std::uint64_t bytes_read = 0;  // from the device, padding to alignment included
  std::uint64_t reads = 0;
  std::uint64_t bytes_hashed = 0;   // by the verifier
  std::uint64_t bytes_checked = 0;  // against block checksums
  std::uint64_t checksum_mismatches = 0;
  std::uint64_t pieces_verified = 0;
  std::uint64_t pieces_lost = 0;
  std::uint64_t read_errors = 0;
  std::uint64_t evictions = 0;
  std::uint64_t ghost_hits = 0;
  std::uint64_t gathered_blocks = 0;
  std::uint64_t framed_extents = 0;
};

class Store {
 public:
  Store(Arena arena, const StoreLimits& limits);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // Asks for a block. `out` is set when ready.
  WantStatus want(Instant now, const BlockWant& want, Block& out);
  // More than half of the memory is pinned by those who were given blocks: they should release
  // some before they ask for more, or wants and checks of others wait.
  [[nodiscard]] bool crowded() const;
  // Reads ahead what will be wanted soon; may do nothing.
  void prefetch(Instant now, const BlockWant& want);
  // Answers to pending wants. Every pending want gets exactly one.
  bool poll_ready(BlockReady& out);
  // Unpins. exposed: pages went out by reference, so that the slabs must be renewed before they are
  // written again.
  void release(const Block& block, bool exposed);

  // I/O, pulled: what to submit now. A polled op counts as in flight until on_completion.
  bool poll_io(StorageOp& out);
  // The driver's queue was full: the op just polled is to be polled again.
  void io_refused(const StorageOp& op);
  void on_completion(Instant now, const StorageCompletion& completion);

  // Bounded work: hashing, checksums, rechecks of lost pieces and files. True while there is more
  // to do at once.
  bool do_work(Instant now);
  // When do_work must be called although nothing happened.
  [[nodiscard]] Instant next_timeout() const;
  bool poll_event(StoreEvent& out);

  // The torrent goes away: pending wants of it are answered `lost`, its entries are dropped as
  // their pins and reads end. forgotten() turns true once nothing here refers to it.
  void forget(TorrentContent* torrent);
  [[nodiscard]] bool forgotten(const TorrentContent* torrent) const;

  [[nodiscard]] const StoreCounters& counters() const;
  // Re-derives every counter and list; aborts on a contradiction. For tests and the simulator.
  void validate() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace penstock
