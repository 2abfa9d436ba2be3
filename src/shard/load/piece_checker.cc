#include "shard/load/piece_checker.hh"

#include <algorithm>
#include <cstring>

#include "base/assert.hh"

namespace penstock {

PieceChecker::PieceChecker(const Metainfo& metainfo, const BlockMap& map, std::size_t begun_max)
    : metainfo_(metainfo), map_(map), begun_max_(begun_max) {}

PieceChecker::Begun& PieceChecker::find(PieceIndex piece) {
  for (Begun& begun : begun_) {
    if (begun.piece == piece) return begun;
  }
  if (begun_.size() >= begun_max_) begun_.erase(begun_.begin());
  const std::uint32_t blocks = map_.block_count(piece);
  begun_.push_back(
      {piece, blocks, std::vector<bool>(blocks), std::vector<std::byte>(map_.piece_length(piece))});
  return begun_.back();
}

PieceChecker::Verdict PieceChecker::on_bytes(const Request& request, std::uint32_t offset,
                                             std::span<const std::byte> data, bool last) {
  Begun& begun = find(request.piece);
  const std::size_t at = std::size_t{request.begin} + offset;
  ASSERT(at + data.size() <= begun.bytes.size());
  std::memcpy(begun.bytes.data() + at, data.data(), data.size());
  if (!last || begun.here[request.begin / kBlockSize]) return Verdict::incomplete;
  begun.here[request.begin / kBlockSize] = true;
  if (--begun.blocks_left > 0) return Verdict::incomplete;
  const bool good = is_good(begun);
  begun_.erase(begun_.begin() + (&begun - begun_.data()));
  return good ? Verdict::good : Verdict::bad;
}

bool PieceChecker::is_good(const Begun& piece) {
  if (!metainfo_.has_v1) return is_good_v2(piece);
  return sha1(piece.bytes) == metainfo_.v1_pieces[piece.piece.value];
}

bool PieceChecker::is_good_v2(const Begun& piece) {
  const std::uint64_t at = metainfo_.blocks.piece_offset(piece.piece);
  // The file that begins last at or before the piece (BEP 52: files are aligned to pieces).
  const FileEntry* owner = nullptr;
  for (const FileEntry& file : metainfo_.files) {
    if (file.length > 0 && !file.padding && file.offset <= at) owner = &file;
  }
  if (owner == nullptr) return false;
  std::vector<Sha256Digest> leaves;
  for (std::size_t i = 0; i < piece.bytes.size(); i += kBlockSize) {
    const std::size_t n = std::min<std::size_t>(kBlockSize, piece.bytes.size() - i);
    leaves.push_back(sha256(std::span(piece.bytes).subspan(i, n)));
  }
  const MerkleShape shape = MerkleShape::of(owner->length, metainfo_.blocks.piece_size);
  const Sha256Digest root = hasher_.root_of_piece(shape, leaves);
  if (!shape.has_piece_layer()) return root == owner->pieces_root;
  const std::uint64_t index = (at - owner->offset) / metainfo_.blocks.piece_size;
  return index < owner->piece_layer.size() && root == owner->piece_layer[index];
}

}  // namespace penstock
