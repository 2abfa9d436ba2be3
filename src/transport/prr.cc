#include "transport/prr.hh"

#include <algorithm>

namespace penstock::transport {

void Prr::start(std::uint32_t in_flight, std::uint32_t ssthresh, std::uint16_t mss) {
  delivered_ = 0;
  sent_ = 0;
  began_with_ = std::max(in_flight, 1u);
  ssthresh_ = ssthresh;
  mss_ = mss;
}

std::uint32_t Prr::on_ack(std::uint32_t delivered, std::uint32_t in_flight, bool safe) {
  delivered_ += delivered;
  std::uint64_t may = 0;
  if (in_flight > ssthresh_) {
    const std::uint64_t out = (delivered_ * ssthresh_ + began_with_ - 1) / began_with_;
    may = out > sent_ ? out - sent_ : 0;
  } else {
    // PRR-CRB, and an MSS more, PRR-SSRB.
    const std::uint64_t owed = delivered_ > sent_ ? delivered_ - sent_ : 0;
    may = std::max<std::uint64_t>(owed, delivered);
    if (safe) may += mss_;
    may = std::min<std::uint64_t>(may, ssthresh_ - in_flight);
  }
  // The first retransmission goes in any case.
  if (sent_ == 0 && may == 0) may = mss_;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(in_flight + may, ~0u));
}

}  // namespace penstock::transport
