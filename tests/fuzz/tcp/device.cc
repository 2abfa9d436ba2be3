#include "fuzz/tcp/device.hh"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/assert.hh"
#include "fuzz/tcp/application.hh"

namespace penstock::fuzz {

using wire::TcpFlags;

bool tracing() {
  static const bool kOn = std::getenv("FUZZ_TRACE") != nullptr;
  return kOn;
}

void trace(Instant now, const char* who, const wire::TcpSegment& segment, std::size_t length) {
  if (!tracing()) return;
  std::fprintf(stderr, "%14.6f %s flags %02x seq %u+%zu ack %u win %u ts %u %u sacks %u\n",
               static_cast<double>(now.ns) / 1e9, who, segment.flags, segment.seq.value, length,
               segment.ack.value, segment.window, segment.options.ts_value, segment.options.ts_echo,
               segment.options.sack_count);
}

void Device::check_payload(const std::byte* data, std::uint32_t length, std::uint32_t place) const {
  ASSERT(place <= kStreamSize && length <= kStreamSize - place);
  ASSERT(std::memcmp(data, stream_bytes(key_).data() + place, length) == 0);
}

std::vector<Flying> Device::take(const tcp::SegmentOut& out, bool slow) {
  ASSERT(out.part_count <= tcp::kPartsMax && out.options_length % 4 == 0);
  std::vector<std::byte> all;
  all.reserve(out.payload_length);
  const std::uint32_t place = out.seq - first_;
  for (std::size_t i = 0; i < out.part_count; ++i) {
    const tcp::PayloadPart& part = out.parts[i];
    const auto at = place + static_cast<std::uint32_t>(all.size());
    ASSERT(part.length > 0 && part.in_use != nullptr);
    check_payload(part.data, part.length, at);
    all.insert(all.end(), part.data, part.data + part.length);
    if (!slow) continue;
    ++*part.in_use;
    reading_.push_back({part.data, part.length, at, part.in_use});
  }
  ASSERT(all.size() == out.payload_length);
  ASSERT(out.segment_size == 0 || out.segment_size < out.payload_length);
  const std::size_t size = out.segment_size != 0 ? out.segment_size : all.size();
  ASSERT(size + out.options_length <= std::max<std::size_t>(mss_, 88 + 12));
  Flying one;
  const bool parsed = wire::parse_tcp_options(std::span(out.options).first(out.options_length),
                                              one.segment.options);
  ASSERT(parsed);
  one.segment.seq = out.seq;
  one.segment.ack = out.ack;
  one.segment.window = out.window;
  one.segment.flags = out.flags;
  one.segment.ecn = out.ecn;
  if ((out.flags & TcpFlags::rst) == 0) {
    const SeqNumber end = out.seq + out.payload_length +
                          ((out.flags & (TcpFlags::syn | TcpFlags::fin)) != 0 ? 1u : 0u);
    sent_end_ = later(sent_end_, end);
  }
  std::vector<Flying> result;
  std::size_t at = 0;
  do {
    const std::size_t length = std::min(size, all.size() - at);
    one.bytes.assign(all.begin() + static_cast<std::ptrdiff_t>(at),
                     all.begin() + static_cast<std::ptrdiff_t>(at + length));
    one.segment.seq = out.seq + static_cast<std::uint32_t>(at);
    at += length;
    // FIN and PSH are the last one's, CWR the first one's.
    unsigned flags = out.flags;
    if (at < all.size()) flags &= ~static_cast<unsigned>(TcpFlags::fin | TcpFlags::psh);
    if (!result.empty()) flags &= ~static_cast<unsigned>(TcpFlags::cwr);
    one.segment.flags = static_cast<std::uint8_t>(flags);
    result.push_back(one);
  } while (at < all.size());
  return result;
}

void Device::finish() {
  for (const Reading& r : reading_) {
    check_payload(r.data, r.length, r.place);
    ASSERT(*r.in_use > 0);
    --*r.in_use;
  }
  reading_.clear();
}

}  // namespace penstock::fuzz
