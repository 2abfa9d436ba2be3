#include "wire/safe_path.hh"

#include <algorithm>
#include <array>
#include <unordered_map>
#include <unordered_set>

#include "wire/utf8.hh"

namespace penstock {
namespace {

// What a component of a path may have on POSIX file systems, bytes.
constexpr std::size_t kNameMax = 255;
// Where a component is cut: leaves room for the extension.
constexpr std::size_t kComponentBytesMax = 240;
// An extension further from the end than this is none.
constexpr std::size_t kExtensionBytesMax = 10;

bool is_dropped(std::int32_t c) {
  static constexpr std::array<std::int32_t, 7> kTurnsDirection = {0x200e, 0x200f, 0x202a, 0x202b,
                                                                  0x202c, 0x202d, 0x202e};
  if (c == '/' || c == '\\' || c == 0) return true;
  return std::find(kTurnsDirection.begin(), kTurnsDirection.end(), c) != kTurnsDirection.end();
}

// Where the extension of a component begins that is cut at `position`; npos when it has none.
std::size_t extension_after(std::string_view component, std::size_t position) {
  const std::size_t tail =
      component.size() > kExtensionBytesMax ? component.size() - kExtensionBytesMax : 0;
  const std::size_t dot = component.rfind('.');
  if (dot == std::string_view::npos || dot <= std::max(tail, position)) {
    return std::string_view::npos;
  }
  return dot;
}

// Lets a set of strings be asked with a view.
struct ViewHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const {
    return std::hash<std::string_view>()(text);
  }
};
using StringSet = std::unordered_set<std::string, ViewHash, std::equal_to<>>;

std::string numbered(const std::string& path, std::uint32_t number) {
  const std::size_t slash = path.rfind('/');
  const std::size_t name = slash == std::string::npos ? 0 : slash + 1;
  std::size_t dot = path.rfind('.');
  if (dot == std::string::npos || dot <= name || path.size() - dot > kNameMax / 2) {
    dot = path.size();
  }
  const std::string tail = "." + std::to_string(number) + path.substr(dot);
  // What doesn't fit any more is cut off before the number, but not inside of a character.
  std::size_t stem = dot;
  if (stem - name + tail.size() > kNameMax) {
    stem = name + kNameMax - std::min(kNameMax, tail.size());
    while (stem > name && (static_cast<unsigned char>(path[stem]) & 0xc0) == 0x80)
      --stem;
  }
  return path.substr(0, stem) + tail;
}

}  // namespace

void append_safe_component(std::string& path, std::string_view component) {
  const std::size_t before = path.size();
  if (component == ".") return;
  if (!path.empty()) path.push_back('/');
  if (component.empty()) {
    path.push_back('_');
    return;
  }
  std::size_t added = 0;
  std::size_t dots = 0;
  bool cut = false;
  for (std::size_t i = 0; i < component.size();) {
    const CodePoint point = decode_utf8(component.substr(i));
    const std::size_t begin = i;
    i += point.length;
    if (point.value != kInvalidCodePoint && is_dropped(point.value)) continue;
    if (point.value < 32) {  // control characters and what is no UTF-8
      path.push_back('_');
      ++added;
    } else {
      path.append(component.substr(begin, point.length));
      added += point.length;
      if (point.value == '.') ++dots;
    }
    if (added >= kComponentBytesMax && !cut) {
      cut = true;
      i = extension_after(component, begin);
      if (i == std::string_view::npos) break;
    }
  }
  // "", ".", ".." are what is left of it: undo, and the separator too.
  if (added == dots && added <= 2) path.resize(before);
}

void resolve_clashes(std::span<std::string* const> paths) {
  StringSet directories;
  for (const std::string* path : paths) {
    if (path == nullptr) continue;
    const std::string_view text = *path;
    for (std::size_t end = text.rfind('/'); end != std::string_view::npos;
         end = end == 0 ? std::string_view::npos : text.rfind('/', end - 1)) {
      // All above a known directory is known too.
      if (directories.contains(text.substr(0, end))) break;
      directories.emplace(text.substr(0, end));
    }
  }
  // Views into the paths: of those that keep their names, and of those that have their new one.
  std::unordered_set<std::string_view> taken;
  std::unordered_map<std::string, std::uint32_t> next_number;
  std::vector<std::string*> clashing;
  taken.reserve(paths.size());
  for (std::string* path : paths) {
    if (path == nullptr) continue;
    if (directories.contains(*path) || !taken.insert(*path).second) clashing.push_back(path);
  }
  for (std::string* path : clashing) {
    std::uint32_t& number = next_number[*path];
    std::string candidate;
    do {
      candidate = numbered(*path, ++number);
    } while (directories.contains(candidate) || taken.contains(candidate));
    *path = std::move(candidate);
    taken.insert(*path);
  }
}

}  // namespace penstock
