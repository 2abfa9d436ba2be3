// The 32-bit checksum that the store keeps of each block of a verified piece.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace penstock {

// "None known" in TorrentContent::block_checksums.
inline constexpr std::uint32_t kNoChecksum = 0;

// Low 32 bits of XXH3-64 of the parts, one after the other; 1 instead of 0. Never allocates.
std::uint32_t block_checksum(std::span<const std::span<const std::byte>> parts);

// All of XXH3-64, for files of our own.
std::uint64_t long_checksum(std::span<const std::byte> bytes);

}  // namespace penstock
