#include "crypto/metainfo_identity.hh"

#include <utility>

#include "crypto/merkle.hh"
#include "crypto/sha.hh"

namespace penstock {

void identify(Metainfo& metainfo) {
  if (metainfo.has_v1) metainfo.v1_hash = sha1(metainfo.info_bytes);
  if (metainfo.has_v2) metainfo.v2_hash = sha256(metainfo.info_bytes);
  if (metainfo.name.empty()) {
    // SHA-1 for v2 too: what libtorrent calls the folder.
    metainfo.name = sha1(metainfo.info_bytes).hex();
  }
}

Result<void> check_piece_layers(const Metainfo& metainfo) {
  if (!metainfo.has_v2) return {};
  MerkleHasher hasher;
  for (const FileEntry& file : metainfo.files) {
    if (file.piece_layer.empty()) continue;
    const auto shape = MerkleShape::of(file.length, metainfo.blocks.piece_size);
    if (hasher.root_of_piece_layer(shape, file.piece_layer) != file.pieces_root) {
      return fail("piece layers: \"" + file.path + "\": the hashes don't lead to its pieces root",
                  ErrorKind::usage);
    }
  }
  return {};
}

Result<Metainfo> load_metainfo(std::span<const std::byte> file, const MetainfoLimits& limits) {
  auto metainfo = parse_metainfo(file, limits);
  if (!metainfo) return metainfo;
  if (auto ok = check_piece_layers(*metainfo); !ok) return tl::unexpected(std::move(ok.error()));
  identify(*metainfo);
  return metainfo;
}

Result<Metainfo> load_info_dictionary(std::span<const std::byte> info,
                                      const MetainfoLimits& limits) {
  auto metainfo = parse_info_dictionary(info, limits);
  if (metainfo) identify(*metainfo);
  return metainfo;
}

}  // namespace penstock
