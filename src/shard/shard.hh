// One core's agent: the only place that joins streams, sessions, the store and the other shards.
//
// Sans-IO but for the two seams it is given (StreamPort, Storage), which it polls and submits to
// once a cycle. Owner: the engine; used by one thread. Everything is allocated by the constructor;
// torrents come and go as objects that control owns.
//
// do_work is one cycle, in a fixed order: control → mailboxes → stream events → disk completions →
// store → timers → pump sessions → disk submissions. Every step is bounded.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "base/timer_wheel.hh"
#include "crypto/sha.hh"
#include "peer/close_reason.hh"
#include "peer/session.hh"
#include "shard/mailbox.hh"
#include "shard/torrent_table.hh"
#include "shard/upload_window.hh"
#include "store/store.hh"
#include "stream/byte_stream.hh"
#include "swarm/admission.hh"
#include "swarm/choker.hh"
#include "swarm/rate_limiter.hh"

namespace penstock {

struct ShardLimits {
  std::uint32_t connections_max = 4096;  // streams with a session at once; 1 … 2^24 - 1
  std::uint32_t per_ip_max = 0;          // sessions from one address; 0: unlimited
  std::uint32_t torrents_max = 16384;    // TorrentSlots are below this
  std::uint32_t upload_slots = 0;        // unchoked peers at once; 0: everyone who is interested
  std::uint64_t upload_rate = 0;         // of all shards, bytes per second; 0: unlimited
  // Parts of blocks that streams may keep until they are acknowledged: for a StreamPort that keeps
  // payload, several for each block of the store's memory (a block may be kept by many); else 0.
  std::uint32_t kept_parts_max = 0;

  // Handles that the StreamPort may give out: those with a session, and as many on their way out.
  [[nodiscard]] std::uint32_t streams_max() const { return 2 * connections_max + 64; }
  // Pages of request queues (1 KiB, 84 requests each; memory only when used): every connection may
  // have as many requests as are advertised, and read nothing. Beyond that, rejects and what is
  // cancelled, a few can have more. Four pages of each are kept for its first requests, rejects,
  // hash requests, and a message that was cut.
  [[nodiscard]] std::uint32_t request_pages(std::uint32_t requests_max) const {
    constexpr std::uint32_t kPerPage = RequestQueue::kPerPage;
    return 256 + connections_max * ((requests_max + kPerPage - 1) / kPerPage) +
           request_pages_reserve();
  }
  [[nodiscard]] std::uint32_t request_pages_reserve() const { return connections_max * 4; }
};

// Written by the shard's thread alone, read by control as relaxed snapshots: plain words behind
// atomics.
struct ShardCounters {
  using Word = std::atomic<std::uint64_t>;
  Word cycles_busy{0};
  Word cycles_idle{0};
  Word parks{0};
  Word busy_ns{0};
  Word idle_ns{0};
  Word connections{0};  // now
  Word accepted{0};
  Word received_bytes{0};
  Word sent_bytes{0};
  Word payload_bytes{0};
  Word payload_bytes_by_reference{0};
  Word cross_shard_wants{0};
  Word sheds{0};  // streams that were told to let go of what they keep
  Word needs{0};  // references to content that streams asked for again
  std::array<Word, kCloseReasonCount> closes{};

  // Single writer: a plain add, visible to readers.
  static void add(Word& word, std::uint64_t n) {
    word.store(word.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
};

class Shard {
 public:
  // seed: unpredictable (hash tables that strangers could aim at). The seams, the exchange and the
  // store outlive the shard.
  Shard(ShardId id, const ShardLimits& limits, const SessionLimits& session_limits,
        StreamPort& streams, Storage& storage, Exchange& exchange, Store& store, std::uint64_t seed,
        Instant now);
  ~Shard();
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  // One cycle. True if it found something to do.
  bool do_work(Instant now);
  // The last cycle left work behind that no event announces: run the next one at once.
  [[nodiscard]] bool work_left() const { return work_left_; }
  // Without input, nothing is due before this.
  [[nodiscard]] Instant next_timeout(Instant now) const;
  // Looked at between ParkFlag's prepare and the wait: is there anything in a mailbox?
  [[nodiscard]] bool mail_waiting() const;
  // True after ControlMessage::stop: the runner may end.
  [[nodiscard]] bool stopped() const { return stopping_ && live_ == 0; }

  [[nodiscard]] const ShardCounters& counters() const { return counters_; }
  ShardCounters& counters() { return counters_; }
  // The store's counters as of the last cycle that did something; any thread.
  void read_store_counters(StoreCounters& out) const;
  // Re-derives pins, lists and counts; aborts on a contradiction.
  void validate() const;

 private:
  struct Connection;
  struct LeafJob;
  struct Pools;
  struct Batch;
  struct Keeping;
  struct Need;

  // shard.cc: the cycle
  bool take_stream_events(Instant now);
  bool take_completions(Instant now);
  bool run_store(Instant now);
  bool run_timers(Instant now);
  void look_at_reader(Instant now, Connection& c);
  bool pump_all(Instant now);
  bool speak_all(Instant now);
  bool submit_io();
  void report(const ShardReport& report);
  [[nodiscard]] bool reports_full() const;
  void publish_store_counters();

  // torrents.cc
  bool take_control(Instant now);
  void add_torrent(ShardTorrent* torrent);
  void remove_torrent(Instant now, ShardTorrent* torrent);
  void finish_removals();
  void stop(Instant now);
  void on_store_event(const StoreEvent& event);
  void tell_peers(Instant now, const ShardTorrent* torrent, PieceIndex piece, bool lost);

  // connections.cc
  Connection* find(StreamHandle stream);
  void on_accepted(Instant now, const StreamEvent& event);
  void after_input(Instant now, Connection& c);
  void after_pump(Instant now, Connection& c);
  bool hear(Instant now, Connection& c);
  void rearm(Connection& c);
  void on_session_event(Instant now, Connection& c, const SessionEvent& event);
  void on_info_hash(Instant now, Connection& c, const WireInfoHash& hash);
  bool apply_choker(Instant now);
  void forget(Instant now, Connection& c);
  void activate(Connection& c);
  void deactivate(Connection& c);

  // upload.cc: from the request queue to the socket
  enum class Pumped : std::uint8_t {
    idle,     // nothing to send
    waiting,  // for the peer to read, or for the disk: an event will say
    limited,  // by the rate limit of all
    held,     // by its torrent's rate limit: others may go on
    refused,  // a home had no room for a want
    more,     // its turn is over
  };
  std::uint32_t quantum(Instant now, const Connection& c);
  [[nodiscard]] bool rate_limited(const Connection& c) const;
  bool waits_for_others(Connection& c) const;
  Pumped pump(Instant now, Connection& c);
  bool refill(Instant now, Connection& c, std::uint32_t blocks);
  bool want_slot(Instant now, Connection& c, UploadSlot& slot);
  void lose_slot(Instant now, Connection& c, UploadSlot& slot);
  bool add(const Connection& c, Batch& batch, UploadSlot& slot);
  bool compose(Instant now, Connection& c, Batch& batch, std::uint32_t blocks);
  void settle(Instant now, Connection& c, const Batch& batch, const SendResult& result);
  void unpin_all(Connection& c);
  void let_go(UploadSlot& slot);
  void release_block(ShardId home, const Block& block, bool exposed);
  void on_block_ready(Instant now, const BlockReady& ready, ShardId home);
  void on_cancel(Instant now, Connection& c, const Request& request);
  void drop_slot(Instant now, Connection& c, UploadSlot& slot);
  void drop_unsent(Instant now, Connection& c);
  void refuse(Instant now, Connection& c, const Request& request);
  UploadWindow* take_window();
  void free_window(Connection& c);

  // leaf_jobs.cc: hashes of leaves for BEP 52
  void start_leaf_job(Instant now, Connection& c, PieceIndex piece);
  void end_leaf_job(Connection& c);
  void abandon_leaf_job(Connection& c);
  bool run_leaf_jobs(Instant now);
  void step_leaf_job(Instant now, LeafJob& job);
  void on_leaf_block(Instant now, const BlockReady& ready, ShardId home);

  // keeping.cc: content that streams keep until it is acknowledged
  [[nodiscard]] ContentRef content_ref(const ShardTorrent& torrent, std::uint64_t offset,
                                       std::uint32_t length) const;
  bool keep_taken(const UploadSlot& slot, std::span<const SendPart> parts, std::uint32_t taken);
  void on_released(std::uint64_t pin);
  void on_need(Instant now, const StreamEvent& event);
  bool run_needs(Instant now);
  bool start_need(Instant now, Need& need);
  [[nodiscard]] std::uint64_t need_token(const Need& need) const;
  void on_need_ready(Instant now, const BlockReady& ready, ShardId home);
  bool give_content(const Need& need, const Block& block, ShardId home);
  bool shed(Instant now);

  // mail.cc: content whose home is elsewhere
  bool open_want(ShardId home, const BlockWant& want);
  void post(ShardId to, const ShardMessage& message);
  void post_release(ShardId home, const Block& block, bool exposed);
  void answer(std::uint64_t token, WantStatus status, const Block& block);
  bool send_fences(ShardTorrent* torrent);
  bool take_mail(Instant now);
  void handle_mail(Instant now, ShardId from, const ShardMessage& message);
  void flush_mail();

  const ShardId id_;
  const ShardLimits limits_;
  StreamPort& streams_;
  Storage& storage_;
  Exchange& exchange_;
  Store& store_;

  SessionShared shared_;
  Admission admission_;
  Choker choker_;
  TokenBucket& bucket_;                      // all shards' limit
  Instant bucket_ready_ = Instant::never();  // when a limit lets somebody of the round go on
  std::uint32_t held_ = 0;                   // of active_, passed over in this round of turns
  Sha256 hasher_;                            // of leaves
  std::unique_ptr<Pools> pools_;
  std::unique_ptr<Keeping> keeping_;  // nullptr: the port keeps nothing
  TorrentTable torrents_;
  TimerWheel wheel_;
  std::uint32_t live_ = 0;        // connections in use
  Connection* active_ = nullptr;  // ring of connections to pump, in turn
  std::uint32_t active_count_ = 0;
  bool stopping_ = false;
  bool work_left_ = false;
  bool disk_crowded_ = false;  // this cycle brought many completions
  bool stalled_ = false;       // something waits for room that no event announces
  bool shed_due_ = false;      // memory is short, and streams keep some of it
  Instant shed_again_{};       // not before this
  bool words_wait_ = false;  // under the rate limit: a connection that waits for its turn may have
                             // control messages
  // What a cycle takes over, at most so much at once. Here, as clearing them costs more than a
  // cycle in which nothing comes.
  std::array<StreamEvent, 128> events_{};
  std::array<StorageCompletion, 128> completions_{};
  ShardCounters counters_;
  std::array<ShardCounters::Word, sizeof(StoreCounters) / sizeof(std::uint64_t)> store_counters_{};
};

}  // namespace penstock
