// Seam: bursts of Ethernet frames (ARCHITECTURE §1). Virtual per burst, never per frame.
//
// A NicPort is one queue pair of a device, for one shard; one thread uses it. Real drivers:
// drivers/nic_tap, nic_dpdk and nic_xdp; tests: a simulated link in tests/support.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "wire/ethernet.hh"

namespace penstock::net {

inline constexpr std::size_t kFrameBurst = 64;
// Headers and small bytes of a frame that are copied into it: Ethernet with VLAN, IPv6, TCP with
// all its options, and a few messages.
inline constexpr std::size_t kHeadMax = 256;
inline constexpr std::size_t kPayloadPartsMax = 3;

struct NicInfo {
  wire::MacAddress mac;
  // Largest IP packet, bytes: 1,280 … 65,535.
  std::uint16_t mtu = 1500;
  // The device fills in the TCP, UDP or ICMP checksum (TxFrame::checksum_at).
  bool tx_checksum = false;
  // The device cuts a TCP frame into segments of TxFrame::segment_size. Largest payload that it
  // takes at once, bytes; 0: it can't.
  std::uint32_t tso_bytes_max = 0;
};

enum class RxChecksum : std::uint8_t {
  unknown,  // to be checked
  good,     // the device checked it, or the frame never was on a wire
  bad,
};

struct RxFrame {
  std::span<const std::byte> bytes;  // from the Ethernet header on; valid until the next rx_burst
  RxChecksum checksum = RxChecksum::unknown;  // of the TCP, UDP or ICMP payload
  // Several segments merged into one by the device or by the peer's TSO: their size, bytes; else 0.
  std::uint16_t segment_size = 0;
};

// Memory of content, by reference. `in_use`, if there is one, is counted up by the port when it
// takes the frame, and down (on the same thread) when the device has let go of the bytes: they must
// stay as they are for so long. A port that copies before tx_burst returns leaves it alone. Without
// a counter the bytes stay for as long as the port lives.
struct PayloadPart {
  const std::byte* data = nullptr;
  std::uint32_t length = 0;
  std::uint32_t* in_use = nullptr;
};

struct TxFrame {
  // Ethernet, IP and transport headers, and what small bytes come first. Copied by tx_burst.
  std::array<std::byte, kHeadMax> head;
  std::uint16_t head_length = 0;
  // Where the transport header begins and where in it the checksum lies. Not 0: the device is to
  // fill it in; the field holds the sum over the pseudo-header (with the length), uncomplemented.
  std::uint16_t transport_at = 0;
  std::uint16_t checksum_at = 0;  // from transport_at
  // Payload of each segment where the device is to cut (TSO); 0: one frame.
  std::uint16_t segment_size = 0;
  std::uint8_t part_count = 0;
  std::array<PayloadPart, kPayloadPartsMax> parts;

  [[nodiscard]] std::size_t length() const {
    std::size_t sum = head_length;
    for (std::size_t i = 0; i < part_count; ++i)
      sum += parts[i].length;
    return sum;
  }
};

class NicPort {
 public:
  virtual ~NicPort() = default;

  [[nodiscard]] virtual const NicInfo& info() const = 0;

  // Frames that came, at most out.size(). Those of the call before are taken back.
  virtual std::size_t rx_burst(std::span<RxFrame> out) = 0;

  // Takes a prefix of the frames; fewer than all when the device has no room.
  virtual std::size_t tx_burst(std::span<const TxFrame> frames) = 0;
};

}  // namespace penstock::net
