// What is under way: the sender's record of every segment, who has it, what is lost and what to
// send again (RFC 6675's scoreboard; loss by RACK, RFC 8985; DSACK, RFC 2883).
//
// Purpose: per ACK, constant time amortised, however much is in flight (1,500 segments and more).
// Shared by TCP and uTP.
//
// A *record* stands for bytes [seq, seq + length) that were sent together: an MSS, or up to a TSO
// frame; a SACK or a loss that covers only a part splits it at the MSS boundary. Records come from
// a shard's pool in chunks (unrolled list in sequence order), found from the end that SACKs touch.
// Original transmissions are in time order as they are in sequence order: a cursor stands before
// the first one that may still be judged lost. Retransmissions have a queue of their own in time
// order.
//
// in_flight() is RFC 6675's pipe in bytes: sent - acknowledged - selectively acknowledged - lost +
// sent again. SYN and FIN are records of length 1.
#pragma once

#include <cstdint>
#include <span>

#include "base/seq_number.hh"
#include "base/time.hh"
#include "wire/tcp.hh"

namespace penstock::transport {

class RttEstimator;
class RecordPool;  // chunks for all connections of a shard, allocated at the start

// What an acknowledgement said.
struct AckReport {
  std::uint32_t acked = 0;     // bytes by which the cumulative ACK advanced
  std::uint32_t sacked = 0;    // bytes newly SACKed
  std::uint32_t unsacked = 0;  // bytes acked now that had been SACKed before
  std::uint32_t lost = 0;      // bytes newly marked lost
  Duration rtt{};              // newest sample that Karn allows; 0: none
  bool dsack = false;          // a DSACK block: something arrived twice (RFC 2883)
  bool reordered = false;      // a hole was filled by an original that was never marked lost
  bool spurious = false;       // every retransmission of this episode was told of by DSACK
  bool nonsense = false;       // a SACK block outside [una, nxt] or upside down: ignored, counted
  // Bytes that newly are known to be with the peer (RFC 9937's DeliveredData).
  [[nodiscard]] std::uint32_t delivered() const { return acked - unsacked + sacked; }
};

class Scoreboard {
 public:
  struct Lost {
    SeqNumber seq;
    std::uint32_t length = 0;
  };

  Scoreboard(RecordPool& pool, SeqNumber first);
  ~Scoreboard();  // gives its chunks back
  Scoreboard(const Scoreboard&) = delete;
  Scoreboard& operator=(const Scoreboard&) = delete;

  // New bytes at nxt() went out. False: the pool is empty; nothing was recorded, don't send.
  [[nodiscard]] bool on_sent(Instant now, std::uint32_t length, std::uint16_t mss);
  // `lost` (from next_lost, or a prefix of it) went out again.
  void on_resent(Instant now, const Lost& lost);

  // ack: in [una(), nxt()]. rtt: for the reordering window of RACK. Marks what is lost by now.
  AckReport on_ack(Instant now, SeqNumber ack, std::span<const wire::SackBlock> sacks,
                   const RttEstimator& rtt, bool in_recovery);
  // The RACK timer: marks what is lost by now. Returns bytes newly lost.
  std::uint32_t on_reorder_timeout(Instant now, const RttEstimator& rtt);
  // When the RACK timer is due; never(): not armed.
  [[nodiscard]] Instant reorder_deadline() const;
  // RTO: everything not SACKed is lost (RFC 8985 §6.3); reneged: SACKs are forgotten, too
  // (RFC 2018 §8).
  void mark_all_lost(bool reneged);
  // A timeout or recovery proved spurious: nothing of the original flight is lost.
  void undo_lost();

  // The first bytes that are lost and not sent again, at most `most`. False: none.
  [[nodiscard]] bool next_lost(std::uint32_t most, Lost& out) const;
  // The last bytes sent, for a tail-loss probe (RFC 8985 §7.3): at most `most`.
  [[nodiscard]] bool last_sent(std::uint32_t most, Lost& out) const;

  [[nodiscard]] SeqNumber una() const;
  [[nodiscard]] SeqNumber nxt() const;
  [[nodiscard]] std::uint32_t in_flight() const;
  [[nodiscard]] std::uint32_t sacked() const;
  [[nodiscard]] std::uint32_t lost() const;  // bytes marked lost and not sent again
  [[nodiscard]] bool empty() const { return una() == nxt(); }
  // The time that the oldest unacknowledged bytes were last sent (RTO, user timeout).
  [[nodiscard]] Instant oldest_sent() const;

  // Re-derives every counter from the records.
  void validate() const;
};

}  // namespace penstock::transport
