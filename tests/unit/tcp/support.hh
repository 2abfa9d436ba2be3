// Two own endpoints through a pipe in virtual time, and one endpoint with a hand-made peer.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tcp/connection.hh"
#include "tcp/options.hh"
#include "tcp/shared.hh"
#include "tcp/time_wait.hh"
#include "wire/tcp.hh"

namespace penstock::tcp::test {

using wire::TcpFlags;

inline constexpr Instant kStart{1'000'000'000'000};

constexpr Duration ms(std::int64_t n) {
  return Duration::milliseconds(n);
}

// A segment on its way, with memory of its own.
struct Flying {
  Instant at;
  wire::TcpSegment segment;
  std::vector<std::byte> bytes;

  [[nodiscard]] const wire::TcpSegment& view() {
    segment.payload = bytes;
    return segment;
  }
};

// What a device would put on the wire: one or, with TSO, several segments.
inline std::vector<Flying> cut(const SegmentOut& out) {
  std::vector<std::byte> all;
  for (std::size_t i = 0; i < out.part_count; ++i)
    all.insert(all.end(), out.parts[i].data, out.parts[i].data + out.parts[i].length);
  EXPECT_EQ(all.size(), out.payload_length);
  EXPECT_EQ(out.options_length % 4, 0);
  std::vector<Flying> result;
  const std::size_t size = out.segment_size != 0 ? out.segment_size : all.size();
  std::size_t at = 0;
  do {
    Flying f;
    wire::parse_tcp_options(std::span(out.options).first(out.options_length), f.segment.options);
    const std::size_t length = std::min(size, all.size() - at);
    f.bytes.assign(all.begin() + static_cast<std::ptrdiff_t>(at),
                   all.begin() + static_cast<std::ptrdiff_t>(at + length));
    f.segment.seq = out.seq + static_cast<std::uint32_t>(at);
    f.segment.ack = out.ack;
    f.segment.window = out.window;
    f.segment.flags = out.flags;
    f.segment.ecn = out.ecn;
    at += length;
    if (at < all.size())
      f.segment.flags =
          static_cast<std::uint8_t>(f.segment.flags & ~(TcpFlags::fin | TcpFlags::psh));
    if (result.size() > 0)
      f.segment.flags = static_cast<std::uint8_t>(f.segment.flags & ~TcpFlags::cwr);
    result.push_back(std::move(f));
  } while (at < all.size());
  return result;
}

inline Limits small_limits() {
  Limits limits;
  limits.connections_max = 16;
  limits.syn_backlog = 4;
  limits.time_wait_max = 4;
  limits.send_pages = 256;
  limits.receive_pages = 1200;
  limits.record_pages = 256;
  return limits;
}

inline constexpr SipKey kSecret{0x0706050403020100, 0x0f0e0d0c0b0a0908};

// One endpoint and what its application saw.
struct End {
  Shared shared;
  std::unique_ptr<Connection> connection;
  std::vector<std::byte> received;
  std::string log;  // events but data, by their initials
  std::vector<std::uint64_t> released;
  std::vector<Event> needs;
  StreamError error = StreamError::none;
  bool closed = false;
  std::uint32_t tso = 0;

  explicit End(const Limits& limits = small_limits())
      : shared(limits, kSecret), connection(std::make_unique<Connection>(shared)) {}

  void events() {
    Event e;
    while (connection->poll_event(e)) {
      switch (e.kind) {
        case Event::Kind::connected:
          log += 'C';
          break;
        case Event::Kind::data:
          received.insert(received.end(), e.data.begin(), e.data.end());
          break;
        case Event::Kind::ended:
          log += 'E';
          break;
        case Event::Kind::writable:
          log += 'W';
          break;
        case Event::Kind::released:
          released.push_back(e.pin);
          break;
        case Event::Kind::need:
          needs.push_back(e);
          break;
        case Event::Kind::closed:
          log += 'X';
          closed = true;
          error = e.error;
          break;
      }
    }
  }
};

// A sends to B and back over a link with a delay each way.
class Pair {
 public:
  End a;
  End b;
  Instant now = kStart;
  Duration delay = ms(10);
  // Whether a segment is lost. Called once each, in order; true: lost.
  std::function<bool(bool from_a, const wire::TcpSegment&)> lose;
  // Extra delay.
  std::function<Duration(bool from_a, const wire::TcpSegment&)> hold;
  std::function<void(bool from_a, wire::TcpSegment&)> alter;
  std::size_t segments_from_a = 0;
  std::size_t segments_from_b = 0;
  bool trace = false;

  explicit Pair(const Limits& limits = small_limits()) : a(limits), b(limits) {}
  Pair(const Limits& a_limits, const Limits& b_limits) : a(a_limits), b(b_limits) {}

  static Opening opening(std::uint32_t iss, std::uint16_t mss = 1460) {
    Opening o;
    o.mss = mss;
    o.iss = SeqNumber(iss);
    o.ts_offset = iss * 7;
    return o;
  }

  // A opens, B answers as net/ would without a listener.
  void open(std::uint16_t mss = 1460) {
    mss_ = mss;
    a.connection->open_active(now, opening(0xfffffff0, mss));
    pump();
    run(ms(200), [this] {
      return a.connection->state() == State::established &&
             b.connection->state() == State::established;
    });
  }

  // Sends what can go now.
  void pump() {
    pump_one(a, true);
    pump_one(b, false);
  }

  // Runs until the condition holds or the time is over. Returns whether it held.
  bool run(
      Duration most, const std::function<bool()>& until = [] { return false; }) {
    const Instant end = now + most;
    pump();
    for (int steps = 0; steps < 2'000'000; ++steps) {
      if (until()) return true;
      pump();  // what the condition may have given to send
      Instant next = earlier(a.connection->next_timeout(), b.connection->next_timeout());
      for (const auto* q : {&to_a_, &to_b_})
        for (const Flying& f : *q)
          next = earlier(next, f.at);
      if (next > end) {
        now = end;
        return until();
      }
      if (next > now) now = next;
      step();
    }
    ADD_FAILURE() << "it never stops";
    return false;
  }

  void step() {
    for (End* end : {&a, &b}) {
      if (end->connection->next_timeout() <= now) {
        end->connection->on_timeout(now);
        end->events();
      }
    }
    deliver(to_b_, b, false);
    deliver(to_a_, a, true);
    pump();
    a.connection->validate();
    b.connection->validate();
  }

  [[nodiscard]] std::size_t flying() const { return to_a_.size() + to_b_.size(); }

 private:
  void deliver(std::deque<Flying>& queue, End& end, bool to_a) {
    for (;;) {
      // The earliest that is due; in order of sending among equals.
      std::size_t best = queue.size();
      for (std::size_t i = 0; i < queue.size(); ++i)
        if (queue[i].at <= now && (best == queue.size() || queue[i].at < queue[best].at)) best = i;
      if (best == queue.size()) return;
      Flying f = std::move(queue[best]);
      queue.erase(queue.begin() + static_cast<std::ptrdiff_t>(best));
      if (!to_a && end.connection->state() == State::closed && !end.closed &&
          f.segment.has(TcpFlags::syn) && !f.segment.has(TcpFlags::ack)) {
        Opening o = opening(5000, mss_);
        o.irs = f.segment.seq;
        o.peer = f.segment.options;
        o.peer_window = f.segment.window;
        o.ecn = f.segment.has(TcpFlags::ece) && f.segment.has(TcpFlags::cwr);
        end.connection->open_passive(now, o, false);
        continue;
      }
      end.connection->on_segment(now, f.view());
      end.events();
    }
  }

  void pump_one(End& end, bool from_a) {
    for (int rounds = 0; rounds < 1000; ++rounds) {
      TxBurst burst(end.tso);
      end.connection->poll_transmit(now, burst);
      end.events();
      for (std::size_t i = 0; i < burst.size(); ++i) {
        for (Flying& f : cut(burst[i])) {
          ++(from_a ? segments_from_a : segments_from_b);
          if (trace) print(from_a, f);
          if (alter) alter(from_a, f.segment);
          if (lose && lose(from_a, f.view())) continue;
          f.at = now + delay + (hold ? hold(from_a, f.view()) : Duration{});
          (from_a ? to_b_ : to_a_).push_back(std::move(f));
        }
      }
      if (burst.size() == 0 || !end.connection->has_output()) return;
    }
  }

  void print(bool from_a, const Flying& f) const {
    printf("%8.3f %s seq %u len %zu ack %u flags %02x win %u sacks %d\n",
           (now - kStart).as_seconds() * 1e3, from_a ? "A>" : " <B", f.segment.seq.value,
           f.bytes.size(), f.segment.ack.value, f.segment.flags, f.segment.window,
           f.segment.options.sack_count);
  }

  std::uint16_t mss_ = 1460;
  std::deque<Flying> to_a_;
  std::deque<Flying> to_b_;
};

// Bytes that tell where they are.
inline std::vector<std::byte> pattern(std::size_t length, std::uint64_t seed = 1) {
  std::vector<std::byte> out(length);
  for (std::size_t i = 0; i < length; ++i)
    out[i] = static_cast<std::byte>((i * 2654435761u + seed * 97 + (i >> 8)) >> 7);
  return out;
}

inline SendPart small(const std::byte* data, std::size_t length) {
  return {.data = data, .length = static_cast<std::uint32_t>(length)};
}
inline SendPart content(const std::byte* data, std::size_t length, std::uint64_t pin,
                        std::uint64_t offset = 0) {
  return {.data = data,
          .length = static_cast<std::uint32_t>(length),
          .kind = SendPart::Kind::slab,
          .pin = pin,
          .content = {TorrentSlot(7), static_cast<std::uint32_t>(length), offset}};
}

// One endpoint; the test plays the peer.
class Solo {
 public:
  End end;
  Instant now = kStart;
  SeqNumber iss{1000};   // ours
  SeqNumber peer{9000};  // the peer's next number
  std::vector<SegmentOut> sent;
  std::vector<Flying> wires;
  bool timestamps = false;
  std::uint32_t ts = 500;  // the peer's
  std::uint16_t window = 65535;

  explicit Solo(const Limits& limits = small_limits()) : end(limits) {}

  Connection& c() { return *end.connection; }

  Opening opening() const {
    Opening o;
    o.mss = 1460;
    o.iss = iss;
    o.irs = peer - 1;
    o.peer.mss = 1460;
    o.peer.sack_permitted = true;
    o.peer.has_timestamps = timestamps;
    o.peer.ts_value = ts;
    o.peer_window = window;
    return o;
  }
  // Straight to ESTABLISHED.
  void establish() {
    c().open_passive(now, opening(), true);
    flush();
    sent.clear();
    end.log.clear();
  }
  // A segment from the peer; the ACK number relative to what we sent.
  wire::TcpSegment segment(std::uint8_t flags, std::uint32_t ack_offset = 0) const {
    wire::TcpSegment s;
    s.seq = peer;
    s.flags = flags;
    s.ack = iss + 1 + ack_offset;
    s.window = window;
    if (timestamps) {
      s.options.has_timestamps = true;
      s.options.ts_value = ts;
    }
    return s;
  }
  DropReason give(const wire::TcpSegment& s) {
    const DropReason reason = c().on_segment(now, s);
    end.events();
    flush();
    return reason;
  }
  DropReason give(std::uint8_t flags, std::uint32_t ack_offset = 0) {
    return give(segment(flags, ack_offset));
  }
  // Payload at `offset` from the peer's next number; doesn't move that.
  DropReason data(std::uint32_t offset, std::size_t length, std::uint8_t more_flags = 0,
                  std::uint32_t ack_offset = 0) {
    bytes_ = pattern(70000);
    wire::TcpSegment s = segment(TcpFlags::ack | more_flags, ack_offset);
    s.seq = peer + offset;
    s.payload = std::span(bytes_).subspan(offset, length);
    return give(s);
  }
  void flush() {
    sent.clear();
    TxBurst burst(end.tso);
    c().poll_transmit(now, burst);
    end.events();
    for (std::size_t i = 0; i < burst.size(); ++i)
      sent.push_back(burst[i]);
    c().validate();
  }
  // To the next timer, and past it.
  Duration advance() {
    const Instant next = c().next_timeout();
    EXPECT_NE(next, Instant::never());
    const Duration waited = next - now;
    now = next;
    c().on_timeout(now);
    end.events();
    flush();
    return waited;
  }
  // Timers up to `d` from now.
  void wait(Duration d) {
    const Instant until = now + d;
    std::vector<SegmentOut> all;
    while (c().next_timeout() <= until) {
      advance();
      all.insert(all.end(), sent.begin(), sent.end());
    }
    now = until;
    sent = all;
  }
  std::size_t send(std::size_t length) {
    out_ = pattern(length);
    const SendPart part = small(out_.data(), out_.size());
    const std::size_t n = c().try_send(now, std::span(&part, 1));
    flush();
    return n;
  }
  wire::TcpOptions options(std::size_t i) const {
    wire::TcpOptions o;
    wire::parse_tcp_options(std::span(sent[i].options).first(sent[i].options_length), o);
    return o;
  }

 private:
  std::vector<std::byte> bytes_;
  std::vector<std::byte> out_;
};

}  // namespace penstock::tcp::test
