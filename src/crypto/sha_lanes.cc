#include "crypto/sha_lanes.hh"

#if defined(__x86_64__)
#include <array>
#include <utility>

#include <cpuid.h>
#include <immintrin.h>

#include "crypto/sha_constants.hh"
#endif

#include "base/assert.hh"

namespace penstock::sha_lanes {

#if defined(__x86_64__)

namespace {

#define PENSTOCK_SHA_NI __attribute__((target("sha,sse4.1"), always_inline)) inline
#define PENSTOCK_SHA_NI_ENTRY __attribute__((target("sha,sse4.1")))

constexpr int kLanes = 2;
using Blocks = std::array<const std::byte*, kLanes>;

bool detect() {
  // Intel SDM vol. 2, CPUID: leaf 7 EBX bit 29 SHA; leaf 1 ECX bit 9 SSSE3, bit 19 SSE4.1.
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c >> 9 & 1) == 0 || (c >> 19 & 1) == 0) return false;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  return (b >> 29 & 1) != 0;
}

PENSTOCK_SHA_NI __m128i load(const std::byte* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}

// ---- SHA-1 (FIPS 180-4 §6.1.2; Intel SDM, SHA1RNDS4, SHA1NEXTE, SHA1MSG1, SHA1MSG2) ----

struct Sha1Lane {
  __m128i abcd;  // A in the highest word
  __m128i e;     // E of the block before, in the highest word
  __m128i w[4];  // the message schedule's last 16 words
};

// Four rounds, number 4 * kStep and on, of every lane. Steps are templates because SHA1RNDS4 takes
// its function (FIPS 180-4 §4.1.1) as an immediate.
template <int kStep>
PENSTOCK_SHA_NI void sha1_step(std::array<Sha1Lane, kLanes>& lanes, const Blocks& blocks) {
  for (int lane = 0; lane < kLanes; ++lane) {
    Sha1Lane& l = lanes[lane];
    __m128i& w = l.w[kStep % 4];
    if constexpr (kStep < 4) {
      const __m128i big_endian = _mm_set_epi64x(0x0001020304050607, 0x08090a0b0c0d0e0f);
      w = _mm_shuffle_epi8(load(blocks[lane] + 16 * kStep), big_endian);
    } else {
      const __m128i mixed =
          _mm_xor_si128(_mm_sha1msg1_epu32(w, l.w[(kStep + 1) % 4]), l.w[(kStep + 2) % 4]);
      w = _mm_sha1msg2_epu32(mixed, l.w[(kStep + 3) % 4]);
    }
    const __m128i e_and_w = kStep == 0 ? _mm_add_epi32(l.e, w) : _mm_sha1nexte_epu32(l.e, w);
    l.e = l.abcd;  // SHA1NEXTE of it gives E after these rounds
    l.abcd = _mm_sha1rnds4_epu32(l.abcd, e_and_w, kStep / 5);
  }
}

template <std::size_t... kSteps>
PENSTOCK_SHA_NI void sha1_block(std::array<Sha1Lane, kLanes>& lanes, const Blocks& blocks,
                                std::index_sequence<kSteps...>) {
  (sha1_step<static_cast<int>(kSteps)>(lanes, blocks), ...);
}

// ---- SHA-256 (FIPS 180-4 §6.2.2; Intel SDM, SHA256RNDS2, SHA256MSG1, SHA256MSG2) ----

struct Sha256Lane {
  __m128i abef;  // A in the highest word
  __m128i cdgh;
  __m128i w[4];  // the message schedule's last 16 words
};

template <int kStep>
PENSTOCK_SHA_NI void sha256_step(std::array<Sha256Lane, kLanes>& lanes, const Blocks& blocks) {
  const __m128i k = _mm_load_si128(reinterpret_cast<const __m128i*>(kSha256Constants + 4 * kStep));
  __m128i wk[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    Sha256Lane& l = lanes[lane];
    __m128i& w = l.w[kStep % 4];
    if constexpr (kStep < 4) {
      const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
      w = _mm_shuffle_epi8(load(blocks[lane] + 16 * kStep), big_endian);
    } else {
      const __m128i last = l.w[(kStep + 3) % 4];
      const __m128i mixed = _mm_add_epi32(_mm_sha256msg1_epu32(w, l.w[(kStep + 1) % 4]),
                                          _mm_alignr_epi8(last, l.w[(kStep + 2) % 4], 4));
      w = _mm_sha256msg2_epu32(mixed, last);
    }
    wk[lane] = _mm_add_epi32(w, k);
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    Sha256Lane& l = lanes[lane];
    l.cdgh = _mm_sha256rnds2_epu32(l.cdgh, l.abef, wk[lane]);
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    Sha256Lane& l = lanes[lane];
    l.abef = _mm_sha256rnds2_epu32(l.abef, l.cdgh, _mm_shuffle_epi32(wk[lane], 0x0e));
  }
}

template <std::size_t... kSteps>
PENSTOCK_SHA_NI void sha256_block(std::array<Sha256Lane, kLanes>& lanes, const Blocks& blocks,
                                  std::index_sequence<kSteps...>) {
  (sha256_step<static_cast<int>(kSteps)>(lanes, blocks), ...);
}

PENSTOCK_SHA_NI __m128i load_state(const std::uint32_t* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
PENSTOCK_SHA_NI void store_state(std::uint32_t* p, __m128i value) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), value);
}

}  // namespace

bool available() {
  static const bool yes = detect();
  return yes;
}

PENSTOCK_SHA_NI_ENTRY void sha1(std::uint32_t* state_a, const std::byte* a, std::uint32_t* state_b,
                                const std::byte* b, std::size_t blocks) {
  const std::array<std::uint32_t*, kLanes> states{state_a, state_b};
  std::array<Sha1Lane, kLanes> lanes;
  for (int lane = 0; lane < kLanes; ++lane) {
    lanes[lane].abcd = _mm_shuffle_epi32(load_state(states[lane]), 0x1b);
    lanes[lane].e = _mm_set_epi32(static_cast<int>(states[lane][4]), 0, 0, 0);
  }
  Blocks at{a, b};
  for (; blocks > 0; --blocks) {
    const __m128i abcd[kLanes] = {lanes[0].abcd, lanes[1].abcd};
    const __m128i e[kLanes] = {lanes[0].e, lanes[1].e};
    sha1_block(lanes, at, std::make_index_sequence<20>());
    for (int lane = 0; lane < kLanes; ++lane) {
      lanes[lane].e = _mm_sha1nexte_epu32(lanes[lane].e, e[lane]);
      lanes[lane].abcd = _mm_add_epi32(lanes[lane].abcd, abcd[lane]);
      at[lane] += 64;
    }
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    store_state(states[lane], _mm_shuffle_epi32(lanes[lane].abcd, 0x1b));
    states[lane][4] = static_cast<std::uint32_t>(_mm_extract_epi32(lanes[lane].e, 3));
  }
}

PENSTOCK_SHA_NI_ENTRY void sha256(std::uint32_t* state_a, const std::byte* a,
                                  std::uint32_t* state_b, const std::byte* b, std::size_t blocks) {
  const std::array<std::uint32_t*, kLanes> states{state_a, state_b};
  std::array<Sha256Lane, kLanes> lanes;
  for (int lane = 0; lane < kLanes; ++lane) {
    // FIPS order is ABCD EFGH with A in the lowest word; the instructions want ABEF and CDGH with A
    // and C in the highest.
    const __m128i cdab = _mm_shuffle_epi32(load_state(states[lane]), 0xb1);
    const __m128i efgh = _mm_shuffle_epi32(load_state(states[lane] + 4), 0x1b);
    lanes[lane].abef = _mm_alignr_epi8(cdab, efgh, 8);
    lanes[lane].cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);
  }
  Blocks at{a, b};
  for (; blocks > 0; --blocks) {
    const __m128i abef[kLanes] = {lanes[0].abef, lanes[1].abef};
    const __m128i cdgh[kLanes] = {lanes[0].cdgh, lanes[1].cdgh};
    sha256_block(lanes, at, std::make_index_sequence<16>());
    for (int lane = 0; lane < kLanes; ++lane) {
      lanes[lane].abef = _mm_add_epi32(lanes[lane].abef, abef[lane]);
      lanes[lane].cdgh = _mm_add_epi32(lanes[lane].cdgh, cdgh[lane]);
      at[lane] += 64;
    }
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    const __m128i feba = _mm_shuffle_epi32(lanes[lane].abef, 0x1b);
    const __m128i dchg = _mm_shuffle_epi32(lanes[lane].cdgh, 0xb1);
    store_state(states[lane], _mm_blend_epi16(feba, dchg, 0xf0));
    store_state(states[lane] + 4, _mm_alignr_epi8(dchg, feba, 8));
  }
}

#else

bool available() {
  return false;
}
void sha1(std::uint32_t*, const std::byte*, std::uint32_t*, const std::byte*, std::size_t) {
  UNREACHABLE();
}
void sha256(std::uint32_t*, const std::byte*, std::uint32_t*, const std::byte*, std::size_t) {
  UNREACHABLE();
}

#endif

}  // namespace penstock::sha_lanes
