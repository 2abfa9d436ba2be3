// What a device is to sum and to cut, from net::TxFrame's words to DPDK's (rte_mbuf_core.h,
// RTE_MBUF_F_TX_TCP_SEG). Pure.
#pragma once

#include "net/nic_port.hh"

struct rte_mbuf;

namespace penstock::nic_dpdk {

// frame.transport_at isn't 0, and `head` has the frame's head and the length of all of it. ICMP,
// which no device sums, is summed here.
void describe_offload(const net::TxFrame& frame, rte_mbuf& head);

}  // namespace penstock::nic_dpdk
