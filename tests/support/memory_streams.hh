// StreamPorts joined by links in memory, in virtual time: streams arrive late, cut into seeded
// pieces, through windows of limited size, but never lose or mix up bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <queue>
#include <vector>

#include "base/random.hh"
#include "stream/byte_stream.hh"
#include "support/exposure_ledger.hh"
#include "support/virtual_clock.hh"

namespace penstock::support {

class MemoryStreams;

struct LinkOptions {
  std::uint64_t seed = 1;
  Duration latency = Duration::microseconds(100);  // one way
  std::uint32_t segment_max = 16 * 1024;           // bytes of one `data` event
  std::uint32_t window = 256 * 1024;               // bytes sent and not yet delivered, each way
  std::uint64_t rate = 0;                          // bytes per second of each stream; 0: unlimited
  bool short_sends = true;  // now and then a send takes less than there is room for
};

struct PortOptions {
  std::uint32_t streams_max = 1024;
  bool listening = true;
  // Hot slabs go out by reference: `exposed` is set, and the pages are in the ledger.
  ExposureLedger* ledger = nullptr;
  // Parts with a pin are kept by reference, as own TCP does, until the peer has read them; of those
  // at most so many bytes are read from memory ahead of the peer.
  bool keeps = false;
  std::uint32_t flight_max = 64 * 1024;
};

// All ports of one world. Outlives nothing: it owns them.
class MemoryNetwork {
 public:
  MemoryNetwork(VirtualClock& clock, const LinkOptions& link)
      : clock_(clock), link_(link), random_(link.seed) {}
  ~MemoryNetwork();

  MemoryStreams& add_port(const Endpoint& address, const PortOptions& options);
  // When a port has something to say next; never() when all is quiet.
  [[nodiscard]] Instant next_event() const;

 private:
  friend class MemoryStreams;
  VirtualClock& clock_;
  const LinkOptions link_;
  Random random_;
  std::vector<std::unique_ptr<MemoryStreams>> ports_;
  std::uint64_t sequence_ = 0;
};

class MemoryStreams final : public StreamPort {
 public:
  std::size_t poll_events(Instant now, std::span<StreamEvent> out) override;
  SendResult try_send(StreamHandle stream, std::span<const SendPart> parts) override;
  [[nodiscard]] std::size_t unacknowledged(StreamHandle stream) override;
  void set_reading(StreamHandle stream, bool on) override;
  bool connect(const Endpoint& remote, const IpAddress& local, StreamHandle& out) override;
  void close(StreamHandle stream, bool graceful) override;
  [[nodiscard]] bool keeps_payload() const override { return options_.keeps; }
  bool shed_longest_stalled(Instant now) override;
  bool on_content(StreamHandle stream, std::uint64_t pin, const ContentRef& content,
                  const std::byte* data) override;

  // References kept now, over all streams.
  [[nodiscard]] std::size_t kept() const;
  [[nodiscard]] Instant next_event() const;
  [[nodiscard]] std::size_t streams() const { return live_; }
  void validate() const;

 private:
  friend class MemoryNetwork;
  // ending: closed by us, what was accepted is still on its way.
  enum class State : std::uint8_t { free, connecting, open, ending };
  enum class What : std::uint8_t { accepted, connected, data, end, writable };
  // The two ends name each other; a name that is stale leads nowhere.
  struct Name {
    MemoryStreams* port = nullptr;
    StreamHandle handle;
  };
  struct Pending {
    Instant due;
    std::uint64_t sequence = 0;
    StreamHandle stream;
    What what = What::data;
    StreamError error = StreamError::none;
    std::shared_ptr<std::vector<std::byte>> data;
    bool operator>(const Pending& o) const {
      return due != o.due ? due > o.due : sequence > o.sequence;
    }
  };
  // What a port that keeps has accepted: small bytes, or a reference.
  struct Item {
    std::vector<std::byte> small;
    const std::byte* data = nullptr;  // nullptr: small, or shed
    std::uint32_t length = 0;
    std::uint64_t pin = 0;
    ContentRef content;
    bool asked = false;  // shed, and `need` was said
    bool sent = false;   // read from memory, on its way to the peer
  };
  struct Slot {
    State state = State::free;
    std::uint32_t generation = 1;
    Name peer;
    Endpoint remote;
    bool reading = true;
    bool want_write = false;
    std::uint32_t under_way = 0;  // bytes sent to the peer and not delivered there
    Instant last_arrival{};       // at the peer, of what was sent so far
    std::deque<Pending> held;     // came while reading was off
    std::deque<Item> items;       // not read by the peer yet, in order
    std::uint32_t read_of_front = 0;
    std::uint32_t in_flight = 0;
    Instant progress{};  // when the peer last read something
  };

  MemoryStreams(MemoryNetwork& network, const Endpoint& address, const PortOptions& options);
  Slot* find(StreamHandle stream);
  bool take_slot(State state, StreamHandle& out);
  void free_slot(Slot& slot);
  void post(Instant due, StreamHandle stream, What what, StreamError error = StreamError::none,
            std::shared_ptr<std::vector<std::byte>> data = nullptr);
  bool deliver(Pending& pending, StreamEvent& out);
  void on_delivered(StreamHandle stream, std::size_t bytes);
  void transmit(Slot& slot, std::span<const std::byte> bytes);
  std::size_t keep(Slot& slot, std::span<const SendPart> parts, std::size_t room);
  void transmit_kept(Slot& slot);
  void on_read(Slot& slot, std::size_t bytes);
  void release(Slot& slot, Item& item);
  void release_all(Slot& slot);

  MemoryNetwork& network_;
  const Endpoint address_;
  const PortOptions options_;
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_;
  std::size_t live_ = 0;
  std::uint16_t next_port_ = 20000;
  std::priority_queue<Pending, std::vector<Pending>, std::greater<>> pending_;
  std::deque<StreamHandle> resumed_;  // have held events and are read again
  std::vector<std::shared_ptr<std::vector<std::byte>>> lent_;
  std::deque<StreamEvent> said_;  // released, need and closed, of a port that keeps
};

}  // namespace penstock::support
