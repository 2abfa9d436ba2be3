#include "app/nic_device.hh"

#include "nic_tap/tap_port.hh"

namespace penstock::app {
namespace {

class TapNic final : public NicDevice {
 public:
  explicit TapNic(std::unique_ptr<nic_tap::TapPort> port) : port_(std::move(port)) {}

  net::NicPort& port() override { return *port_; }
  [[nodiscard]] int fd() const override { return port_->fd(); }
  [[nodiscard]] bool more_received() const override { return port_->more_received(); }
  [[nodiscard]] const char* failure() const override {
    return port_->gone() ? "the TAP interface was deleted: make it again, then start again" : "";
  }
  [[nodiscard]] std::uint64_t system_calls() const override { return port_->counters().calls; }

 private:
  std::unique_ptr<nic_tap::TapPort> port_;
};

}  // namespace

Result<std::unique_ptr<NicEnvironment>> open_nic_environment(const control::OwnNetwork& network,
                                                             const host::Capabilities& capabilities,
                                                             std::uint64_t content_bytes) {
  if (network.driver != control::OwnNetwork::Driver::dpdk) return std::unique_ptr<NicEnvironment>();
  return open_dpdk_environment(network, capabilities, content_bytes);
}

Result<std::unique_ptr<NicDevice>> open_nic(const NicOptions& options) {
  const control::OwnNetwork& network = options.network;
  if (network.driver == control::OwnNetwork::Driver::dpdk) return open_dpdk_nic(options);
  if (network.driver == control::OwnNetwork::Driver::xdp) return open_xdp_nic(options);
  auto port = nic_tap::TapPort::create(
      {.interface = network.device, .offload = network.offload, .mac = {}});
  if (!port) return tl::unexpected(std::move(port).error());
  return std::make_unique<TapNic>(std::move(*port));
}

}  // namespace penstock::app
