// Metainfo: whatever is accepted keeps what metainfo.hh promises to the store and the session.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "base/assert.hh"
#include "crypto/metainfo_identity.hh"
#include "wire/utf8.hh"

namespace {

using penstock::FileEntry;
using penstock::Metainfo;

void check_component(std::string_view component) {
  ASSERT(!component.empty() && component != "." && component != "..");
  ASSERT(component.size() <= 255);
  ASSERT(penstock::is_utf8(component));
  for (const char c : component)
    ASSERT(static_cast<unsigned char>(c) >= ' ' && c != '/' && c != '\\');
}

void check_path(std::string_view path) {
  for (;;) {
    const std::size_t slash = path.find('/');
    check_component(path.substr(0, slash));
    if (slash == std::string_view::npos) return;
    path.remove_prefix(slash + 1);
  }
}

void check_files(const Metainfo& m) {
  std::set<std::string> files;
  std::set<std::string> directories;
  std::uint64_t end = 0;
  for (const FileEntry& file : m.files) {
    ASSERT(file.offset >= end);
    if (m.has_v1) {
      ASSERT(file.offset == end);
    } else {
      ASSERT(file.length == 0 || file.offset % m.blocks.piece_size == 0);
    }
    end = file.offset + file.length;
    ASSERT(end <= m.blocks.total_size);
    ASSERT(file.piece_layer.empty() || m.has_v2);
    if (file.padding) continue;
    check_path(file.path);
    if (!file.symlink_target.empty()) check_path(file.symlink_target);
    ASSERT(files.insert(file.path).second);
    for (std::size_t at = file.path.find('/'); at != std::string::npos;
         at = file.path.find('/', at + 1)) {
      directories.insert(file.path.substr(0, at));
    }
  }
  for (const std::string& directory : directories)
    ASSERT(!files.contains(directory));
}

void check(const Metainfo& m) {
  check_component(m.name);
  ASSERT(m.has_v1 || m.has_v2);
  ASSERT(m.has_v1 == m.v1_hash.has_value() && m.has_v2 == m.v2_hash.has_value());
  ASSERT(m.blocks.total_size > 0 && m.blocks.piece_size > 0);
  ASSERT(m.blocks.piece_count() > 0);
  ASSERT(m.v1_pieces.size() == (m.has_v1 ? m.blocks.piece_count() : 0));
  ASSERT(!m.files.empty());
  ASSERT(!m.single_file || (m.files.size() == 1 && m.files[0].path == m.name));
  check_files(m);
  // The same dictionary by itself is the same torrent.
  const auto bare = penstock::load_info_dictionary(m.info_bytes, {.depth_max = 64});
  ASSERT(bare && bare->v1_hash == m.v1_hash && bare->v2_hash == m.v2_hash);
  ASSERT(bare->files.size() == m.files.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto input = std::as_bytes(std::span(data, size));
  const auto metainfo =
      penstock::load_metainfo(input, {.pieces_max = 10'000, .depth_max = 64, .tokens_max = 20'000});
  if (metainfo) {
    check(*metainfo);
  } else {
    ASSERT(!metainfo.error().message.empty());
  }
  return 0;
}
