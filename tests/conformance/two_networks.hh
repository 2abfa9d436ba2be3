// Two network namespaces of the test's own, joined by a veth pair: "near", where the process is,
// and "far", whose kernel is the peer. Near has 10.9.0.1 and fd09::1 on xdp0, far .2 and ::2 on
// xdp1.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "host/fd.hh"
#include "wire/ethernet.hh"

namespace penstock::conformance {

class TwoNetworks {
 public:
  // nullptr, with the reason.
  [[nodiscard]] static std::unique_ptr<TwoNetworks> make(std::string& why_not);
  ~TwoNetworks();

  // Runs it with the calling thread in the far one. Sockets stay where they were made.
  void in_far(const std::function<void()>& what) const;

  [[nodiscard]] const wire::MacAddress& near_mac() const { return near_mac_; }
  [[nodiscard]] const wire::MacAddress& far_mac() const { return far_mac_; }

 private:
  host::Fd near_, far_;
  wire::MacAddress near_mac_, far_mac_;
};

}  // namespace penstock::conformance
