// What a shard's TCP may take: memory, counts and times. Fixed at the start.
#pragma once

#include <cstdint>

#include "base/time.hh"

namespace penstock::tcp {

// The most that a connection may offer to receive, bytes: its pages are found through one page of
// indices (receiver.hh).
inline constexpr std::uint32_t kReceiveWindowMost = (4 << 20) - 8192;

struct Limits {
  std::uint32_t connections_max = 4096;
  std::uint32_t syn_backlog = 1024;        // half-open handshakes; beyond it cookies
  std::uint32_t time_wait_max = 32768;     // beyond it the oldest goes
  std::uint32_t send_buffer = 4 << 20;     // bytes queued and not acknowledged, per connection
  std::uint32_t receive_window = 1 << 20;  // bytes, per connection, at most
  std::uint32_t receive_window_first = 64 << 10;  // where it starts
  // Pages of 4 KiB for all connections of the shard: queues with small bytes, and payload that
  // came out of order or isn't read. Apart, so that no peer can keep others from sending.
  std::uint32_t send_pages = 8192;
  std::uint32_t receive_pages = 8192;
  // Of what is under way (transport/record_pool.hh): 832 bytes each, at least two for a connection
  // that has something under way.
  std::uint32_t record_pages = 1 << 14;

  // DEVIATION(RFC 9293 §3.4.2): the segment lifetime is taken as 30 s, not 2 minutes.
  Duration time_wait = Duration::seconds(60);
  // Nothing acknowledged for so long, with something to acknowledge (RFC 9293 §3.8.3: R2 >= 100 s).
  Duration user_timeout = Duration::seconds(100);
  Duration connect_timeout = Duration::seconds(180);  // RFC 9293 §3.8.3: R2 of a SYN
  Duration fin_wait_2 = Duration::seconds(60);        // without new data from the peer
  Duration keepalive_idle = Duration::seconds(7200);  // RFC 9293 §3.8.4; 0: off
  Duration keepalive_interval = Duration::seconds(75);
  std::uint8_t keepalive_probes = 9;
  Duration delayed_ack = Duration::milliseconds(40);
  std::uint8_t syn_ack_retries = 5;
  bool ecn = true;
  bool pacing = true;
  // Per second, over all connections; the budget of a second is drawn around it, so that nobody can
  // count on it (RFC 5961 §7, CVE-2016-5696).
  std::uint32_t challenge_acks = 1000;
  std::uint32_t resets_to_nobody = 1000;

  // Added to every initial sequence number (but a cookie) and to all timestamps: with these a test
  // puts the place where 32 bits wrap into a connection's life.
  std::uint32_t sequence_offset = 0;
  std::uint32_t timestamp_offset = 0;
};

}  // namespace penstock::tcp
