// Frames, time and calls against a whole stack, which validates itself after each step.
//
// A step is a byte of kind and its arguments. Frames come with checksums "good", so that the fuzzer
// needn't solve them; `patch` copies what the stack sent last into a frame, so that sequence
// numbers can be right: its addresses and ports are swapped, and the acknowledgement is what was
// sent.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/assert.hh"
#include "base/endian.hh"
#include "fuzz/input.hh"
#include "net/stack.hh"

namespace {

using namespace penstock;
using Bytes = std::vector<std::byte>;

class FuzzNic final : public net::NicPort {
 public:
  FuzzNic() { info_.mac = {{2, 0, 0, 0, 0, 1}}; }
  [[nodiscard]] const net::NicInfo& info() const override { return info_; }
  std::size_t rx_burst(std::span<net::RxFrame> out) override {
    lent_ = std::move(next_);
    next_.clear();
    const std::size_t count = std::min(out.size(), lent_.size());
    for (std::size_t i = 0; i < count; ++i)
      out[i] = {lent_[i], net::RxChecksum::good, 0};
    return count;
  }
  std::size_t tx_burst(std::span<const net::TxFrame> frames) override {
    for (const net::TxFrame& frame : frames) {
      ASSERT(frame.length() <= 14U + info_.mtu);
      sent.assign(frame.head.begin(), frame.head.begin() + frame.head_length);
      payload = frame.length() - frame.head_length;
    }
    return frames.size();
  }
  void add(Bytes frame) {
    if (next_.size() < net::kFrameBurst) next_.push_back(std::move(frame));
  }

  Bytes sent;
  std::size_t payload = 0;

 private:
  net::NicInfo info_;
  std::vector<Bytes> lent_, next_;
};

// The peer's next segment after `sent`: IPv4 without options only.
Bytes answer_to(const Bytes& sent, std::size_t payload, std::uint8_t flags,
                std::span<const std::byte> data) {
  if (sent.size() < 54 || load_be16(&sent[12]) != 0x0800 || sent[23] != std::byte{6}) return {};
  Bytes out(sent.begin(), sent.begin() + 54);
  std::swap_ranges(out.begin(), out.begin() + 6, out.begin() + 6);
  std::swap_ranges(out.begin() + 26, out.begin() + 30, out.begin() + 30);
  std::swap_ranges(out.begin() + 34, out.begin() + 36, out.begin() + 36);
  const std::size_t header = (static_cast<std::size_t>(sent[46]) >> 4) * 4;
  const std::size_t inline_bytes = sent.size() - 34 - std::min(header, sent.size() - 34);
  const std::uint32_t length = static_cast<std::uint32_t>(payload + inline_bytes) +
                               ((static_cast<std::uint8_t>(sent[47]) & 3) != 0);
  store_be32(&out[38], load_be32(&sent[42]));
  store_be32(&out[42], load_be32(&sent[38]) + length);
  out[46] = std::byte{0x50};
  out[47] = std::byte{flags};
  store_be16(&out[48], 0xffff);
  out.insert(out.end(), data.begin(), data.end());
  store_be16(&out[16], static_cast<std::uint16_t>(out.size() - 14));
  store_be16(&out[24], 0);
  std::uint32_t sum = 0;
  for (std::size_t i = 14; i < 34; i += 2)
    sum += load_be16(&out[i]);
  sum = (sum & 0xffff) + (sum >> 16);
  store_be16(&out[24], static_cast<std::uint16_t>(~((sum & 0xffff) + (sum >> 16))));
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 4'096) return 0;
  fuzz::Input input(data, size);
  FuzzNic nic;
  net::StackOptions options;
  options.connections_max = 4;
  options.syn_backlog = 4;
  options.time_wait_max = 4;
  options.send_pages = options.receive_pages = 16;
  options.record_pages = 16;
  options.neighbours_max = 4;
  options.send_buffer = options.receive_window = 32 << 10;
  options.receive_window_first = 16 << 10;
  options.interfaces = {{*parse_ip("192.0.2.1"), 24, {}}, {*parse_ip("2001:db8::1"), 64, {}}};
  options.listen = {6881};
  Instant now{1'000'000'000};
  net::Stack stack(nic, options, now);
  StreamHandle stream;
  static const std::vector<std::byte> kPayload(4'096, std::byte{7});
  while (!input.empty()) {
    const std::uint8_t kind = input.byte();
    switch (kind % 8) {
      case 0: {
        const auto frame = input.bytes(input.byte());
        nic.add(Bytes(frame.begin(), frame.end()));
        break;
      }
      case 1:
      case 2: {
        const std::uint8_t flags = input.byte();
        Bytes frame = answer_to(nic.sent, nic.payload, flags, input.bytes(kind >> 3));
        if (!frame.empty()) nic.add(std::move(frame));
        break;
      }
      case 3:
        now = now + Duration::microseconds(std::int64_t{1} << (kind >> 3));
        break;
      case 4: {
        const SendPart part{kPayload.data(),
                            1U + 16U * input.byte(),
                            (kind & 8) != 0 ? SendPart::Kind::small : SendPart::Kind::slab,
                            (kind & 16) != 0 ? std::uint64_t{5} : 0,
                            {TorrentSlot(1), 1, 0}};
        stack.try_send(stream, {&part, 1});
        break;
      }
      case 5:
        stack.close(stream, (kind & 8) != 0);
        break;
      case 6:
        stack.set_reading(stream, (kind & 8) != 0);
        if ((kind & 16) != 0) stack.shed_longest_stalled(now);
        break;
      case 7:
        stack.connect({*parse_ip("192.0.2.2"), 80}, {}, stream);
        break;
    }
    std::array<StreamEvent, 4> events;
    const std::size_t count =
        stack.poll_events(now, std::span(events).first(1 + (kind >> 3) % events.size()));
    for (const StreamEvent& event : std::span(events).first(count)) {
      if (event.kind == StreamEvent::Kind::accepted) stream = event.stream;
      if (event.kind == StreamEvent::Kind::need)
        stack.on_content(event.stream, event.pin, event.content,
                         (kind & 32) != 0 ? nullptr : kPayload.data());
    }
    stack.flush(now);
    stack.validate();
  }
  return 0;
}
