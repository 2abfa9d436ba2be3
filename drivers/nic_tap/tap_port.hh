// NicPort over a TAP interface of Linux: own TCP for anyone with a TUN device, and Linux as the
// peer in tests.
//
// One read or writev a frame; the kernel copies, so nothing of a frame is referred to after
// tx_burst and PayloadPart::in_use isn't touched. Frames of up to 64 KiB go either way (TSO): the
// cost of a frame (about 2 µs with all that the kernel does inside the call) is then paid once in
// 45 segments.
//
// Owner: the shard's runner; one thread. Nothing is allocated after construction.
//
// Errors don't end the port: a link that is down loses frames, as a wire would, and counts them. An
// interface that was deleted stays deleted: gone().
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.hh"
#include "net/nic_port.hh"
#include "nic_tap/tap_device.hh"

namespace penstock::nic_tap {

struct TapOptions {
  std::string interface;  // empty: one is made ("tap%d")
  bool offload = true;    // TSO and checksums, both ways
  // Ours; all zero: the interface's own with another last bit, marked as administered locally.
  wire::MacAddress mac;
};

struct TapCounters {
  std::uint64_t rx_frames = 0;
  std::uint64_t rx_bytes = 0;
  std::uint64_t rx_truncated = 0;  // larger than any frame can be, or without a header: dropped
  std::uint64_t tx_frames = 0;
  std::uint64_t tx_bytes = 0;
  std::uint64_t tx_short = 0;    // bursts that the kernel had no memory for
  std::uint64_t tx_down = 0;     // frames lost because the interface is down
  std::uint64_t tx_refused = 0;  // frames that the kernel found malformed
  std::uint64_t calls = 0;       // read and writev
};

class TapPort final : public net::NicPort {
 public:
  [[nodiscard]] static Result<std::unique_ptr<TapPort>> create(const TapOptions& options);

  [[nodiscard]] const net::NicInfo& info() const override { return info_; }
  std::size_t rx_burst(std::span<net::RxFrame> out) override;
  std::size_t tx_burst(std::span<const net::TxFrame> frames) override;

  // To wait for frames; readable when rx_burst has something.
  [[nodiscard]] int fd() const { return device_.fd.get(); }
  [[nodiscard]] const std::string& interface() const { return device_.name; }
  // The interface is ours alone, and goes away with the port.
  [[nodiscard]] bool made() const { return device_.made; }
  [[nodiscard]] wire::MacAddress kernel_mac() const { return device_.kernel_mac; }
  // The interface was deleted under the port.
  [[nodiscard]] bool gone() const { return gone_; }
  // The last rx_burst ended for want of room, not of frames: the next one has more.
  [[nodiscard]] bool more_received() const { return more_received_; }
  [[nodiscard]] const TapCounters& counters() const { return counters_; }

 private:
  enum class Sent : std::uint8_t { taken, no_room };

  TapPort(TapDevice device, const TapOptions& options);
  Sent send(const net::TxFrame& frame);

  TapDevice device_;
  net::NicInfo info_;
  TapCounters counters_;
  bool gone_ = false;
  bool more_received_ = false;
  // Frames of one rx_burst, one behind the other, so that a burst of ACKs stays in the cache.
  std::unique_ptr<std::byte[]> memory_;
};

}  // namespace penstock::nic_tap
