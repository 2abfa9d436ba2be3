// From what a DPDK device says of itself, and from what it doesn't say, to how it is used.
//
// Pure functions: rte_eth_dev_info in, choices out.
#pragma once

#include <cstdint>
#include <string_view>

#include <rte_ethdev.h>

#include "base/result.hh"
#include "nic_dpdk/driver_facts.hh"

namespace penstock::nic_dpdk {

// Why payload is copied into the frame's own memory; `none`: it goes by reference.
enum class CopyReason : std::uint8_t {
  none,
  one_segment,      // the device takes a frame in one piece, or in too few
  foreign_memory,   // the other side maps EAL's memory only (Reach::shared), the arena is another
  physical_memory,  // it wants physical addresses, which the arena's pages have singly
  not_mapped,       // the arena couldn't be registered or mapped for DMA
  outside_arena,    // small bytes between blocks, for a device that only reaches the arena
  as_asked,         // Wishes::by_reference is off
};
// "one_segment"; static.
[[nodiscard]] const char* copy_reason_name(CopyReason reason);

struct Wishes {
  std::uint16_t mtu = 1500;    // 1,280 … kMtuMax
  bool offload = true;         // checksums and TSO
  bool by_reference = true;    // payload, where the device can
  bool iova_virtual = true;    // EAL's mode
  bool arena_mapped = false;   // for DMA
  bool arena_shared = false;   // it is EAL's memory
  std::string_view arguments;  // the device's
};
inline constexpr std::uint16_t kMtuMax = 9600;

struct Choice {
  std::uint16_t mtu = 0;
  std::uint64_t rx_offloads = 0;
  std::uint64_t tx_offloads = 0;
  std::uint16_t rx_descriptors = 0;
  std::uint16_t tx_descriptors = 0;
  bool tx_checksum = false;
  std::uint32_t tso_bytes_max = 0;
  CopyReason copies = CopyReason::none;
  // Bytes of a mbuf's data, headroom included: of one that receives, and of one that a frame to be
  // sent begins in.
  std::uint16_t rx_room = 0;
  std::uint16_t tx_room = 0;
};
[[nodiscard]] Result<Choice> choose(const rte_eth_dev_info& info, const Wishes& wishes);

}  // namespace penstock::nic_dpdk
