// The content of one torrent as the store sees it: where its bytes lie and how they are proven.
//
// Built by control, immutable afterwards but for the verification state (PieceStates: one writer a
// piece, the piece's home shard; block checksums: touched by the home shard only). Lives until
// every shard has forgotten it.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "base/block_info.hh"
#include "base/digest.hh"
#include "base/piece_states.hh"
#include "base/strong.hh"
#include "store/storage.hh"

namespace penstock {

struct ContentFile {
  std::string path;          // relative to the pool, '/'-separated, proven not to leave it
  std::uint64_t offset = 0;  // where it begins in the piece space, bytes
  std::uint64_t length = 0;  // bytes
  bool padding = false;      // zeros that are on no disk (BEP 47)
  Sha256Digest pieces_root;  // v2; zero when there is none
};

enum class VerifyMode : std::uint8_t {
  lazy,   // a piece is hashed before its first byte is served
  trust,  // what is on disk is taken as right; its checksums are kept from the first read on
};

// How a range of the piece space is kept in the cache (layout.hh builds them).
enum class RegionKind : std::uint8_t {
  file,  // one file, cached in extents aligned to the file: read from the disk straight into slabs
  packed,  // a run of files smaller than an extent, with the padding between: cached as if it were
           // one file, since a slab for each would waste most of the cache
  zero,    // padding: on no disk and in no cache
};

struct ContentRegion {
  std::uint64_t offset = 0;  // in the piece space, bytes
  std::uint64_t length = 0;  // > 0
  RegionKind kind = RegionKind::file;
  std::uint32_t first_file = 0;
  std::uint32_t file_count = 0;  // 0: a gap behind a file of a v2 torrent
};

// What the store of one shard keeps of a torrent at run time (shard_content.hh).
class ShardContent;
struct ShardContentDeleter {
  void operator()(ShardContent* content) const;
};
using ShardContentPtr = std::unique_ptr<ShardContent, ShardContentDeleter>;

// Region of content with one home shard: at least 4 MiB and whole pieces, so that a piece has one
// home.
inline constexpr std::uint64_t kHomeRegionSize = 4u << 20;

// Zeros whose memory costs nothing before it is written.
struct FreeMemory {
  void operator()(void* memory) const { std::free(memory); }
};

struct TorrentContent {
  TorrentSlot slot;
  BlockInfo blocks;
  std::vector<ContentFile> files;  // in order of offset; zero-length files hold no bytes
  PoolIndex pool;
  VerifyMode verify = VerifyMode::lazy;
  std::vector<Sha1Digest> v1_pieces;    // empty: v2 only
  std::vector<Sha256Digest> v2_pieces;  // one a piece: root over the piece's leaves; empty: v1 only
  std::unique_ptr<PieceStates> pieces;
  // Low 32 bits of XXH3 of each block of each verified piece, [piece × blocks_per_piece + block],
  // 0 standing for "none known" (a block whose checksum is 0 has 1 instead). Only meaningful for
  // pieces that are verified.
  std::unique_ptr<std::uint32_t[], FreeMemory> block_checksums;
  std::uint32_t blocks_per_piece = 0;
  // Facts of each file when its pieces were verified, as control knew them before publication
  // (size 0 and inode 0: none known). What the shards learnt since is in shard_state.
  std::vector<FileFacts> verified_facts;
  // The whole piece space, in order, without gaps; and the first region that each piece touches.
  std::vector<ContentRegion> regions;
  std::vector<std::uint32_t> first_region;
  // One a shard, built by control (make_content), then used by that shard's store only.
  std::vector<ShardContentPtr> shard_state;

  // The last file that begins at or before this offset and has bytes; files.size() if there is
  // none.
  [[nodiscard]] std::uint32_t file_at(std::uint64_t offset) const;
  // The shard whose store holds this piece.
  [[nodiscard]] ShardId home(PieceIndex piece, std::uint32_t shard_count) const;
};

}  // namespace penstock
