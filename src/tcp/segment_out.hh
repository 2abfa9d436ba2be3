// What a connection wants to send: a TCP segment without its addresses. net/ writes the headers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/seq_number.hh"
#include "wire/tcp.hh"

namespace penstock::tcp {

// At most headers + 3: small bytes (copied), content, small bytes, content; the port's contract
// is 4.
inline constexpr std::size_t kPartsMax = 3;

struct PayloadPart {
  const std::byte* data = nullptr;
  std::uint32_t length = 0;
  // Counted up while a device may read the bytes. They may be copied into the head of the frame
  // instead, where they come first and fit.
  std::uint32_t* in_use = nullptr;
};

struct SegmentOut {
  SeqNumber seq;
  SeqNumber ack;
  std::uint16_t window = 0;  // as it goes on the wire
  std::uint8_t flags = 0;
  std::uint8_t ecn = 0;             // codepoint for the IP header: 0 or 2 (ECT(0))
  std::uint8_t options_length = 0;  // a multiple of 4
  std::uint8_t part_count = 0;
  std::uint16_t segment_size = 0;  // more payload than this: to be cut (TSO)
  std::uint32_t payload_length = 0;
  std::array<std::byte, wire::kTcpOptionsMax> options;
  std::array<PayloadPart, kPartsMax> parts;
};

// Bounded output of poll_transmit: what doesn't fit is asked for again. Connections share one, a
// turn each: net/ sets the limit of a turn, so that a fast one doesn't starve the rest.
class TxBurst {
 public:
  static constexpr std::size_t kCapacity = 64;

  // Bytes of payload that one segment may carry: the device's TSO, or an MSS.
  explicit TxBurst(std::uint32_t tso_bytes_max = 0) : tso_bytes_max_(tso_bytes_max) {}

  [[nodiscard]] SegmentOut* append() { return full() ? nullptr : &segments_[count_++]; }
  // The last one isn't to go after all.
  void take_back() { --count_; }
  [[nodiscard]] std::size_t size() const { return count_; }
  [[nodiscard]] bool full() const { return count_ == limit_; }
  [[nodiscard]] const SegmentOut& operator[](std::size_t i) const { return segments_[i]; }
  [[nodiscard]] std::uint32_t tso_bytes_max() const { return tso_bytes_max_; }
  void clear() {
    count_ = 0;
    limit_ = kCapacity;
  }
  // A turn begins: at most so many segments are appended now.
  void begin_turn(std::size_t segments_max) {
    const std::size_t room = kCapacity - count_;
    limit_ = count_ + (segments_max < room ? segments_max : room);
  }

 private:
  std::uint32_t tso_bytes_max_;
  std::size_t count_ = 0;
  std::size_t limit_ = kCapacity;
  std::array<SegmentOut, kCapacity> segments_;
};

}  // namespace penstock::tcp
