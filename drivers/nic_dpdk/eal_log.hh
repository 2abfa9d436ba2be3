// What EAL and its drivers log: the last complaints, for error messages.
#pragma once

#include <string>

namespace penstock::nic_dpdk {

// From now on rte_log writes here; once, before rte_eal_init.
void catch_log();
// The complaints (warnings and worse) since the last call, in one line; empty: none. Any thread.
[[nodiscard]] std::string take_complaints();

}  // namespace penstock::nic_dpdk
