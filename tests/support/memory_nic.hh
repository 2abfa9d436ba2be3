// Two NicPorts joined by a wire that loses nothing and takes no time: what one gives, the other has
// at once. Header-only, with the switches that a stack's own tests need; the link with faults is
// sim_link.hh.
//
// It reads payload when it hands a frame out, not when it takes it, as hardware does: in_use is
// counted meanwhile, and bytes that change under it are found by a checksum.
#pragma once

#include <cstring>
#include <deque>
#include <functional>
#include <vector>

#include "base/assert.hh"
#include "net/nic_port.hh"
#include "wire/checksum.hh"

namespace penstock::support {

class MemoryNic final : public net::NicPort {
 public:
  using Bytes = std::vector<std::byte>;

  explicit MemoryNic(const net::NicInfo& info) : info_(info) {}

  static void join(MemoryNic& a, MemoryNic& b) {
    a.other_ = &b;
    b.other_ = &a;
  }

  // --- switches ---
  // Frames that it takes until it is given more; a device whose ring is full.
  std::size_t room = ~std::size_t{0};
  // Least frames that tx_burst leaves where they are.
  std::size_t held = 0;
  net::RxChecksum rx_checksum = net::RxChecksum::unknown;
  // Sees every frame that leaves; false: it is lost.
  std::function<bool(const Bytes&)> filter;
  std::size_t frames_taken = 0;

  // A frame from nowhere.
  void inject(Bytes frame) { received_.push_back(std::move(frame)); }
  // What came and wasn't fetched, for tests without a second stack.
  bool take_sent(Bytes& out) {
    release(held);
    if (sent_.empty()) return false;
    out = std::move(sent_.front());
    sent_.pop_front();
    return true;
  }

  [[nodiscard]] const net::NicInfo& info() const override { return info_; }

  std::size_t rx_burst(std::span<net::RxFrame> out) override {
    if (other_ != nullptr) other_->release(other_->held);
    // What was lent may be overwritten from here on.
    for (Bytes& frame : lent_)
      std::memset(frame.data(), 0xee, frame.size());
    lent_.clear();
    std::size_t count = 0;
    for (; count < out.size() && !received_.empty(); ++count) {
      lent_.push_back(std::move(received_.front()));
      received_.pop_front();
    }
    for (std::size_t i = 0; i < count; ++i)
      out[i] = {lent_[i], rx_checksum, 0};
    return count;
  }

  std::size_t tx_burst(std::span<const net::TxFrame> frames) override {
    std::size_t taken = 0;
    for (; taken < frames.size() && room != 0; ++taken, --room) {
      const net::TxFrame& frame = frames[taken];
      ASSERT(frame.head_length >= 14 && frame.head_length <= net::kHeadMax);
      ASSERT(frame.part_count <= net::kPayloadPartsMax);
      for (std::size_t i = 0; i < frame.part_count; ++i) {
        ASSERT(frame.parts[i].length != 0);
        if (frame.parts[i].in_use != nullptr) ++*frame.parts[i].in_use;
      }
      pending_.push_back({frame, sum_of(frame)});
      ++frames_taken;
    }
    return taken;
  }

  // Lets all but `keep` frames leave.
  void release(std::size_t keep) {
    while (pending_.size() > keep) {
      const Pending pending = pending_.front();
      pending_.pop_front();
      ASSERT(sum_of(pending.frame) == pending.sum);  // payload changed while the device had it
      leave(pending.frame);
      for (std::size_t i = 0; i < pending.frame.part_count; ++i) {
        std::uint32_t* in_use = pending.frame.parts[i].in_use;
        if (in_use == nullptr) continue;
        ASSERT(*in_use > 0);
        --*in_use;
      }
    }
  }

  [[nodiscard]] bool idle() const { return pending_.empty() && received_.empty(); }

 private:
  struct Pending {
    net::TxFrame frame;
    std::uint16_t sum;
  };

  static std::uint16_t sum_of(const net::TxFrame& frame) {
    wire::PiecewiseSum sum;
    for (std::size_t i = 0; i < frame.part_count; ++i)
      sum.add(frame.parts[i].data, frame.parts[i].length);
    return sum.folded();
  }

  void leave(const net::TxFrame& frame) {
    Bytes whole(frame.head.begin(), frame.head.begin() + frame.head_length);
    for (std::size_t i = 0; i < frame.part_count; ++i) {
      const auto* begin = frame.parts[i].data;
      whole.insert(whole.end(), begin, begin + frame.parts[i].length);
    }
    if (frame.segment_size == 0) {
      if (frame.checksum_at != 0) fill_checksum(whole, frame);
      return deliver(std::move(whole));
    }
    cut(whole, frame);
  }

  void deliver(Bytes frame) {
    if (filter && !filter(frame)) return;
    if (other_ != nullptr) {
      other_->received_.push_back(std::move(frame));
    } else {
      sent_.push_back(std::move(frame));
    }
  }

  static void fill_checksum(Bytes& whole, const net::TxFrame& frame) {
    std::byte* transport = whole.data() + frame.transport_at;
    const std::uint64_t sum = wire::add_bytes(0, transport, whole.size() - frame.transport_at);
    wire::store_sum(transport + frame.checksum_at, wire::complement(wire::fold(sum)));
  }

  // TSO: headers again for each segment, lengths and checksums adapted (no IP id: ours is 0).
  void cut(const Bytes& whole, const net::TxFrame& frame) {
    ASSERT(info_.tso_bytes_max != 0 && frame.checksum_at == 16);
    const std::size_t transport = frame.transport_at;
    const std::size_t header = (static_cast<std::size_t>(whole[transport + 12]) >> 4) * 4;
    const std::size_t begin = transport + header;
    const std::size_t payload = whole.size() - begin;
    ASSERT(payload <= info_.tso_bytes_max);
    const bool v6 = transport >= 54 && static_cast<unsigned>(whole[transport - 40]) >> 4 == 6;
    const std::size_t ip = transport - (v6 ? 40 : 20);
    const std::uint16_t all = wire::load_sum(&whole[transport + 16]);
    for (std::size_t at = 0; at < payload; at += frame.segment_size) {
      const std::size_t size = std::min<std::size_t>(frame.segment_size, payload - at);
      Bytes segment(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(begin));
      const auto from = whole.begin() + static_cast<std::ptrdiff_t>(begin + at);
      segment.insert(segment.end(), from, from + static_cast<std::ptrdiff_t>(size));
      store_be32(&segment[transport + 4],
                 load_be32(&whole[transport + 4]) + static_cast<std::uint32_t>(at));
      if (at + size != payload) segment[transport + 13] &= std::byte{0xf6};  // FIN, PSH
      if (at != 0) segment[transport + 13] &= std::byte{0x7f};               // CWR
      const std::size_t tcp_length = header + size;
      if (v6) {
        store_be16(&segment[ip + 4], static_cast<std::uint16_t>(tcp_length));
      } else {
        const std::uint16_t before = wire::load_sum(&segment[ip + 2]);
        store_be16(&segment[ip + 2], static_cast<std::uint16_t>(20 + tcp_length));
        wire::store_sum(&segment[ip + 10], wire::updated(wire::load_sum(&segment[ip + 10]), before,
                                                         wire::load_sum(&segment[ip + 2])));
      }
      // The sum over the pseudo-header held the length of all.
      const auto length_of_all = static_cast<std::uint32_t>(header + payload);
      const std::uint16_t without = wire::complement(wire::fold(wire::length_sum(length_of_all)));
      wire::store_sum(&segment[transport + 16],
                      wire::fold(std::uint64_t{all} + without +
                                 wire::length_sum(static_cast<std::uint32_t>(tcp_length))));
      fill_checksum(segment, frame);
      deliver(std::move(segment));
    }
  }

  net::NicInfo info_;
  MemoryNic* other_ = nullptr;
  std::deque<Pending> pending_;
  std::deque<Bytes> received_;
  std::deque<Bytes> sent_;
  std::vector<Bytes> lent_;
};

}  // namespace penstock::support
