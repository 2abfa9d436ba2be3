// One queue of an interface: an AF_XDP socket with its rings and its frames (UMEM).
//
// The UMEM is cut into chunks of equal size. The first rx_chunks of them are always in one of four
// places: the fill ring, the driver, the RX ring, or lent out by the last receive(). The others are
// for sending: free (a stack of indices), the TX ring, the driver, or the completion ring.
//
// Owner: XdpPort; one thread. Nothing is allocated after construction.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <linux/if_xdp.h>

#include "base/result.hh"
#include "host/fd.hh"
#include "net/nic_port.hh"
#include "nic_xdp/xsk_rings.hh"

namespace penstock::nic_xdp {

struct XskOptions {
  std::string interface;
  unsigned interface_index = 0;
  std::uint32_t queue = 0;
  std::uint32_t chunk_size = 2048;  // 2,048 or 4,096
  std::uint32_t rx_chunks = 2048;   // a power of two; also the size of the fill and RX rings
  std::uint32_t tx_chunks = 1024;   // a power of two; also the size of the TX ring
  bool multi_buffer = false;        // frames may be larger than a chunk (Linux 6.6)
  bool zero_copy = true;            // if the driver has it
};

// What AF_XDP puts in front of a received frame in its chunk (XDP_PACKET_HEADROOM).
inline constexpr std::uint32_t kChunkHeadroom = 256;

struct XskCounters {
  std::uint64_t rx_frames = 0;
  std::uint64_t rx_bytes = 0;
  std::uint64_t rx_linearised = 0;  // frames of several chunks, copied into one piece
  std::uint64_t tx_frames = 0;
  std::uint64_t tx_bytes = 0;
  std::uint64_t payload_bytes_copied = 0;  // reason: gathered into the UMEM
  std::uint64_t tx_short = 0;              // bursts that found the ring or the chunks used up
  std::uint64_t tx_down = 0;               // kicks while the interface was down
  std::uint64_t calls = 0;                 // system calls
};

class XskSocket {
 public:
  [[nodiscard]] static Result<std::unique_ptr<XskSocket>> create(const XskOptions& options);

  // Gives the frames of the last receive() back to the kernel.
  void take_back();
  // Appends to `out`, at most out.size() frames, valid until take_back().
  std::size_t receive(std::span<net::RxFrame> out);
  // Copies a prefix of the frames into chunks and sends them.
  std::size_t send(std::span<const net::TxFrame> frames);
  // Has the kernel go on with what it left in the TX ring.
  void kick() {
    if (tx_.pending() != 0) kick_tx();
  }

  // The kernel was too short of something to take what is in the TX ring: kick() soon.
  [[nodiscard]] bool unsent() const { return unsent_; }
  // Asks the kernel whether the interface is still there.
  void look_for_end();
  [[nodiscard]] bool gone() const { return gone_; }
  [[nodiscard]] bool more_received() { return rx_.available(1) != 0; }
  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] std::uint32_t queue() const { return queue_; }
  [[nodiscard]] bool zero_copy() const { return zero_copy_; }
  [[nodiscard]] const XskCounters& counters() const { return counters_; }
  // What the kernel counted; all zero if it doesn't say.
  [[nodiscard]] xdp_statistics kernel_counters() const;

 private:
  explicit XskSocket(const XskOptions& options);
  Result<void> register_memory(const XskOptions& options);
  Result<void> map_rings(const XskOptions& options);
  Result<void> bind_to_queue(const XskOptions& options);
  void hand_out_chunks();

  std::uint32_t chunks_of_frame(std::uint32_t ahead);
  std::span<const std::byte> linearise(std::uint32_t ahead, std::uint32_t chunks);
  void reap();
  void write_frame(const net::TxFrame& frame);
  void kick_tx();

  [[nodiscard]] std::byte* chunk(std::uint64_t address) const { return umem_.data() + address; }
  [[nodiscard]] std::uint32_t chunks_for(std::size_t length) const {
    return static_cast<std::uint32_t>((length + chunk_size_ - 1) / chunk_size_);
  }

  const std::uint32_t queue_;
  const std::uint32_t chunk_size_;
  const std::uint32_t rx_chunks_;
  const std::uint32_t tx_chunks_;
  Mapping umem_;  // outlives the socket, which may still be writing to it
  Mapping fill_memory_, completion_memory_, rx_memory_, tx_memory_;
  host::Fd fd_;
  ProducerRing<std::uint64_t> fill_;
  ConsumerRing<std::uint64_t> completion_;
  ConsumerRing<xdp_desc> rx_;
  ProducerRing<xdp_desc> tx_;
  std::vector<std::uint64_t> tx_free_;  // addresses of chunks
  // Addresses to go back to the fill ring with take_back().
  std::vector<std::uint64_t> lent_;
  std::unique_ptr<std::byte[]> scratch_;  // frames of several chunks, in one piece
  std::size_t scratch_used_ = 0;
  bool zero_copy_ = false;
  bool gone_ = false;
  bool unsent_ = false;
  XskCounters counters_;
};

}  // namespace penstock::nic_xdp
