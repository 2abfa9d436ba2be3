#include "store/verify_state.hh"

#include <cstring>

#include "store/block_checksum.hh"
#include "store/shard_content.hh"

namespace penstock {
namespace {

constexpr char kMagic[8] = {'P', 'S', 'V', 'E', 'R', 'I', 'F', 'Y'};
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kHeaderSize = 8 + 4 + 4 + 20 + 4 + 4 + 4 + 8;
constexpr std::size_t kFactsSize = 4 * 8;
constexpr std::size_t kSumSize = 8;

class Writer {
 public:
  void bytes(const void* data, std::size_t size) {
    const auto* from = static_cast<const std::byte*>(data);
    out.insert(out.end(), from, from + size);
  }
  void u32(std::uint32_t v) { bytes(&v, sizeof v); }
  void u64(std::uint64_t v) { bytes(&v, sizeof v); }

  std::vector<std::byte> out;
};

// The caller has made sure that the bytes are there.
class Reader {
 public:
  explicit Reader(const std::byte* at) : at_(at) {}
  void bytes(void* to, std::size_t size) {
    std::memcpy(to, at_, size);
    at_ += size;
  }
  std::uint32_t u32() {
    std::uint32_t v = 0;
    bytes(&v, sizeof v);
    return v;
  }
  std::uint64_t u64() {
    std::uint64_t v = 0;
    bytes(&v, sizeof v);
    return v;
  }

 private:
  const std::byte* at_;
};

// The facts that every shard that knows any agrees on; none: not known.
bool agreed_facts(const TorrentContent& content, std::uint32_t file, FileFacts& out) {
  bool known = false;
  for (const ShardContentPtr& shard : content.shard_state) {
    const FileState& state = shard->files[file];
    if (!state.facts_known) continue;
    if (known && !state.facts.same_version(out)) return false;
    out = state.facts;
    known = true;
  }
  return known;
}

// Every file with bytes in the piece has known facts.
bool is_certain(const TorrentContent& content, PieceIndex piece, const std::vector<bool>& known) {
  const std::uint64_t begin = content.blocks.piece_offset(piece);
  const std::uint64_t end = begin + content.blocks.piece_length(piece);
  for (std::uint32_t i = content.file_at(begin); i < content.files.size(); ++i) {
    const ContentFile& file = content.files[i];
    if (file.offset >= end) break;
    if (file.length > 0 && !file.padding && !known[i]) return false;
  }
  return true;
}

bool has_checksums(const TorrentContent& content, PieceIndex piece) {
  const std::size_t first = std::size_t{piece.value} * content.blocks_per_piece;
  for (std::uint32_t i = 0; i < content.blocks.blocks_in_piece(piece); ++i) {
    if (content.block_checksums[first + i] == kNoChecksum) return false;
  }
  return true;
}

// How long a state with this bitmap is: the one length that is accepted.
std::uint64_t length_of(const TorrentContent& content, std::span<const std::byte> bitmap) {
  std::uint64_t blocks = 0;
  for (std::uint32_t i = 0; i < content.blocks.piece_count(); ++i) {
    if (((static_cast<unsigned>(bitmap[i / 8]) >> (i % 8)) & 1) != 0)
      blocks += content.blocks.blocks_in_piece(PieceIndex(i));
  }
  return kHeaderSize + content.files.size() * kFactsSize + bitmap.size() + blocks * 4 + kSumSize;
}

bool header_matches(const TorrentContent& content, const WireInfoHash& hash, Reader& reader) {
  WireInfoHash of;
  reader.bytes(of.bytes.data(), of.bytes.size());
  const bool same_shape = reader.u32() == content.blocks.piece_size &&
                          reader.u32() == content.blocks.piece_count() &&
                          reader.u32() == content.files.size();
  return same_shape && reader.u64() == content.blocks.total_size && of == hash;
}

}  // namespace

std::vector<std::byte> encode_verify_state(const TorrentContent& content,
                                           const WireInfoHash& hash) {
  Writer writer;
  writer.bytes(kMagic, sizeof kMagic);
  writer.u32(kVersion);
  writer.u32(0);
  writer.bytes(hash.bytes.data(), hash.bytes.size());
  writer.u32(content.blocks.piece_size);
  writer.u32(content.blocks.piece_count());
  writer.u32(static_cast<std::uint32_t>(content.files.size()));
  writer.u64(content.blocks.total_size);
  std::vector<bool> known(content.files.size());
  for (std::uint32_t i = 0; i < content.files.size(); ++i) {
    FileFacts facts;
    known[i] = agreed_facts(content, i, facts);
    if (!known[i]) facts = FileFacts{};
    writer.u64(facts.size);
    writer.u64(static_cast<std::uint64_t>(facts.mtime_ns));
    writer.u64(facts.inode);
    writer.u64(facts.device);
  }
  const std::uint32_t pieces = content.blocks.piece_count();
  std::vector<std::byte> bitmap((pieces + 7) / 8);
  for (std::uint32_t i = 0; i < pieces && content.verify != VerifyMode::trust; ++i) {
    const PieceIndex piece(i);
    if (content.pieces->get(piece) == PieceState::verified && is_certain(content, piece, known) &&
        has_checksums(content, piece)) {
      bitmap[i / 8] |= static_cast<std::byte>(1u << (i % 8));
    }
  }
  writer.bytes(bitmap.data(), bitmap.size());
  for (std::uint32_t i = 0; i < pieces; ++i) {
    if (((static_cast<unsigned>(bitmap[i / 8]) >> (i % 8)) & 1) == 0) continue;
    writer.bytes(&content.block_checksums[std::size_t{i} * content.blocks_per_piece],
                 std::size_t{content.blocks.blocks_in_piece(PieceIndex(i))} * 4);
  }
  writer.u64(long_checksum(writer.out));
  return std::move(writer.out);
}

Result<std::uint32_t> apply_verify_state(TorrentContent& content, const WireInfoHash& hash,
                                         std::span<const std::byte> state) {
  const std::uint32_t pieces = content.blocks.piece_count();
  const std::size_t bitmap_at = kHeaderSize + content.files.size() * kFactsSize;
  const std::size_t bitmap_size = (std::size_t{pieces} + 7) / 8;
  if (state.size() < kHeaderSize + kSumSize) return fail("the verification state is too short");
  Reader reader(state.data());
  char magic[sizeof kMagic];
  reader.bytes(magic, sizeof magic);
  if (std::memcmp(magic, kMagic, sizeof magic) != 0) return fail("not a verification state");
  if (reader.u32() != kVersion) return fail("the verification state has another version");
  reader.u32();
  if (!header_matches(content, hash, reader))
    return fail("the verification state is of another torrent");
  if (state.size() < bitmap_at + bitmap_size + kSumSize)
    return fail("the verification state is too short");
  if (Reader(state.data() + state.size() - kSumSize).u64() !=
      long_checksum(state.first(state.size() - kSumSize))) {
    return fail("the verification state is damaged");
  }
  const auto bitmap = state.subspan(bitmap_at, bitmap_size);
  if (length_of(content, bitmap) != state.size())
    return fail("the verification state has a wrong length");

  std::vector<bool> known(content.files.size());
  for (std::uint32_t i = 0; i < content.files.size(); ++i) {
    FileFacts facts;
    facts.size = reader.u64();
    facts.mtime_ns = static_cast<std::int64_t>(reader.u64());
    facts.inode = reader.u64();
    facts.device = reader.u64();
    known[i] = facts.size != 0 || facts.inode != 0;
    set_verified_facts(content, i, facts);
  }
  Reader checksums(bitmap.data() + bitmap.size());
  std::uint32_t verified = 0;
  for (std::uint32_t i = 0; i < pieces; ++i) {
    const PieceIndex piece(i);
    if (((static_cast<unsigned>(bitmap[i / 8]) >> (i % 8)) & 1) == 0) continue;
    checksums.bytes(&content.block_checksums[std::size_t{i} * content.blocks_per_piece],
                    std::size_t{content.blocks.blocks_in_piece(piece)} * 4);
    if (!is_certain(content, piece, known) || !has_checksums(content, piece)) continue;
    content.pieces->set(piece, PieceState::verified);
    ++verified;
  }
  return verified;
}

}  // namespace penstock
