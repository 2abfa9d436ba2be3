// Which bytes of which files a piece is made of.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/block_info.hh"
#include "wire/metainfo.hh"

namespace penstock::control {

// A run of bytes of one file, or of padding.
struct Segment {
  FileIndex file;
  std::uint64_t offset = 0;  // in the file
  std::uint32_t length = 0;
  bool padding = false;  // zeros that no disk holds (BEP 47)
};

// What a piece means to a v2 torrent: a part of one file's tree.
struct PiecePart {
  FileIndex file;
  std::uint64_t file_length = 0;
  std::uint32_t index = 0;   // of the piece among the file's own
  std::uint32_t length = 0;  // bytes of the file in the piece
};

// A view: files must outlive it.
class PieceLayout {
 public:
  // In the order of the piece space (FileEntry::offset never falls). Empty files are allowed.
  PieceLayout(std::span<const FileEntry> files, BlockInfo blocks);

  [[nodiscard]] const BlockInfo& blocks() const { return blocks_; }
  [[nodiscard]] std::span<const FileEntry> files() const { return files_; }
  // Replaces what out holds with the piece's segments in order. In a v2-only torrent the piece
  // ends where its file does.
  void segments(PieceIndex piece, std::vector<Segment>& out) const;
  // Only of v2 and hybrid torrents, whose files begin at piece boundaries.
  [[nodiscard]] PiecePart part(PieceIndex piece) const;
  // Bytes that are read and hashed for all pieces: padding is hashed too, gaps are not.
  [[nodiscard]] std::uint64_t total_bytes() const { return total_bytes_; }

 private:
  // Place in stored_ of the file that holds this byte of the piece space, or of the first after it.
  [[nodiscard]] std::size_t find(std::uint64_t offset) const;

  std::span<const FileEntry> files_;
  BlockInfo blocks_;
  std::vector<std::uint32_t> stored_;  // files that are not empty, in order
  std::uint64_t total_bytes_ = 0;
};

// Where the file is below a --data directory: "name/dir/file", or "name" of a single-file torrent.
std::string path_below_data(const Metainfo& metainfo, const FileEntry& file);

}  // namespace penstock::control
