// TIME-WAIT (RFC 9293 §3.6.1) as mini control blocks: about 100 bytes each, so that tens of
// thousands cost little.
//
// A block answers what an old duplicate, a retransmitted FIN or a new SYN deserves, and goes after
// 2 MSL. RST is ignored (RFC 1337 §3). A new SYN is let in when its timestamp, or without
// timestamps its sequence number, is newer than all of the old connection (RFC 6191 §2).
//
// Found by flow: a hash table with chains; in order of expiry: a list (all wait equally long, a
// restarted one goes to the end). When full, the oldest goes and is counted.
#pragma once

#include <cstdint>
#include <vector>

#include "base/seq_number.hh"
#include "base/time.hh"
#include "tcp/flow.hh"
#include "tcp/segment_out.hh"
#include "tcp/shared.hh"
#include "wire/tcp.hh"

namespace penstock::tcp {

// What a connection leaves behind.
struct TimeWaitState {
  SeqNumber snd_nxt;
  SeqNumber rcv_nxt;
  std::uint16_t window = 0;  // as it goes on the wire
  bool timestamps = false;
  std::uint32_t ts_recent = 0;
  std::uint32_t ts_offset = 0;
  Instant ts_recent_at{};
};

class TimeWaitTable {
 public:
  enum class Verdict : std::uint8_t {
    not_here,  // no such flow
    drop,
    reply,   // send `reply`
    reopen,  // a new SYN: the block is gone, give the segment to the listener, with `iss_least`
  };
  struct Answer {
    Verdict verdict = Verdict::not_here;
    SeqNumber iss_least;  // reopen: the new connection's iss must not be before this
    SegmentOut reply;
  };

  explicit TimeWaitTable(Shared& shared);

  void add(Instant now, const Flow& flow, const TimeWaitState& state);
  // Fills in `answer.reply` only when that is the verdict.
  void on_segment(Instant now, const Flow& flow, const wire::TcpSegment& segment, Answer& answer);
  // Whether the tuple is taken (active open picks another port).
  [[nodiscard]] bool contains(const Flow& flow) const;
  // Frees what is over.
  void on_timeout(Instant now);
  [[nodiscard]] Instant next_timeout() const;
  [[nodiscard]] std::uint32_t size() const { return size_; }
  void validate() const;

 private:
  struct Block {
    Flow flow;
    TimeWaitState state;
    Instant expires{};
    std::uint32_t chain = 0;  // next of the bucket
    std::uint32_t older = 0;
    std::uint32_t newer = 0;
  };
  static constexpr std::uint32_t kNone = ~0u;

  [[nodiscard]] std::uint32_t& bucket(const Flow& flow);
  [[nodiscard]] std::uint32_t find(const Flow& flow) const;
  void remove(std::uint32_t index);
  void append(Instant now, std::uint32_t index);
  void unlink(std::uint32_t index);

  Shared& shared_;
  std::uint32_t size_ = 0;
  std::uint32_t free_ = kNone;
  std::uint32_t oldest_ = kNone;
  std::uint32_t newest_ = kNone;
  std::vector<std::uint32_t> buckets_;
  std::vector<Block> blocks_;
};

}  // namespace penstock::tcp
