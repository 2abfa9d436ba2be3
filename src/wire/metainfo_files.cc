#include "wire/metainfo_files.hh"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "wire/safe_path.hh"

namespace penstock::metainfo {
namespace {

using bencode::Kind;
using bencode::Value;

// BitComet's padding, older than BEP 47.
constexpr std::string_view kBitCometPadding = "_____padding_file_";

auto refuse(std::string what) {
  return fail(std::move(what), ErrorKind::usage);
}

void read_attributes(Value dictionary, FileEntry& file) {
  for (const char c : dictionary.find_string("attr")) {
    file.padding |= c == 'p';
    file.executable |= c == 'x';
    file.hidden |= c == 'h';
    file.symlink |= c == 'l';
  }
}

// Components of a "path" or "symlink path" list, appended to `path`. False when one is no string.
bool append_components(Value list, std::string& path) {
  for (Value v = list.first(); v; v = list.after(v)) {
    if (v.kind() != Kind::string) return false;
    append_safe_component(path, v.string());
  }
  return true;
}

// "length", and the target of a symlink (whose length counts as 0 whatever it says).
Result<void> read_length(Value dictionary, FileEntry& file) {
  if (file.symlink) {
    const Value target = dictionary.find("symlink path", Kind::list);
    if (target && !append_components(target, file.symlink_target)) {
      return refuse("symlink path: not a list of strings");
    }
    // A link to nowhere is an empty file.
    file.symlink = !file.symlink_target.empty();
    return {};
  }
  const auto length = dictionary.find_integer("length");
  if (!length) return refuse("length: missing");
  if (*length < 0) return refuse("length: negative");
  file.length = static_cast<std::uint64_t>(*length);
  if (file.length > kTotalBytesMax) return refuse("length: beyond 2^48");
  return {};
}

Result<void> append_file(FileList& list, FileEntry file, const MetainfoLimits& limits) {
  if (file.path.size() > limits.path_bytes_max) return refuse("a path is too long");
  if (list.files.size() >= limits.files_max) return refuse("too many files");
  if (file.length > kTotalBytesMax - list.total) return refuse("the lengths add up beyond 2^48");
  file.offset = list.total;
  list.total += file.length;
  list.files.push_back(std::move(file));
  return {};
}

Result<void> read_v1_path(Value dictionary, FileEntry& file) {
  Value path = dictionary.find("path.utf-8", Kind::list);
  if (!path) path = dictionary.find("path", Kind::list);
  if (path && path.first()) {
    if (!append_components(path, file.path)) return refuse("path: not a list of strings");
    // Nothing safe was left of it.
    if (file.path.empty()) file.path = "_";
    return {};
  }
  if (!file.padding) return refuse("path: missing");
  file.path = ".pad/" + std::to_string(dictionary.find_integer("length").value_or(0));
  return {};
}

Result<void> append_v1_file(Value dictionary, FileList& list, const MetainfoLimits& limits) {
  if (dictionary.kind() != Kind::dictionary) return refuse("not a dictionary");
  FileEntry file;
  read_attributes(dictionary, file);
  if (auto ok = read_length(dictionary, file); !ok) return ok;
  if (auto ok = read_v1_path(dictionary, file); !ok) return ok;
  if (file.path.find(kBitCometPadding) != std::string::npos) file.padding = true;
  return append_file(list, std::move(file), limits);
}

// Walks the tree with the path so far. Depth is bounded by the parser's.
class TreeWalk {
 public:
  TreeWalk(std::uint32_t piece_size, const MetainfoLimits& limits)
      : piece_size_(piece_size), limits_(limits) {}

  Result<void> directory(Value tree, const std::string& path) {
    for (Value k = tree.first(); k;) {
      const Value v = tree.after(k);
      if (auto ok = entry(k.string(), v, path); !ok) return ok;
      k = tree.after(v);
    }
    return {};
  }

  FileList list;

 private:
  static bool is_leaf(Value node) { return node.count() == 1 && node.first().string().empty(); }

  Result<void> entry(std::string_view key, Value node, const std::string& parent) {
    if (key.empty() || node.kind() != Kind::dictionary) {
      return refuse("an entry is no file and no directory");
    }
    std::string path = parent;
    append_safe_component(path, key);
    if (path.size() > limits_.path_bytes_max) return refuse("a path is too long");
    if (!is_leaf(node)) return directory(node, path);
    // Nothing safe was left of the file's own name.
    if (path == parent) append_safe_component(path, "");
    return leaf(node.find("", Kind::dictionary), std::move(path));
  }

  Result<void> leaf(Value node, std::string path) {
    if (!node) return refuse("\"" + path + "\": not a dictionary");
    FileEntry file;
    file.path = std::move(path);
    read_attributes(node, file);
    if (file.padding) return refuse("\"" + file.path + "\": padding in a file tree");
    if (auto ok = read_length(node, file); !ok) {
      return tl::unexpected(std::move(ok.error()).context("\"" + file.path + "\""));
    }
    if (file.length > 0) {
      const auto root = node.find("pieces root", Kind::string).bytes();
      if (root.size() != file.pieces_root.bytes.size()) {
        return refuse("\"" + file.path + "\": pieces root: missing or not 32 bytes");
      }
      std::memcpy(file.pieces_root.bytes.data(), root.data(), root.size());
      if (file.pieces_root.is_zero()) return refuse("\"" + file.path + "\": pieces root: zero");
    }
    if (auto ok = append_file(list, std::move(file), limits_); !ok) return ok;
    return pad();
  }

  Result<void> pad() {
    const std::uint64_t rest = list.total % piece_size_;
    if (rest == 0) return {};
    FileEntry padding;
    padding.length = piece_size_ - rest;
    padding.padding = true;
    padding.path = ".pad/" + std::to_string(padding.length);
    return append_file(list, std::move(padding), limits_);
  }

  std::uint32_t piece_size_;
  const MetainfoLimits& limits_;
};

// Drops the padding behind the last byte of data: older hybrids lack it in their v1 list.
void remove_tail_padding(FileList& list) {
  for (std::size_t i = list.files.size(); i-- > 0;) {
    FileEntry& file = list.files[i];
    if (file.length == 0) continue;
    if (!file.padding) return;
    list.total -= file.length;
    list.files.erase(list.files.begin() + static_cast<std::ptrdiff_t>(i));
    for (; i < list.files.size(); ++i)
      list.files[i].offset = list.total;
    return;
  }
}

}  // namespace

Result<FileList> parse_v1_files(Value info, const std::string& name, const MetainfoLimits& limits) {
  FileList list;
  const Value files = info.find("files", Kind::list);
  if (!files) {
    FileEntry file;
    read_attributes(info, file);
    if (auto ok = read_length(info, file); !ok) return tl::unexpected(std::move(ok.error()));
    file.path = name;
    list.single = true;
    if (auto ok = append_file(list, std::move(file), limits); !ok) {
      return tl::unexpected(std::move(ok.error()));
    }
    return list;
  }
  list.files.reserve(std::min(files.count(), limits.files_max));
  for (Value v = files.first(); v; v = files.after(v)) {
    if (auto ok = append_v1_file(v, list, limits); !ok) {
      return tl::unexpected(
          std::move(ok.error()).context("files[" + std::to_string(list.files.size()) + "]"));
    }
  }
  return list;
}

Result<FileList> parse_v2_files(Value info, std::uint32_t piece_size,
                                const MetainfoLimits& limits) {
  const Value tree = info.find("file tree", Kind::dictionary);
  if (!tree) return refuse("file tree: missing");
  TreeWalk walk(piece_size, limits);
  if (auto ok = walk.directory(tree, ""); !ok) {
    return tl::unexpected(std::move(ok.error()).context("file tree"));
  }
  // One file at the root, and no v1 list that says it is inside a directory (BEP 52, "name").
  if (tree.count() == 1 && !info.find("files", Kind::list)) {
    const Value node = tree.after(tree.first());
    walk.list.single = node.count() == 1 && node.first().string().empty();
  }
  return std::move(walk.list);
}

Result<void> join_hybrid(FileList& v1, FileList& v2) {
  if (v2.files.size() == v1.files.size() + 1) remove_tail_padding(v2);
  const auto differ = [](const std::string& what) {
    return refuse("the v1 file list and the v2 file tree differ: " + what);
  };
  if (v1.files.size() != v2.files.size()) return differ("in the number of files and padding");
  if (v1.total != v2.total) return differ("in size");
  if (v1.single != v2.single) return differ("one is a single file");
  for (std::size_t i = 0; i < v1.files.size(); ++i) {
    FileEntry& a = v1.files[i];
    const FileEntry& b = v2.files[i];
    // Only files with contents matter; the order of empty ones and attributes may differ.
    const bool a_matters = !a.padding && a.length > 0;
    const bool b_matters = !b.padding && b.length > 0;
    if (a_matters != b_matters) return differ("\"" + a.path + "\"");
    if (!a_matters) continue;
    if (a.path != b.path || a.length != b.length || a.offset != b.offset) {
      return differ("\"" + a.path + "\" and \"" + b.path + "\"");
    }
    a.pieces_root = b.pieces_root;
  }
  return {};
}

void resolve_symlinks(std::vector<FileEntry>& files) {
  std::unordered_set<std::string_view> known;
  for (const FileEntry& file : files) {
    if (file.padding) continue;
    const std::string_view path = file.path;
    known.insert(path);
    for (std::size_t end = path.rfind('/'); end != std::string_view::npos && end > 0;
         end = path.rfind('/', end - 1)) {
      if (!known.insert(path.substr(0, end)).second) break;
    }
  }
  for (FileEntry& file : files) {
    if (!file.symlink || known.contains(file.symlink_target)) continue;
    // Some programs write the target as seen from the link's own directory.
    const std::size_t slash = file.path.rfind('/');
    const std::string beside = slash == std::string::npos
                                   ? std::string()
                                   : file.path.substr(0, slash + 1) + file.symlink_target;
    file.symlink_target = known.contains(beside) ? beside : std::string();
  }
}

}  // namespace penstock::metainfo
