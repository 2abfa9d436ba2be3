// What is under way: the sender's record of every segment, who has it, what is lost and what to
// send again (RFC 6675's scoreboard; loss by RACK, RFC 8985; DSACK, RFC 2883). Shared by TCP and
// uTP.
//
// Purpose: per ACK, constant time amortised, however much is in flight and whatever the peer
// SACKs.
//
// Structure. A *record* stands for at most an MSS [seq, seq + length) that was sent at one time; a
// TSO frame is cut into records when it is sent (two stores each: less than to cut it later). Its
// state is three bits: sacked, lost (judged so, and not sent again since), resent (at least once).
// Records lie in sequence order and without gaps in pages of 64 from the shard's pool, with the
// bits as words, so that runs of a state are found, counted and skipped 64 at a time. A directory
// (pages of the pool, too) names the pages in order: bytes are found by binary search, first where
// the last SACK was. Records are cut where a resent range ends inside one (the path's MTU shrank).
// A SACK that covers a record in part is ignored for it: no peer can make records smaller.
//
// Loss. Original transmissions are in time order as they are in sequence order: `cursor_` stands
// at the first that RACK may still judge, all before are decided. Retransmissions have a queue of
// ranges in time order, which forgets what has become stale when it gets to the front. Each record
// is passed by the cursor once, each retransmission judged once.
//
// Costs. An ACK without SACKs or losses: the head's page, no record is looked at. A SACK block:
// what it adds; blocks of the ACK before are skipped; else 64 records a step.
//
// in_flight() is RFC 6675's pipe in bytes: sent - acknowledged - SACKed - lost + lost and sent
// again. A probe that was sent again without being lost counts once. SYN and FIN are records of
// length 1.
//
// Timers: reorder_deadline() after on_ack and on_reorder_timeout, by the owner.
// Invariants: validate().
//
// DEVIATION(RFC 8985 §6.2 step 5): the timer is for the first suspect, not for the last: the next
// retransmission needn't wait for the whole burst.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/seq_number.hh"
#include "base/time.hh"
#include "transport/record_pool.hh"
#include "transport/rtt.hh"
#include "wire/tcp.hh"

namespace penstock::transport {

// What an acknowledgement said.
struct AckReport {
  std::uint32_t acked = 0;       // bytes by which the cumulative ACK advanced
  std::uint32_t sacked = 0;      // bytes newly SACKed
  std::uint32_t unsacked = 0;    // bytes acked now that had been SACKed before
  std::uint32_t lost = 0;        // bytes newly marked lost, originals and retransmissions
  std::uint32_t lost_again = 0;  // of them retransmissions: congestion goes on (RFC 5681 §4.3)
  // Bytes newly delivered that were never sent again (F-RTO, RFC 5682 §2.1: the timeout was
  // spurious if they had been sent before it).
  std::uint32_t original = 0;
  Duration rtt{};          // newest sample that Karn allows; 0: none
  bool dsack = false;      // a DSACK block: something arrived twice (RFC 2883)
  bool reordered = false;  // bytes below others that had arrived before came without being resent
  bool spurious = false;   // every retransmission of this episode was told of by DSACK
  bool nonsense = false;   // a SACK block outside [una, nxt] or upside down, an ACK beyond nxt
  wire::SackBlock duplicate;  // where dsack: what arrived twice (for TLP, RFC 8985 §7.4)
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
  ~Scoreboard();  // gives its pages back
  Scoreboard(const Scoreboard&) = delete;
  Scoreboard& operator=(const Scoreboard&) = delete;

  // Off: the peer doesn't do SACK, and RACK, which needs it (RFC 8985 §4), judges nothing: what is
  // lost is found by mark_first_lost and on_timeout. On at the beginning.
  void set_rack(bool on) { rack_ = on; }

  // New bytes at nxt() go out, now or later than whatever went before. False: the pool is empty or
  // this connection has kRecordsMax; nothing was recorded, don't send. length, mss > 0.
  [[nodiscard]] bool on_sent(Instant now, std::uint32_t length, std::uint16_t mss);
  // `sent` (from next_lost or last_sent, or a prefix of it) went out again.
  void on_resent(Instant now, const Lost& sent);
  // The same for a tail-loss probe: a DSACK of it isn't taken for reordering.
  void on_probed(Instant now, const Lost& sent);

  // ack: the segment's; an old one only brings its SACKs. sacks: as they came, a DSACK first. rtt:
  // with this ACK's sample or without. echoed: the latest instant at which what is acknowledged
  // can have been sent, by the timestamp echo; never(): without timestamps. Marks what is lost by
  // now.
  AckReport on_ack(Instant now, SeqNumber ack, std::span<const wire::SackBlock> sacks,
                   const RttEstimator& rtt, bool in_recovery, Instant echoed = Instant::never());
  // The RACK timer: marks what is lost by now; `lost` and `lost_again` of the report say it.
  AckReport on_reorder_timeout(Instant now, const RttEstimator& rtt);
  // When the RACK timer is due; never(): not armed.
  [[nodiscard]] Instant reorder_deadline() const { return deadline_; }
  // RTO: the first record and whatever was last sent an RTT and the reordering window ago are lost
  // (RFC 8985 §6.3). reneged: SACKs are forgotten, too (RFC 2018 §8).
  void on_timeout(Instant now, const RttEstimator& rtt, bool reneged);
  // For peers without SACK: the third duplicate ACK, a partial ACK (RFC 6582 §3.2). Returns bytes
  // newly lost.
  std::uint32_t mark_first_lost();
  // An episode of recovery begins (fast or by timeout): its retransmissions are counted from here
  // for `spurious`.
  void begin_episode();
  // End of the highest bytes judged lost in this episode, sent again since or not. Beyond what was
  // under way at its beginning: a congestion of its own (RFC 5681 §4.3).
  [[nodiscard]] SeqNumber lost_end() const { return lost_end_; }
  // Bytes sent again in this episode and not told of by DSACK. 0 at its end: none was needed.
  [[nodiscard]] std::uint32_t episode_resent() const { return episode_resent_; }
  // A timeout or recovery proved spurious: nothing is lost, until judged so anew. What was sent
  // again and lost again counts as sent now.
  void undo_lost(Instant now);

  // The first bytes that are lost and not sent again, at most `most`: whole records, or a part of
  // the first. False: none.
  [[nodiscard]] bool next_lost(std::uint32_t most, Lost& out);
  // The last bytes sent, for a tail-loss probe (RFC 8985 §7.3): of the last record, at most
  // `most`. False: none, or SACKed.
  [[nodiscard]] bool last_sent(std::uint32_t most, Lost& out) const;

  [[nodiscard]] SeqNumber una() const { return una_; }
  [[nodiscard]] SeqNumber nxt() const { return nxt_; }
  [[nodiscard]] std::uint32_t in_flight() const { return (nxt_ - una_) - sacked_ - lost_; }
  [[nodiscard]] std::uint32_t sacked() const { return sacked_; }
  // Records SACKed, for DupThresh (RFC 6675 §5).
  [[nodiscard]] std::uint32_t sacked_count() const { return sacked_count_; }
  [[nodiscard]] std::uint32_t lost() const { return lost_; }  // and not sent again
  [[nodiscard]] bool empty() const { return una_ == nxt_; }
  // The first unacknowledged bytes are SACKed: the peer took them back (RFC 2018 §8).
  [[nodiscard]] bool reneged() const;
  // The time that the oldest unacknowledged bytes were last sent (RTO, user timeout); never():
  // none.
  [[nodiscard]] Instant oldest_sent() const;

  // Into the cache: the pages at both ends; then, when those are there, the records at their ends.
  void prefetch_pages() const {
    if (head_ == RecordPool::kNone) return;
    __builtin_prefetch(&pool_->page(head_));
    __builtin_prefetch(&pool_->page(tail_));
  }
  void prefetch_records() const {
    if (head_ == RecordPool::kNone) return;
    const Page& first = pool_->page(head_);
    const Page& last = pool_->page(tail_);
    // Eight records are a line of `sent` and half of one of `seq`.
    const auto* first_sent = first.sent.data() + first.begin;
    const auto* last_sent = last.sent.data() + last.end;
    __builtin_prefetch(first.seq.data() + first.begin);
    __builtin_prefetch(first_sent);
    __builtin_prefetch(first_sent + 8);
    __builtin_prefetch(last.seq.data() + last.end);
    __builtin_prefetch(last_sent);
    __builtin_prefetch(last_sent + 8);
  }

  // Re-derives every counter from the records.
  void validate() const;

  static constexpr std::uint32_t kDirectoriesMax = 8;
  static constexpr std::uint32_t kRecordsMax =
      (kDirectoriesMax - 1) * RecordPool::kEntries * RecordPool::kRecords;

 private:
  using Page = RecordPool::Page;
  using Entry = RecordPool::Entry;
  struct Place {
    std::uint32_t entry;  // of the directory
    std::uint32_t index;  // of the page
  };
  struct AckState;

  // scoreboard_records.cc: the records' place in memory.
  [[nodiscard]] Entry& entry(std::uint32_t i) const;
  [[nodiscard]] Page& page(std::uint32_t i) const { return pool_->page(entry(i).page); }
  [[nodiscard]] Place find(SeqNumber seq) const;
  bool append_page();
  void pop_page();
  bool insert_entry(std::uint32_t at);
  bool split_page(std::uint32_t at);
  bool cut(SeqNumber at);
  void release_all();

  // scoreboard_ack.cc.
  [[nodiscard]] static std::uint32_t records_until(const Page& page, SeqNumber ack);
  bool ack_in_order(Instant now, SeqNumber ack, const RttEstimator& rtt, AckReport& report);
  void pop_acked(AckState& state, SeqNumber ack);
  void pop_records(AckState& state, Page& page, std::uint32_t end);
  void trim_first(AckState& state, SeqNumber ack);
  void take_sacks(AckState& state, std::span<const wire::SackBlock> sacks);
  bool take_duplicate(AckState& state, SeqNumber ack, std::span<const wire::SackBlock> sacks);
  void take_block(AckState& state, wire::SackBlock& block);
  void mark_sacked(AckState& state, wire::SackBlock& block);
  void deliver(AckState& state, const Page& page, std::uint64_t mask, bool cumulative);

  // scoreboard_loss.cc: RACK.
  [[nodiscard]] bool sent_before_newest(Instant sent, SeqNumber end) const;
  [[nodiscard]] Duration reorder_window(const RttEstimator& rtt) const;
  void adapt_reorder_window(bool duplicate, bool in_recovery);
  void detect_losses(Instant now, const RttEstimator& rtt, AckReport& report);
  void judge_originals(Instant overdue, AckReport& report);
  void judge_resent(Instant overdue, AckReport& report);
  void mark_lost(Page& page, std::uint64_t mask);
  void push_resent(Instant now, SeqNumber begin, SeqNumber end);
  void pop_resent_page();

  // --- hot: an ACK in order and a send touch these and the pages at both ends ---
  RecordPool* pool_;
  SeqNumber una_;
  SeqNumber nxt_;
  std::uint32_t sacked_ = 0;  // bytes
  std::uint32_t lost_ = 0;    // bytes
  std::uint32_t sacked_count_ = 0;
  std::uint32_t head_ = RecordPool::kNone;  // pages
  std::uint32_t tail_ = RecordPool::kNone;
  std::uint32_t resent_head_ = RecordPool::kNone;
  Instant deadline_ = Instant::never();
  // RACK.xmit_ts, RACK.end_seq, RACK.rtt: of the newest transmission that is known delivered.
  Instant newest_sent_{-1};
  Duration newest_rtt_{};
  SeqNumber newest_end_;
  SeqNumber highest_;  // RACK.fack: end of the highest bytes delivered

  // --- where holes are ---
  SeqNumber cursor_;      // originals below are decided
  SeqNumber lost_first_;  // nothing below is lost
  SeqNumber lost_end_;    // nothing above was judged lost in this episode
  std::uint32_t directory_begin_ = 0;
  std::uint32_t directory_end_ = 0;
  mutable std::uint32_t hint_ = 0;  // entry where something was found last
  std::uint32_t resent_tail_ = RecordPool::kNone;
  std::array<std::uint32_t, kDirectoriesMax> directory_{};
  std::array<wire::SackBlock, 4> known_{};  // of the ACK before, all of it marked
  std::uint8_t known_count_ = 0;

  // --- reordering and undo ---
  std::uint32_t episode_resent_ = 0;
  std::uint32_t duplicate_credit_ = 0;  // bytes sent again and not yet seen twice
  SeqNumber episode_began_;
  SeqNumber episode_highest_;
  SeqNumber duplicate_round_;
  SeqNumber probe_begin_;
  SeqNumber probe_end_;
  std::uint8_t reorder_multiple_ = 1;
  std::uint8_t reorder_persist_ = 0;
  bool reordering_seen_ = false;
  bool in_duplicate_round_ = false;
  bool in_episode_ = false;
  bool in_recovery_ = false;
  bool rack_ = true;
};

}  // namespace penstock::transport
