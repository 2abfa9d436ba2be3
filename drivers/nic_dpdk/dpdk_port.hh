// NicPort over one queue pair of a DPDK port.
//
// Sending: a mbuf for the frame's head, and one for each part of the payload, which refers to the
// content where it lies (an external buffer). The shared info of that buffer lies in the part's own
// mbuf: its reference count can't overflow, and nothing is shared between cores. When the device
// has let go of the mbuf, PayloadPart::in_use falls, in whatever call of this port's thread that
// is. Where the device can't do that (Choice::copies), a frame is one mbuf and the payload is
// copied.
//
// Receiving: frames are the device's mbufs until the next rx_burst. One of several segments (a peer
// over a ring or memif) is put together in memory of the port.
//
// Owner: the shard's runner; one thread, which has joined EAL (Eal::join_thread) or started it.
// Nothing is allocated after `create`. Virtual devices that have no ring in this process (net_tap,
// net_af_packet) copy in tx_burst, and have let go when it returns.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.hh"
#include "net/nic_port.hh"
#include "nic_dpdk/eal.hh"

struct rte_mbuf;
struct rte_mempool;

namespace penstock::nic_dpdk {

struct DpdkOptions {
  DeviceName device;
  bool offload = true;       // TSO and checksums, as far as the device has them
  bool by_reference = true;  // payload, if the device can
  std::uint16_t mtu = 0;     // largest IP packet, bytes; 0: as the device has it
  wire::MacAddress mac;      // ours; all zero: the device's
  // What payload lies in, to be made known to devices that read it by DMA; outlives the port.
  std::span<std::byte> content;
  bool content_shared = false;  // it is from Eal::reserve
  // Only that is referred to, as with devices that don't read with this process's eyes; other parts
  // are copied.
  bool content_only = false;
};

struct DpdkCounters {
  std::uint64_t rx_frames = 0;
  std::uint64_t rx_bytes = 0;
  std::uint64_t rx_gathered = 0;   // frames of several segments, put together
  std::uint64_t rx_too_large = 0;  // such frames that no memory is large enough for: dropped
  std::uint64_t tx_frames = 0;     // taken; some may wait here until the device has room
  std::uint64_t tx_bytes = 0;
  std::uint64_t tx_short = 0;    // bursts that were taken in part, as the device was full
  std::uint64_t tx_no_mbuf = 0;  // bursts that ended for want of mbufs
  std::uint64_t tx_refused =
      0;  // frames too large, or (of those taken) malformed to the device: lost
  std::uint64_t payload_bytes_zero_copy = 0;
  std::uint64_t payload_bytes_copied = 0;  // for the reason that copy_reason() says
};

class DpdkPort final : public net::NicPort {
 public:
  // Configures and starts the device. eal outlives the port.
  [[nodiscard]] static Result<std::unique_ptr<DpdkPort>> create(Eal& eal,
                                                                const DpdkOptions& options);
  ~DpdkPort() override;

  [[nodiscard]] const net::NicInfo& info() const override { return info_; }
  std::size_t rx_burst(std::span<net::RxFrame> out) override;
  std::size_t tx_burst(std::span<const net::TxFrame> frames) override;

  // Stops and closes the device, while what frames refer to is still there. From then on nothing is
  // received, and what is sent is lost.
  void stop();

  // The last rx_burst ended for want of room, not of frames: the next one has more.
  [[nodiscard]] bool more_received() const { return more_received_; }
  // Parts of payload that the device hasn't let go of.
  [[nodiscard]] std::uint64_t parts_in_use() const { return parts_in_use_; }
  [[nodiscard]] const DpdkCounters& counters() const { return counters_; }
  [[nodiscard]] const char* driver() const { return driver_.c_str(); }
  [[nodiscard]] const char* copy_reason() const { return copy_reason_; }  // "none": by reference
  [[nodiscard]] bool link_up() const;
  // The device's own counters by its own names. Allocates.
  struct Statistic {
    std::string name;
    std::uint64_t value = 0;
  };
  [[nodiscard]] std::vector<Statistic> statistics() const;

 private:
  enum class Built : std::uint8_t { whole, no_mbuf, unfit };
  static constexpr unsigned kStock = 32;
  // mbufs of a pool that are at hand, on their way into the processor's cache.
  struct Stock {
    rte_mempool* pool = nullptr;
    std::size_t used_from = 0;  // what of one is written first, bytes from its begin
    std::size_t next = 0;
    std::size_t count = 0;
    std::array<rte_mbuf*, kStock> items{};
  };
  struct Setup;

  explicit DpdkPort(Eal& eal) : eal_(eal) {}
  Result<void> set_up(const DpdkOptions& options);
  Result<void> make_pools(const Setup& setup);
  Result<void> start_device(const Setup& setup);
  bool map_content(const Setup& setup, std::span<std::byte> content);
  void unmap_content();

  static rte_mbuf* take(Stock& stock);
  static bool refill(Stock& stock);
  Built build(const net::TxFrame& frame, rte_mbuf*& out);
  bool attach(const net::PayloadPart& part, rte_mbuf& head, rte_mbuf*& tail);
  bool copy_in(const net::PayloadPart& part, rte_mbuf& head, rte_mbuf*& tail);
  [[nodiscard]] bool by_reference(const net::PayloadPart& part) const;
  void hand_over();
  void count_taken(const net::TxFrame& frame);
  void free_received(std::size_t end);
  bool gather(const rte_mbuf& frame, net::RxFrame& out);
  static void let_go(void* data, void* info);

  Eal& eal_;
  DeviceName device_;
  std::string driver_;
  const char* copy_reason_ = "none";
  std::span<const std::byte> content_;  // with content_only_: what may be referred to
  net::NicInfo info_;
  DpdkCounters counters_;
  std::uint16_t port_ = 0;
  bool opened_ = false;   // there is a port
  bool running_ = false;  // and it was started
  bool copies_ = false;
  bool content_only_ = false;
  bool prepares_ = false;         // offloads are in use: the device looks at frames before they go
  bool interrupts_stop_ = false;  // it is stopped in EAL's thread for interrupts
  bool more_received_ = false;
  std::uint16_t burst_max_ = 0;  // frames that the device is given at once
  std::uint64_t parts_in_use_ = 0;
  std::uint32_t frame_max_ = 0;  // bytes of one that isn't to be cut
  std::uint32_t nobodys_ = 0;    // in_use of parts that have none
  rte_mempool* rx_pool_ = nullptr;
  Stock heads_;
  Stock parts_;
  std::span<std::byte> mapped_;  // made known to the device
  // Of the device's last burst: those before first_ are free, those from there to next_ the caller
  // has, and those behind wait for memory to be put together in.
  std::size_t first_ = 0;
  std::size_t next_ = 0;
  std::size_t held_ = 0;
  std::array<rte_mbuf*, net::kFrameBurst> received_{};
  // Taken, and built: those before sent_ the device has, those before prepared_ it has looked at.
  std::size_t sent_ = 0;
  std::size_t prepared_ = 0;
  std::size_t built_ = 0;
  std::array<rte_mbuf*, net::kFrameBurst> sending_{};
  std::size_t gathered_ = 0;  // bytes of memory_
  std::unique_ptr<std::byte[]> memory_;
};

}  // namespace penstock::nic_dpdk
