// The extended messages that sessions speak (BEP 10), and BEP 9's. Private to peer/.
#pragma once

#include <algorithm>

#include "swarm/torrent.hh"
#include "wire/extensions.hh"

namespace penstock {

// The ids by which peers are to name them. ut_pex isn't spoken.
inline constexpr wire::ExtensionIds kOwnExtensionIds{
    .ut_metadata = 2, .ut_pex = 0, .upload_only = 3, .lt_donthave = 7};

[[nodiscard]] inline std::uint32_t metadata_piece_count(const Torrent& torrent) {
  return static_cast<std::uint32_t>((torrent.info_bytes.size() + wire::kMetadataPieceSize - 1) /
                                    wire::kMetadataPieceSize);
}

// piece < metadata_piece_count().
[[nodiscard]] inline wire::MetadataMessage metadata_message(const Torrent& torrent,
                                                            std::uint32_t piece) {
  const std::size_t begin = std::size_t{piece} * wire::kMetadataPieceSize;
  const std::size_t size =
      std::min<std::size_t>(wire::kMetadataPieceSize, torrent.info_bytes.size() - begin);
  return {.type = wire::MetadataType::data,
          .piece = piece,
          .total_size = static_cast<std::uint32_t>(torrent.info_bytes.size()),
          .data = torrent.info_bytes.subspan(begin, size)};
}

}  // namespace penstock
