// TCP segments (RFC 9293 §3.1) and the options that are used: MSS (RFC 9293 §3.2), window scale and
// timestamps (RFC 7323), SACK (RFC 2018).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/endian.hh"
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

struct TcpOptionKind {
  static constexpr std::uint8_t end = 0, nop = 1, mss = 2, window_scale = 3, sack_permitted = 4,
                                sack = 5, timestamps = 8;
};

namespace detail {

// One option that isn't a single byte, of `length` bytes in all. False: malformed.
inline bool parse_tcp_option(std::uint8_t kind, const std::byte* p, std::size_t length,
                             TcpOptions& out) {
  switch (kind) {
    case TcpOptionKind::mss:
      if (length != 4) return false;
      out.mss = load_be16(p + 2);
      return true;
    case TcpOptionKind::window_scale:
      if (length != 3) return false;
      out.window_shift = static_cast<std::uint8_t>(p[2]);
      // RFC 7323 §2.3: more than 14 counts as 14.
      if (out.window_shift > 14) out.window_shift = 14;
      return true;
    case TcpOptionKind::sack_permitted:
      if (length != 2) return false;
      out.sack_permitted = true;
      return true;
    case TcpOptionKind::sack:
      if (length < 10 || (length - 2) % 8 != 0) return false;
      out.sack_count = static_cast<std::uint8_t>((length - 2) / 8);
      for (std::size_t i = 0; i < out.sack_count; ++i) {
        out.sacks[i].begin = SeqNumber(load_be32(p + 2 + 8 * i));
        out.sacks[i].end = SeqNumber(load_be32(p + 6 + 8 * i));
      }
      return true;
    case TcpOptionKind::timestamps:
      if (length != 10) return false;
      out.has_timestamps = true;
      out.ts_value = load_be32(p + 2);
      out.ts_echo = load_be32(p + 6);
      return true;
    default:
      return true;
  }
}

}  // namespace detail

// At most kTcpOptionsMax bytes. False: malformed; what came before it is in `out`.
inline bool parse_tcp_options(std::span<const std::byte> bytes, TcpOptions& out) {
  out = TcpOptions{};
  const std::byte* p = bytes.data();
  std::size_t left = bytes.size();
  // As nearly every segment has it (RFC 7323 appendix A): NOP NOP timestamps.
  if (left >= 12 && load_be32(p) == 0x0101080a) {
    out.has_timestamps = true;
    out.ts_value = load_be32(p + 4);
    out.ts_echo = load_be32(p + 8);
    p += 12;
    left -= 12;
  }
  while (left != 0) {
    const auto kind = static_cast<std::uint8_t>(*p);
    if (kind == TcpOptionKind::end) return true;
    std::size_t length = 1;
    if (kind != TcpOptionKind::nop) {
      if (left < 2) return false;
      length = static_cast<std::uint8_t>(p[1]);
      if (length < 2 || length > left) return false;
      if (!detail::parse_tcp_option(kind, p, length, out)) return false;
    }
    p += length;
    left -= length;
  }
  return true;
}

// Writes what is there, padded to a multiple of 4; returns how many bytes: at most kTcpOptionsMax.
// SACK blocks that don't fit any more are left out.
inline std::size_t write_tcp_options(std::byte* out, const TcpOptions& options) {
  std::byte* p = out;
  if (options.mss != 0) {
    store_be32(p, 0x02040000U | options.mss);
    p += 4;
  }
  if (options.has_timestamps) {
    store_be32(p, options.sack_permitted ? 0x0402080aU : 0x0101080aU);
    store_be32(p + 4, options.ts_value);
    store_be32(p + 8, options.ts_echo);
    p += 12;
  } else if (options.sack_permitted) {
    store_be32(p, 0x01010402U);
    p += 4;
  }
  if (options.window_shift != kNoWindowShift) {
    store_be32(p, 0x01030300U | options.window_shift);
    p += 4;
  }
  const std::size_t room = kTcpOptionsMax - static_cast<std::size_t>(p - out);
  std::size_t sacks = options.sack_count;
  if (sacks != 0 && 4 + 8 * sacks > room) sacks = room < 12 ? 0 : (room - 4) / 8;
  if (sacks != 0) {
    store_be32(p, 0x01010500U | static_cast<std::uint32_t>(2 + 8 * sacks));
    p += 4;
    for (std::size_t i = 0; i < sacks; ++i, p += 8) {
      store_be32(p, options.sacks[i].begin.value);
      store_be32(p + 4, options.sacks[i].end.value);
    }
  }
  return static_cast<std::size_t>(p - out);
}

// Header and payload of an IP packet's. False: shorter than its header says. The checksum is the
// caller's to verify. Leaves ecn and merged alone.
inline bool parse_tcp(std::span<const std::byte> bytes, TcpSegment& out) {
  if (bytes.size() < kTcpHeaderSize) return false;
  const std::byte* p = bytes.data();
  const std::size_t header = (static_cast<std::uint8_t>(p[12]) >> 4) * std::size_t{4};
  if (header < kTcpHeaderSize || header > bytes.size()) return false;
  out.source_port = load_be16(p);
  out.destination_port = load_be16(p + 2);
  out.seq = SeqNumber(load_be32(p + 4));
  out.ack = SeqNumber(load_be32(p + 8));
  out.flags = static_cast<std::uint8_t>(p[13]);
  out.window = load_be16(p + 14);
  parse_tcp_options(bytes.subspan(kTcpHeaderSize, header - kTcpHeaderSize), out.options);
  out.payload = bytes.subspan(header);
  return true;
}

// Writes kTcpHeaderSize bytes, checksum and urgent pointer zero. options_length: of what follows.
inline void write_tcp(std::byte* out, std::uint16_t source_port, std::uint16_t destination_port,
                      SeqNumber seq, SeqNumber ack, std::uint8_t flags, std::uint16_t window,
                      std::size_t options_length) {
  store_be16(out, source_port);
  store_be16(out + 2, destination_port);
  store_be32(out + 4, seq.value);
  store_be32(out + 8, ack.value);
  out[12] = static_cast<std::byte>((kTcpHeaderSize + options_length) / 4 << 4);
  out[13] = std::byte{flags};
  store_be16(out + 14, window);
  store_be32(out + 16, 0);
}

}  // namespace penstock::wire
