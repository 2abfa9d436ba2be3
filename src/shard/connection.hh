// What a shard keeps for one peer, and the pools that it comes from. Private to shard/.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "base/intrusive_list.hh"
#include "shard/kept_blocks.hh"
#include "shard/shard.hh"

namespace penstock {

// Names a slot of a connection's window in a want, across shards and through the store.
struct Token {
  std::uint16_t shard = 0;       // 8 bits
  std::uint32_t connection = 0;  // 24 bits
  std::uint32_t generation = 0;  // 24 bits
  std::uint8_t slot = 0;

  [[nodiscard]] std::uint64_t pack() const {
    return std::uint64_t{shard} << 56 | std::uint64_t{connection} << 32 |
           std::uint64_t{generation} << 8 | slot;
  }
  static Token unpack(std::uint64_t v) {
    return {static_cast<std::uint16_t>(v >> 56), static_cast<std::uint32_t>(v >> 32 & 0xffffff),
            static_cast<std::uint32_t>(v >> 8 & 0xffffff), static_cast<std::uint8_t>(v)};
  }
};

// Token::slot of a leaf job's want.
inline constexpr std::uint8_t kLeafSlot = 0xff;
// … of a need's; the connection is then the need's index.
inline constexpr std::uint8_t kNeedSlot = 0xfe;
// Sleep at most this long while something waits for room that no event announces.
inline constexpr Duration kStallRetry = Duration::microseconds(200);
static_assert(UploadWindow::kSlots < kNeedSlot);

// The leaves of one piece, being hashed for one peer (leaf_jobs.cc).
struct Shard::LeafJob {
  // Larger pieces are refused: 1,024 leaves.
  static constexpr std::uint32_t kPieceSizeMax = 16u << 20;

  std::array<Sha256Digest, kPieceSizeMax / kBlockSize> leaves;
  PieceIndex piece;
  std::uint32_t bytes = 0;  // of the piece's file in the piece
  std::uint32_t done = 0;   // blocks hashed
  std::uint32_t connection = 0;
  std::uint32_t generation = 0;
  bool live = false;
  bool waiting = false;   // for a block
  Instant again;          // its home had no room: asked again then
  bool answered = false;  // the session reads the leaves until leaf_hashes_done
};

// Invariants: live ⇔ in use; in the active ring ⇔ next_active != nullptr; window only while it has
// blocks under way.
struct Shard::Connection {
  Session session;
  StreamHandle stream;
  TimerWheel::Node timer;
  Connection* next_active = nullptr;
  Connection* prev_active = nullptr;
  ShardTorrent* torrent = nullptr;  // after the handshake
  UploadWindow* window = nullptr;
  LeafJob* leaf_job = nullptr;
  Endpoint remote;
  std::uint64_t uploaded = 0;  // payload bytes
  // Not writable: of what it was sent, when that was last looked at, bytes. SIZE_MAX: never.
  std::size_t unacknowledged = SIZE_MAX;
  std::uint32_t index = 0;       // in the pool
  std::uint32_t generation = 0;  // of this use, 24 bits
  std::uint32_t pending = 0;     // window slots that wait for the store
  Instant busy_until;   // its wants were too many for another shard: none goes there before
  Duration busy_pause;  // how long that was, the last time
  std::uint8_t cycles_held = 0;  // that ready blocks have waited for others (upload.cc)
  bool live = false;
  bool writable = true;  // the last try_send took everything

  static Connection& of(TimerWheel::Node& node) {
    return *reinterpret_cast<Connection*>(reinterpret_cast<std::byte*>(&node) -
                                          offsetof(Connection, timer));
  }
};

// All memory of a shard, taken at once. Windows are touched only when they are used: a peer that
// asks for nothing costs none.
struct Shard::Pools {
  Pools(const ShardLimits& limits, std::uint16_t shard_count);

  std::unique_ptr<Connection[]> connections;
  std::vector<Connection*> free_connections;
  std::uint32_t free_connection_count = 0;
  std::vector<Connection*> by_stream;    // by stream_index
  std::unique_ptr<std::byte[]> windows;  // raw: a window is made when it is first taken
  std::vector<UploadWindow*> free_windows;
  std::uint32_t free_window_count = 0;
  std::uint32_t windows_made = 0;  // the first so many
  std::unique_ptr<Batch> batch;    // what is being sent now

  [[nodiscard]] UploadWindow* unmade() const {
    return reinterpret_cast<UploadWindow*>(windows.get()) + windows_made;
  }
  std::vector<LeafJob> leaf_jobs;
  std::vector<ShardTorrent*> by_slot;  // by TorrentSlot
  std::vector<ShardTorrent*> leaving;
  std::uint32_t leaving_count = 0;
  std::vector<std::uint32_t> open_wants;  // by home
  std::vector<char> mailed;               // this cycle, by shard
};

// Content that a stream asks for again.
struct Shard::Need : Hook<Shard::Need> {
  StreamHandle stream;
  std::uint64_t pin = 0;
  ContentRef content;
  Instant again;  // there was no room: not before this
};

// What a port that keeps payload needs of a shard (keeping.cc).
struct Shard::Keeping {
  // More than a stream asks for ahead (tcp/send_queue), twice.
  static constexpr std::uint32_t kNeedsPerStream = 16;
  // Content that isn't in one run although it was when it was first sent (a block over several tiny
  // files, gathered): copied here.
  static constexpr std::uint32_t kScratchBlocks = 32;

  explicit Keeping(const ShardLimits& limits);

  KeptBlocks blocks;
  std::vector<Need> needs;
  List<Need, Need> free_needs;
  List<Need, Need> queued;            // wait for their want
  std::vector<std::uint32_t> epochs;  // by TorrentSlot: how often it was given
  std::vector<std::array<std::byte, kBlockSize>> scratch;
  std::array<std::uint32_t, kScratchBlocks> free_scratch;
  std::uint32_t free_scratch_count = 0;
};

}  // namespace penstock
