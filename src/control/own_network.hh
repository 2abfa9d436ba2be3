// What a user says of a TCP of our own: which device, and who we are on it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/address.hh"

namespace penstock::control {

// Own TCP over a device of ours, instead of the kernel's.
struct OwnNetwork {
  enum class Driver : std::uint8_t { tap, dpdk, xdp };
  // An address of ours on the link; IPv4 and IPv6.
  struct Address {
    IpAddress address;
    std::uint8_t prefix_length = 0;
    IpAddress gateway;  // unspecified: none
  };
  Driver driver = Driver::tap;
  // tap, xdp: the interface. dpdk: a device in EAL's words, "net_tap0,iface=seed0" or
  // "0000:01:00.0".
  std::string device;
  std::vector<Address> addresses;  // at least one; xdp: none means those of the interface
  bool offload = true;             // TSO and checksums are the device's, where it can
  std::uint16_t mtu = 0;           // dpdk: largest IP packet, bytes; 0: as the device has it
};

}  // namespace penstock::control
