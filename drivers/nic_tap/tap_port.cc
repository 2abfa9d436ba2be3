#include "nic_tap/tap_port.hh"

#include <algorithm>
#include <array>
#include <cerrno>

#include <sys/uio.h>
#include <unistd.h>

#include "base/assert.hh"
#include "base/endian.hh"
#include "nic_tap/vnet_header.hh"

namespace penstock::nic_tap {
namespace {

constexpr std::size_t kHeaderSize = sizeof(VnetHeader);

// Ethernet with two tags, and the largest IP packet (an IPv6 header doesn't count itself).
constexpr std::size_t kFrameMax = 14 + 8 + 65535 + 40;
constexpr std::size_t kReadMax = kHeaderSize + kFrameMax;
constexpr std::size_t kAlign = 64;
// Room for a full burst of 1,500-byte frames, or for a dozen of the largest.
constexpr std::size_t kMemorySize = 1u << 20;
static_assert(kMemorySize > 2 * (kReadMax + kAlign));

// What is left of an IP packet beside the largest IPv6 or IPv4 header and TCP's.
constexpr std::uint32_t kTsoBytesMax = 65535 - 60 - 60;

constexpr std::size_t kEtherTypeAt = 12;
constexpr std::uint16_t kVlanTag = 0x8100;
constexpr std::uint16_t kIpv6 = 0x86dd;
constexpr std::size_t kTcpFlagsAt = 13;  // in the TCP header
constexpr std::uint8_t kTcpCwr = 0x80;

std::uint16_t ether_type(const net::TxFrame& frame) {
  const std::uint16_t type = load_be16(frame.head.data() + kEtherTypeAt);
  return type == kVlanTag ? load_be16(frame.head.data() + kEtherTypeAt + 4) : type;
}

VnetHeader header_of(const net::TxFrame& frame) {
  VnetHeader header;
  header.header_length = frame.head_length;
  if (frame.transport_at != 0) {
    header.flags = VnetHeader::kNeedsChecksum;
    header.checksum_start = frame.transport_at;
    header.checksum_offset = frame.checksum_at;
  }
  if (frame.segment_size != 0) {
    DCHECK(frame.transport_at != 0);  // each segment has a checksum of its own
    header.gso_size = frame.segment_size;
    header.gso_type = ether_type(frame) == kIpv6 ? VnetHeader::kGsoTcp6 : VnetHeader::kGsoTcp4;
    const auto flags = static_cast<std::uint8_t>(frame.head[frame.transport_at + kTcpFlagsAt]);
    if ((flags & kTcpCwr) != 0) header.gso_type |= VnetHeader::kGsoEcn;
  }
  return header;
}

}  // namespace

Result<std::unique_ptr<TapPort>> TapPort::create(const TapOptions& options) {
  auto device = open_tap(options.interface, options.offload);
  if (!device) return tl::unexpected(std::move(device).error());
  return std::unique_ptr<TapPort>(new TapPort(std::move(*device), options));
}

TapPort::TapPort(TapDevice device, const TapOptions& options)
    : device_(std::move(device)), memory_(std::make_unique<std::byte[]>(kMemorySize)) {
  info_.mac = options.mac.is_zero() ? device_.kernel_mac.beside() : options.mac;
  info_.mtu = device_.mtu;
  info_.tx_checksum = options.offload;
  info_.tso_bytes_max = options.offload ? kTsoBytesMax : 0;
}

std::size_t TapPort::rx_burst(std::span<net::RxFrame> out) {
  std::size_t count = 0;
  std::size_t at = 0;
  more_received_ = false;
  for (std::size_t reads = 0; reads < net::kFrameBurst; ++reads) {
    if (count == out.size() || kMemorySize - at < kReadMax) break;
    std::byte* const begin = memory_.get() + at;
    ++counters_.calls;
    const ssize_t got = ::read(device_.fd.get(), begin, kReadMax);
    if (got < 0) {
      // EAGAIN: no more. EINTR: the next cycle looks again. Others: the interface is going.
      gone_ |= errno == EBADFD;
      return count;
    }
    const auto size = static_cast<std::size_t>(got);
    if (size <= kHeaderSize || size == kReadMax) {
      ++counters_.rx_truncated;
      continue;
    }
    VnetHeader header;
    std::memcpy(&header, begin, kHeaderSize);
    net::RxFrame& frame = out[count++];
    frame.bytes = {begin + kHeaderSize, size - kHeaderSize};
    // NEEDS_CSUM: this very host made it, and no wire has had a chance to spoil it.
    constexpr int kTrusted = VnetHeader::kNeedsChecksum | VnetHeader::kDataValid;
    frame.checksum =
        (header.flags & kTrusted) != 0 ? net::RxChecksum::good : net::RxChecksum::unknown;
    frame.segment_size = header.gso_type == VnetHeader::kGsoNone ? 0 : header.gso_size;
    ++counters_.rx_frames;
    counters_.rx_bytes += size - kHeaderSize;
    at += (size + kAlign - 1) / kAlign * kAlign;
  }
  more_received_ = true;
  return count;
}

std::size_t TapPort::tx_burst(std::span<const net::TxFrame> frames) {
  for (std::size_t i = 0; i < frames.size(); ++i) {
    if (send(frames[i]) == Sent::no_room) {
      ++counters_.tx_short;
      return i;
    }
  }
  return frames.size();
}

TapPort::Sent TapPort::send(const net::TxFrame& frame) {
  DCHECK(frame.head_length >= 14 && frame.head_length <= net::kHeadMax);
  DCHECK(frame.part_count <= net::kPayloadPartsMax);
  VnetHeader header = header_of(frame);
  std::array<iovec, 2 + net::kPayloadPartsMax> pieces;
  pieces[0] = {&header, kHeaderSize};
  pieces[1] = {const_cast<std::byte*>(frame.head.data()), frame.head_length};
  int count = 2;
  for (std::size_t i = 0; i < frame.part_count; ++i)
    pieces[count++] = {const_cast<std::byte*>(frame.parts[i].data), frame.parts[i].length};
  ssize_t written = 0;
  do {
    ++counters_.calls;
    written = ::writev(device_.fd.get(), pieces.data(), count);
  } while (written < 0 && errno == EINTR);
  if (written >= 0) {
    ++counters_.tx_frames;
    counters_.tx_bytes += frame.length();
    return Sent::taken;
  }
  switch (errno) {
    case EAGAIN:
    case ENOBUFS:
    case ENOMEM:
      return Sent::no_room;
    case EBADFD:
      gone_ = true;
      [[fallthrough]];
    case EIO:  // not up
      ++counters_.tx_down;
      return Sent::taken;
    default:
      ++counters_.tx_refused;
      return Sent::taken;
  }
}

}  // namespace penstock::nic_tap
