// One frame through the whole of the parsing. The first byte says what the device thinks of it.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/assert.hh"
#include "net/frame_parser.hh"
#include "wire/ndp.hh"

namespace {

using namespace penstock;

bool inside(std::span<const std::byte> part, std::span<const std::byte> whole) {
  return part.empty() ||
         (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

const net::Host& host() {
  static const net::Host kHost({{2, 0, 0, 0, 0, 1}}, 0, 1500,
                               std::vector<net::Interface>{{*parse_ip("192.0.2.1"), 24, {}},
                                                           {*parse_ip("2001:db8::1"), 64, {}}});
  return kHost;
}

void check_segment(const wire::TcpSegment& segment) {
  ASSERT(segment.source_port != 0 && segment.destination_port != 0 && segment.merged >= 1);
  ASSERT(segment.options.sack_count <= segment.options.sacks.size());
  // What was understood can be said again, and is understood again.
  std::array<std::byte, wire::kTcpOptionsMax> bytes;
  const std::size_t length = wire::write_tcp_options(bytes.data(), segment.options);
  ASSERT(length <= bytes.size() && length % 4 == 0);
  wire::TcpOptions again;
  ASSERT(wire::parse_tcp_options(std::span(bytes).first(length), again));
  ASSERT(again.mss == segment.options.mss && again.window_shift == segment.options.window_shift);
  ASSERT(again.ts_value == segment.options.ts_value || !segment.options.has_timestamps);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data) + 1, size - 1);
  net::RxFrame frame;
  frame.bytes = bytes;
  frame.checksum = static_cast<net::RxChecksum>(data[0] % 3);
  frame.segment_size = static_cast<std::uint16_t>(data[0] >> 2 == 0 ? 0 : (data[0] >> 2) * 100);
  net::ParsedFrame out;
  net::parse_frame(frame, host(), out);
  using Kind = net::ParsedFrame::Kind;
  ASSERT((out.kind == Kind::dropped) == (out.drop != net::DropReason::none));
  switch (out.kind) {
    case Kind::dropped:
    case Kind::arp:
      break;
    case Kind::tcp:
      ASSERT(out.local != net::kNoInterface && inside(out.segment.payload, bytes));
      check_segment(out.segment);
      break;
    case Kind::icmp: {
      ASSERT(inside(out.icmp.body, bytes));
      wire::NeighbourMessage message;
      wire::QuotedPacket quoted;
      if (wire::parse_neighbour(out.icmp, message)) ASSERT(message.target.bytes[0] != 0xff);
      wire::parse_quoted_ipv4(out.icmp.body, quoted);
      wire::parse_quoted_ipv6(out.icmp.body, quoted);
      break;
    }
    case Kind::other:
      ASSERT(out.local != net::kNoInterface);
      break;
  }
  return 0;
}
