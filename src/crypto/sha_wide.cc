#include "crypto/sha_wide.hh"

#if defined(__x86_64__)
#include <utility>

// GCC's headers make "undefined" vectors of themselves and warn of it (its bug 105593).
#pragma GCC diagnostic push
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop

#include "crypto/sha_constants.hh"
#endif

#include "base/assert.hh"

namespace penstock::sha_wide {

#if defined(__x86_64__)

namespace {

#define PENSTOCK_WIDE __attribute__((target("avx512f,avx512bw"), always_inline)) inline
#define PENSTOCK_WIDE_ENTRY __attribute__((target("avx512f,avx512bw")))

// Three-operand functions as truth tables (Intel SDM, VPTERNLOG): FIPS 180-4 §4.1.
constexpr int kChoose = 0xca;
constexpr int kParity = 0x96;
constexpr int kMajority = 0xe8;

// The next 16 words of the schedule's window, or of the block that it begins with.
using Window = __m512i[16];

// Word i of each lane's block into words[i], in native order.
PENSTOCK_WIDE void load_blocks(Streams& at, Window& words) {
  const __m512i big_endian =
      _mm512_broadcast_i32x4(_mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203));
  // quads[i][j], 128-bit part k: word 4k + j of lanes 4i to 4i + 3.
  __m512i quads[4][4];
  for (std::size_t i = 0; i < 4; ++i) {
    __m512i rows[4];
    for (std::size_t j = 0; j < 4; ++j) {
      rows[j] = _mm512_shuffle_epi8(_mm512_loadu_si512(at[4 * i + j]), big_endian);
      at[4 * i + j] += 64;
    }
    const __m512i low01 = _mm512_unpacklo_epi32(rows[0], rows[1]);
    const __m512i high01 = _mm512_unpackhi_epi32(rows[0], rows[1]);
    const __m512i low23 = _mm512_unpacklo_epi32(rows[2], rows[3]);
    const __m512i high23 = _mm512_unpackhi_epi32(rows[2], rows[3]);
    quads[i][0] = _mm512_unpacklo_epi64(low01, low23);
    quads[i][1] = _mm512_unpackhi_epi64(low01, low23);
    quads[i][2] = _mm512_unpacklo_epi64(high01, high23);
    quads[i][3] = _mm512_unpackhi_epi64(high01, high23);
  }
  for (std::size_t j = 0; j < 4; ++j) {
    const __m512i front01 = _mm512_shuffle_i32x4(quads[0][j], quads[1][j], 0x44);
    const __m512i back01 = _mm512_shuffle_i32x4(quads[0][j], quads[1][j], 0xee);
    const __m512i front23 = _mm512_shuffle_i32x4(quads[2][j], quads[3][j], 0x44);
    const __m512i back23 = _mm512_shuffle_i32x4(quads[2][j], quads[3][j], 0xee);
    words[j] = _mm512_shuffle_i32x4(front01, front23, 0x88);
    words[4 + j] = _mm512_shuffle_i32x4(front01, front23, 0xdd);
    words[8 + j] = _mm512_shuffle_i32x4(back01, back23, 0x88);
    words[12 + j] = _mm512_shuffle_i32x4(back01, back23, 0xdd);
  }
}

PENSTOCK_WIDE __m512i add(__m512i a, __m512i b) {
  return _mm512_add_epi32(a, b);
}
PENSTOCK_WIDE __m512i constant(std::uint32_t value) {
  return _mm512_set1_epi32(static_cast<int>(value));
}

// ---- SHA-1 (FIPS 180-4 §6.1.2) ----

// Round kRound. Instead of moving a to e from one to the next, the names move: they stand for
// values[(80 - kRound) % 5] and those after it.
template <int kRound>
PENSTOCK_WIDE void sha1_round(__m512i (&values)[5], Window& window) {
  __m512i& w = window[kRound % 16];
  if constexpr (kRound >= 16) {
    const __m512i mixed = _mm512_ternarylogic_epi32(
        window[(kRound + 13) % 16], window[(kRound + 8) % 16], window[(kRound + 2) % 16], kParity);
    w = _mm512_rol_epi32(_mm512_xor_si512(mixed, w), 1);
  }
  constexpr int kPart = kRound / 20;
  constexpr int kFunction = kPart == 0 ? kChoose : kPart == 2 ? kMajority : kParity;
  const __m512i a = values[(80 - kRound) % 5];
  __m512i& b = values[(81 - kRound) % 5];
  const __m512i c = values[(82 - kRound) % 5];
  const __m512i d = values[(83 - kRound) % 5];
  __m512i& e = values[(84 - kRound) % 5];
  const __m512i f = _mm512_ternarylogic_epi32(b, c, d, kFunction);
  const __m512i early = add(add(e, f), add(w, constant(kSha1Constants[kPart])));
  e = add(early, _mm512_rol_epi32(a, 5));
  b = _mm512_rol_epi32(b, 30);
}

template <int... kRounds>
PENSTOCK_WIDE void sha1_rounds(__m512i (&values)[5], Window& window,
                               std::integer_sequence<int, kRounds...>) {
  (sha1_round<kRounds>(values, window), ...);
}

// ---- SHA-256 (FIPS 180-4 §6.2.2) ----

template <int kOne, int kTwo, int kThree>
PENSTOCK_WIDE __m512i big_sigma(__m512i x) {
  return _mm512_ternarylogic_epi32(_mm512_ror_epi32(x, kOne), _mm512_ror_epi32(x, kTwo),
                                   _mm512_ror_epi32(x, kThree), kParity);
}
template <int kOne, int kTwo, int kShift>
PENSTOCK_WIDE __m512i small_sigma(__m512i x) {
  return _mm512_ternarylogic_epi32(_mm512_ror_epi32(x, kOne), _mm512_ror_epi32(x, kTwo),
                                   _mm512_srli_epi32(x, kShift), kParity);
}

template <int kRound>
PENSTOCK_WIDE void sha256_round(__m512i (&values)[8], Window& window) {
  __m512i& w = window[kRound % 16];
  if constexpr (kRound >= 16) {
    w = add(add(w, window[(kRound + 9) % 16]),
            add(small_sigma<7, 18, 3>(window[(kRound + 1) % 16]),
                small_sigma<17, 19, 10>(window[(kRound + 14) % 16])));
  }
  const __m512i a = values[(64 - kRound) % 8];
  const __m512i b = values[(65 - kRound) % 8];
  const __m512i c = values[(66 - kRound) % 8];
  __m512i& d = values[(67 - kRound) % 8];
  const __m512i e = values[(68 - kRound) % 8];
  const __m512i f = values[(69 - kRound) % 8];
  const __m512i g = values[(70 - kRound) % 8];
  __m512i& h = values[(71 - kRound) % 8];
  const __m512i early = add(add(h, w), constant(kSha256Constants[kRound]));
  const __m512i t1 =
      add(early, add(big_sigma<6, 11, 25>(e), _mm512_ternarylogic_epi32(e, f, g, kChoose)));
  d = add(d, t1);
  h = add(t1, add(big_sigma<2, 13, 22>(a), _mm512_ternarylogic_epi32(a, b, c, kMajority)));
}

template <int... kRounds>
PENSTOCK_WIDE void sha256_rounds(__m512i (&values)[8], Window& window,
                                 std::integer_sequence<int, kRounds...>) {
  (sha256_round<kRounds>(values, window), ...);
}

}  // namespace

bool available() {
  static const bool yes =
      __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0;
  return yes;
}

PENSTOCK_WIDE_ENTRY void sha1(States<5>& states, Streams at, std::size_t blocks) {
  __m512i hash[5];
  for (std::size_t i = 0; i < 5; ++i)
    hash[i] = _mm512_load_si512(states.words[i].data());
  for (; blocks > 0; --blocks) {
    Window window;
    load_blocks(at, window);
    __m512i values[5];
    for (std::size_t i = 0; i < 5; ++i)
      values[i] = hash[i];
    sha1_rounds(values, window, std::make_integer_sequence<int, 80>());
    for (std::size_t i = 0; i < 5; ++i)
      hash[i] = add(hash[i], values[i]);
  }
  for (std::size_t i = 0; i < 5; ++i)
    _mm512_store_si512(states.words[i].data(), hash[i]);
}

PENSTOCK_WIDE_ENTRY void sha256(States<8>& states, Streams at, std::size_t blocks) {
  __m512i hash[8];
  for (std::size_t i = 0; i < 8; ++i)
    hash[i] = _mm512_load_si512(states.words[i].data());
  for (; blocks > 0; --blocks) {
    Window window;
    load_blocks(at, window);
    __m512i values[8];
    for (std::size_t i = 0; i < 8; ++i)
      values[i] = hash[i];
    sha256_rounds(values, window, std::make_integer_sequence<int, 64>());
    for (std::size_t i = 0; i < 8; ++i)
      hash[i] = add(hash[i], values[i]);
  }
  for (std::size_t i = 0; i < 8; ++i)
    _mm512_store_si512(states.words[i].data(), hash[i]);
}

#else

bool available() {
  return false;
}
void sha1(States<5>&, Streams, std::size_t) {
  UNREACHABLE();
}
void sha256(States<8>&, Streams, std::size_t) {
  UNREACHABLE();
}

#endif

}  // namespace penstock::sha_wide
