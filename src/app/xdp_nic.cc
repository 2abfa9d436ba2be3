#include <spdlog/spdlog.h>

#include "app/nic_device.hh"
#include "nic_xdp/xdp_port.hh"

namespace penstock::app {
namespace {

class XdpNic final : public NicDevice {
 public:
  explicit XdpNic(std::unique_ptr<nic_xdp::XdpPort> port) : port_(std::move(port)) {}

  net::NicPort& port() override { return *port_; }
  [[nodiscard]] int fd() const override { return port_->fd(); }
  [[nodiscard]] bool more_received() const override { return port_->more_received(); }
  [[nodiscard]] const char* failure() const override {
    return port_->gone() ? "the interface was deleted: make it again, then start again" : "";
  }
  [[nodiscard]] std::uint64_t system_calls() const override { return port_->counters().calls; }
  [[nodiscard]] control::PayloadBytes payload() const override {
    return {.copied = port_->counters().payload_bytes_copied, .reason = "gathered"};
  }

 private:
  std::unique_ptr<nic_xdp::XdpPort> port_;
};

void tell(const nic_xdp::XdpPort& port) {
  const std::string& name = port.device().kernel().name;
  spdlog::info("{}: AF_XDP {}, {}", name,
               port.device().program().in_driver() ? "in the driver" : "in generic mode",
               port.zero_copy() ? "zero copy between us and the device" : "copied by the kernel");
  for (const std::string& note : port.device().notes())
    spdlog::warn("{}: {}", name, note);
}

}  // namespace

Result<std::unique_ptr<NicDevice>> open_xdp_nic(const NicOptions& options) {
  nic_xdp::XdpOptions xdp;
  xdp.interface = options.network.device;
  for (const auto& address : options.network.addresses)
    xdp.addresses.push_back(address.address);
  for (const std::uint16_t number : options.ports)
    xdp.tcp.push_back({number, number});
  if (options.connect_from != 0) xdp.tcp.push_back({options.connect_from, 65535});
  auto port = nic_xdp::XdpPort::create(xdp);
  if (!port) return tl::unexpected(std::move(port).error());
  tell(**port);
  return std::make_unique<XdpNic>(std::move(*port));
}

Result<void> take_kernel_addresses(control::OwnNetwork& network) {
  auto kernel = nic_xdp::read_interface(network.device);
  if (!kernel) return tl::unexpected(std::move(kernel).error());
  for (const auto& address : kernel->addresses)
    network.addresses.push_back({address.address, address.prefix_length, address.gateway});
  return {};
}

}  // namespace penstock::app
