// OpenSSL's low-level functions on purpose: EVP_DigestInit_ex2() of OpenSSL 3.0 allocates the
// state anew for every message, even for a context that holds one, and a merkle node is a message
// of 64 bytes. They are "deprecated" because they bypass providers, which public hashes don't need.
#define OPENSSL_SUPPRESS_DEPRECATED

#include "crypto/sha.hh"

#include <openssl/sha.h>

namespace penstock {
namespace {

SHA_CTX* sha1_state(std::array<std::byte, 96>& state) {
  static_assert(sizeof(SHA_CTX) <= sizeof state && alignof(SHA_CTX) <= 8);
  return reinterpret_cast<SHA_CTX*>(state.data());
}

SHA256_CTX* sha256_state(std::array<std::byte, 112>& state) {
  static_assert(sizeof(SHA256_CTX) <= sizeof state && alignof(SHA256_CTX) <= 8);
  return reinterpret_cast<SHA256_CTX*>(state.data());
}

unsigned char* out(std::byte* bytes) {
  return reinterpret_cast<unsigned char*>(bytes);
}

}  // namespace

// None of the calls below can fail: their return value is 1, always.

void Sha1::restart() {
  SHA1_Init(sha1_state(state_));
}

void Sha1::update(std::span<const std::byte> bytes) {
  SHA1_Update(sha1_state(state_), bytes.data(), bytes.size());
}

Sha1Digest Sha1::finish() {
  Sha1Digest digest;
  SHA1_Final(out(digest.bytes.data()), sha1_state(state_));
  restart();
  return digest;
}

Sha1Digest Sha1::hash(std::span<const std::byte> message) {
  restart();
  update(message);
  return finish();
}

void Sha256::restart() {
  SHA256_Init(sha256_state(state_));
}

void Sha256::update(std::span<const std::byte> bytes) {
  SHA256_Update(sha256_state(state_), bytes.data(), bytes.size());
}

Sha256Digest Sha256::finish() {
  Sha256Digest digest;
  SHA256_Final(out(digest.bytes.data()), sha256_state(state_));
  restart();
  return digest;
}

Sha256Digest Sha256::hash(std::span<const std::byte> message) {
  restart();
  update(message);
  return finish();
}

Sha1Digest sha1(std::span<const std::byte> message) {
  return Sha1().hash(message);
}

Sha256Digest sha256(std::span<const std::byte> message) {
  return Sha256().hash(message);
}

}  // namespace penstock
