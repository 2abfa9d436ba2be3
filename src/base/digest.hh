// Fixed-length digests and the info-hashes made of them.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

namespace penstock {

template <std::size_t N>
struct Digest {
  std::array<std::byte, N> bytes{};

  auto operator<=>(const Digest&) const = default;
  [[nodiscard]] bool is_zero() const {
    for (const std::byte b : bytes) {
      if (b != std::byte{0}) return false;
    }
    return true;
  }
  // Lower-case hexadecimal.
  [[nodiscard]] std::string hex() const {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    text.reserve(2 * N);
    for (const std::byte b : bytes) {
      text.push_back(kDigits[static_cast<unsigned>(b) >> 4]);
      text.push_back(kDigits[static_cast<unsigned>(b) & 15]);
    }
    return text;
  }
};

using Sha1Digest = Digest<20>;
using Sha256Digest = Digest<32>;

// What a handshake, an announce and the DHT carry: SHA-1 of a v1 info dictionary, or the first 20
// bytes of the SHA-256 of a v2 one (BEP 52).
using WireInfoHash = Sha1Digest;

inline WireInfoHash truncate(const Sha256Digest& full) {
  WireInfoHash cut;
  std::memcpy(cut.bytes.data(), full.bytes.data(), cut.bytes.size());
  return cut;
}

}  // namespace penstock
