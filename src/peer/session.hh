// One peer: the BitTorrent protocol without its socket (BEP 3, 6, 9, 10, 21, 52, 54).
//
// Sans-IO. Bytes and time come in, bytes and events are pulled out; nothing is called back, no
// clock is read, nothing is allocated. One object for each peer, from a pool of the shard; what a
// busy peer needs beyond that (its request queue) comes in pages of SessionShared and goes back
// when it is empty.
//
// How to drive it:
//   open() … then, for every input,
//   on_data(bytes); while (poll_event(e)) handle(e);      (the bytes are read while polling)
//   any other call; while (poll_event(e)) handle(e);
//   next_timeout() → on_timeout(now) when it is due; it may be earlier than needed, never later
//   small_pending() → fill_small(), send, on_small_sent()
//   requests: request_front(), pop_request(); each popped one ends in on_block_sent(), reject() or
//   drop_request()
//   until the event `closed`; then reset().
// poll_event must be called until it says false: before that, bytes of on_data are still unread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/address.hh"
#include "base/time.hh"
#include "peer/budget.hh"
#include "peer/close_reason.hh"
#include "peer/request_queue.hh"
#include "peer/session_event.hh"
#include "peer/session_limits.hh"
#include "stream/byte_stream.hh"
#include "swarm/torrent.hh"

namespace penstock {

class MerkleHasher;

enum class SessionRole : std::uint8_t {
  seed,   // gives; hears requests
  leech,  // takes; streams blocks to its owner
};

// What the sessions of one shard share. Owner: the shard; outlives its sessions.
class SessionShared {
 public:
  // page_count: pages of request queues (see kSessionPageSize) for all sessions together.
  SessionShared(const SessionLimits& limits, std::uint32_t page_count);
  ~SessionShared();
  SessionShared(const SessionShared&) = delete;
  SessionShared& operator=(const SessionShared&) = delete;

  const SessionLimits limits;
  SessionPages pages;
  const std::unique_ptr<MerkleHasher> hasher;
};

// Least size of the scratch that fill_small is given, bytes. More makes fewer, larger sends.
inline constexpr std::size_t kSmallScratchMin = 512;

struct SmallFill {
  std::size_t parts = 0;  // set in the span
  std::size_t bytes = 0;  // in them
  bool complete = true;   // these are all: blocks may follow
};

class Session {
 public:
  Session() = default;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session() { reset(); }

  // Begins. remote: where the peer is. Outgoing sessions and the leecher's know their torrent;
  // incoming ones are told it in answer to the event info_hash.
  void open(Instant now, SessionShared& shared, SessionRole role, const Endpoint& remote,
            bool outgoing, const Torrent* torrent);
  // Back to the pool: gives back every page. The object can be opened again.
  void reset();

  // ---- Input.

  // Bytes from the peer, in order, any number; read by the poll_event calls that follow, until it
  // says false. They must stay valid until then.
  void on_data(Instant now, std::span<const std::byte> data);
  void on_timeout(Instant now);
  [[nodiscard]] Instant next_timeout() const { return timer_; }
  // The stream ended.
  void on_stream_closed(StreamError error);
  // Short sends: the peer's side is full (true), or takes data again (false).
  void set_send_blocked(Instant now, bool blocked);

  // Answers to the event info_hash.
  void accept_torrent(Instant now, const Torrent* torrent);
  void refuse_torrent() { close(CloseReason::unknown_torrent); }

  // Ends it from our side; the event `closed` follows.
  void close(CloseReason reason);
  [[nodiscard]] bool closed() const { return stage_ == Stage::closed; }
  [[nodiscard]] CloseReason close_reason() const { return close_reason_; }

  // ---- Upload.

  // Choking drops the queue: with BEP 6 each request in it is rejected. Idempotent.
  void set_choked(Instant now, bool choked);
  // The piece isn't offered any more, or again: lt_donthave (BEP 54), HAVE.
  void on_piece_lost(Instant now, PieceIndex piece);
  void on_piece_recovered(Instant now, PieceIndex piece);

  // Requests that wait, oldest first, all inside the torrent and of at most kBlockSize bytes.
  [[nodiscard]] std::size_t request_count() const { return requests_.size(); }
  [[nodiscard]] Request request_front() const { return requests_.front(shared_->pages); }
  // Into the shard's own window.
  Request pop_request();
  // A popped request was sent whole (its PIECE).
  void on_block_sent(Instant now);
  // A popped request will not be answered. False without BEP 6: the peer can't be told.
  bool reject(Instant now, const Request& request);
  // A popped request was dropped without a word (choked, without BEP 6).
  void drop_request();

  // ---- Hash requests for leaves (BEP 52), after the event leaf_hashes.

  // leaves: SHA-256 of each 16 KiB of the piece, as far as its file has them. Valid until the event
  // leaf_hashes_done or reset().
  void on_leaf_hashes(Instant now, std::span<const Sha256Digest> leaves);
  void refuse_leaf_hashes(Instant now);

  // ---- Output: control messages. Never to be put inside of a PIECE.

  [[nodiscard]] bool small_pending() const;
  // A control message has begun and not ended: only its rest may be the next bytes on the stream.
  [[nodiscard]] bool mid_small() const { return out_offset_ > 0; }
  // Describes what is to be sent next. The parts point into scratch (≥ kSmallScratchMin bytes) and
  // the torrent; calling it again without on_small_sent gives the same bytes.
  SmallFill fill_small(Instant now, std::span<std::byte> scratch, std::span<SendPart> parts);
  // That many of the bytes of the last fill_small were taken by the stream.
  void on_small_sent(Instant now, std::size_t bytes);

  // ---- Events.

  bool poll_event(SessionEvent& event);

  // ---- Leecher's role.

  void set_interested(Instant now, bool interested);
  // Asks for a block. False: not unchoked, or as many outstanding as the peer allows.
  bool request(Instant now, const Request& request);
  // Takes back a request that is outstanding.
  void cancel(Instant now, const Request& request);
  // Requests without an answer yet.
  [[nodiscard]] std::size_t outstanding() const { return requests_.size(); }

  // ---- Facts.

  [[nodiscard]] const Torrent* torrent() const { return torrent_; }
  [[nodiscard]] SessionRole role() const { return role_; }
  [[nodiscard]] const Endpoint& remote() const { return remote_; }
  [[nodiscard]] bool handshaken() const { return stage_ == Stage::messages; }
  [[nodiscard]] bool fast() const { return fast_; }
  [[nodiscard]] bool choked() const { return choked_; }
  [[nodiscard]] bool peer_interested() const { return peer_interested_; }
  [[nodiscard]] bool peer_choking() const { return peer_choking_; }
  [[nodiscard]] bool peer_is_seed() const;
  [[nodiscard]] const std::array<std::byte, 20>& peer_id() const { return peer_id_; }
  // Requests that the peer says it keeps (its `reqq`).
  [[nodiscard]] std::uint32_t peer_requests_max() const { return peer_requests_max_; }

  // Re-derives the counters; aborts on a contradiction. For tests, the simulator and fuzzing.
  void validate() const;

 private:
  enum class Stage : std::uint8_t { idle, opening, peer_id, messages, closed };

  SessionShared* shared_ = nullptr;
  const Torrent* torrent_ = nullptr;
  Instant timer_ = Instant::never();
  Endpoint remote_;
  Stage stage_ = Stage::idle;
  SessionRole role_ = SessionRole::seed;
  CloseReason close_reason_ = CloseReason::shutdown;
  bool fast_ = false;
  bool choked_ = true;
  bool peer_interested_ = false;
  bool peer_choking_ = true;
  std::array<std::byte, 20> peer_id_{};
  std::uint32_t peer_requests_max_ = 0;
  std::size_t out_offset_ = 0;
  RequestQueue requests_;
};

}  // namespace penstock
