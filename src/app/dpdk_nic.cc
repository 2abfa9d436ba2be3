// A DPDK port as the device of a shard, and EAL, which all of them are in.
#include "app/nic_device.hh"
#include "base/arena.hh"
#include "base/assert.hh"
#include "base/units.hh"
#include "nic_dpdk/dpdk_port.hh"
#include "nic_dpdk/driver_facts.hh"
#include "nic_dpdk/eal.hh"

namespace penstock::app {
namespace {

class DpdkEnvironment final : public NicEnvironment {
 public:
  DpdkEnvironment(nic_dpdk::DeviceName device, std::unique_ptr<nic_dpdk::Eal> eal,
                  std::span<std::byte> content)
      : device_(std::move(device)), eal_(std::move(eal)), content_(content) {}

  [[nodiscard]] std::span<std::byte> content() const override { return content_; }
  [[nodiscard]] nic_dpdk::Eal& eal() { return *eal_; }
  [[nodiscard]] const nic_dpdk::DeviceName& device() const { return device_; }

 private:
  const nic_dpdk::DeviceName device_;
  const std::unique_ptr<nic_dpdk::Eal> eal_;
  const std::span<std::byte> content_;
};

class DpdkNic final : public NicDevice {
 public:
  explicit DpdkNic(std::unique_ptr<nic_dpdk::DpdkPort> port) : port_(std::move(port)) {}

  net::NicPort& port() override { return *port_; }
  [[nodiscard]] bool more_received() const override { return port_->more_received(); }
  [[nodiscard]] control::PayloadBytes payload() const override {
    const nic_dpdk::DpdkCounters& counters = port_->counters();
    return {counters.payload_bytes_zero_copy, counters.payload_bytes_copied, port_->copy_reason()};
  }
  void stop() override { port_->stop(); }

 private:
  std::unique_ptr<nic_dpdk::DpdkPort> port_;
};

}  // namespace

Result<std::unique_ptr<NicEnvironment>> open_dpdk_environment(
    const control::OwnNetwork& network, const host::Capabilities& capabilities,
    std::uint64_t content_bytes) {
  auto device = nic_dpdk::parse_device(network.device);
  if (!device) return tl::unexpected(std::move(device).error().context("--device"));
  const nic_dpdk::DriverFacts facts = nic_dpdk::facts_of(*device);
  nic_dpdk::EalOptions options;
  options.devices = {*device};
  options.hugepages = capabilities.hugepages;
  if (facts.reach == nic_dpdk::Reach::shared)
    options.content = (content_bytes + kSlabSize - 1) / kSlabSize * kSlabSize;
  if (options.content != 0 && nic_dpdk::total_memory(options) > facts.shared_max) {
    return fail(device->name + " can share " + format_size(facts.shared_max) +
                    " with the other side, " + format_size(options.memory) +
                    " of it for frames: --cache " + format_size(content_bytes) +
                    " is more than the rest. Without zero-copy=yes it has no limit",
                ErrorKind::usage);
  }
  auto eal = nic_dpdk::Eal::start(options);
  if (!eal) return tl::unexpected(std::move(eal).error());
  std::span<std::byte> content;
  if (options.content != 0) {
    auto reserved = (*eal)->reserve(options.content);
    if (!reserved) return tl::unexpected(std::move(reserved).error());
    content = *reserved;
  }
  return std::make_unique<DpdkEnvironment>(std::move(*device), std::move(*eal), content);
}

Result<std::unique_ptr<NicDevice>> open_dpdk_nic(const NicOptions& options) {
  DCHECK(options.environment != nullptr);
  auto& environment = static_cast<DpdkEnvironment&>(*options.environment);
  if (auto joined = nic_dpdk::Eal::join_thread(); !joined)
    return tl::unexpected(std::move(joined).error());
  nic_dpdk::DpdkOptions settings;
  settings.device = environment.device();
  settings.offload = options.network.offload;
  settings.mtu = options.network.mtu;
  settings.content = options.content;
  settings.content_shared = !environment.content().empty();
  auto port = nic_dpdk::DpdkPort::create(environment.eal(), settings);
  if (!port) return tl::unexpected(std::move(port).error());
  return std::make_unique<DpdkNic>(std::move(*port));
}

}  // namespace penstock::app
