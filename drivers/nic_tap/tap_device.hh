// A TAP interface of Linux: opened, or made where we may.
//
// What is written to the descriptor arrives on the interface as if from its cable; what the kernel
// sends by the interface is read. Each frame has a virtio_net_hdr in front (IFF_VNET_HDR): by it
// either side hands over frames larger than the MTU and checksums to be filled in.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.hh"
#include "host/fd.hh"
#include "wire/ethernet.hh"

namespace penstock::nic_tap {

struct TapDevice {
  host::Fd fd;       // non-blocking
  std::string name;  // of the interface
  // The interface's own address: that of the kernel at the other end of the cable.
  wire::MacAddress kernel_mac;
  std::uint16_t mtu = 1500;  // largest IP packet, bytes
  bool made = false;         // the interface wasn't there before; it goes away with the descriptor
};

// name: may be empty or hold a "%d" (the kernel then numbers it). receive_offload: the kernel may
// give us frames that it would have had to cut and to sum for a wire. An interface that is
// down is brought up; where that isn't allowed, it must be up.
[[nodiscard]] Result<TapDevice> open_tap(const std::string& name, bool receive_offload);

}  // namespace penstock::nic_tap
