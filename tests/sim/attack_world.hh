// A server with established flows, an honest client behind a router, and somebody elsewhere who
// attacks: floods of spoofed SYNs or ACKs (RFC 4987), or segments that guess their way into the
// flows (RFC 5961). The same seed without the attack is what it is measured against.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "sim/bulk_host.hh"

namespace penstock::test {

struct AttackOptions {
  enum class Kind : std::uint8_t {
    none,
    syns,     // of sources that don't exist
    cookies,  // half of them, and ACKs with made-up cookies
    blind,    // RST, SYN, FIN, data and ACKs for the flows, with numbers inside and outside of the
              // windows: everything but those that only who sees the flow could send
  };
  Kind kind = Kind::none;
  std::uint64_t seed = 1;
  bool v6 = false;
  std::uint32_t frames_per_second = 200'000;
  std::size_t flows = 4;
  // Four flows that a window of 64 KiB holds to 13 MB/s each way, without a loss: what slows them
  // is the attack. congested: windows of 1 MiB through 100 Mbit/s, as it is in life, and so with
  // chance.
  bool congested = false;
  Duration warm_up = Duration::seconds(2);  // then the attack begins, and what is measured
  Duration length = Duration::seconds(2);
};

struct AttackResult {
  std::string wrong;  // empty: nothing
  // Bytes delivered while it lasted: from the server, and to it.
  std::uint64_t down = 0;
  std::uint64_t up = 0;
  std::uint64_t slowest = 0;  // of the flows, down
  std::uint64_t attack_frames = 0;
  std::uint64_t ring_drops = 0;  // at the server's device
  std::uint64_t syns = 0;
  std::uint64_t cookies_sent = 0;
  std::uint64_t cookies_good = 0;
  std::uint64_t challenges = 0;
  std::uint64_t challenges_most = 0;  // in any second
  std::uint64_t resets_most = 0;      // sent in any second
  std::uint64_t timeouts = 0;         // of retransmissions, at both ends
  std::uint64_t recoveries = 0;
  std::uint32_t connections_most = 0;
  std::uint64_t allocations = 0;  // by both stacks, in all
  Duration newcomer_connected{};  // how long it took; 0: it didn't
  std::uint64_t newcomer_bytes = 0;
  double nanoseconds_per_attack_frame = 0;  // of the real clock, in the server's stack
};

class AttackWorld {
 public:
  explicit AttackWorld(const AttackOptions& options);
  ~AttackWorld();
  AttackResult run();

  // The newcomer's.
  static constexpr std::uint64_t kNewcomerBytes = 200'000;

 private:
  class Watch;

  void attack(Instant now);
  support::Bytes flood_frame();
  support::Bytes blind_frame();
  void sample(Instant now, AttackResult& out);
  [[nodiscard]] std::uint64_t received(const BulkHost& host) const;

  const AttackOptions options_;
  support::SimLink link_;
  std::unique_ptr<Watch> watch_;
  std::unique_ptr<BulkHost> server_;
  std::unique_ptr<BulkHost> client_;
  Random random_;
  std::uint64_t sent_ = 0;
  Instant sampled_{};
  std::uint64_t challenges_before_ = 0;
  std::uint64_t resets_before_ = 0;
};

}  // namespace penstock::test
