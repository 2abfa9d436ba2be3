// OpenSSL's low-level functions on purpose: EVP_DigestInit_ex2() of OpenSSL 3.0 allocates the
// state anew for every message, even for a context that holds one, and a merkle node is a message
// of 64 bytes. They are "deprecated" because they bypass providers, which public hashes don't need.
#define OPENSSL_SUPPRESS_DEPRECATED

#include "crypto/sha.hh"

#include <algorithm>
#include <cstdint>
#include <tuple>

#include <openssl/sha.h>

#include "crypto/sha_lanes.hh"

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

// Counts bytes that were compressed behind OpenSSL's back (both states count bits in two words).
template <class State>
void count(State& state, std::size_t bytes) {
  const std::uint64_t bits =
      (std::uint64_t{state.Nh} << 32 | state.Nl) + (std::uint64_t{bytes} << 3);
  state.Nh = static_cast<SHA_LONG>(bits >> 32);
  state.Nl = static_cast<SHA_LONG>(bits);
}

// How many bytes of both can go through the two-lane kernel: none while one has a started block.
template <class State>
std::size_t in_lanes(const State& a, std::span<const std::byte> to_a, const State& b,
                     std::span<const std::byte> to_b) {
  if (a.num != 0 || b.num != 0 || !sha_lanes::available()) return 0;
  return std::min(to_a.size(), to_b.size()) & ~std::size_t{63};
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

void Sha1::update_both(Sha1& a, std::span<const std::byte> to_a, Sha1& b,
                       std::span<const std::byte> to_b) {
  SHA_CTX& state_a = *sha1_state(a.state_);
  SHA_CTX& state_b = *sha1_state(b.state_);
  const std::size_t bytes = in_lanes(state_a, to_a, state_b, to_b);
  if (bytes > 0) {
    std::uint32_t hash_a[5] = {state_a.h0, state_a.h1, state_a.h2, state_a.h3, state_a.h4};
    std::uint32_t hash_b[5] = {state_b.h0, state_b.h1, state_b.h2, state_b.h3, state_b.h4};
    sha_lanes::sha1(hash_a, to_a.data(), hash_b, to_b.data(), bytes / 64);
    std::tie(state_a.h0, state_a.h1, state_a.h2, state_a.h3, state_a.h4) =
        std::tie(hash_a[0], hash_a[1], hash_a[2], hash_a[3], hash_a[4]);
    std::tie(state_b.h0, state_b.h1, state_b.h2, state_b.h3, state_b.h4) =
        std::tie(hash_b[0], hash_b[1], hash_b[2], hash_b[3], hash_b[4]);
    count(state_a, bytes);
    count(state_b, bytes);
  }
  a.update(to_a.subspan(bytes));
  b.update(to_b.subspan(bytes));
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

void Sha256::update_both(Sha256& a, std::span<const std::byte> to_a, Sha256& b,
                         std::span<const std::byte> to_b) {
  SHA256_CTX& state_a = *sha256_state(a.state_);
  SHA256_CTX& state_b = *sha256_state(b.state_);
  const std::size_t bytes = in_lanes(state_a, to_a, state_b, to_b);
  if (bytes > 0) {
    sha_lanes::sha256(state_a.h, to_a.data(), state_b.h, to_b.data(), bytes / 64);
    count(state_a, bytes);
    count(state_b, bytes);
  }
  a.update(to_a.subspan(bytes));
  b.update(to_b.subspan(bytes));
}

Sha1Digest sha1(std::span<const std::byte> message) {
  return Sha1().hash(message);
}

Sha256Digest sha256(std::span<const std::byte> message) {
  return Sha256().hash(message);
}

}  // namespace penstock
