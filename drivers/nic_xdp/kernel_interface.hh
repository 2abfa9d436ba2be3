// What the kernel knows of an interface that we share with it: read once, at start.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/address.hh"
#include "base/result.hh"
#include "wire/ethernet.hh"

namespace penstock::nic_xdp {

struct KernelInterface {
  struct Address {
    IpAddress address;
    std::uint8_t prefix_length = 0;
    IpAddress gateway;  // of the default route by this interface; unspecified: there is none
  };

  std::string name;
  unsigned index = 0;
  wire::MacAddress mac;
  std::uint16_t mtu = 1500;        // largest IP packet, bytes
  std::uint32_t rx_queues = 1;     // in use
  std::string driver;              // "veth", "ice"; empty: it doesn't say
  std::vector<Address> addresses;  // but for those of the link alone (fe80::/10)
};

// The interface must be there, be Ethernet, and be up.
[[nodiscard]] Result<KernelInterface> read_interface(const std::string& name);

}  // namespace penstock::nic_xdp
