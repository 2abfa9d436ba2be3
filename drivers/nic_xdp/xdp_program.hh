// The XDP program of an interface: what is ours goes to the AF_XDP socket of the queue that it came
// in by, everything else to the kernel.
//
// Ours is: to the interface's MAC address, untagged, to one of our IP addresses, TCP or UDP to one
// of our ports. The kernel must see none of it, or it answers with a reset: so also first fragments
// and packets with IPv6 extension headers are redirected (the stack drops and counts them), and
// what comes by a queue that nobody has opened is dropped. Later fragments carry no port; they are
// passed, and nothing is ever put together of them.
//
// The instructions are made for the addresses and ports at start, so there is nothing to look up
// but the socket. Attached by a bpf_link: the kernel takes the program off when the last descriptor
// of the link is closed, also by SIGKILL.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <linux/bpf.h>

#include "base/address.hh"
#include "base/result.hh"
#include "host/fd.hh"
#include "wire/ethernet.hh"

namespace penstock::nic_xdp {

struct PortRange {
  std::uint16_t first = 0;
  std::uint16_t last = 0;  // ≥ first
};

struct ProgramOptions {
  wire::MacAddress mac;
  std::vector<IpAddress> addresses;
  std::vector<PortRange> tcp;
  std::vector<PortRange> udp;
  // Every frame is ours: the interface is given to us, as a virtual function or a cable of tests
  // is. The kernel receives nothing by it.
  bool exclusive = false;
};

[[nodiscard]] std::vector<bpf_insn> assemble(const ProgramOptions& options, int map_fd);

enum class AttachMode : std::uint8_t {
  best,     // in the driver, else generic
  generic,  // behind the driver, on socket buffers: any interface, slower
};

class XdpProgram {
 public:
  // queues: places for sockets, 0 … queues - 1. multi_buffer: frames may lie in several buffers.
  [[nodiscard]] static Result<XdpProgram> load(const ProgramOptions& options, std::uint32_t queues,
                                               bool multi_buffer);

  [[nodiscard]] Result<void> attach(unsigned interface_index, const std::string& interface,
                                    AttachMode mode);
  // From now on the queue's frames go to the socket, which is bound to it.
  [[nodiscard]] Result<void> set_socket(std::uint32_t queue, int socket);

  [[nodiscard]] int fd() const { return program_.get(); }
  [[nodiscard]] bool in_driver() const { return in_driver_; }
  // Why it isn't in the driver although that was wanted; empty otherwise.
  [[nodiscard]] const std::string& driver_trouble() const { return driver_trouble_; }

 private:
  host::Fd sockets_;  // the XSKMAP
  host::Fd program_;
  host::Fd link_;
  bool in_driver_ = false;
  std::string driver_trouble_;
};

}  // namespace penstock::nic_xdp
