// NicPort over AF_XDP: an interface shared with the kernel, which keeps its addresses, its ARP and
// every port but ours.
//
// XdpDevice is the interface: the program and its link. XdpPort is what one shard has of it: one
// queue or several, each an XskSocket. With one shard the port has all queues; with more they are
// dealt out, and the device stays the same.
//
// What is sent is copied into the UMEM, once, so nothing of a frame is referred to after tx_burst
// and PayloadPart::in_use isn't touched. Sums are ours to make; those of received frames are
// unknown.
//
// Owner: the shard's runner; one thread a port. Nothing is allocated after construction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.hh"
#include "host/fd.hh"
#include "net/nic_port.hh"
#include "nic_xdp/kernel_copies.hh"
#include "nic_xdp/kernel_interface.hh"
#include "nic_xdp/xdp_program.hh"
#include "nic_xdp/xsk_socket.hh"

namespace penstock::nic_xdp {

struct XdpOptions {
  std::string interface;
  // Ours and the kernel's. Empty: all that the interface has.
  std::vector<IpAddress> addresses;
  std::vector<PortRange> tcp;
  std::vector<PortRange> udp;
  bool exclusive = false;          // see ProgramOptions
  bool driver_mode = true;         // if the driver has XDP
  bool zero_copy = true;           // if the driver has it
  std::uint32_t rx_chunks = 2048;  // of a queue; powers of two
  std::uint32_t tx_chunks = 1024;
};

class XdpDevice {
 public:
  // Reads the interface, attaches the program. From here on what is for our ports reaches nobody
  // until a port has been made.
  [[nodiscard]] static Result<std::shared_ptr<XdpDevice>> open(const XdpOptions& options);

  [[nodiscard]] const KernelInterface& kernel() const { return kernel_; }
  [[nodiscard]] const XdpOptions& options() const { return options_; }
  [[nodiscard]] const XdpProgram& program() const { return program_; }
  [[nodiscard]] bool multi_buffer() const;
  // What the operator should know: how frames are taken, and what would spoil it.
  [[nodiscard]] std::vector<std::string> notes() const;

 private:
  friend class XdpPort;
  XdpDevice(KernelInterface kernel, XdpOptions options, XdpProgram program)
      : kernel_(std::move(kernel)), options_(std::move(options)), program_(std::move(program)) {}

  KernelInterface kernel_;
  XdpOptions options_;
  XdpProgram program_;
};

class XdpPort final : public net::NicPort {
 public:
  // Queues of the device, at least one, of which no other port has any.
  [[nodiscard]] static Result<std::unique_ptr<XdpPort>> create(
      std::shared_ptr<XdpDevice> device, std::span<const std::uint32_t> queues);
  // A device of its own, with all of its queues.
  [[nodiscard]] static Result<std::unique_ptr<XdpPort>> create(const XdpOptions& options);

  [[nodiscard]] const net::NicInfo& info() const override { return info_; }
  std::size_t rx_burst(std::span<net::RxFrame> out) override;
  std::size_t tx_burst(std::span<const net::TxFrame> frames) override;

  // To wait for frames; readable when rx_burst has something, or has to find out that the interface
  // is gone.
  [[nodiscard]] int fd() const { return wait_.get(); }
  [[nodiscard]] const XdpDevice& device() const { return *device_; }
  [[nodiscard]] bool zero_copy() const { return sockets_.front()->zero_copy(); }
  // The interface was deleted under the port.
  [[nodiscard]] bool gone() const;
  // The last rx_burst ended for want of room, not of frames, or has left frames to send: the next
  // one is due now.
  [[nodiscard]] bool more_received() const { return more_received_; }
  // Sums over the queues.
  [[nodiscard]] XskCounters counters() const;
  [[nodiscard]] xdp_statistics kernel_counters() const;
  // Frames that came by the kernel (KernelCopies).
  [[nodiscard]] std::uint64_t copies_received() const { return copies_ ? copies_->frames() : 0; }

 private:
  explicit XdpPort(std::shared_ptr<XdpDevice> device);
  Result<void> open_queues(std::span<const std::uint32_t> queues);
  Result<void> watch();
  void look_for_end();

  std::shared_ptr<XdpDevice> device_;
  net::NicInfo info_;
  std::vector<std::unique_ptr<XskSocket>> sockets_;
  std::optional<KernelCopies> copies_;  // none where the kernel receives nothing
  host::Fd wait_;                       // an epoll of all of them
  std::size_t first_ = 0;               // the queue that the next burst begins with
  std::uint32_t empty_bursts_ = 0;
  bool more_received_ = false;
};

}  // namespace penstock::nic_xdp
