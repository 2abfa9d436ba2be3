#include "transport/rtt.hh"

#include <algorithm>

namespace penstock::transport {
namespace {

constexpr Duration kLeastWindow = Duration::seconds(5);
// Whatever a peer's timestamps pretend.
constexpr Duration kRttMost = Duration::seconds(300);

}  // namespace

void RttEstimator::on_sample(Instant now, Duration rtt) {
  rtt = std::clamp(rtt, Duration::nanoseconds(1), kRttMost);
  if (!has_sample()) {
    // RFC 6298 §2.2.
    srtt_ = rtt;
    rttvar_ = rtt / 2;
  } else {
    // RFC 6298 §2.3: the variation first, from the SRTT before.
    const std::int64_t error = srtt_.ns > rtt.ns ? srtt_.ns - rtt.ns : rtt.ns - srtt_.ns;
    rttvar_.ns += (error - rttvar_.ns) / 4;
    srtt_.ns = std::max<std::int64_t>(srtt_.ns + (rtt.ns - srtt_.ns) / 8, 1);
  }
  if (least_now_ == Duration::max() && least_before_ == Duration::max()) window_began_ = now;
  if (now - window_began_ >= kLeastWindow) {
    // A window without any sample in between leaves nothing of the one before.
    least_before_ = now - window_began_ >= kLeastWindow * 2 ? Duration::max() : least_now_;
    least_now_ = Duration::max();
    window_began_ = now;
  }
  least_now_ = std::min(least_now_, rtt);
}

void RttEstimator::restart() {
  srtt_ = {};
  rttvar_ = {};
}

}  // namespace penstock::transport
