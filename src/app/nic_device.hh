// A NicPort of some driver, with what a shard's loop asks of it beside frames.
//
// Owner: the shard's drivers (own_tcp_io.cc), on the shard's thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/result.hh"
#include "control/engine_api.hh"
#include "host/capabilities.hh"
#include "net/nic_port.hh"

namespace penstock::app {

class NicDevice {
 public:
  virtual ~NicDevice() = default;
  virtual net::NicPort& port() = 0;
  // Readable when there are frames; -1: nothing tells, it has to be looked at.
  [[nodiscard]] virtual int fd() const { return -1; }
  // The last rx_burst ended for want of room, not of frames.
  [[nodiscard]] virtual bool more_received() const = 0;
  // Why no peer can be reached any more, for good; empty: they can. Static.
  [[nodiscard]] virtual const char* failure() const { return ""; }
  [[nodiscard]] virtual std::uint64_t system_calls() const { return 0; }
  // Of the streams' payload; nothing: the device doesn't tell.
  [[nodiscard]] virtual control::PayloadBytes payload() const { return {}; }
  // Lets go of all that frames refer to, while it is still there.
  virtual void stop() {}
};

// What a driver needs before the first of its devices and until the last has ended: DPDK's
// environment. Owner: who starts shards, on its thread.
class NicEnvironment {
 public:
  virtual ~NicEnvironment() = default;
  // What content must lie in for the device to send it by reference; empty: any memory will do.
  [[nodiscard]] virtual std::span<std::byte> content() const = 0;
};
// content_bytes: how much of it may be wanted; 0: none. Null: the driver needs no environment.
Result<std::unique_ptr<NicEnvironment>> open_nic_environment(const control::OwnNetwork& network,
                                                             const host::Capabilities& capabilities,
                                                             std::uint64_t content_bytes);

struct NicOptions {
  control::OwnNetwork network;
  NicEnvironment* environment = nullptr;  // the driver's own
  host::Capabilities capabilities;
  std::span<std::byte> content;  // what payload lies in; outlives the device
  // TCP; all that an interface shared with the kernel gives, beside those from connect_from on.
  std::span<const std::uint16_t> ports;
  std::uint16_t connect_from = 0;  // 0: none
};

// The one that options.network.driver says.
Result<std::unique_ptr<NicDevice>> open_nic(const NicOptions& options);
// In dpdk_nic.cc, or in no_dpdk_nic.cc where the program is built without DPDK.
Result<std::unique_ptr<NicDevice>> open_dpdk_nic(const NicOptions& options);
Result<std::unique_ptr<NicEnvironment>> open_dpdk_environment(
    const control::OwnNetwork& network, const host::Capabilities& capabilities,
    std::uint64_t content_bytes);
// In xdp_nic.cc.
Result<std::unique_ptr<NicDevice>> open_xdp_nic(const NicOptions& options);
// Any thread: what the kernel has as addresses and gateways of the interface.
Result<void> take_kernel_addresses(control::OwnNetwork& network);

}  // namespace penstock::app
