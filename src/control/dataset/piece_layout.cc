#include "control/dataset/piece_layout.hh"

#include <algorithm>

#include "base/assert.hh"

namespace penstock::control {

PieceLayout::PieceLayout(std::span<const FileEntry> files, BlockInfo blocks)
    : files_(files), blocks_(blocks) {
  stored_.reserve(files.size());
  for (std::uint32_t i = 0; i < files.size(); ++i) {
    if (files[i].length == 0) continue;
    ASSERT(stored_.empty() ||
           files[stored_.back()].offset + files[stored_.back()].length <= files[i].offset);
    stored_.push_back(i);
    total_bytes_ += files[i].length;
  }
}

std::size_t PieceLayout::find(std::uint64_t offset) const {
  const auto after = std::partition_point(stored_.begin(), stored_.end(), [&](std::uint32_t file) {
    return files_[file].offset + files_[file].length <= offset;
  });
  return static_cast<std::size_t>(after - stored_.begin());
}

void PieceLayout::segments(PieceIndex piece, std::vector<Segment>& out) const {
  out.clear();
  std::uint64_t at = blocks_.piece_offset(piece);
  const std::uint64_t end = at + blocks_.piece_length(piece);
  for (std::size_t place = find(at); at < end && place < stored_.size(); ++place) {
    const FileEntry& file = files_[stored_[place]];
    if (file.offset > at) break;  // the gap behind a file of a v2-only torrent
    const std::uint64_t stop = std::min(end, file.offset + file.length);
    out.push_back({FileIndex(stored_[place]), at - file.offset,
                   static_cast<std::uint32_t>(stop - at), file.padding});
    at = stop;
  }
}

PiecePart PieceLayout::part(PieceIndex piece) const {
  const std::uint64_t begin = blocks_.piece_offset(piece);
  const std::size_t place = find(begin);
  ASSERT(place < stored_.size());
  const FileEntry& file = files_[stored_[place]];
  ASSERT(!file.padding && file.offset <= begin && file.offset % blocks_.piece_size == 0);
  PiecePart part;
  part.file = FileIndex(stored_[place]);
  part.file_length = file.length;
  part.index = static_cast<std::uint32_t>((begin - file.offset) / blocks_.piece_size);
  part.length = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(blocks_.piece_size, file.offset + file.length - begin));
  return part;
}

std::string path_below_data(const Metainfo& metainfo, const FileEntry& file) {
  return metainfo.single_file ? file.path : metainfo.name + "/" + file.path;
}

}  // namespace penstock::control
