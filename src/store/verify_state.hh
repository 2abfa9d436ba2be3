// What is known to be right of a torrent's data, across restarts: `<infohash>.verify` in the state
// directory (ARCHITECTURE §7). Pure functions over bytes; control does the I/O.
//
// Format, version 1, little endian: "PSVERIFY", u32 version, u32 0, info-hash (20 bytes), u32 piece
// size, u32 pieces, u32 files, u64 total size; size, mtime_ns, inode, device of each file (u64
// each); a bit a piece (from the low bit), set when it is verified; the 32-bit checksum of each
// block of each verified piece; the XXH3-64 of all before. Any doubt means unverified.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/digest.hh"
#include "base/result.hh"
#include "store/content.hh"

namespace penstock {

// Call it when no shard uses the content any more (Store::forgotten), or before any does. Pieces of
// trusted torrents and of files on whose facts the shards disagree are left out.
std::vector<std::byte> encode_verify_state(const TorrentContent& content, const WireInfoHash& hash);

// Sets states, checksums and facts of a content that is not published yet; leaves it untouched on
// failure. Returns how many pieces are verified. The files' present facts are not looked at: a
// store compares them when it opens a file, and forgets what it knew if they differ.
Result<std::uint32_t> apply_verify_state(TorrentContent& content, const WireInfoHash& hash,
                                         std::span<const std::byte> state);

}  // namespace penstock
