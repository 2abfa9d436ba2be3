// The load generator: many leechers that throw away what they get (`penstock bench leech`).
//
// Sans-IO but for the StreamPort it is given. Owner: its runner (app/load_run); one thread. What it
// costs itself matters as much as what it measures: it reads bytes where the driver put them, never
// copies them (unless they are to be verified), and writes all requests of a connection at once.
//
// A connection is connecting → open (the link speaks) → ready (unchoked: requests are kept at
// `depth`) → waiting (lost: tried again after a pause). With a rate (open loop) requests become due
// at even intervals and go to the connections in turn; one that finds no room keeps its due time,
// and its latency counts from there.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/load_plan.hh"
#include "base/log_histogram.hh"
#include "base/time.hh"
#include "shard/load/block_source.hh"
#include "shard/load/link.hh"
#include "shard/load/piece_checker.hh"
#include "shard/load/zipf.hh"
#include "stream/byte_stream.hh"
#include "wire/metainfo.hh"

namespace penstock {

class LoadGenerator {
 public:
  using LinkFactory = std::function<std::unique_ptr<LoadLink>()>;

  // metainfo, map and streams outlive it. make_link is called plan.connections times, at once.
  LoadGenerator(const LoadPlan& plan, const Metainfo& metainfo, const BlockMap& map,
                const LinkFactory& make_link, StreamPort& streams, Instant now);
  ~LoadGenerator();
  LoadGenerator(const LoadGenerator&) = delete;
  LoadGenerator& operator=(const LoadGenerator&) = delete;

  // One cycle. True when there may be more to do at once.
  bool do_work(Instant now);
  // Without input, nothing is due before this.
  [[nodiscard]] Instant next_timeout() const;

  // Forgets latencies and bytes a connection.
  void begin_window();
  [[nodiscard]] const LoadCounters& counters() const { return counters_; }
  [[nodiscard]] const LogHistogram& latency() const { return latency_; }
  [[nodiscard]] std::uint32_t active() const { return ready_count_; }
  // Payload of one connection since begin_window().
  [[nodiscard]] std::uint64_t window_bytes(std::uint32_t connection) const {
    return connections_[connection].window_bytes;
  }
  struct Close {
    const char* reason = "";
    std::uint64_t count = 0;
  };
  // Why connections ended, those of churn included.
  [[nodiscard]] const std::vector<Close>& closes() const { return closes_; }

 private:
  enum class State : std::uint8_t { waiting, connecting, open, ready };
  struct Outstanding {
    Request request;
    Instant since;
  };
  struct Connection {
    State state = State::waiting;
    bool dirty = false;         // in dirty_
    bool send_blocked = false;  // until `writable`
    StreamHandle stream;
    Instant again{};  // waiting: when it is tried again
    IpAddress local;
    std::uint64_t window_bytes = 0;
    std::unique_ptr<LoadLink> link;
    std::unique_ptr<BlockSource> source;
    std::unique_ptr<PieceChecker> checker;  // verify
    std::vector<Outstanding> outstanding;   // oldest first from `first` on
    std::size_t first = 0;

    [[nodiscard]] std::size_t outstanding_count() const { return outstanding.size() - first; }
  };

  void on_stream_event(Instant now, const StreamEvent& event);
  void read_link(Instant now, std::uint32_t index);
  // False: the connection is gone.
  bool on_link_event(Instant now, std::uint32_t index, const LinkEvent& event);
  void on_bytes(Instant now, Connection& connection, const LinkEvent& event);
  // Takes the request out of those outstanding; when it was made, or never() if it wasn't.
  static Instant settle(Connection& connection, const Request& request);

  void housekeep(Instant now);
  void try_connect(Instant now, std::uint32_t index);
  void lose(Instant now, std::uint32_t index, const char* reason, Duration pause);
  void count_close(const char* reason);
  void mark(std::uint32_t index);
  void churn(Instant now);

  void top_up(Instant now, Connection& connection);
  void release_due(Instant now);
  bool ask(Instant now, Connection& connection, Instant since);
  void send(Instant now, std::uint32_t index);
  [[nodiscard]] Connection* find(StreamHandle stream);

  const LoadPlan plan_;
  StreamPort& streams_;
  LoadCounters counters_;
  LogHistogram latency_;
  std::vector<Close> closes_;
  std::optional<ZipfRanks> ranks_;  // outlives the connections
  std::vector<Connection> connections_;
  std::vector<std::uint32_t> by_stream_;  // stream_index → connection
  std::vector<std::uint32_t> dirty_;
  std::uint32_t ready_count_ = 0;
  std::uint32_t connecting_count_ = 0;
  Instant housekeeping_{};

  Instant due_ = Instant::never();  // open loop: the next request
  Duration due_every_{};
  std::uint32_t due_turn_ = 0;
  Instant churn_due_ = Instant::never();
  std::uint32_t churn_turn_ = 0;

  std::array<StreamEvent, 256> events_;
  std::array<std::byte, 32 * 1024> scratch_;
  std::array<SendPart, kSendPartsMax> parts_;
};

}  // namespace penstock
