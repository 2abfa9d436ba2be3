// What makes parsed metainfo a torrent: its info-hashes, and proof that its v2 piece layers are
// those that the info dictionary names.
#pragma once

#include <cstddef>
#include <span>

#include "base/result.hh"
#include "wire/metainfo.hh"

namespace penstock {

// Sets v1_hash and v2_hash, as has_v1 and has_v2 say, from info_bytes. A torrent whose name nothing
// safe was left of is named by the SHA-1 of its info dictionary.
void identify(Metainfo& metainfo);

// Whether every piece layer hashes up to its file's pieces_root (BEP 52, "piece layers"). Layers
// that are missing are passed over.
Result<void> check_piece_layers(const Metainfo& metainfo);

// The way from a .torrent's bytes to a torrent: parse_metainfo(), identify(), check_piece_layers().
Result<Metainfo> load_metainfo(std::span<const std::byte> file, const MetainfoLimits& limits = {});

// The same for a bare info dictionary (BEP 9). Whether its hash is the one that was asked for is
// the caller's to compare.
Result<Metainfo> load_info_dictionary(std::span<const std::byte> info,
                                      const MetainfoLimits& limits = {});

}  // namespace penstock
