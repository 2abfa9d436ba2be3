// Sequence numbers that wrap around (RFC 9293 §3.4): 32 bits, compared modulo 2^32.
#pragma once

#include <cstdint>

namespace penstock {

// Two numbers are comparable while they are less than 2^31 apart. No operator<: it would not order
// a set of more than two.
struct SeqNumber {
  std::uint32_t value = 0;

  constexpr SeqNumber() = default;
  constexpr explicit SeqNumber(std::uint32_t v) : value(v) {}
  bool operator==(const SeqNumber&) const = default;
  constexpr SeqNumber operator+(std::uint32_t n) const { return SeqNumber(value + n); }
  constexpr SeqNumber operator-(std::uint32_t n) const { return SeqNumber(value - n); }
  constexpr SeqNumber& operator+=(std::uint32_t n) {
    value += n;
    return *this;
  }
  // How far `earlier` lies behind this; wraps.
  constexpr std::uint32_t operator-(SeqNumber earlier) const { return value - earlier.value; }
};

constexpr bool before(SeqNumber a, SeqNumber b) {
  return static_cast<std::int32_t>(a.value - b.value) < 0;
}
constexpr bool at_or_before(SeqNumber a, SeqNumber b) {
  return static_cast<std::int32_t>(a.value - b.value) <= 0;
}
constexpr bool after(SeqNumber a, SeqNumber b) {
  return before(b, a);
}
constexpr SeqNumber later(SeqNumber a, SeqNumber b) {
  return before(a, b) ? b : a;
}
constexpr SeqNumber sooner(SeqNumber a, SeqNumber b) {
  return before(a, b) ? a : b;
}
// Whether begin <= at < begin + length.
constexpr bool within(SeqNumber at, SeqNumber begin, std::uint32_t length) {
  return at - begin < length;
}

}  // namespace penstock
