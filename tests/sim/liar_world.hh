// A server that sends in bulk to a receiver that lies about what it got, to be sent more than an
// honest one would be (Savage et al., "TCP congestion control with a misbehaving receiver", 1999).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "sim/bulk_host.hh"

namespace penstock::test {

enum class Lie : std::uint8_t {
  none,
  divided,     // an ACK for every hundred bytes
  duplicates,  // eight duplicate ACKs more for every segment
  optimistic,  // ACKs of what isn't sent
  reneging,    // throws away what it SACKed
  absurd,      // SACK blocks that are upside down, beyond everything, of a byte, everywhere
  claiming,    // SACKs all that is under way, holes or not
  concealing,  // acknowledges whatever was sent last, holes or not
  forging,     // DSACKs and old timestamps that call every retransmission needless
};
inline constexpr Lie kLies[] = {Lie::none,       Lie::divided,    Lie::duplicates,
                                Lie::optimistic, Lie::reneging,   Lie::absurd,
                                Lie::claiming,   Lie::concealing, Lie::forging};
const char* name_of(Lie lie);

struct LiarOptions {
  Lie lie = Lie::none;
  std::uint64_t seed = 1;
  bool sack = true;
  bool timestamps = true;
  std::uint32_t loss = 5'000;                   // per million, of the server's segments
  std::uint64_t rate = 125'000'000;             // bytes a second, of the path
  Duration delay = Duration::milliseconds(20);  // each way
  Duration length = Duration::seconds(10);
};

struct LiarResult {
  std::string wrong;            // empty: nothing
  std::uint64_t delivered = 0;  // bytes in order, which is all that an application gets
  std::uint64_t sent = 0;       // payload on the wire, also what went again
  std::uint64_t acks = 0;
  // The most that the server had sent beyond its initial window and twice what the receiver had:
  // > 0 where the window grew by more than what came.
  std::int64_t excess = 0;
  std::uint64_t allocations = 0;
  double nanoseconds_per_ack = 0;  // of the real clock, in the server's stack
};

class LiarWorld {
 public:
  explicit LiarWorld(const LiarOptions& options);
  ~LiarWorld();
  LiarResult run();

 private:
  class Watch;

  void receive(Instant now);
  void on_data(Instant now, const wire::TcpSegment& segment);
  void absorb(std::uint64_t begin, std::uint64_t end);
  void answer(bool again);
  void lie_more(std::uint64_t next_before);
  void add_sacks(wire::TcpOptions& options);
  void send(std::uint8_t flags, std::uint64_t ack, const wire::TcpOptions& options);
  wire::TcpOptions stamped();

  const LiarOptions options_;
  support::SimLink link_;
  std::unique_ptr<Watch> watch_;
  std::unique_ptr<BulkHost> server_;
  Random random_;
  LiarResult out_;

  // The receiver. Positions count from the server's first byte.
  Instant now_{};
  bool synchronised_ = false;
  SeqNumber iss_;  // the server's
  std::uint64_t next_ = 0;
  std::uint64_t unique_ = 0;  // bytes that ever came
  std::uint64_t highest_ = 0;
  std::map<std::uint64_t, std::uint64_t> islands_;
  std::map<std::uint64_t, std::uint64_t> ever_;
  std::uint64_t newest_ = 0;  // where the last segment out of order began
  std::uint64_t resent_begin_ = 0;
  std::uint64_t resent_end_ = 0;
  std::uint32_t unacked_ = 0;
  std::uint32_t ts_recent_ = 0;
  std::uint32_t ts_oldest_ = 0;
  Instant ack_at_ = Instant::never();
};

}  // namespace penstock::test
