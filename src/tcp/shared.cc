#include "tcp/shared.hh"

#include <cstring>

#include "base/assert.hh"
#include "base/sip_hash.hh"
#include "tcp/connection.hh"
#include "tcp/send_queue.hh"
#include "transport/record_pool.hh"

namespace penstock::tcp {

namespace {

// What a hash is for: the last word, so that none tells of another.
enum Purpose : std::uint64_t { kForSequence = 1, kForTimestamp, kForTable, kForBudgets };

std::uint64_t keyed(const SipKey& secret, const Flow& flow, Purpose purpose) {
  SipHash24 hash(secret);
  add_flow(hash, flow);
  return hash.add(purpose).finish();
}

std::uint64_t seed_for(const SipKey& secret, std::uint64_t which) {
  return SipHash24(secret).add(kForBudgets).add(which).finish();
}

}  // namespace

Shared::Shared(const Limits& limits, const SipKey& secret)
    : send_pages(limits.send_pages),
      receive_pages(limits.receive_pages),
      challenges(limits.challenge_acks, seed_for(secret, 0)),
      resets(limits.resets_to_nobody, seed_for(secret, 1)),
      limits_(limits),
      secret_(secret),
      records_(std::make_unique<transport::RecordPool>(limits.record_pages)) {
  ASSERT(limits.receive_window <= kReceiveWindowMost);
  ASSERT(limits.receive_window_first <= limits.receive_window);
  ASSERT(limits.send_buffer <= 1U << 30);
}

Shared::~Shared() = default;

std::span<std::byte> Shared::record_memory() const {
  return records_->memory();
}

SeqNumber Shared::initial_sequence(Instant now, const Flow& flow) const {
  // RFC 9293 §3.4.1: ISN = M + F(flow, secret), M ticking every 4 µs.
  const auto ticks = static_cast<std::uint32_t>(now.ns / 4000);
  return SeqNumber(static_cast<std::uint32_t>(keyed(secret_, flow, kForSequence)) + ticks +
                   limits_.sequence_offset);
}

std::uint32_t Shared::timestamp_offset(const Flow& flow) const {
  return static_cast<std::uint32_t>(keyed(secret_, flow, kForTimestamp)) + limits_.timestamp_offset;
}

std::uint64_t Shared::hash(const Flow& flow) const {
  // Once for each burst's flow: IPv4 has its addresses in one word. The number of words, which is
  // hashed, too, tells the families apart.
  SipHash13 hash(secret_);
  const auto word = [](const std::uint8_t* from) {
    std::uint64_t out = 0;
    std::memcpy(&out, from, sizeof out);
    return out;
  };
  const std::uint8_t* local = flow.local.bytes.data();
  const std::uint8_t* remote = flow.remote.bytes.data();
  if (flow.local.is_v4() && flow.remote.is_v4()) {
    hash.add(word(local + 8) >> 32 | (word(remote + 8) >> 32 << 32));
  } else {
    hash.add(word(local)).add(word(local + 8)).add(word(remote)).add(word(remote + 8));
  }
  const std::uint64_t ports = std::uint64_t{flow.local_port} << 16 | flow.remote_port;
  return hash.add(std::uint64_t{kForTable} << 32 | ports).finish();
}

Opening Shared::opening(Instant now, const Flow& flow, std::uint16_t path_mss) const {
  Opening out;
  out.mss = path_mss;
  out.iss = initial_sequence(now, flow);
  out.ts_offset = timestamp_offset(flow);
  return out;
}

std::uint32_t Shared::take_send_page(std::uint32_t held) {
  send_pages.reclaim_one(SendQueue::page_idle);
  const std::uint32_t page = send_pages.take_share(held);
  if (page == kNoPage) ++counters.page_shortages;
  return page;
}

}  // namespace penstock::tcp
