// EAL for tests, and the far end of a net_ring device.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "nic_dpdk/dpdk_port.hh"
#include "nic_dpdk/eal.hh"
#include "support/raw_packet.hh"

struct rte_ring;

namespace penstock::conformance {

// Started at the first call, in a network of the test's own where there can be one: for virtual
// devices, without hugepages. Ends with the process.
nic_dpdk::Eal& test_eal();

// How many processors the thread had before EAL was started.
std::size_t affinity_before_eal();

// nullptr with the reason when it can't be opened.
std::unique_ptr<nic_dpdk::DpdkPort> open_port(const std::string& device, std::string& why_not,
                                              bool by_reference = true, bool offload = true);

// EAL memory for content, one piece for all tests.
std::span<std::byte> shared_content();

// A net_ring device that there hasn't been: closing one leaves all its rings but the first, and the
// next of that name gets them, with whatever is in them.
std::string fresh_ring();

// The ring that a net_ring device sends to and receives from: its loop is closed where nobody takes
// a frame off.
class RingEnd {
 public:
  explicit RingEnd(const std::string& device);
  // False: the ring is full.
  bool put(std::span<const std::byte> frame);
  // In several segments of at most so many bytes.
  bool put_in_pieces(std::span<const std::byte> frame, std::size_t piece);
  // Takes what the device has sent.
  void get(std::vector<support::Bytes>& out);
  [[nodiscard]] std::size_t waiting() const;

 private:
  rte_ring* ring_;
};

}  // namespace penstock::conformance
