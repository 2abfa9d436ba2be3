// What a frame with a virtio header would be on a wire: cut into segments, with checksums.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "nic_tap/vnet_header.hh"
#include "support/packet.hh"  // finish_sum

namespace penstock::support {

// The sum of RFC 1071 over the bytes, on top of `sum`; not folded.
std::uint64_t add_up(std::span<const std::byte> bytes, std::uint64_t sum = 0);
// Over addresses, protocol and length of the packet at `ip` (IPv4 or IPv6), whose transport part is
// that long.
std::uint64_t pseudo_sum(std::span<const std::byte> ip, std::size_t transport_length);

// Yields the frames one by one. `frame` outlives it and isn't changed but for its own checksum when
// it is one frame only.
class WireFrames {
 public:
  WireFrames(const nic_tap::VnetHeader& header, std::span<std::byte> frame);

  // The next frame; valid until the next call. Empty: no more.
  std::span<const std::byte> next();
  // False: it is too short for what its header says, or no TCP over IP; nothing is yielded.
  [[nodiscard]] bool sane() const { return sane_; }

 private:
  void cut(std::size_t payload);

  nic_tap::VnetHeader header_;
  std::span<std::byte> frame_;
  bool sane_ = true;
  bool done_ = false;
  std::size_t ip_at_ = 14;
  std::size_t headers_ = 0;  // bytes
  std::size_t at_ = 0;       // of the payload
  std::uint16_t index_ = 0;
  std::size_t length_ = 0;
  std::array<std::byte, 65536 + 128> segment_;
};

}  // namespace penstock::support
