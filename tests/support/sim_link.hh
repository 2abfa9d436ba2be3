// Two NicPorts joined by a link in virtual time: rate, delay, jitter, queue, loss (random and in
// bursts), reordering, duplication, corruption, MTU with or without an answer, ACK thinning, ECN
// marks, outages. The same seed gives the same run.
//
// The way of a frame: tx_burst → the device's ring (its line rate; TSO is cut and checksums are
// filled in where the device is told to, as the frame leaves) → the path (what is listed above) →
// the other device's ring → rx_burst. A device that `holds_payload` reads the bytes when the frame
// leaves its ring, not before, as hardware does; it says so by PayloadPart::in_use, and finds out
// whether they were changed meanwhile.
//
// Whatever the stack does against the contract of NicPort is kept as a complaint: tests look at
// complaint().
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/random.hh"
#include "base/time.hh"
#include "net/nic_port.hh"
#include "support/packet.hh"

namespace penstock::support {

// One direction. Chances are per million frames.
struct PathOptions {
  std::uint64_t rate = 0;  // bytes per second; 0: unlimited
  Duration delay = Duration::milliseconds(10);
  Duration jitter{};                 // 0 … jitter more; order is kept
  std::uint32_t queue = 256 * 1024;  // bytes before the rate; what doesn't fit is dropped
  std::uint32_t mark_above = ~0u;    // bytes queued: ECN-capable packets are marked CE
  std::uint32_t loss = 0;
  std::uint32_t duplicate = 0;
  std::uint32_t corrupt = 0;  // a few neighbouring bits of the IP packet flip
  std::uint32_t reorder = 0;
  Duration reorder_by = Duration::milliseconds(5);  // at most so much later, past the others
  // Gilbert–Elliott in time: lengths of good and bad times (mean; 0: no bad times), loss in bad
  // ones.
  Duration good_mean{};
  Duration bad_mean{};
  std::uint32_t bad_loss = 0;
  std::uint16_t mtu = 65535;   // IP bytes
  bool answer_too_big = true;  // false: a black hole
  Duration thin_acks{};        // a pure ACK waits so long for a newer one that takes its place
  // Nothing comes through in [dead_from, dead_until).
  Instant dead_from = Instant::never();
  Instant dead_until = Instant::never();
};

struct NicOptions {
  wire::MacAddress mac;
  std::uint16_t mtu = 1500;
  bool tx_checksum = false;
  std::uint32_t tso_bytes_max = 0;
  bool rx_checksum = false;  // says good or bad instead of unknown
  bool merges = false;       // segments that come right behind each other (LRO)
  bool holds_payload = false;
  std::uint32_t tx_ring = 256;     // frames
  std::uint32_t rx_ring = 1024;    // frames
  std::uint64_t line_rate = 0;     // bytes per second; 0: unlimited
  std::uint32_t short_bursts = 0;  // per million tx_bursts: only a part is taken
};

// Sees what crosses. `side`: whose device, 0 or 1.
class LinkTap {
 public:
  virtual ~LinkTap() = default;
  // A frame left the device of `side`, whole and before the path touched it. fate: "" or what the
  // path is about to do.
  virtual void on_sent(Instant now, int side, std::span<const std::byte> frame,
                       const char* fate) = 0;
  // A frame came to the ring of `side`. intact: as it was sent.
  virtual void on_received(Instant now, int side, std::span<const std::byte> frame,
                           bool intact) = 0;
};

class SimLink;

class SimNic final : public net::NicPort {
 public:
  [[nodiscard]] const net::NicInfo& info() const override { return info_; }
  std::size_t rx_burst(std::span<net::RxFrame> out) override;
  std::size_t tx_burst(std::span<const net::TxFrame> frames) override;

  [[nodiscard]] bool has_received() const { return !received_.empty(); }
  [[nodiscard]] std::size_t tx_pending() const { return ring_.size(); }

 private:
  friend class SimLink;
  struct Held {
    Instant leaves;
    net::TxFrame frame;  // parts are read when it leaves, where the device holds payload
    Bytes bytes;         // else the whole frame
    std::uint64_t hash = 0;
  };
  struct Received {
    Bytes bytes;
    net::RxChecksum checksum = net::RxChecksum::unknown;
    std::size_t segment_size = 0;
  };

  SimNic(SimLink& link, int side, const NicOptions& options);
  const char* check(const net::TxFrame& frame) const;

  SimLink& link_;
  const int side_;
  const NicOptions options_;
  net::NicInfo info_;
  std::deque<Held> ring_;
  Instant ring_free_{};
  std::deque<Received> received_;
  std::vector<Received> lent_;
};

// Between the hosts, instead of a cable: answers for its addresses and forwards.
struct RouterOptions {
  wire::MacAddress macs[2];  // towards the side
  IpAddress addresses[2];
};

class SimLink {
 public:
  struct Counters {
    std::uint64_t frames = 0;
    std::uint64_t lost = 0, queue_drops = 0, too_big = 0, corrupted = 0, duplicated = 0,
                  reordered = 0, thinned = 0, marked = 0, ring_drops = 0, elsewhere = 0;
  };

  SimLink(std::uint64_t seed, const NicOptions& a, const NicOptions& b, const PathOptions& a_to_b,
          const PathOptions& b_to_a);
  ~SimLink();
  SimLink(const SimLink&) = delete;
  SimLink& operator=(const SimLink&) = delete;

  [[nodiscard]] SimNic& nic(int side) { return *nics_[side]; }
  // Moves what is due until `now`, which is also the time of the tx_bursts to come.
  void advance_to(Instant now);
  [[nodiscard]] Instant next_event() const;
  // The device lets go of what it holds and is not used any more: before its memory goes.
  void stop(int side);
  // What is on the way keeps its times.
  void set_path(int from, const PathOptions& options);
  [[nodiscard]] const PathOptions& path(int from) const { return paths_[from].options; }
  void set_router(const RouterOptions& router) { router_ = router, routed_ = true; }
  // Only what goes to that address is carried to side 1 - `from`; all else leaves the router by
  // another way, and is gone.
  void forward_only_to(int from, const IpAddress& host) { hosts_[from] = host; }
  // A frame from a third station comes to the ring of `side` now.
  void inject(int side, Bytes frame) { arrive(side, std::move(frame), true); }
  void add_tap(LinkTap& tap) { taps_.push_back(&tap); }
  [[nodiscard]] const Counters& counters(int from) const { return paths_[from].counters; }
  // The first thing that a user of the devices did wrong; empty: nothing.
  [[nodiscard]] const std::string& complaint() const { return complaint_; }

 private:
  friend class SimNic;
  enum class What : std::uint8_t { leave, arrive, thin };
  struct Event {
    Instant at;
    std::uint64_t order = 0;
    What what = What::leave;
    int side = 0;  // whose ring it leaves or comes to
    std::unique_ptr<Bytes> frame;
    bool intact = true;
    std::uint64_t flow = 0;
  };
  struct WaitingAck {
    Bytes frame;
    SeqNumber ack;
    std::uint64_t order = 0;  // of its `thin` event
  };
  struct Path {
    PathOptions options;
    Counters counters;
    Random random{0};
    Instant busy_until{};
    Instant last_arrival{};
    bool bad = false;
    Instant turns = Instant::never();  // from good to bad or back
    std::map<std::uint64_t, WaitingAck> waiting;
  };

  void complain(int side, const std::string& text);
  void push(Instant at, What what, int side, std::unique_ptr<Bytes> frame, bool intact,
            std::uint64_t flow = 0);
  void leave(int side);
  void send(int from, Bytes frame);
  bool route(int from, Bytes& frame);
  bool thin(int from, Bytes& frame);
  void release_waiting(int from, std::uint64_t flow);
  void carry(int from, Bytes frame);
  void arrive(int side, Bytes frame, bool intact);
  const char* fate(Path& path, const Bytes& frame, std::size_t ip_length);
  bool in_bad_time(Path& path);
  void answer_too_big(int from, const Bytes& frame);

  Instant now_{};
  std::uint64_t order_ = 0;
  std::unique_ptr<SimNic> nics_[2];
  Path paths_[2];              // by the sender's side
  std::vector<Event> events_;  // a heap, the earliest first
  std::vector<LinkTap*> taps_;
  std::string complaint_;
  RouterOptions router_;
  IpAddress hosts_[2];
  bool routed_ = false;
};

}  // namespace penstock::support
