#include "app/nic_device.hh"

namespace penstock::app {
namespace {

tl::unexpected<Error> without_dpdk() {
  return fail(
      "this penstock was built without DPDK: install libdpdk-dev (22.11) and build it anew, or "
      "take another --backend");
}

}  // namespace

Result<std::unique_ptr<NicEnvironment>> open_dpdk_environment(const control::OwnNetwork&,
                                                              const host::Capabilities&,
                                                              std::uint64_t) {
  return without_dpdk();
}

Result<std::unique_ptr<NicDevice>> open_dpdk_nic(const NicOptions&) {
  return without_dpdk();
}

}  // namespace penstock::app
