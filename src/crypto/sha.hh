// SHA-1 and SHA-256 over OpenSSL.
//
// A hasher is a plain value: nothing is ever allocated, so that the data plane may make, use and
// drop it. It belongs to one thread at a time. libcrypto picks the CPU's kernel (SHA-NI …), but for
// several messages at once, which it can't.
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
  // The same as an update() of each hasher with its bytes, but as many in step as the CPU can
  // (sha_wide.hh, sha_lanes.hh). Best with sixteen that are as long, and when every earlier update
  // was of a multiple of 64 bytes. The hashers are different ones.
  static void update_all(std::span<Sha1* const> hashers,
                         std::span<const std::span<const std::byte>> bytes);

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
  static void update_all(std::span<Sha256* const> hashers,
                         std::span<const std::span<const std::byte>> bytes);

 private:
  alignas(8) std::array<std::byte, 112> state_;  // SHA256_CTX
};

Sha1Digest sha1(std::span<const std::byte> message);
Sha256Digest sha256(std::span<const std::byte> message);

}  // namespace penstock
