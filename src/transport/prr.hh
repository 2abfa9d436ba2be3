// Proportional Rate Reduction (RFC 9937): what may be sent during fast recovery.
#pragma once

#include <cstdint>

namespace penstock::transport {

class Prr {
 public:
  // Recovery begins. in_flight: bytes that were under way (RecoverFS), ssthresh: where to end.
  void start(std::uint32_t in_flight, std::uint32_t ssthresh, std::uint16_t mss);
  // An ACK of recovery: bytes newly delivered, bytes under way now, whether it advanced SND.UNA
  // without telling of a new loss (SafeACK). Returns the window: in flight + what may be sent.
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
