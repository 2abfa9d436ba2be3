// Who may download from us: the seeding choker.
//
// A seed gains nothing by preferring one peer to another, so turns are fair: among the interested,
// whoever was served longest ago goes first (BEP 3 leaves a seed's choice open). With fewer slots
// than interested peers, whoever had a slot for a whole `turn` passes it to who waits longest. One
// slot at a time, at least turn / slots apart: pipes don't run dry together, and nobody comes back
// in the moment he left.
//
// Peers are numbers below peers_max (the shard's connection indices). All memory is taken by the
// constructor. Invariants: unchoked ⊆ interested ⊆ present; unchoked_count() ≤ slots, if limited.
#pragma once

#include <cstdint>
#include <memory>

#include "base/time.hh"

namespace penstock {

class Choker {
 public:
  struct Change {
    std::uint32_t peer = 0;
    bool choked = false;
  };

  // slots: unchoked peers at once; 0: everyone who is interested.
  Choker(std::uint32_t peers_max, std::uint32_t slots, Duration turn = Duration::seconds(10));

  void on_interested(Instant now, std::uint32_t peer);
  void on_not_interested(Instant now, std::uint32_t peer);
  // The connection is gone; no change is reported for it.
  void remove(Instant now, std::uint32_t peer);
  void set_slots(Instant now, std::uint32_t slots);

  void on_timeout(Instant now);
  [[nodiscard]] Instant next_timeout() const { return timer_; }
  // What to tell whom, until false.
  bool poll_change(Instant now, Change& change);

  [[nodiscard]] std::uint32_t unchoked_count() const { return unchoked_.count; }
  [[nodiscard]] std::uint32_t waiting_count() const { return waiting_.count; }
  [[nodiscard]] bool is_unchoked(std::uint32_t peer) const;
  void validate() const;

 private:
  static constexpr std::uint32_t kNone = 0xffffffff;
  enum class Where : std::uint8_t { absent, waiting, unchoked };
  struct Peer {
    std::uint32_t next = kNone, prev = kNone;  // in waiting_ or unchoked_
    std::uint32_t change_next = kNone;         // in the list of changes
    Instant since;                             // unchoked since
    Where where = Where::absent;
    bool told_unchoked = false;  // what the peer was last told
    bool in_changes = false;
  };
  struct List {
    std::uint32_t head = kNone, tail = kNone, count = 0;
  };
  void append(List& list, std::uint32_t peer, Where where);
  void unlink(std::uint32_t peer);
  void note_change(std::uint32_t peer);
  void fill_slots(Instant now);
  void rearm();

  std::unique_ptr<Peer[]> peers_;
  std::uint32_t peers_max_;
  std::uint32_t slots_;
  Duration turn_;
  Instant timer_ = Instant::never();
  Instant last_pass_;
  List waiting_;   // longest since served first
  List unchoked_;  // longest since unchoked first
  std::uint32_t changes_head_ = kNone, changes_tail_ = kNone;
};

}  // namespace penstock
