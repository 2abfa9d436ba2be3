// OpenSSL's low-level functions on purpose: EVP_DigestInit_ex2() of OpenSSL 3.0 allocates the
// state anew for every message, even for a context that holds one, and a merkle node is a message
// of 64 bytes. They are "deprecated" because they bypass providers, which public hashes don't need.
#define OPENSSL_SUPPRESS_DEPRECATED

#include "crypto/sha.hh"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <tuple>
#include <type_traits>

#include <openssl/sha.h>

#include "base/assert.hh"
#include "crypto/sha_lanes.hh"
#include "crypto/sha_wide.hh"

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

// Where OpenSSL keeps the words of the hash value.
std::array<SHA_LONG*, 5> words(SHA_CTX& state) {
  return {&state.h0, &state.h1, &state.h2, &state.h3, &state.h4};
}
std::array<SHA_LONG*, 8> words(SHA256_CTX& state) {
  return {state.h,     state.h + 1, state.h + 2, state.h + 3,
          state.h + 4, state.h + 5, state.h + 6, state.h + 7};
}

void add(SHA_CTX& state, std::span<const std::byte> bytes) {
  SHA1_Update(&state, bytes.data(), bytes.size());
}
void add(SHA256_CTX& state, std::span<const std::byte> bytes) {
  SHA256_Update(&state, bytes.data(), bytes.size());
}

// The kernels, by the number of words.
void two(std::array<std::uint32_t, 5>& a, const std::byte* to_a, std::array<std::uint32_t, 5>& b,
         const std::byte* to_b, std::size_t blocks) {
  sha_lanes::sha1(a.data(), to_a, b.data(), to_b, blocks);
}
void two(std::array<std::uint32_t, 8>& a, const std::byte* to_a, std::array<std::uint32_t, 8>& b,
         const std::byte* to_b, std::size_t blocks) {
  sha_lanes::sha256(a.data(), to_a, b.data(), to_b, blocks);
}
void wide(sha_wide::States<5>& states, const sha_wide::Streams& at, std::size_t blocks) {
  sha_wide::sha1(states, at, blocks);
}
void wide(sha_wide::States<8>& states, const sha_wide::Streams& at, std::size_t blocks) {
  sha_wide::sha256(states, at, blocks);
}

// So many lanes must be in use for the wide kernel to beat the one for two (README.md has rates).
template <class State>
constexpr std::size_t kWideFrom = std::is_same_v<State, SHA_CTX> ? 6 : 11;

// A hasher and what is still to be added to it.
template <class State>
struct Work {
  State* state = nullptr;
  std::span<const std::byte> bytes;
  // How many bytes a kernel may take: none behind a started block.
  [[nodiscard]] std::size_t whole_blocks() const {
    return state->num != 0 ? 0 : bytes.size() & ~std::size_t{63};
  }
  void took(std::size_t count_of_bytes) {
    count(*state, count_of_bytes);
    bytes = bytes.subspan(count_of_bytes);
  }
};

template <class State>
void add_in_pair(Work<State>& a, Work<State>& b) {
  const std::size_t bytes = std::min(a.whole_blocks(), b.whole_blocks());
  if (bytes == 0 || !sha_lanes::available()) return;
  const auto words_a = words(*a.state);
  const auto words_b = words(*b.state);
  std::array<std::uint32_t, std::tuple_size_v<decltype(words(*a.state))>> hash_a;
  auto hash_b = hash_a;
  for (std::size_t i = 0; i < hash_a.size(); ++i) {
    hash_a[i] = *words_a[i];
    hash_b[i] = *words_b[i];
  }
  two(hash_a, a.bytes.data(), hash_b, b.bytes.data(), bytes / 64);
  for (std::size_t i = 0; i < hash_a.size(); ++i) {
    *words_a[i] = hash_a[i];
    *words_b[i] = hash_b[i];
  }
  a.took(bytes);
  b.took(bytes);
}

// Until too few of them are left for it.
template <class State>
void add_wide(std::span<Work<State>> works) {
  while (true) {
    std::array<Work<State>*, sha_wide::kLanes> lanes;
    std::size_t used = 0;
    std::size_t bytes = std::numeric_limits<std::size_t>::max();
    for (Work<State>& work : works) {
      if (work.whole_blocks() == 0) continue;
      lanes[used++] = &work;
      bytes = std::min(bytes, work.whole_blocks());
    }
    if (used < kWideFrom<State>) return;
    sha_wide::States<std::tuple_size_v<decltype(words(*lanes[0]->state))>> states;
    sha_wide::Streams at;
    for (std::size_t lane = 0; lane < sha_wide::kLanes; ++lane) {
      const Work<State>& work =
          *lanes[lane < used ? lane : 0];  // idle lanes do what the first does
      at[lane] = work.bytes.data();
      const auto hash = words(*work.state);
      for (std::size_t i = 0; i < hash.size(); ++i)
        states.words[i][lane] = *hash[i];
    }
    wide(states, at, bytes / 64);
    for (std::size_t lane = 0; lane < used; ++lane) {
      const auto hash = words(*lanes[lane]->state);
      for (std::size_t i = 0; i < hash.size(); ++i)
        *hash[i] = states.words[i][lane];
      lanes[lane]->took(bytes);
    }
  }
}

template <class State>
void add_all(std::span<Work<State>> works) {
  if (sha_wide::available() && works.size() >= kWideFrom<State>) add_wide(works);
  for (std::size_t i = 0; i + 2 <= works.size(); i += 2)
    add_in_pair(works[i], works[i + 1]);
  for (Work<State>& work : works)
    add(*work.state, work.bytes);
}

// In groups that fit the widest kernel. state_of: a hasher's state.
template <class State, class Hasher, class StateOf>
void update_in_step(std::span<Hasher* const> hashers,
                    std::span<const std::span<const std::byte>> bytes, StateOf state_of) {
  ASSERT(hashers.size() == bytes.size());
  std::array<Work<State>, sha_wide::kLanes> works;
  for (std::size_t i = 0; i < hashers.size(); i += works.size()) {
    const std::size_t count = std::min(works.size(), hashers.size() - i);
    for (std::size_t j = 0; j < count; ++j)
      works[j] = {state_of(*hashers[i + j]), bytes[i + j]};
    add_all(std::span(works).first(count));
  }
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

void Sha1::update_all(std::span<Sha1* const> hashers,
                      std::span<const std::span<const std::byte>> bytes) {
  update_in_step<SHA_CTX>(hashers, bytes, [](Sha1& hasher) { return sha1_state(hasher.state_); });
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

void Sha256::update_all(std::span<Sha256* const> hashers,
                        std::span<const std::span<const std::byte>> bytes) {
  update_in_step<SHA256_CTX>(hashers, bytes,
                             [](Sha256& hasher) { return sha256_state(hasher.state_); });
}

Sha1Digest sha1(std::span<const std::byte> message) {
  return Sha1().hash(message);
}

Sha256Digest sha256(std::span<const std::byte> message) {
  return Sha256().hash(message);
}

}  // namespace penstock
