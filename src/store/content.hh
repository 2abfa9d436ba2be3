// The content of one torrent as the store sees it: where its bytes lie and how they are proven.
//
// Built by control, immutable afterwards but for the verification state (PieceStates: one writer a
// piece, the piece's home shard; block checksums: touched by the home shard only). Lives until
// every shard has forgotten it.
#pragma once

#include <cstdint>
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

// Region of content with one home shard: at least 4 MiB and whole pieces, so that a piece has one
// home.
inline constexpr std::uint64_t kHomeRegionSize = 4u << 20;

struct TorrentContent {
  TorrentSlot slot;
  BlockInfo blocks;
  std::vector<ContentFile> files;  // in order of offset; zero-length files hold no bytes
  PoolIndex pool;
  VerifyMode verify = VerifyMode::lazy;
  std::vector<Sha1Digest> v1_pieces;    // empty: v2 only
  std::vector<Sha256Digest> v2_pieces;  // one a piece: root over the piece's leaves; empty: v1 only
  std::unique_ptr<PieceStates> pieces;
  // Low 32 bits of XXH3 of each block of each verified piece, [piece × blocks_per_piece + block];
  // empty until verified means nothing: only read for pieces that are verified.
  std::unique_ptr<std::uint32_t[]> block_checksums;
  std::uint32_t blocks_per_piece = 0;
  // Facts of each file when its pieces were verified; written by control before publication, then
  // by home shards through the store's file table only.
  std::vector<FileFacts> verified_facts;

  // The shard whose store holds this piece.
  [[nodiscard]] ShardId home(PieceIndex piece, std::uint32_t shard_count) const;
};

}  // namespace penstock
