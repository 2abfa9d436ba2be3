// A DPDK port as the device of the one shard: it starts EAL, on its thread, and ends it.
#include "app/nic_device.hh"
#include "nic_dpdk/dpdk_port.hh"
#include "nic_dpdk/eal.hh"

namespace penstock::app {
namespace {

class DpdkNic final : public NicDevice {
 public:
  DpdkNic(std::unique_ptr<nic_dpdk::Eal> eal, std::unique_ptr<nic_dpdk::DpdkPort> port)
      : eal_(std::move(eal)), port_(std::move(port)) {}

  net::NicPort& port() override { return *port_; }
  [[nodiscard]] bool more_received() const override { return port_->more_received(); }
  [[nodiscard]] control::PayloadBytes payload() const override {
    const nic_dpdk::DpdkCounters& counters = port_->counters();
    return {counters.payload_bytes_zero_copy, counters.payload_bytes_copied, port_->copy_reason()};
  }
  void stop() override { port_->stop(); }

 private:
  std::unique_ptr<nic_dpdk::Eal> eal_;
  std::unique_ptr<nic_dpdk::DpdkPort> port_;
};

}  // namespace

Result<std::unique_ptr<NicDevice>> open_dpdk_nic(const NicOptions& options) {
  auto device = nic_dpdk::parse_device(options.network.device);
  if (!device) return tl::unexpected(std::move(device).error().context("--device"));
  auto eal =
      nic_dpdk::Eal::start({.devices = {*device}, .hugepages = options.capabilities.hugepages});
  if (!eal) return tl::unexpected(std::move(eal).error());
  nic_dpdk::DpdkOptions settings;
  settings.device = *device;
  settings.offload = options.network.offload;
  settings.content = options.content;
  auto port = nic_dpdk::DpdkPort::create(**eal, settings);
  if (!port) return tl::unexpected(std::move(port).error());
  return std::make_unique<DpdkNic>(std::move(*eal), std::move(*port));
}

}  // namespace penstock::app
