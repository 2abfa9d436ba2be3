// What sending keeps beside a mbuf, and how much memory receiving may gather in.
#pragma once

#include <cstddef>
#include <cstdint>

#include <rte_mbuf_core.h>

namespace penstock::nic_dpdk {

class DpdkPort;

// In the private area of a part's mbuf: one for each attachment, so that the 16 bits of its count
// only ever hold a one.
struct PartInfo {
  rte_mbuf_ext_shared_info shared;
  DpdkPort* port;
  std::uint32_t* in_use;
};
static_assert(sizeof(PartInfo) % 8 == 0);  // RTE_MBUF_PRIV_ALIGN

// Frames of several segments in one burst, bytes: some of the largest, or a burst of ordinary ones.
inline constexpr std::size_t kGatherMax = 512u << 10;

}  // namespace penstock::nic_dpdk
