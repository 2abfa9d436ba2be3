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
//   small_pending() → fill_small(), send, on_small_sent(); if event_due(), poll_event
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
namespace wire {
struct MetadataMessage;
}

enum class SessionRole : std::uint8_t {
  seed,   // gives; hears requests
  leech,  // takes; streams blocks to its owner
};

// What the sessions of one shard share. Owner: the shard; outlives its sessions.
class SessionShared {
 public:
  // page_count: pages of request queues (see kSessionPageSize) for all sessions together;
  // page_reserve: of them, kept for sessions' first ones (SessionPages).
  SessionShared(const SessionLimits& limits, std::uint32_t page_count,
                std::uint32_t page_reserve = 0);
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
  // Blocked for the stall timeout: on_timeout closes it, unless it is told (false, then true) that
  // the peer did take something.
  [[nodiscard]] bool send_stalled(Instant now) const;

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
  // A popped request will not be answered. False without BEP 6: the peer can't be told, and nothing
  // was done; drop_request() or close() then.
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
  // After output was sent: poll_event may have something to tell although nothing came in.
  [[nodiscard]] bool event_due() const {
    return stage_ == Stage::closed || leaf_hashes_done_ || hash_count_ > 0;
  }

  // ---- Leecher's role.

  void set_interested(Instant now, bool interested);
  // Asks for a block. False: not unchoked, or as many outstanding as the peer allows.
  bool request(Instant now, const Request& request);
  // Takes back a request that is outstanding.
  void cancel(Instant now, const Request& request);
  // Requests without an answer yet.
  [[nodiscard]] std::size_t outstanding() const { return requests_.size() + rejects_.size(); }

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
  // What the next byte belongs to, once messages are read.
  enum class Reading : std::uint8_t { header, bitfield, block, skip };
  enum class OutKind : std::uint8_t {
    handshake,
    bitfield,
    have_all,
    have_none,
    extension_handshake,
    choke,
    unchoke,
    interested,
    not_interested,
    have,             // first: of consecutive pieces
    dont_have,        // the same
    rejects,          // first: how many of the front of rejects_
    requests,         // first: how many of the front of unsent_
    cancels,          // first: how many of the front of cancels_
    metadata,         // first: piece of the info dictionary
    metadata_reject,  // first: the piece that was asked for
    hashes,           // the front of the hash jobs
    hash_reject,      // the front of the hash jobs
    keepalive,
  };
  // A message, or several of a kind, that will be sent next: bytes are made from it when pulled.
  struct OutItem {
    OutKind kind = OutKind::keepalive;
    std::uint32_t length = 0;  // bytes in all
    std::uint32_t first = 0;
  };
  // Hash requests wait in a page of the pool.
  struct HashJob;
  struct MetadataRun {
    std::uint32_t first = 0;
    std::uint32_t count = 0;
  };
  class Writer;

  static constexpr std::size_t kOutItemsMax = 8;
  static constexpr std::size_t kPartialMax = 72;
  static constexpr std::size_t kPieceChangesMax = 8;
  static constexpr std::size_t kMetadataRunsMax = 6;
  static constexpr std::size_t kMetadataRejectsMax = 4;
  static constexpr std::uint32_t kLostFlag = 1u << 31;
  static constexpr std::uint32_t kNoSweep = 0xffffffff;

  // session.cc: life, time, events
  void arm(Instant when) { timer_ = earlier(timer_, when); }
  [[nodiscard]] Instant next_deadline() const;
  void check_redundant(Instant now);
  bool take_signal(SessionEvent& event);
  void on_input_end();
  void begin_messages();
  void note_sent(Instant now);
  bool charge(std::uint32_t cost = 1);
  bool charge_unknown(std::uint32_t bytes);

  // session_input.cc: bytes to messages
  const std::byte* gather(std::size_t size);
  void take(std::size_t size);
  void drop_partial();
  bool step(SessionEvent& event);
  bool read_opening(SessionEvent& event);
  bool read_peer_id(SessionEvent& event);
  bool read_message(SessionEvent& event);
  void read_requests();
  bool read_body(SessionEvent& event);
  void begin_body(Reading reading, std::uint32_t size);
  bool read_bitfield(SessionEvent& event, std::span<const std::byte> bytes);
  void refuse_header(std::uint8_t id, bool too_long);

  // session_messages.cc: what messages mean
  bool on_message(SessionEvent& event, const std::byte* bytes, std::uint32_t size);
  bool on_simple(SessionEvent& event, std::uint8_t id);
  bool on_have(SessionEvent& event, PieceIndex piece);
  bool on_have_all_or_none(SessionEvent& event, bool all);
  bool begin_bitfield(bool none, std::uint32_t bytes);
  void on_request(const Request& request);
  [[nodiscard]] std::uint32_t requests_room() const;
  void on_excess_request(const Request& request);
  bool on_cancel(SessionEvent& event, const Request& request);
  bool on_extended(SessionEvent& event, std::span<const std::byte> body);
  void on_extension_handshake(std::span<const std::byte> payload);
  void on_metadata_request(std::uint32_t piece);
  bool on_dont_have(SessionEvent& event, std::span<const std::byte> payload);
  void push_reject(const Request& request);
  void note_piece_change(std::uint32_t change);

  // session_leech.cc
  bool on_block_header(const std::byte* bytes, std::uint32_t size);
  bool read_block(SessionEvent& event, std::span<const std::byte> bytes);
  bool on_rejected(SessionEvent& event, const Request& request);
  void on_choked_by_peer();

  // session_hashes.cc
  void on_hash_request(const std::byte* bytes);
  [[nodiscard]] HashJob* hash_job(std::uint32_t index) const;
  void finish_hash_job();
  void drop_hash_jobs();
  void write_hashes(Writer& writer, const HashJob& job) const;
  [[nodiscard]] bool hash_reply_ready() const;
  void commit_hash_reply();

  // session_output.cc
  [[nodiscard]] bool more_to_commit() const;
  bool commit_next();
  void commit(OutKind kind, std::uint32_t length, std::uint32_t first = 0);
  bool commit_state();
  bool commit_queues();
  bool commit_piece_change();
  bool commit_sweep();
  bool commit_metadata();
  struct Committed {
    // Wide, so that it isn't returned in registers, for which its bytes would have to be gathered.
    std::size_t rejects = 0;
    std::size_t cancels = 0;
    bool hashes = false;
  };
  [[nodiscard]] Committed committed() const;
  [[nodiscard]] const OutItem& item(std::size_t index) const {
    return items_[(items_head_ + index) % kOutItemsMax];
  }
  void write_item(Writer& writer, const OutItem& item);
  void write_bitfield(Writer& writer) const;
  void write_metadata(Writer& writer, const wire::MetadataMessage& message) const;
  void write_queues(Writer& writer, const OutItem& item) const;
  void finish_item(const OutItem& item);
  void note_requests_sent(std::uint32_t count);
  [[nodiscard]] std::size_t encode_extensions(std::span<std::byte> out) const;

  // Every input.
  SessionShared* shared_ = nullptr;
  const Torrent* torrent_ = nullptr;
  std::span<const std::byte> input_;  // of on_data, what is not read yet
  Instant now_;                       // of the last input
  Instant timer_ = Instant::never();
  Instant last_received_;
  RequestQueue requests_;  // seed: waiting for the shard; leech: sent, not answered
  Stage stage_ = Stage::idle;
  Reading reading_ = Reading::header;
  SessionRole role_ = SessionRole::seed;
  CloseReason close_reason_ = CloseReason::shutdown;
  bool fast_ = false;      // BEP 6, both sides
  bool extended_ = false;  // BEP 10, both sides
  bool choked_ = true;     // the peer, by us, as the shard decided
  bool peer_interested_ = false;
  bool peer_choking_ = true;
  bool outgoing_ = false;
  bool message_fresh_ = true;  // the message that is being read isn't timed yet
  std::uint8_t partial_size_ = 0;
  std::uint16_t assembly_size_ = 0;
  std::uint16_t in_window_ = 0;  // popped, not ended
  std::uint32_t excess_ = 0;     // requests too many or taken back, less blocks sent
  std::uint32_t body_left_ = 0;  // bytes of a streamed body
  std::uint32_t body_done_ = 0;

  // Output.
  std::uint32_t out_offset_ = 0;  // bytes of the first item that are sent
  std::uint8_t items_head_ = 0;
  std::uint8_t items_count_ = 0;
  bool handshake_due_ = false;
  bool bitfield_due_ = false;
  bool extension_due_ = false;
  bool keepalive_due_ = false;
  bool choke_due_ = false;   // a CHOKE must go out before the next UNCHOKE
  bool told_choked_ = true;  // what the peer knows, or will by the items
  bool interested_ = false;  // leech
  bool told_interested_ = false;
  std::uint8_t changes_head_ = 0;
  std::uint8_t changes_count_ = 0;
  std::uint8_t metadata_run_count_ = 0;
  std::uint8_t metadata_reject_count_ = 0;
  RequestQueue rejects_;  // seed: REJECTs to send; leech: requests to send
  RequestQueue cancels_;  // leech
  std::array<OutItem, kOutItemsMax> items_;
  std::array<std::uint32_t, kPieceChangesMax> changes_{};  // pieces; kLostFlag: lost
  // The changes overflowed: what of them is so now is told of the pieces from here to there.
  std::uint32_t sweep_ = kNoSweep;
  std::uint32_t sweep_end_ = 0;
  bool sweep_lost_ = false;
  bool sweep_back_ = false;
  std::array<MetadataRun, kMetadataRunsMax> metadata_runs_{};
  std::array<std::uint32_t, kMetadataRejectsMax> metadata_rejects_{};
  std::uint32_t metadata_served_ = 0;

  // Events not yet told.
  bool closed_told_ = false;
  bool answer_due_ = false;  // info_hash was told, and not answered
  bool leaf_hashes_done_ = false;

  // The peer.
  bool bitfield_seen_ = false;  // BITFIELD, HAVE_ALL or (then replaceable) HAVE_NONE
  bool have_seen_ = false;
  bool peer_upload_only_ = false;      // BEP 21
  std::uint8_t peer_metadata_id_ = 0;  // the peer's ids of extended messages; 0: doesn't speak it
  std::uint8_t peer_dont_have_id_ = 0;
  std::uint8_t peer_upload_only_id_ = 0;
  std::uint8_t peer_pex_id_ = 0;
  std::uint32_t have_count_ = 0;  // pieces it has, as far as it told
  std::uint32_t free_haves_ = 0;
  std::uint32_t peer_requests_max_ = 0;
  WireInfoHash info_hash_;  // of the connection: which of a hybrid's two
  std::array<std::byte, 20> peer_id_{};
  Endpoint remote_;

  // Time and budgets.
  Instant opened_;
  Instant last_sent_;
  Instant message_since_ = Instant::never();
  Instant blocked_since_ = Instant::never();
  Instant redundant_since_ = Instant::never();
  Budget messages_;
  Budget unknown_;
  Budget hashes_;
  Budget leaves_;

  // Hash requests.
  std::uint32_t hash_page_ = kPageNone;
  std::uint8_t hash_head_ = 0;
  std::uint8_t hash_count_ = 0;
  std::span<const Sha256Digest> leaf_hashes_;

  // Leech: the block that is coming in.
  Request block_;
  bool block_wanted_ = false;       // false: forgiven, passed over
  std::uint32_t forget_count_ = 0;  // of requests_: to be told as rejected
  std::uint32_t forgiven_ = 0;      // blocks that may still come although no longer asked for

  // A message whose bytes came in several inputs: short ones here, extended ones in a page.
  std::uint32_t assembly_page_ = kPageNone;
  std::array<std::byte, kPartialMax> partial_;
};

static_assert(sizeof(Session) <= 1024, "an idle peer costs its session");

}  // namespace penstock
