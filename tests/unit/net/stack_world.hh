// Two hosts on a wire in virtual time, with applications that are told by the tests what to do.
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "frames.hh"
#include "net/stack.hh"
#include "support/memory_nic.hh"
#include "tcp/shared.hh"

namespace penstock::test {

using net::Stack;
using net::StackOptions;
using support::MemoryNic;

inline net::NicInfo nic_info(const wire::MacAddress& mac, bool offload) {
  net::NicInfo info;
  info.mac = mac;
  info.tx_checksum = offload;
  info.tso_bytes_max = offload ? 65'000 : 0;
  return info;
}

// A stack with what happened to it.
struct StackHost {
  struct Stream {
    StreamHandle handle;
    Bytes received;
    bool accepted = false;
    bool connected = false;
    bool writable = false;
    bool closed = false;
    StreamError error = StreamError::none;
    Endpoint remote;
  };

  StackHost(MemoryNic& n, const StackOptions& o, Instant now)
      : nic(n), stack(std::make_unique<Stack>(n, o, now)) {}

  // One cycle. Returns whether anything happened.
  bool cycle(Instant now) {
    std::array<StreamEvent, 16> events;
    bool any = false;
    for (int round = 0; round < 1'000; ++round) {
      const std::size_t count =
          stack->poll_events(now, std::span(events).first(std::min(events.size(), events_max)));
      for (std::size_t i = 0; i < count; ++i)
        on_event(events[i]);
      any |= count != 0;
      if (count == 0) break;
    }
    const std::size_t before = nic.frames_taken;
    stack->flush(now);
    stack->validate();
    return any || nic.frames_taken != before;
  }

  Stream& stream(StreamHandle handle) { return streams[handle.value]; }
  // The newest that was accepted.
  Stream& last() { return stream(last_accepted); }

  void on_event(const StreamEvent& event) {
    using Kind = StreamEvent::Kind;
    if (event.kind == Kind::released) {
      released.push_back(event.pin);
      return;
    }
    if (event.kind == Kind::need) {
      needed.push_back(event);
      return;
    }
    Stream& s = streams[event.stream.value];
    s.handle = event.stream;
    EXPECT_FALSE(s.closed) << "an event after the last";
    switch (event.kind) {
      case Kind::accepted:
        EXPECT_FALSE(s.accepted);
        s.accepted = true;
        s.remote = event.endpoint;
        last_accepted = event.stream;
        break;
      case Kind::connected:
        s.connected = true;
        break;
      case Kind::data:
        EXPECT_FALSE(event.data.empty());
        s.received.insert(s.received.end(), event.data.begin(), event.data.end());
        break;
      case Kind::writable:
        s.writable = true;
        break;
      case Kind::closed:
        s.closed = true;
        s.error = event.error;
        break;
      default:
        break;
    }
  }

  std::size_t send(StreamHandle handle, std::span<const std::byte> bytes) {
    const SendPart part{
        bytes.data(), static_cast<std::uint32_t>(bytes.size()), SendPart::Kind::small, 0, {}};
    return stack->try_send(handle, {&part, 1}).accepted;
  }

  [[nodiscard]] std::uint64_t dropped(net::DropReason reason) const {
    return stack->counters().dropped[static_cast<std::size_t>(reason)];
  }

  MemoryNic& nic;
  std::unique_ptr<Stack> stack;
  std::map<std::uint64_t, Stream> streams;
  StreamHandle last_accepted;
  std::vector<std::uint64_t> released;
  std::deque<StreamEvent> needed;
  std::size_t events_max = 16;
};

// Hosts 0 (192.0.2.1, 2001:db8::1) and 1 (….2); both listen on 6881.
class StackWorld {
 public:
  explicit StackWorld(bool offload = false, const StackOptions& base = {})
      : nics_{MemoryNic(nic_info(kOurMac, offload)), MemoryNic(nic_info(kFarMac, offload))} {
    MemoryNic::join(nics_[0], nics_[1]);
    for (std::size_t i = 0; i < 2; ++i) {
      StackOptions options = base;
      options.connections_max = std::min(base.connections_max, 64U);
      options.send_pages = options.receive_pages = 2'048;
      options.interfaces = {{address(i, true), 24, {}}, {address(i, false), 64, {}}};
      options.listen = {6881};
      options.secret = {11 + i, 22};
      hosts.push_back(std::make_unique<StackHost>(nics_[i], options, now));
    }
  }

  static IpAddress address(std::size_t host, bool v4) {
    const std::string last = std::to_string(host + 1);
    return ip(v4 ? "192.0.2." + last : "2001:db8::" + last);
  }

  StackHost& a() { return *hosts[0]; }
  StackHost& b() { return *hosts[1]; }
  MemoryNic& nic(std::size_t i) { return nics_[i]; }

  // Runs until nothing happens at this instant.
  void settle() {
    for (int i = 0; i < 100'000; ++i) {
      bool any = false;
      for (auto& host : hosts)
        any |= host->cycle(now);
      if (!any && nics_[0].idle() && nics_[1].idle()) return;
    }
    FAIL() << "it never rests";
  }

  // Lets time pass from timer to timer until `done` or `until`.
  template <class Done>
  bool run(Duration most, Done done) {
    const Instant until = now + most;
    for (int i = 0; i < 1'000'000; ++i) {
      bool any = false;
      for (auto& host : hosts)
        any |= host->cycle(now);
      if (done()) return true;
      if (any) continue;
      Instant next = until;
      for (auto& host : hosts)
        next = earlier(next, host->stack->next_timeout());
      if (next <= now) next = now + Duration{1'000};
      if (now >= until) return done();
      now = earlier(next, until);
    }
    return false;
  }
  void pass(Duration d) {
    run(d, [] { return false; });
  }

  StreamHandle connect(bool v4 = true, std::uint16_t port = 6881) {
    StreamHandle handle;
    EXPECT_TRUE(a().stack->connect({address(1, v4), port}, {}, handle));
    return handle;
  }

  Instant now{Duration::seconds(5'000).ns};
  std::vector<std::unique_ptr<StackHost>> hosts;

 private:
  std::array<MemoryNic, 2> nics_;
};

inline Bytes pattern(std::size_t length, std::uint64_t seed) {
  Bytes out(length);
  for (std::size_t i = 0; i < length; ++i)
    out[i] = static_cast<std::byte>((i * 2654435761U + seed * 97) >> 11);
  return out;
}

}  // namespace penstock::test
