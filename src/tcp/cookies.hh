// SYN cookies (RFC 4987 §3.6): what a SYN-ACK would have to remember, in its sequence number and
// timestamp.
//
// Sequence number: 27 bits of SipHash over the flow, the peer's ISN, the epoch and the MSS index,
// then 3 bits of MSS index and 2 of the epoch, the five masked by a hash of the flow. An epoch is
// 64 s; a cookie is good in its epoch and the next. Each epoch has a secret of its own, two are
// kept: one derived from the start's secret when the epoch begins replaces the older.
//
// Timestamp: the low 6 bits carry window shift (4; 15: none), SACK permitted and ECN, the rest
// stays monotonous (as Linux does). Without timestamps a cookie knows neither window scale nor
// SACK.
#pragma once

#include <array>
#include <cstdint>

#include "base/seq_number.hh"
#include "base/time.hh"
#include "tcp/flow.hh"
#include "wire/tcp.hh"

namespace penstock::tcp {

class Cookies {
 public:
  explicit Cookies(const SipKey& secret) : root_(secret) {}

  [[nodiscard]] SeqNumber make(Instant now, const Flow& flow, SeqNumber irs, std::uint16_t mss);
  // The MSS, at most what the peer had said; 0: not a cookie of ours, or too old.
  [[nodiscard]] std::uint16_t check(Instant now, const Flow& flow, SeqNumber irs, SeqNumber cookie);

  // Our clock in ms, with what the peer's SYN said in its low bits; never more than now_ms.
  [[nodiscard]] static std::uint32_t stamp(std::uint32_t now_ms, const wire::TcpOptions& peer,
                                           bool ecn);
  // From the echo, less our offset. Returns whether ECN was agreed on.
  static bool read_stamp(std::uint32_t stamp, wire::TcpOptions& peer);

 private:
  void advance(Instant now);
  [[nodiscard]] std::uint32_t mac(const Flow& flow, SeqNumber irs, std::uint64_t epoch,
                                  std::uint32_t mss_index) const;
  [[nodiscard]] std::uint32_t mask(const Flow& flow) const;

  SipKey root_;
  std::uint64_t epoch_ = ~0ULL;
  std::array<SipKey, 2> secrets_{};  // of epoch e at e & 1
};

}  // namespace penstock::tcp
