// TCP's codec there and back. A segment of any bytes: what is understood, written and read again is
// the same, and writing that once more gives the same bytes. Options of any values: all that fits
// is understood as it was meant, blocks that don't fit are left out from behind.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/assert.hh"
#include "fuzz/input.hh"
#include "wire/tcp.hh"

namespace {

using namespace penstock;
using wire::TcpOptions;

// Memory of its own, so that a byte beyond is noticed.
struct Written {
  std::vector<std::byte> bytes;

  explicit Written(const TcpOptions& options) : bytes(wire::kTcpOptionsMax) {
    const std::size_t length = wire::write_tcp_options(bytes.data(), options);
    ASSERT(length <= wire::kTcpOptionsMax && length % 4 == 0);
    bytes.resize(length);
    bytes.shrink_to_fit();
  }
};

bool same_but_sacks(const TcpOptions& a, const TcpOptions& b) {
  return a.mss == b.mss && a.window_shift == b.window_shift &&
         a.sack_permitted == b.sack_permitted && a.has_timestamps == b.has_timestamps &&
         (!a.has_timestamps || (a.ts_value == b.ts_value && a.ts_echo == b.ts_echo));
}

void check_round_trip(const TcpOptions& options) {
  const Written first(options);
  TcpOptions again;
  const bool parsed = wire::parse_tcp_options(first.bytes, again);
  ASSERT(parsed && same_but_sacks(options, again));
  ASSERT(again.sack_count <= options.sack_count);
  for (std::size_t i = 0; i < again.sack_count; ++i)
    ASSERT(again.sacks[i] == options.sacks[i]);
  // One more wouldn't have fitted (RFC 2018 §3).
  if (again.sack_count < options.sack_count)
    ASSERT(first.bytes.size() + (again.sack_count == 0 ? 12 : 8) > wire::kTcpOptionsMax);
  const Written second(again);
  ASSERT(first.bytes == second.bytes);
}

void check_segment(std::span<const std::byte> given) {
  const std::vector<std::byte> bytes(given.begin(), given.end());
  wire::TcpSegment segment;
  if (!wire::parse_tcp(bytes, segment)) {
    ASSERT(bytes.size() < 20 || (static_cast<unsigned>(bytes[12]) >> 4) < 5 ||
           (static_cast<std::size_t>(bytes[12]) >> 4) * 4 > bytes.size());
    return;
  }
  ASSERT(segment.options.sack_count <= segment.options.sacks.size());
  ASSERT(segment.payload.data() + segment.payload.size() == bytes.data() + bytes.size());
  check_round_trip(segment.options);
  // Written again, with what was understood of the options.
  const Written options(segment.options);
  std::vector<std::byte> frame(wire::kTcpHeaderSize);
  wire::write_tcp(frame.data(), segment.source_port, segment.destination_port, segment.seq,
                  segment.ack, segment.flags, segment.window, options.bytes.size());
  frame.insert(frame.end(), options.bytes.begin(), options.bytes.end());
  frame.insert(frame.end(), segment.payload.begin(), segment.payload.end());
  wire::TcpSegment again;
  const bool parsed = wire::parse_tcp(frame, again);
  ASSERT(parsed && again.source_port == segment.source_port);
  ASSERT(again.destination_port == segment.destination_port && again.seq == segment.seq);
  ASSERT(again.ack == segment.ack && again.flags == segment.flags);
  ASSERT(again.window == segment.window && again.length() == segment.length());
  ASSERT(same_but_sacks(again.options, segment.options));
  ASSERT(std::equal(again.payload.begin(), again.payload.end(), segment.payload.begin(),
                    segment.payload.end()));
}

void check_any_options(fuzz::Input& input) {
  TcpOptions options;
  const std::uint8_t what = input.byte();
  if ((what & 1) != 0) options.mss = input.half();
  if ((what & 2) != 0) options.window_shift = input.byte() % 15;
  options.sack_permitted = (what & 4) != 0;
  options.has_timestamps = (what & 8) != 0;
  if (options.has_timestamps) {
    options.ts_value = input.word();
    options.ts_echo = input.word();
  }
  options.sack_count = (what >> 4) % 5;
  for (std::size_t i = 0; i < options.sack_count; ++i)
    options.sacks[i] = {SeqNumber(input.word()), SeqNumber(input.word())};
  check_round_trip(options);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  fuzz::Input input(data + 1, size - 1);
  if ((data[0] & 1) != 0)
    check_any_options(input);
  else
    check_segment({reinterpret_cast<const std::byte*>(data) + 1, size - 1});
  return 0;
}
