// Names from a torrent become names on a disk here, and nowhere else.
//
// Rules, the same as libtorrent's on POSIX systems, so that data laid down by it is found:
// '/', '\', NUL and the Unicode marks that turn the writing direction are dropped; control
// characters and invalid UTF-8 become '_'; an empty component becomes "_"; "." and ".." vanish;
// a component is cut after 240 bytes, keeping a short extension.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

// Appends '/' (when path is not empty) and the safe form of one component. Appends nothing when
// nothing safe is left of it.
void append_safe_component(std::string& path, std::string_view component);

// Makes paths unique: a path that is also a directory of another, or repeats an earlier one, gets
// ".1", ".2", … before its extension. Exact comparison: names that differ in case are different
// files. Null pointers (padding, which is never stored) are skipped. Linear in the paths' length.
void resolve_clashes(std::span<std::string* const> paths);

}  // namespace penstock
