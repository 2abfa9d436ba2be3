// From metainfo to content: where each byte of the piece space lies, with path safety checked once
// more. Used by control; allocates.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "base/result.hh"
#include "store/content.hh"
#include "wire/metainfo.hh"

namespace penstock {

// Whether a relative path stays inside its directory whatever it is joined to: non-empty
// components, none of them "." or "..", no NUL, not absolute, at most 4,095 bytes.
bool is_safe_path(std::string_view path);

// The content of a torrent whose files lie in `pool` under its name: single-file `name`, multi-file
// `name/path`. Fails when a path isn't safe or when a v2 torrent lacks its piece layers. All pieces
// are unverified, or with VerifyMode::trust verified.
Result<std::unique_ptr<TorrentContent>> make_content(const Metainfo& metainfo, TorrentSlot slot,
                                                     PoolIndex pool, VerifyMode verify,
                                                     std::uint32_t shard_count);

// Fills regions, first_region, blocks_per_piece, pieces, block_checksums, verified_facts and
// shard_state from the other fields. For those who build a TorrentContent by hand (tests). False:
// so large a torrent can't be served here.
bool finish_content(TorrentContent& content, std::uint32_t shard_count);

}  // namespace penstock
