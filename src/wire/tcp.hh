// TCP segments (RFC 9293 §3.1) and the options that are used: MSS (RFC 9293 §3.2), window scale and
// timestamps (RFC 7323), SACK (RFC 2018).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/seq_number.hh"

namespace penstock::wire {

inline constexpr std::size_t kTcpHeaderSize = 20;
inline constexpr std::size_t kTcpOptionsMax = 40;

struct TcpFlags {
  static constexpr std::uint8_t fin = 0x01, syn = 0x02, rst = 0x04, psh = 0x08, ack = 0x10,
                                urg = 0x20, ece = 0x40, cwr = 0x80;
};

struct SackBlock {
  SeqNumber begin;
  SeqNumber end;  // first number that isn't in it

  bool operator==(const SackBlock&) const = default;
};

inline constexpr std::uint8_t kNoWindowShift = 0xff;

// What the options say, where they are well-formed; an unknown option is skipped, a malformed one
// ends the parsing (what came before it counts).
struct TcpOptions {
  std::uint16_t mss = 0;  // 0: absent
  std::uint8_t window_shift = kNoWindowShift;
  bool sack_permitted = false;
  bool has_timestamps = false;
  std::uint8_t sack_count = 0;
  std::uint32_t ts_value = 0;
  std::uint32_t ts_echo = 0;
  std::array<SackBlock, 4> sacks;
};

struct TcpSegment {
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  SeqNumber seq;
  SeqNumber ack;             // only where flags has ack
  std::uint16_t window = 0;  // not scaled
  std::uint8_t flags = 0;
  std::uint8_t ecn = 0;  // of the IP header: 0 not-ECT, 1 ECT(1), 2 ECT(0), 3 CE
  TcpOptions options;
  std::span<const std::byte> payload;  // borrowed from the frame
  // Segments of the sender that it stands for (a device may merge them); at least 1.
  std::uint16_t merged = 1;

  [[nodiscard]] bool has(std::uint8_t flag) const { return (flags & flag) != 0; }
  // In sequence space: SYN and FIN count.
  [[nodiscard]] std::uint32_t length() const {
    return static_cast<std::uint32_t>(payload.size()) + has(TcpFlags::syn) + has(TcpFlags::fin);
  }
};

}  // namespace penstock::wire
