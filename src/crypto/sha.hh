// SHA-1 and SHA-256 over OpenSSL.
//
// A hasher is a plain value: nothing is ever allocated, so that the data plane may make, use and
// drop it. It belongs to one thread at a time. libcrypto picks the CPU's kernel (SHA-NI …), but for
// two messages at once, which it can't.
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "base/digest.hh"

namespace penstock {

class Sha1 {
 public:
  Sha1() { restart(); }
  // Adds to the message.
  void update(std::span<const std::byte> bytes);
  // The digest of what was added; the next update() begins a new message.
  Sha1Digest finish();
  // Forgets what was added.
  void restart();
  // The digest of one whole message; what was added before is forgotten.
  Sha1Digest hash(std::span<const std::byte> message);
  // The same as an update() each, but with the CPU's gaps filled (sha_lanes.hh). Best when both are
  // as long and every earlier update was of a multiple of 64 bytes.
  static void update_both(Sha1& a, std::span<const std::byte> to_a, Sha1& b,
                          std::span<const std::byte> to_b);

 private:
  alignas(8) std::array<std::byte, 96> state_;  // OpenSSL's SHA_CTX; its header stays out of ours
};

// As Sha1.
class Sha256 {
 public:
  Sha256() { restart(); }
  void update(std::span<const std::byte> bytes);
  Sha256Digest finish();
  void restart();
  Sha256Digest hash(std::span<const std::byte> message);
  static void update_both(Sha256& a, std::span<const std::byte> to_a, Sha256& b,
                          std::span<const std::byte> to_b);

 private:
  alignas(8) std::array<std::byte, 112> state_;  // SHA256_CTX
};

Sha1Digest sha1(std::span<const std::byte> message);
Sha256Digest sha256(std::span<const std::byte> message);

}  // namespace penstock
