// Bencodes a torrent (BEP 3, 12, 19, 27, 47, 52).
#pragma once

#include <cstddef>
#include <vector>

#include "wire/metainfo.hh"

namespace penstock::control {

// The bytes of a .torrent file. Uses name, single_file, blocks.piece_size, files (sorted as
// scan_tree() does, padding in its place), has_v1 with v1_pieces, has_v2 with roots and layers,
// is_private, tracker_tiers, web_seeds, comment, created_by and creation_date.
std::vector<std::byte> write_torrent(const Metainfo& metainfo);

}  // namespace penstock::control
