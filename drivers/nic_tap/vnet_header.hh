// virtio_net_hdr, as TAP devices and packet sockets put it in front of frames (virtio 1.2, 5.1.6;
// <linux/virtio_net.h> is no C++). Little-endian.
#pragma once

#include <cstdint>

namespace penstock::nic_tap {

struct VnetHeader {
  // flags
  static constexpr std::uint8_t kNeedsChecksum = 1;  // from checksum_start on, at checksum_offset
  static constexpr std::uint8_t kDataValid = 2;      // somebody has checked it
  // gso_type
  static constexpr std::uint8_t kGsoNone = 0;
  static constexpr std::uint8_t kGsoTcp4 = 1;
  static constexpr std::uint8_t kGsoTcp6 = 4;
  static constexpr std::uint8_t kGsoEcn = 0x80;  // CWR is set in the TCP header

  std::uint8_t flags = 0;
  std::uint8_t gso_type = kGsoNone;
  std::uint16_t header_length = 0;  // a hint: Ethernet, IP and TCP headers
  std::uint16_t gso_size = 0;       // payload of each segment
  std::uint16_t checksum_start = 0;
  std::uint16_t checksum_offset = 0;  // from checksum_start
};
static_assert(sizeof(VnetHeader) == 10);

}  // namespace penstock::nic_tap
