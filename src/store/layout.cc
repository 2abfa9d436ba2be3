// How files become regions: a file of at least an extent is a region of its own. Smaller files and
// padding between such files form a run; a run of padding alone is a zero region, a lone file is a
// file region, anything else is packed. Since zero-only and lone-file runs lie between two large
// regions, a window of two blocks touches at most kPartsMax extents (span.hh relies on it).
#include "store/layout.hh"

#include <algorithm>
#include <string>

#include "base/units.hh"
#include "store/shard_content.hh"

namespace penstock {
namespace {

constexpr std::size_t kPathBytesMax = 4095;

class RegionBuilder {
 public:
  explicit RegionBuilder(std::vector<ContentRegion>& out) : out_(out) {}

  // One stretch of the piece space; file_count 0 is a gap.
  void add(std::uint64_t offset, std::uint64_t length, bool zeros, std::uint32_t file,
           std::uint32_t file_count) {
    if (length >= kExtentSize) {
      flush();
      out_.push_back(
          {offset, length, zeros ? RegionKind::zero : RegionKind::file, file, file_count});
      return;
    }
    if (run_length_ == 0) {
      run_ = {offset, 0, RegionKind::packed, 0, 0};
      run_files_ = run_zeros_ = 0;
    }
    run_length_ += length;
    if (zeros) {
      ++run_zeros_;
    } else {
      ++run_files_;
    }
    if (file_count == 0) return;
    if (run_.file_count == 0) run_.first_file = file;
    run_.file_count = file - run_.first_file + 1;
  }

  void flush() {
    if (run_length_ == 0) return;
    run_.length = run_length_;
    if (run_files_ == 0) run_.kind = RegionKind::zero;
    if (run_files_ == 1 && run_zeros_ == 0) run_.kind = RegionKind::file;
    out_.push_back(run_);
    run_length_ = 0;
  }

 private:
  std::vector<ContentRegion>& out_;
  ContentRegion run_;
  std::uint64_t run_length_ = 0;
  std::uint32_t run_files_ = 0;
  std::uint32_t run_zeros_ = 0;
};

void build_regions(TorrentContent& content) {
  RegionBuilder builder(content.regions);
  std::uint64_t cursor = 0;
  for (std::uint32_t i = 0; i < content.files.size(); ++i) {
    const ContentFile& file = content.files[i];
    if (file.length == 0) continue;
    ASSERT(file.offset >= cursor);
    if (file.offset > cursor) builder.add(cursor, file.offset - cursor, true, 0, 0);
    builder.add(file.offset, file.length, file.padding, i, 1);
    cursor = file.offset + file.length;
  }
  const std::uint64_t total = content.blocks.total_size;
  ASSERT(cursor <= total);
  if (cursor < total) builder.add(cursor, total - cursor, true, 0, 0);
  builder.flush();

  const std::uint32_t pieces = content.blocks.piece_count();
  content.first_region.resize(pieces);
  std::uint32_t region = 0;
  for (std::uint32_t piece = 0; piece < pieces; ++piece) {
    const std::uint64_t begin = content.blocks.piece_offset(PieceIndex(piece));
    while (content.regions[region].offset + content.regions[region].length <= begin)
      ++region;
    content.first_region[piece] = region;
  }
}

// One hash a piece: the file's piece layer, or the root of a file that fits in one piece.
Result<std::vector<Sha256Digest>> v2_pieces(const Metainfo& metainfo) {
  std::vector<Sha256Digest> out(metainfo.blocks.piece_count());
  const std::uint32_t size = metainfo.blocks.piece_size;
  for (const FileEntry& file : metainfo.files) {
    if (file.length == 0 || file.padding) continue;
    const std::uint64_t first = file.offset / size;
    const std::uint64_t count = (file.length + size - 1) / size;
    if (file.offset % size != 0 || first + count > out.size()) {
      return fail("file \"" + file.path + "\" does not begin at a piece");
    }
    if (count == 1) {
      out[first] = file.pieces_root;
      continue;
    }
    if (file.piece_layer.size() != count) {
      return fail("the piece layer of \"" + file.path + "\" is missing");
    }
    for (std::uint64_t i = 0; i < count; ++i)
      out[first + i] = file.piece_layer[i];
  }
  return out;
}

}  // namespace

bool is_safe_path(std::string_view path) {
  if (path.empty() || path.size() > kPathBytesMax) return false;
  if (path.find('\0') != std::string_view::npos) return false;
  for (;;) {
    const std::size_t slash = path.find('/');
    const std::string_view component = path.substr(0, slash);
    if (component.empty() || component == "." || component == "..") return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
}

bool finish_content(TorrentContent& content, std::uint32_t shard_count) {
  const std::uint32_t pieces = content.blocks.piece_count();
  // Its extents are counted with 32 bits; beside a file's whole ones it has one that isn't.
  constexpr std::uint64_t kExtentsMax = (std::uint64_t{1} << 32) - 1;
  if (content.blocks.total_size / kExtentSize + 2 * content.files.size() + 1 > kExtentsMax)
    return false;
  content.blocks_per_piece = (content.blocks.piece_size + kBlockSize - 1) / kBlockSize;
  content.pieces = std::make_unique<PieceStates>(
      pieces, content.verify == VerifyMode::trust ? PieceState::verified : PieceState::unverified);
  const std::size_t blocks = std::size_t{pieces} * content.blocks_per_piece;
  content.block_checksums.reset(
      static_cast<std::uint32_t*>(std::calloc(std::max<std::size_t>(blocks, 1), 4)));
  if (content.block_checksums == nullptr) return false;
  content.verified_facts.assign(content.files.size(), FileFacts{});
  build_regions(content);
  for (std::uint32_t shard = 0; shard < shard_count; ++shard) {
    content.shard_state.emplace_back(
        new ShardContent(content, ShardId(static_cast<std::uint16_t>(shard))));
  }
  return true;
}

Result<std::unique_ptr<TorrentContent>> make_content(const Metainfo& metainfo, TorrentSlot slot,
                                                     PoolIndex pool, VerifyMode verify,
                                                     std::uint32_t shard_count) {
  auto content = std::make_unique<TorrentContent>();
  content->slot = slot;
  content->blocks = metainfo.blocks;
  content->pool = pool;
  content->verify = verify;
  if (metainfo.has_v1) content->v1_pieces = metainfo.v1_pieces;
  if (metainfo.has_v2) {
    if (metainfo.piece_layers_missing) return fail("the torrent's piece layers are missing");
    auto pieces = v2_pieces(metainfo);
    if (!pieces) return tl::unexpected(std::move(pieces).error());
    content->v2_pieces = std::move(*pieces);
  }
  content->files.reserve(metainfo.files.size());
  for (const FileEntry& entry : metainfo.files) {
    ContentFile file;
    file.path = metainfo.single_file ? metainfo.name : metainfo.name + "/" + entry.path;
    file.offset = entry.offset;
    file.length = entry.length;
    file.padding = entry.padding;
    file.pieces_root = entry.pieces_root;
    if (!is_safe_path(file.path)) {
      return fail("the path \"" + file.path + "\" would leave its directory", ErrorKind::usage);
    }
    content->files.push_back(std::move(file));
  }
  if (!finish_content(*content, shard_count)) {
    return fail("a torrent of " + format_size(metainfo.blocks.total_size) +
                " is larger than this machine can keep checksums of");
  }
  return content;
}

}  // namespace penstock
