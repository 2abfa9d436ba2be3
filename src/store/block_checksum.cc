#include "store/block_checksum.hh"

#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>
#if defined(__x86_64__)
#include <xxh_x86dispatch.h>  // after xxhash.h: picks the widest vectors at run time
#endif

namespace penstock {

std::uint32_t block_checksum(std::span<const std::span<const std::byte>> parts) {
  XXH64_hash_t hash = 0;
  if (parts.size() == 1) {
    hash = XXH3_64bits(parts[0].data(), parts[0].size());
  } else {
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    XXH3_64bits_reset(&state);
    for (const auto part : parts)
      XXH3_64bits_update(&state, part.data(), part.size());
    hash = XXH3_64bits_digest(&state);
  }
  const auto low = static_cast<std::uint32_t>(hash);
  return low == kNoChecksum ? 1 : low;
}

std::uint64_t long_checksum(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

}  // namespace penstock
