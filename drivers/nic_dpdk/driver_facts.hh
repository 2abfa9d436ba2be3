// What is known of DPDK's drivers beyond what they say of themselves.
#pragma once

#include <cstdint>
#include <string_view>

#include "nic_dpdk/eal.hh"

namespace penstock::nic_dpdk {

// Whose memory a device can send from.
enum class Reach : std::uint8_t {
  process,  // a driver in software, which reads the payload with this process's eyes
  shared,   // another process maps EAL's memory, and no other
  dma,      // the device itself: what was registered and mapped for it
};

// What capabilities don't say. Sources and versions: README.md.
struct DriverFacts {
  std::string_view name;
  Reach reach = Reach::dma;
  bool sums = true;      // its checksum offload can be relied on
  bool segments = true;  // and its TSO, for IPv4 and IPv6
  // It takes a link down in EAL's thread for interrupts, with no lock against stop and close.
  bool interrupts_stop = false;
  // Its MAC address is that of the kernel at the other end of the cable.
  bool kernels_mac = false;
  std::uint64_t shared_max = UINT64_MAX;  // of EAL's memory that it can share, bytes
  std::uint16_t burst_max = UINT16_MAX;   // frames that it may be given at once
};
// Of rte_eth_dev_info::driver_name, or of what a virtual device is called; one that isn't known is
// taken for a physical device's. arguments: the device's, as EAL is given them.
[[nodiscard]] DriverFacts facts_of(std::string_view driver, std::string_view arguments);
// The same before EAL has made it.
[[nodiscard]] DriverFacts facts_of(const DeviceName& device);

}  // namespace penstock::nic_dpdk
