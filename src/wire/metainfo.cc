#include "wire/metainfo.hh"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "wire/bencode.hh"
#include "wire/metainfo_files.hh"
#include "wire/safe_path.hh"
#include "wire/utf8.hh"

namespace penstock {
namespace {

using bencode::Kind;
using bencode::Value;
using metainfo::FileList;

auto refuse(std::string what) {
  return fail(std::move(what), ErrorKind::usage);
}

// The legacy "key.utf-8" is right where it exists: "key" is then in some other encoding.
Value find_text(Value dictionary, const std::string& key) {
  const Value preferred = dictionary.find(key + ".utf-8", Kind::string);
  return preferred ? preferred : dictionary.find(key, Kind::string);
}

// "meta version": 1 when absent, as v1 torrents don't have it.
Result<std::int64_t> read_version(Value info) {
  const std::int64_t version = info.find_integer("meta version").value_or(0);
  if (version <= 0) return 1;
  if (version > 2) return refuse("meta version: " + std::to_string(version) + " is unknown");
  // BEP 52: implementations must refuse what is not sorted, or else two info-hashes name one
  // torrent. v1 torrents in the wild break the rule too often.
  if (!bencode::is_canonical(info)) return refuse("not canonical bencoding, as BEP 52 demands");
  return version;
}

Result<std::uint32_t> read_piece_size(Value info, bool v2) {
  const std::int64_t size = info.find_integer("piece length").value_or(0);
  if (size <= 0) return refuse("piece length: missing, zero or negative");
  if (size > kPieceSizeMax) return refuse("piece length: beyond 512 MiB");
  const auto piece_size = static_cast<std::uint32_t>(size);
  if (v2 && (piece_size < kBlockSize || (piece_size & (piece_size - 1)) != 0)) {
    return refuse("piece length: not a power of two of at least 16 KiB, as BEP 52 demands");
  }
  return piece_size;
}

Result<void> read_v1_pieces(Value info, const MetainfoLimits& limits, Metainfo& out) {
  const std::uint64_t count =
      (out.blocks.total_size + out.blocks.piece_size - 1) / out.blocks.piece_size;
  if (count > limits.pieces_max) return refuse("too many pieces");
  const Value pieces = info.find("pieces", Kind::string);
  if (!pieces) {
    if (out.has_v1) return refuse("pieces: missing");
    return {};
  }
  const auto bytes = pieces.bytes();
  if (bytes.size() != count * sizeof(Sha1Digest)) {
    return refuse("pieces: " + std::to_string(bytes.size()) + " bytes, but " +
                  std::to_string(count) + " pieces need " +
                  std::to_string(count * sizeof(Sha1Digest)));
  }
  if (!out.has_v1) return {};
  out.v1_pieces.resize(count);
  static_assert(sizeof(Sha1Digest) == 20);
  std::memcpy(out.v1_pieces.data(), bytes.data(), bytes.size());
  return {};
}

// Which lists there are, and whether they agree.
Result<FileList> read_files(Value info, bool v2, const MetainfoLimits& limits, Metainfo& out) {
  const bool v1_list = info.find("files", Kind::list) || info.find("length");
  out.has_v2 = v2;
  out.has_v1 = !v2 || v1_list;
  if (!v2) {
    if (info.find("file tree", Kind::dictionary)) return refuse("meta version: missing");
    return metainfo::parse_v1_files(info, out.name, limits);
  }
  auto tree = metainfo::parse_v2_files(info, out.blocks.piece_size, limits);
  if (!tree || !out.has_v1) return tree;
  auto list = metainfo::parse_v1_files(info, out.name, limits);
  if (!list) return list;
  if (auto ok = metainfo::join_hybrid(*list, *tree); !ok) {
    return tl::unexpected(std::move(ok.error()));
  }
  return list;
}

Result<void> place_files(FileList list, Metainfo& out) {
  if (list.files.empty()) return refuse("no files");
  if (list.total == 0) return refuse("no contents: every file is empty");
  out.single_file = list.single;
  out.blocks.total_size = list.total;
  if (list.single) {
    // A v2 file tree names its only file itself; "name" is advice (BEP 52).
    out.name = list.files.front().path;
    if (out.name.empty()) return refuse("name: nothing safe is left of it");
  }
  metainfo::resolve_symlinks(list.files);
  if (!out.has_v1) std::erase_if(list.files, [](const FileEntry& file) { return file.padding; });
  std::vector<std::string*> stored;
  stored.reserve(list.files.size());
  for (FileEntry& file : list.files)
    stored.push_back(file.padding ? nullptr : &file.path);
  resolve_clashes(stored);
  out.files = std::move(list.files);
  return {};
}

bool needs_layer(const Metainfo& out, const FileEntry& file) {
  return out.has_v2 && !file.padding && file.length > out.blocks.piece_size;
}

Result<Metainfo> parse_info(Value info, const MetainfoLimits& limits) {
  Metainfo out;
  const auto version = read_version(info);
  if (!version) return tl::unexpected(version.error());
  const auto piece_size = read_piece_size(info, *version == 2);
  if (!piece_size) return tl::unexpected(piece_size.error());
  out.blocks.piece_size = *piece_size;

  const Value name = find_text(info, "name");
  if (!name) return refuse("name: missing");
  append_safe_component(out.name, name.string());

  auto list = read_files(info, *version == 2, limits, out);
  if (!list) return tl::unexpected(std::move(list.error()));
  if (list->single && out.has_v1 && name.string().empty()) return refuse("name: empty");
  if (auto ok = place_files(std::move(*list), out); !ok) {
    return tl::unexpected(std::move(ok.error()));
  }
  if (auto ok = read_v1_pieces(info, limits, out); !ok) {
    return tl::unexpected(std::move(ok.error()));
  }
  out.is_private = info.find_integer("private").value_or(0) != 0;
  out.source = mend_utf8(find_text(info, "source").string());
  out.piece_layers_missing =
      std::any_of(out.files.begin(), out.files.end(),
                  [&](const FileEntry& file) { return needs_layer(out, file); });
  const auto raw = info.raw();
  out.info_bytes.assign(raw.begin(), raw.end());
  return out;
}

// BEP 52 "piece layers": from a file's root to the hashes of its pieces. That they hash up to the
// root is for crypto to see.
Result<void> read_piece_layers(Value layers, Metainfo& out) {
  std::unordered_map<std::string_view, std::span<const std::byte>> by_root;
  for (Value k = layers.first(); k;) {
    const Value v = layers.after(k);
    const bool sound = k.bytes().size() == sizeof(Sha256Digest) && v.kind() == Kind::string &&
                       v.bytes().size() % sizeof(Sha256Digest) == 0;
    if (!sound) return refuse("piece layers: an entry is not a root and its hashes");
    by_root.emplace(k.string(), v.bytes());
    k = layers.after(v);
  }
  bool missing = false;
  for (FileEntry& file : out.files) {
    if (!needs_layer(out, file)) continue;
    const auto& root = file.pieces_root.bytes;
    const auto found = by_root.find({reinterpret_cast<const char*>(root.data()), root.size()});
    if (found == by_root.end()) {
      missing = true;
      continue;
    }
    // The sum over all files is bounded by pieces_max, whatever roots repeat.
    const std::uint64_t count = (file.length + out.blocks.piece_size - 1) / out.blocks.piece_size;
    if (found->second.size() != count * sizeof(Sha256Digest)) {
      return refuse("piece layers: \"" + file.path + "\" has " + std::to_string(count) +
                    " pieces, but another number of hashes");
    }
    file.piece_layer.resize(count);
    std::memcpy(file.piece_layer.data(), found->second.data(), found->second.size());
  }
  out.piece_layers_missing = missing;
  return {};
}

// A URL as it stands but for blanks around it; empty when it can't be one.
std::string clean_url(std::string_view url) {
  while (!url.empty() && static_cast<unsigned char>(url.front()) <= ' ')
    url.remove_prefix(1);
  while (!url.empty() && static_cast<unsigned char>(url.back()) <= ' ')
    url.remove_suffix(1);
  const bool control = std::any_of(url.begin(), url.end(), [](char c) {
    return static_cast<unsigned char>(c) < ' ' || c == '\x7f';
  });
  return control ? std::string() : std::string(url);
}

void read_trackers(Value root, const MetainfoLimits& limits, Metainfo& out) {
  std::size_t total = 0;
  const Value tiers = root.find("announce-list", Kind::list);
  for (Value tier = tiers.first(); tier; tier = tiers.after(tier)) {
    if (tier.kind() != Kind::list) continue;
    std::vector<std::string> urls;
    for (Value v = tier.first(); v && total < limits.trackers_max; v = tier.after(v)) {
      std::string url = clean_url(v.string());
      if (url.empty()) continue;
      urls.push_back(std::move(url));
      ++total;
    }
    if (!urls.empty()) out.tracker_tiers.push_back(std::move(urls));
  }
  // BEP 12: the list replaces the single one.
  if (!out.tracker_tiers.empty()) return;
  std::string url = clean_url(root.find_string("announce"));
  if (!url.empty()) out.tracker_tiers.push_back({std::move(url)});
}

void read_web_seeds(Value root, const MetainfoLimits& limits, Metainfo& out) {
  const Value list = root.find("url-list");
  if (list.kind() == Kind::string) {
    std::string url = clean_url(list.string());
    if (!url.empty()) out.web_seeds.push_back(std::move(url));
    return;
  }
  if (list.kind() != Kind::list) return;
  std::unordered_set<std::string> seen;
  for (Value v = list.first(); v && out.web_seeds.size() < limits.web_seeds_max;
       v = list.after(v)) {
    std::string url = clean_url(v.string());
    if (!url.empty() && seen.insert(url).second) out.web_seeds.push_back(std::move(url));
  }
}

void read_dht_nodes(Value root, Metainfo& out) {
  // More than a routing table's first bucket or two is no help in joining.
  constexpr std::size_t kNodesMax = 64;
  const Value nodes = root.find("nodes", Kind::list);
  for (Value v = nodes.first(); v && out.dht_nodes.size() < kNodesMax; v = nodes.after(v)) {
    if (v.kind() != Kind::list || v.count() < 2) continue;
    const Value host = v.first();
    const Value port = v.after(host);
    if (host.kind() != Kind::string || port.kind() != Kind::integer) continue;
    if (port.integer() <= 0 || port.integer() > 65535) continue;
    out.dht_nodes.emplace_back(mend_utf8(host.string()),
                               static_cast<std::uint16_t>(port.integer()));
  }
}

}  // namespace

Result<Metainfo> parse_metainfo(std::span<const std::byte> file, const MetainfoLimits& limits) {
  if (file.size() > limits.bytes_max) return refuse("the file is too large for a torrent");
  bencode::Document document;
  const auto status =
      document.parse(file, {.depth_max = limits.depth_max, .tokens_max = limits.tokens_max});
  if (status.fault != bencode::Fault::none) {
    return refuse(std::string("not bencoding: ") + bencode::describe(status.fault) + ", at byte " +
                  std::to_string(status.position));
  }
  const Value root = document.root();
  if (root.kind() != Kind::dictionary) return refuse("not a bencoded dictionary");
  const Value info = root.find("info", Kind::dictionary);
  if (!info) return refuse("info: missing");
  auto parsed = parse_info(info, limits);
  if (!parsed) return tl::unexpected(std::move(parsed.error()).context("info"));

  if (const Value layers = root.find("piece layers", Kind::dictionary); layers && parsed->has_v2) {
    if (auto ok = read_piece_layers(layers, *parsed); !ok) {
      return tl::unexpected(std::move(ok.error()));
    }
  }
  read_trackers(root, limits, *parsed);
  read_web_seeds(root, limits, *parsed);
  read_dht_nodes(root, *parsed);
  parsed->comment = mend_utf8(find_text(root, "comment").string());
  parsed->created_by = mend_utf8(find_text(root, "created by").string());
  parsed->creation_date = std::max<std::int64_t>(0, root.find_integer("creation date").value_or(0));
  return parsed;
}

Result<Metainfo> parse_info_dictionary(std::span<const std::byte> info,
                                       const MetainfoLimits& limits) {
  if (info.size() > limits.bytes_max) return refuse("the info dictionary is too large");
  bencode::Document document;
  const auto status =
      document.parse(info, {.depth_max = limits.depth_max, .tokens_max = limits.tokens_max});
  if (status.fault != bencode::Fault::none) {
    return refuse(std::string("info: not bencoding: ") + bencode::describe(status.fault));
  }
  // A hash was asked for: nothing may follow the dictionary that it covers.
  if (status.position != info.size() || document.root().kind() != Kind::dictionary) {
    return refuse("info: not one bencoded dictionary");
  }
  return parse_info(document.root(), limits);
}

}  // namespace penstock
