// Copies of what the kernel receives and our stack must hear, too: answers to its ARP requests and
// neighbour solicitations, and ICMP errors about its packets. The XDP program passes all of them to
// the kernel, whose addresses we share; a packet socket with a filter hands us the few that count.
//
// Questions of others are not among them: the kernel answers those, once.
//
// A ring in shared memory (packet_mmap): nothing there costs one load, no system call.
//
// Owner: XdpPort; one thread. Nothing is allocated after construction.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/result.hh"
#include "host/fd.hh"
#include "net/nic_port.hh"
#include "nic_xdp/xsk_rings.hh"

namespace penstock::nic_xdp {

class KernelCopies {
 public:
  [[nodiscard]] static Result<KernelCopies> open(unsigned interface_index);

  // Gives the frames of the last receive() back.
  void take_back();
  // Valid until take_back().
  std::size_t receive(std::span<net::RxFrame> out);

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] std::uint64_t frames() const { return frames_; }
  // Forgets that the interface went down: a wait on fd() would end at once.
  void quiet();

 private:
  [[nodiscard]] std::byte* slot(std::uint32_t index) const;
  [[nodiscard]] static std::uint32_t& status_of(std::byte* slot);

  Mapping ring_;  // outlives the socket
  host::Fd fd_;
  std::uint32_t next_ = 0;
  std::uint32_t lent_ = 0;  // those before next_
  std::uint64_t frames_ = 0;
};

}  // namespace penstock::nic_xdp
