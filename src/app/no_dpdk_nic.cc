#include "app/nic_device.hh"

namespace penstock::app {

Result<std::unique_ptr<NicDevice>> open_dpdk_nic(const NicOptions&) {
  return fail(
      "this penstock was built without DPDK: install libdpdk-dev (22.11) and build it anew, or "
      "take another --backend");
}

}  // namespace penstock::app
