// What a device does with segments that leave: takes the bytes (perhaps later), cuts what is
// longer than a segment; and what any observer may demand of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/time.hh"
#include "tcp/segment_out.hh"
#include "wire/tcp.hh"

namespace penstock::fuzz {

// A segment on its way, with memory of its own.
struct Flying {
  Instant at;
  wire::TcpSegment segment;
  std::vector<std::byte> bytes;

  [[nodiscard]] const wire::TcpSegment& view() {
    segment.payload = bytes;
    return segment;
  }
};

// FUZZ_TRACE=1 in the environment: what happens is printed, to understand a finding.
[[nodiscard]] bool tracing();
void trace(Instant now, const char* who, const wire::TcpSegment& segment, std::size_t length);

class Device {
 public:
  // `first`: the number of the first byte of the stream `key`.
  Device(unsigned key, SeqNumber first, std::uint16_t mss) : key_(key), first_(first), mss_(mss) {}
  ~Device() { finish(); }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  // One or, with TSO, several segments. slow: it still reads the bytes until finish().
  std::vector<Flying> take(const tcp::SegmentOut& out, bool slow);
  // Has read all; the bytes were still there.
  void finish();
  [[nodiscard]] bool busy() const { return !reading_.empty(); }

  // The first number that was never sent, as far as was seen.
  [[nodiscard]] SeqNumber sent_end() const { return sent_end_; }

 private:
  struct Reading {
    const std::byte* data;
    std::uint32_t length;
    std::uint32_t place;  // in the stream
    std::uint32_t* in_use;
  };

  void check_payload(const std::byte* data, std::uint32_t length, std::uint32_t place) const;

  unsigned key_;
  SeqNumber first_;
  std::uint16_t mss_;
  SeqNumber sent_end_ = first_;
  std::vector<Reading> reading_;
};

}  // namespace penstock::fuzz
