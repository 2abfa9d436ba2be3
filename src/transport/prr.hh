// Proportional Rate Reduction (RFC 9937): what may be sent during fast recovery.
//
// Algorithm: while more is under way than ssthresh, ssthresh / RecoverFS bytes go for every byte
// that is delivered; below it, as much as is delivered, and an MSS more for an ACK that shows good
// progress, until ssthresh is reached. So the window shrinks smoothly, the ACK clock never stops,
// and nothing bursts when a whole flight was lost.
// Timers: none. The owner calls start() at the ACK (or timer) that begins the recovery, then
// on_ack() for that one too and for every further one, on_sent() for whatever goes, new or again;
// when the recovery ends its window is ssthresh (RFC 9937 §6.2). Invariants: on_ack() - in_flight
// <= max(delivered - sent, delivered now) + MSS, or what is left to ssthresh; sent <= delivered ×
// ssthresh / RecoverFS, rounded up, while in_flight > ssthresh (but one MSS to begin with).
#pragma once

#include <cstdint>

namespace penstock::transport {

class Prr {
 public:
  // in_flight: RecoverFS, that is SND.NXT - SND.UNA before the ACK that begins the recovery, less
  // what had been SACKed before it (RFC 9937 §6.1). ssthresh: where to end. Bytes.
  void start(std::uint32_t in_flight, std::uint32_t ssthresh, std::uint16_t mss);
  // delivered: bytes newly known to be with the peer; in_flight: bytes under way now (the pipe);
  // safe: SND.UNA advanced and nothing was newly judged lost (SafeACK). Returns the window: in
  // flight and what may be sent. Also with delivered 0, when a timer found losses.
  std::uint32_t on_ack(std::uint32_t delivered, std::uint32_t in_flight, bool safe);
  void on_sent(std::uint32_t bytes) { sent_ += bytes; }

 private:
  std::uint64_t delivered_ = 0;
  std::uint64_t sent_ = 0;
  std::uint32_t began_with_ = 0;
  std::uint32_t ssthresh_ = 0;
  std::uint16_t mss_ = 0;
};

}  // namespace penstock::transport
