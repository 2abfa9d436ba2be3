// An address of ours on the link.
#pragma once

#include <cstdint>

#include "base/address.hh"

namespace penstock::net {

struct Interface {
  IpAddress address;
  std::uint8_t prefix_length = 0;  // of the network on the link: 0 … 32 or 128
  IpAddress gateway;               // unspecified: none
};

}  // namespace penstock::net
