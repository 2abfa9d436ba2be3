#include "control/dataset/torrent_writer.hh"

#include <map>
#include <span>
#include <string_view>

#include "wire/bencode.hh"

namespace penstock::control {
namespace {

using bencode::Writer;

std::vector<std::string_view> components(std::string_view path) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t slash = path.find('/');
    parts.push_back(path.substr(0, slash));
    if (slash == std::string_view::npos) return parts;
    path.remove_prefix(slash + 1);
  }
}

void write_v1_files(Writer& writer, const Metainfo& metainfo) {
  writer.key("files").begin_list();
  for (const FileEntry& file : metainfo.files) {
    writer.begin_dictionary();
    if (file.padding) writer.key("attr").string("p");
    writer.key("length").integer(static_cast<std::int64_t>(file.length));
    writer.key("path").begin_list();
    for (const std::string_view part : components(file.path))
      writer.string(part);
    writer.end();
    writer.end();
  }
  writer.end();
}

// The files come sorted component by component, so directories open and close as on a walk.
void write_file_tree(Writer& writer, const Metainfo& metainfo) {
  writer.key("file tree").begin_dictionary();
  std::vector<std::string_view> open;  // directories
  for (const FileEntry& file : metainfo.files) {
    if (file.padding) continue;
    const std::vector<std::string_view> parts = components(file.path);
    std::size_t common = 0;
    while (common < open.size() && common + 1 < parts.size() && open[common] == parts[common])
      ++common;
    for (; open.size() > common; open.pop_back())
      writer.end();
    for (std::size_t i = common; i + 1 < parts.size(); ++i) {
      writer.key(parts[i]).begin_dictionary();
      open.push_back(parts[i]);
    }
    writer.key(parts.back()).begin_dictionary().key("").begin_dictionary();
    writer.key("length").integer(static_cast<std::int64_t>(file.length));
    if (file.length > 0) writer.key("pieces root").string(file.pieces_root.bytes);
    writer.end().end();
  }
  for (; !open.empty(); open.pop_back())
    writer.end();
  writer.end();
}

template <class DigestType>
std::span<const std::byte> flat(const std::vector<DigestType>& digests) {
  static_assert(sizeof(DigestType) == sizeof(DigestType::bytes));
  return std::as_bytes(std::span(digests));
}

void write_info(Writer& writer, const Metainfo& metainfo) {
  writer.key("info").begin_dictionary();
  if (metainfo.has_v2) write_file_tree(writer, metainfo);
  if (metainfo.has_v1) {
    if (metainfo.single_file) {
      writer.key("length").integer(static_cast<std::int64_t>(metainfo.files[0].length));
    } else {
      write_v1_files(writer, metainfo);
    }
  }
  if (metainfo.has_v2) writer.key("meta version").integer(2);
  writer.key("name").string(metainfo.name);
  writer.key("piece length").integer(metainfo.blocks.piece_size);
  if (metainfo.has_v1) writer.key("pieces").string(flat(metainfo.v1_pieces));
  if (metainfo.is_private) writer.key("private").integer(1);
  writer.end();
}

void write_piece_layers(Writer& writer, const Metainfo& metainfo) {
  // Keys in raw byte order; equal files share a root and an entry.
  std::map<Sha256Digest, const FileEntry*> layers;
  for (const FileEntry& file : metainfo.files) {
    if (!file.piece_layer.empty()) layers.emplace(file.pieces_root, &file);
  }
  writer.key("piece layers").begin_dictionary();
  for (const auto& [root, file] : layers)
    writer.key(root.bytes).string(flat(file->piece_layer));
  writer.end();
}

}  // namespace

std::vector<std::byte> write_torrent(const Metainfo& metainfo) {
  std::vector<std::byte> out;
  Writer writer(out);
  writer.begin_dictionary();
  if (!metainfo.tracker_tiers.empty()) {
    writer.key("announce").string(metainfo.tracker_tiers[0][0]);
    if (metainfo.tracker_tiers.size() > 1 || metainfo.tracker_tiers[0].size() > 1) {
      writer.key("announce-list").begin_list();
      for (const auto& tier : metainfo.tracker_tiers) {
        writer.begin_list();
        for (const std::string& url : tier)
          writer.string(url);
        writer.end();
      }
      writer.end();
    }
  }
  if (!metainfo.comment.empty()) writer.key("comment").string(metainfo.comment);
  if (!metainfo.created_by.empty()) writer.key("created by").string(metainfo.created_by);
  if (metainfo.creation_date != 0) writer.key("creation date").integer(metainfo.creation_date);
  write_info(writer, metainfo);
  if (metainfo.has_v2) write_piece_layers(writer, metainfo);
  if (!metainfo.web_seeds.empty()) {
    writer.key("url-list").begin_list();
    for (const std::string& url : metainfo.web_seeds)
      writer.string(url);
    writer.end();
  }
  writer.end();
  return out;
}

}  // namespace penstock::control
