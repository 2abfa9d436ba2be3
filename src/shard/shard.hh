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
#include <span>
#include <vector>

#include "base/clock.hh"
#include "base/timer_wheel.hh"
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
  std::uint32_t torrents_max = 16384;
  std::uint32_t upload_slots = 0;  // unchoked peers at once; 0: everyone who is interested
  std::uint64_t upload_rate = 0;   // bytes per second; 0: unlimited
  std::uint32_t request_pages =
      0;  // pages of request queues; 0: a quarter of connections_max, at least 256
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
  Word content_lost{0};  // blocks begun whose rest could not be had again
  std::array<Word, kCloseReasonCount> closes{};

  static void add(Word& word, std::uint64_t n) {
    word.store(word.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
};

class Shard {
 public:
  // peer_id: what handshakes carry. The seams, the exchange and the entropy outlive the shard.
  Shard(ShardId id, const ShardLimits& limits, const SessionLimits& session_limits,
        StreamPort& streams, Storage& storage, Exchange& exchange, Store& store, Entropy& entropy,
        Instant now);
  ~Shard();
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  // One cycle. True if it found something to do: then call it again at once.
  bool do_work(Instant now);
  // Without input, nothing is due before this.
  [[nodiscard]] Instant next_timeout() const;
  // Looked at between Doorbell's prepare and the wait: is there anything in a mailbox?
  [[nodiscard]] bool mail_waiting() const;
  // True after ControlMessage::stop once all sessions are gone: the runner may end.
  [[nodiscard]] bool stopped() const { return stopping_ && live_ == 0; }

  [[nodiscard]] const ShardCounters& counters() const { return counters_; }
  ShardCounters& counters() { return counters_; }
  // The store's counters as of the end of the last cycle that changed them; any thread.
  void read_store_counters(StoreCounters& out) const;
  // Re-derives pins, lists and counts; aborts on a contradiction.
  void validate() const;

 private:
  struct Connection;

  // shard.cc: the cycle
  bool take_control(Instant now);
  bool take_mail(Instant now);
  bool take_stream_events(Instant now);
  bool take_completions(Instant now);
  bool run_store(Instant now);
  bool run_timers(Instant now);
  bool pump_all(Instant now);
  bool submit_io();
  void publish_counters();

  // torrents.cc
  void add_torrent(ShardTorrent* torrent);
  void remove_torrent(Instant now, ShardTorrent* torrent);
  void finish_removals();
  void on_store_event(Instant now, const StoreEvent& event);
  void report(const ShardReport& report);

  // connections.cc
  Connection* find(StreamHandle stream);
  void on_accepted(Instant now, const StreamEvent& event);
  void on_closed(Instant now, Connection& c, CloseReason reason);
  void drain_session_events(Instant now, Connection& c);
  void on_info_hash(Instant now, Connection& c, const WireInfoHash& hash);
  void apply_choker(Instant now);
  void after_input(Instant now, Connection& c);
  void activate(Connection& c);
  void deactivate(Connection& c);
  void drop(Instant now, Connection& c, bool graceful);

  // upload.cc: from the request queue to the socket
  enum class Pumped : std::uint8_t { idle, more, waiting };
  struct Batch;
  Pumped pump(Instant now, Connection& c);
  void refill(Instant now, Connection& c, std::uint64_t budget);
  bool want_slot(Instant now, Connection& c, UploadSlot& slot);
  void lose_slot(Instant now, Connection& c, UploadSlot& slot);
  bool compose(Connection& c, Batch& batch);
  void settle(Instant now, Connection& c, const Batch& batch, const SendResult& result);
  void unpin_all(Connection& c);
  void on_block_ready(Instant now, const BlockReady& ready, ShardId home);
  void on_cancel(Connection& c, const Request& request);
  void let_go(std::uint16_t home, const Block& block, bool exposed);
  std::uint64_t token_of(const Connection& c, const UploadWindow& window,
                         const UploadSlot& slot) const;
  void free_window(Connection& c);

  // mail.cc: content whose home is elsewhere
  bool send_mail(ShardId to, const ShardMessage& message);
  void handle_mail(Instant now, ShardId from, const ShardMessage& message);
  void flush_mail();

  const ShardId id_;
  const ShardLimits limits_;
  StreamPort& streams_;
  Storage& storage_;
  Exchange& exchange_;
  Store& store_;
  Entropy& entropy_;

  struct Pools;
  std::unique_ptr<Pools> pools_;
  TorrentTable torrents_;
  TimerWheel wheel_;
  std::uint32_t live_ = 0;        // connections in use
  Connection* active_ = nullptr;  // ring of connections to pump, in turn
  std::uint32_t active_count_ = 0;
  bool stopping_ = false;
  bool stalled_ =
      false;  // something waits for room (mailbox, store, storage): run again without sleeping long
  ShardCounters counters_;
};

}  // namespace penstock
