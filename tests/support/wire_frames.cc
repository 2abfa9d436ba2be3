#include "support/wire_frames.hh"

#include <algorithm>
#include <cstring>

#include "base/endian.hh"

namespace penstock::support {

using nic_tap::VnetHeader;

namespace {

constexpr std::uint16_t kVlanTag = 0x8100;
constexpr std::uint8_t kFin = 0x01, kPsh = 0x08, kCwr = 0x80;

std::uint8_t byte_at(std::span<const std::byte> bytes, std::size_t at) {
  return static_cast<std::uint8_t>(bytes[at]);
}

}  // namespace

std::uint64_t add_up(std::span<const std::byte> bytes, std::uint64_t sum) {
  const std::byte* p = bytes.data();
  std::size_t left = bytes.size();
  for (; left >= 4; left -= 4, p += 4) {
    std::uint32_t word;
    std::memcpy(&word, p, 4);
    sum += word;
  }
  std::uint32_t rest = 0;
  std::memcpy(&rest, p, left);
  return sum + rest;
}

std::uint64_t pseudo_sum(std::span<const std::byte> ip, std::size_t transport_length) {
  const bool six = byte_at(ip, 0) >> 4 == 6;
  std::array<std::byte, 8> tail{};
  store_be32(tail.data(), static_cast<std::uint32_t>(transport_length));
  tail[7] = six ? ip[6] : ip[9];
  return add_up(tail, six ? add_up(ip.subspan(8, 32)) : add_up(ip.subspan(12, 8)));
}

WireFrames::WireFrames(const VnetHeader& header, std::span<std::byte> frame)
    : header_(header), frame_(frame) {
  const std::size_t start = header.checksum_start;
  const bool sums = (header.flags & VnetHeader::kNeedsChecksum) != 0;
  const bool cuts = header.gso_type != VnetHeader::kGsoNone;
  if (sums && start + header.checksum_offset + 2u > frame.size()) sane_ = false;
  if (cuts) {
    const std::uint8_t kind = header.gso_type & ~VnetHeader::kGsoEcn;
    sane_ &= sums && header.gso_size > 0 && start + 20 <= frame.size() && start >= 34 &&
             (kind == VnetHeader::kGsoTcp4 || kind == VnetHeader::kGsoTcp6);
    if (sane_) {
      if (load_be16(frame.data() + 12) == kVlanTag) ip_at_ += 4;
      headers_ = start + (byte_at(frame, start + 12) >> 4) * 4u;
      sane_ = headers_ <= frame.size() && headers_ <= 128;
    }
  }
  done_ = !sane_;
}

std::span<const std::byte> WireFrames::next() {
  if (done_) return {};
  if (header_.gso_type == VnetHeader::kGsoNone) {
    done_ = true;
    if ((header_.flags & VnetHeader::kNeedsChecksum) != 0) {
      // The field holds the pseudo-header's sum, and so becomes part of the sum.
      const std::uint16_t sum = finish_sum(add_up(frame_.subspan(header_.checksum_start)));
      const std::uint16_t stored = sum == 0 ? 0xffff : sum;
      std::memcpy(frame_.data() + header_.checksum_start + header_.checksum_offset, &stored, 2);
    }
    return frame_;
  }
  const std::size_t left = frame_.size() - headers_ - at_;
  cut(std::min<std::size_t>(left, header_.gso_size));
  return std::span(segment_).first(length_);
}

void WireFrames::cut(std::size_t payload) {
  const std::size_t tcp_at = header_.checksum_start;
  const bool first = at_ == 0;
  length_ = headers_ + payload;
  std::memcpy(segment_.data(), frame_.data(), headers_);
  std::memcpy(segment_.data() + headers_, frame_.data() + headers_ + at_, payload);
  std::byte* const ip = segment_.data() + ip_at_;
  if (static_cast<std::uint8_t>(ip[0]) >> 4 == 4) {
    store_be16(ip + 2, static_cast<std::uint16_t>(length_ - ip_at_));
    store_be16(ip + 4, static_cast<std::uint16_t>(load_be16(ip + 4) + index_));
    store_be16(ip + 10, 0);
    const std::uint16_t sum = finish_sum(add_up({ip, tcp_at - ip_at_}));
    std::memcpy(ip + 10, &sum, 2);
  } else {
    store_be16(ip + 4, static_cast<std::uint16_t>(length_ - ip_at_ - 40));
  }
  std::byte* const tcp = segment_.data() + tcp_at;
  store_be32(tcp + 4, load_be32(tcp + 4) + static_cast<std::uint32_t>(at_));
  at_ += payload;
  ++index_;
  done_ = headers_ + at_ == frame_.size();
  std::uint8_t flags = static_cast<std::uint8_t>(tcp[13]);
  if (!done_) flags &= static_cast<std::uint8_t>(~(kFin | kPsh));
  if (!first) flags &= static_cast<std::uint8_t>(~kCwr);
  tcp[13] = static_cast<std::byte>(flags);
  store_be16(tcp + 16, 0);
  const std::span<const std::byte> transport(tcp, length_ - tcp_at);
  const std::uint64_t pseudo = pseudo_sum({ip, tcp_at - ip_at_}, transport.size());
  const std::uint16_t sum = finish_sum(add_up(transport, pseudo));
  std::memcpy(tcp + 16, &sum, 2);
}

}  // namespace penstock::support
