// An application on one end of simulated connections: writes and reads what the pattern says, in
// random ways, and keeps account of every byte and pin.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/random.hh"
#include "net/stack.hh"
#include "support/packet.hh"

namespace penstock::test {

// What happens on a connection, for both ends.
struct ConnectionPlan {
  std::uint16_t port = 0;  // the server's, which also names the streams
  Instant starts;
  std::uint64_t bytes[2] = {0, 0};  // sent by the client, by the server
  enum class Kind : std::uint8_t {
    exchange,  // everything both ways, then closed by one or both
    early,     // one end closes when it has sent its own, whatever still comes
    abort,     // one end resets, some time
    refused,   // nobody listens
    nowhere,   // nobody has the address
  };
  Kind kind = Kind::exchange;
  bool closes[2] = {true, false};  // client, server
  Instant aborts = Instant::never();
};

struct AppOptions {
  Duration think_most = Duration::milliseconds(50);  // between writes
  std::uint32_t write_most = 64 * 1024;
  std::uint32_t pinned = 500;       // per mille of writes that are pinned slab parts
  std::uint32_t stops_reading = 0;  // per mille of events after which it stops reading for a while
  Duration stop_most = Duration::seconds(2);
  Duration shed_every{};                                // mean; 0: never
  Duration content_most = Duration::milliseconds(100);  // until `need` is answered
  std::uint32_t content_lost = 0;                       // per mille of answers that are "lost"
};

// One end of a connection.
class Leg {
 public:
  Leg(const ConnectionPlan& plan, bool client, std::uint64_t seed);

  const ConnectionPlan& plan;
  const bool client;
  StreamHandle stream;
  enum class State : std::uint8_t { waiting, connecting, open, closed } state = State::waiting;
  bool connected = false;
  bool greeted = false;  // a server's: what the client answers to the SYN-ACK came
  bool closed_by_us = false;
  bool content_lost = false;
  StreamError error = StreamError::none;

  std::uint64_t planned = 0;  // bytes handed to `parts`
  std::uint64_t accepted = 0;
  std::uint64_t received = 0;
  bool blocked = false;
  bool reading = true;
  bool stopped_now = false;  // in this round of events: what follows in it may be data
  Instant acts;              // the next write or close
  Instant resumes = Instant::never();
  Instant progressed;  // the last time that anything got on
  struct Part {
    SendPart part;
    std::uint64_t position = 0;
    std::shared_ptr<support::Bytes> copy;  // of a part that isn't pinned
  };
  std::deque<Part> parts;  // not accepted yet
  Random random;

  [[nodiscard]] std::uint64_t to_send() const { return plan.bytes[client ? 0 : 1]; }
  [[nodiscard]] std::uint64_t to_receive() const { return plan.bytes[client ? 1 : 0]; }
  [[nodiscard]] std::uint64_t send_key() const;
  [[nodiscard]] std::uint64_t receive_key() const;
  [[nodiscard]] bool all_sent() const { return accepted == to_send(); }
  [[nodiscard]] bool all_received() const { return received == to_receive(); }
};

class TcpApp {
 public:
  TcpApp(net::Stack& stack, const AppOptions& options, std::uint64_t seed);

  // A leg that this host connects (`remote`), or that it will accept.
  void add_client(Leg& leg, const Endpoint& remote);
  void add_server(Leg& leg);
  // The client's port of a server's leg, as the wire showed it: who was accepted.
  void name_server(std::uint16_t client_port, Leg& leg) {
    by_client_port_.emplace(client_port, &leg);
  }

  // One cycle of the host: events, due acts. The caller flushes.
  void step(Instant now);
  [[nodiscard]] Instant next() const;
  // The application has waited long enough: resets.
  void give_up(Instant now, Leg& leg) { close(now, leg, false); }

  [[nodiscard]] const std::string& wrong() const { return wrong_; }
  [[nodiscard]] std::size_t pins_held() const;
  [[nodiscard]] std::uint64_t needs() const { return needs_; }
  [[nodiscard]] std::uint64_t sheds() const { return sheds_; }
  [[nodiscard]] std::string pins_text() const;
  [[nodiscard]] const std::vector<Leg*>& legs() const { return legs_; }

 private:
  struct Pin {
    std::uint64_t key = 0;
    // As it was composed, and what answers to `need` brought since.
    std::vector<support::Bytes> memory;
    // By the stack: what was written counts as one until it is released, each answer as one.
    bool written = false;
    std::uint32_t answers = 0;
    std::uint64_t unsent = 0;  // bytes not accepted yet
    Leg* leg = nullptr;

    [[nodiscard]] std::uint32_t held() const { return answers + written; }
  };
  struct Answer {
    Instant due;
    StreamHandle stream;
    std::uint64_t pin = 0;
    ContentRef content;
    Leg* leg = nullptr;
  };

  void fail(const Leg* leg, const std::string& text);
  void on_event(Instant now, const StreamEvent& event);
  void on_accepted(Instant now, const StreamEvent& event);
  void on_data(Instant now, Leg& leg, std::span<const std::byte> data);
  void on_released(std::uint64_t pin);
  void on_need(Instant now, const StreamEvent& event);
  void on_closed(Instant now, Leg& leg, StreamError error);
  void act(Instant now, Leg& leg);
  void plan_write(Leg& leg);
  void add_pinned(Leg& leg, std::uint64_t length);
  void write(Instant now, Leg& leg);
  void close(Instant now, Leg& leg, bool graceful);
  void drop_parts(Leg& leg);
  void answer(Instant now);
  Duration draw(Duration most);

  net::Stack& stack_;
  const AppOptions options_;
  Random random_;
  std::vector<Leg*> legs_;
  std::set<std::uint64_t> ghosts_;  // streams that a late cookie made
  std::map<const Leg*, Endpoint> remotes_;
  std::multimap<std::uint16_t, Leg*> by_client_port_;
  std::map<std::uint64_t, Leg*> by_stream_;
  std::map<std::uint64_t, Pin> pins_;
  std::vector<Answer> answers_;
  std::uint64_t next_pin_ = 1;
  Instant sheds_next_ = Instant::never();
  std::uint64_t needs_ = 0;
  std::uint64_t sheds_ = 0;
  std::string wrong_;
};

}  // namespace penstock::test
