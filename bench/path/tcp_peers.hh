// What stands behind the stack in tcp.cc: a device that costs nothing, and peers that acknowledge.
//
// NullPort hands out frames that were made before, and notes 16 bytes of each frame that it is
// given; nothing else happens while the stack runs. Peers read the notes and make the next frames,
// outside of the time that is measured.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "base/address.hh"
#include "base/endian.hh"
#include "base/time.hh"
#include "net/nic_port.hh"
#include "wire/arp.hh"
#include "wire/ethernet.hh"
#include "wire/ipv4.hh"
#include "wire/tcp.hh"

namespace penstock::bench {

[[noreturn]] inline void broken(const char* what) {
  std::fprintf(stderr, "tcp: %s\n", what);
  std::exit(1);
}

inline constexpr wire::MacAddress kOurMac{{2, 0, 0, 0, 0, 1}};
inline constexpr wire::MacAddress kGatewayMac{{2, 0, 0, 0, 0, 2}};
inline constexpr std::uint16_t kOurPort = 6881;
inline constexpr std::uint32_t kMss = 1448;  // with timestamps, MTU 1,500

// Of a frame that the stack sent. Peer i is 10.0.(i / 256).(i % 256).
struct Note {
  std::uint16_t peer = 0;
  std::uint8_t flags = 0;
  bool arp = false;
  std::uint32_t seq = 0;
  std::uint32_t length = 0;  // payload
  std::uint32_t timestamp = 0;
};

class NullPort final : public net::NicPort {
 public:
  // A full frame in whole cache lines; no power of two, or all heads would share few sets.
  static constexpr std::size_t kFrameBytes = 1600;
  static constexpr std::size_t kFramesMax = 1024;

  NullPort(std::uint32_t tso_bytes_max, bool tx_checksum)
      : memory_(std::make_unique<std::byte[]>(kFramesMax * kFrameBytes)) {
    info_.mac = kOurMac;
    info_.tx_checksum = tx_checksum;
    info_.tso_bytes_max = tso_bytes_max;
    notes_.reserve(4096);
  }

  [[nodiscard]] const net::NicInfo& info() const override { return info_; }

  std::size_t rx_burst(std::span<net::RxFrame> out) override {
    const std::size_t count = std::min(out.size(), made_ - given_);
    for (std::size_t i = 0; i < count; ++i, ++given_)
      out[i] = {{frame(given_), lengths_[given_]}, net::RxChecksum::good, 0};
    return count;
  }

  std::size_t tx_burst(std::span<const net::TxFrame> frames) override {
    // Offsets without a VLAN tag and without IPv4 options, as the stack writes it here.
    for (const net::TxFrame& sent : frames) {
      const std::byte* p = sent.head.data();
      Note& note = notes_.emplace_back();
      note.arp = p[13] != std::byte{0};
      note.peer = load_be16(p + 32);
      note.flags = static_cast<std::uint8_t>(p[47]);
      note.seq = load_be32(p + 38);
      note.length = load_be16(p + 16) - 20u - (static_cast<std::uint32_t>(p[46]) >> 4) * 4;
      note.timestamp = load_be32(p + 58);
    }
    return frames.size();
  }

  // --- for the peers ---
  // The next frame to come; all that were made before must have been taken when there are
  // kFramesMax.
  std::byte* make(std::size_t length) {
    if (given_ == made_) given_ = made_ = 0;
    if (made_ == kFramesMax) broken("too many frames at once");
    lengths_[made_] = static_cast<std::uint16_t>(length);
    return frame(made_++);
  }
  [[nodiscard]] std::size_t waiting() const { return made_ - given_; }
  [[nodiscard]] std::span<const Note> notes() const { return notes_; }
  void forget_notes() { notes_.clear(); }

 private:
  std::byte* frame(std::size_t i) { return memory_.get() + i * kFrameBytes; }

  net::NicInfo info_;
  std::unique_ptr<std::byte[]> memory_;
  std::array<std::uint16_t, kFramesMax> lengths_{};
  std::size_t made_ = 0;
  std::size_t given_ = 0;
  std::vector<Note> notes_;
};

class Peers {
 public:
  Peers(NullPort& port, std::uint32_t count, std::uint32_t window_bytes)
      : port_(port), peers_(count), window_((window_bytes + 127) >> kShift) {}

  struct Peer {
    std::uint32_t received = 0;  // next number expected
    std::uint32_t acked = 0;     // told so far
    std::uint32_t next = 0;      // of our own
    std::uint32_t timestamp = 0;
    bool fin = false;
  };
  [[nodiscard]] const Peer& operator[](std::uint32_t i) const { return peers_[i]; }
  [[nodiscard]] std::uint32_t under_way(std::uint32_t i) const {
    return peers_[i].received - peers_[i].acked;
  }

  void syn(Instant now, std::uint32_t i) {
    Peer& peer = peers_[i];
    peer = Peer{};
    peer.next = 0x1000'0000 + i * 0x1001;
    wire::TcpOptions options;
    options.mss = 1460;
    options.window_shift = kShift;
    options.sack_permitted = options.has_timestamps = true;
    options.ts_value = ticks(now);
    segment(i, wire::TcpFlags::syn, options, 0);
    peer.next += 1;
  }
  // Acknowledges at most `bytes` more.
  void ack(Instant now, std::uint32_t i, std::uint32_t bytes, std::uint8_t flags = 0) {
    Peer& peer = peers_[i];
    peer.acked += std::min(bytes, under_way(i));
    segment(i, wire::TcpFlags::ack | flags, timestamps(now, peer), 0);
    if ((flags & wire::TcpFlags::fin) != 0) peer.next += 1;
  }
  void data(Instant now, std::uint32_t i, std::uint32_t bytes) {
    Peer& peer = peers_[i];
    peer.acked = peer.received;
    segment(i, wire::TcpFlags::ack, timestamps(now, peer), bytes);
    peer.next += bytes;
  }

  // Takes what the stack sent. Returns the payload, bytes.
  std::uint64_t read_notes() {
    std::uint64_t bytes = 0;
    for (const Note& note : port_.notes()) {
      if (note.arp) {
        answer_arp();
        continue;
      }
      if ((note.flags & wire::TcpFlags::rst) != 0) broken("the stack reset a connection");
      Peer& peer = peers_[note.peer];
      if ((note.flags & wire::TcpFlags::syn) != 0)
        peer.received = peer.acked = note.seq;
      else if (note.length != 0 && note.seq != peer.received)
        broken("the stack sent something again");
      const bool fin = (note.flags & wire::TcpFlags::fin) != 0;
      peer.received =
          note.seq + note.length + ((note.flags & wire::TcpFlags::syn) != 0 || fin ? 1 : 0);
      peer.fin |= fin;
      peer.timestamp = note.timestamp;
      bytes += note.length;
    }
    port_.forget_notes();
    return bytes;
  }

  static IpAddress our_address() { return IpAddress::v4(192, 0, 2, 1); }
  static IpAddress gateway() { return IpAddress::v4(192, 0, 2, 254); }

 private:
  static constexpr std::uint8_t kShift = 7;
  static constexpr std::size_t kIpAt = 14, kTcpAt = 34, kOptionsAt = 54;

  static std::uint32_t ticks(Instant now) { return static_cast<std::uint32_t>(now.ns / 1'000'000); }
  static wire::TcpOptions timestamps(Instant now, const Peer& peer) {
    wire::TcpOptions options;
    options.has_timestamps = true;
    options.ts_value = ticks(now);
    options.ts_echo = peer.timestamp;
    return options;
  }

  void segment(std::uint32_t i, int flags, const wire::TcpOptions& options, std::uint32_t payload) {
    std::array<std::byte, wire::kTcpOptionsMax> bytes;
    const std::size_t length = wire::write_tcp_options(bytes.data(), options);
    const Peer& peer = peers_[i];
    std::byte* p = port_.make(kOptionsAt + length + payload);
    wire::write_ethernet(p, kOurMac, kGatewayMac, wire::EtherType::ipv4);
    const IpAddress address = IpAddress::v4(10, 0, static_cast<std::uint8_t>(i >> 8),
                                            static_cast<std::uint8_t>(i & 0xff));
    wire::write_ipv4(p + kIpAt, address, our_address(), wire::IpProtocol::tcp, 0, 64,
                     wire::kTcpHeaderSize + length + payload);
    wire::write_tcp(p + kTcpAt, 40000, kOurPort, SeqNumber(peer.next), SeqNumber(peer.acked),
                    static_cast<std::uint8_t>(flags),
                    static_cast<std::uint16_t>((flags & wire::TcpFlags::syn) != 0
                                                   ? 0xffff
                                                   : std::min<std::uint32_t>(window_, 0xffff)),
                    length);
    std::memcpy(p + kOptionsAt, bytes.data(), length);
  }

  void answer_arp() {
    std::byte* p = port_.make(wire::kEthernetSize + wire::kArpSize);
    wire::write_ethernet(p, kOurMac, kGatewayMac, wire::EtherType::arp);
    wire::write_arp(p + wire::kEthernetSize,
                    {false, kGatewayMac, gateway(), kOurMac, our_address()});
  }

  NullPort& port_;
  std::vector<Peer> peers_;
  std::uint32_t window_;
};

}  // namespace penstock::bench
