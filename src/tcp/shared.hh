// What all connections of a shard share: pools, limits, counters and secrets. Sized at
// construction; nothing is allocated later. Owner: net/; outlives its connections.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "base/seq_number.hh"
#include "base/time.hh"
#include "tcp/challenge.hh"
#include "tcp/drop_reason.hh"
#include "tcp/flow.hh"
#include "tcp/limits.hh"
#include "tcp/page_pool.hh"

namespace penstock::transport {
class RecordPool;
}

namespace penstock::tcp {

struct Opening;

struct Counters {
  std::array<std::uint64_t, kDropReasons> dropped{};
  std::uint64_t segments_in = 0;
  std::uint64_t segments_out = 0;  // a TSO frame is one
  std::uint64_t bytes_out = 0;     // payload, also what went again
  std::uint64_t bytes_again = 0;
  std::uint64_t bytes_in = 0;  // payload that was delivered
  std::uint64_t opened_active = 0;
  std::uint64_t opened_passive = 0;
  std::uint64_t closed = 0;
  std::uint64_t timed_out = 0;
  std::uint64_t resets_in = 0;
  std::uint64_t resets_out = 0;
  std::uint64_t challenge_acks = 0;
  std::uint64_t challenges_withheld = 0;
  std::uint64_t retransmission_timeouts = 0;
  std::uint64_t tail_loss_probes = 0;
  std::uint64_t recoveries = 0;
  std::uint64_t lost_again = 0;  // recoveries that began anew for a lost retransmission
  std::uint64_t undone = 0;      // recoveries and timeouts that proved spurious
  std::uint64_t window_probes = 0;
  std::uint64_t keepalives = 0;
  std::uint64_t mss_lowered = 0;  // by ICMP or for a black hole
  std::uint64_t mss_raised = 0;   // again
  std::uint64_t ecn_reductions = 0;
  std::uint64_t dsacks_in = 0;
  std::uint64_t nonsense_sacks = 0;
  std::uint64_t syns_in = 0;
  std::uint64_t syn_cookies_sent = 0;
  std::uint64_t syn_cookies_good = 0;
  std::uint64_t half_open_expired = 0;
  std::uint64_t time_wait_evicted = 0;
  std::uint64_t time_wait_reused = 0;
  std::uint64_t shed = 0;            // references let go under memory pressure
  std::uint64_t needed = 0;          // that had to be fetched again
  std::uint64_t page_shortages = 0;  // a send queue or a receiver found no page
  std::uint64_t record_shortages = 0;
  std::uint64_t parts_cut = 0;  // segments that are shorter for want of parts
};

class Shared {
 public:
  // secret: fresh random bits of this start.
  Shared(const Limits& limits, const SipKey& secret);
  ~Shared();
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;

  [[nodiscard]] const Limits& limits() const { return limits_; }

  // iss (RFC 9293 §3.4.1) and timestamp offset (RFC 7323 §5.4) of a new connection. path_mss: what
  // the path carries, MTU - IP header - 20.
  [[nodiscard]] Opening opening(Instant now, const Flow& flow, std::uint16_t path_mss) const;
  [[nodiscard]] SeqNumber initial_sequence(Instant now, const Flow& flow) const;
  [[nodiscard]] std::uint32_t timestamp_offset(const Flow& flow) const;
  // Where a flow's bucket is in a table.
  [[nodiscard]] std::uint64_t hash(const Flow& flow) const;
  [[nodiscard]] const SipKey& secret() const { return secret_; }

  // A page of a send queue that has `held`; kNoPage: none for it.
  [[nodiscard]] std::uint32_t take_send_page(std::uint32_t held);

  DropReason drop(DropReason reason) {
    ++counters.dropped[static_cast<std::size_t>(reason)];
    return reason;
  }

  Counters counters;
  PagePool send_pages;
  PagePool receive_pages;
  Budget challenges;
  Budget resets;
  [[nodiscard]] transport::RecordPool& records() const { return *records_; }
  [[nodiscard]] std::span<std::byte> record_memory() const;

 private:
  Limits limits_;
  SipKey secret_;
  std::unique_ptr<transport::RecordPool> records_;
};

}  // namespace penstock::tcp
