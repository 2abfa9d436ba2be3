// Ethernet II frames (IEEE 802.3), with an 802.1Q tag or without.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/endian.hh"

namespace penstock::wire {

struct MacAddress {
  std::array<std::uint8_t, 6> bytes{};

  bool operator==(const MacAddress&) const = default;
};

}  // namespace penstock::wire
