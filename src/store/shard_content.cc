#include "store/shard_content.hh"

#include <algorithm>

namespace penstock {

ShardContent::ShardContent(TorrentContent& of, ShardId of_shard)
    : content(of),
      shard(of_shard),
      region_count(static_cast<std::uint32_t>(of.regions.size())),
      regions(std::make_unique<RegionState[]>(of.regions.size())),
      files(std::make_unique<FileState[]>(of.files.size())),
      piece_flags(std::make_unique<std::uint8_t[]>(of.blocks.piece_count())) {
  std::uint64_t extents_so_far = 0;
  for (std::uint32_t i = 0; i < region_count; ++i) {
    const ContentRegion& region = of.regions[i];
    regions[i] = {region.offset, region.length,     extents_so_far,
                  region.kind,   region.first_file, region.file_count};
    extents_so_far += (region.length + kExtentSize - 1) / kExtentSize;
  }
  ASSERT(extents_so_far < (std::uint64_t{1} << 32));
  extent_count = static_cast<std::uint32_t>(extents_so_far);
  for (std::uint32_t i = 0; i < of.files.size(); ++i) {
    FileState& file = files[i];
    file.owner = this;
    file.index = i;
    const FileFacts& facts = of.verified_facts[i];
    file.facts_known = facts.size != 0 || facts.inode != 0;
    file.facts = facts;
  }
}

void ShardContent::check_unlinked() const {
  for (std::size_t i = 0; i < content.files.size(); ++i) {
    const FileState& file = files[i];
    DCHECK(!file.Hook<struct HandleTag>::linked() && !file.Hook<struct OpenTag>::linked());
    DCHECK(!file.Hook<struct CheckTag>::linked() && !file.Hook<struct ReadyTag>::linked());
    DCHECK(!file.Hook<struct TimerTag>::linked() && !file.Hook<struct FileEventTag>::linked());
  }
}

std::uint32_t ShardContent::region_of_file(std::uint32_t file) const {
  const auto [first, last] = pieces_of_file(file);
  static_cast<void>(last);
  return region_at(PieceIndex(first), content.files[file].offset);
}

std::pair<std::uint32_t, std::uint32_t> ShardContent::pieces_of_file(std::uint32_t file) const {
  const ContentFile& of = content.files[file];
  DCHECK(of.length > 0);
  return {content.blocks.piece_at(of.offset).value,
          content.blocks.piece_at(of.offset + of.length - 1).value};
}

void set_verified_facts(TorrentContent& content, std::uint32_t file, const FileFacts& facts) {
  content.verified_facts[file] = facts;
  for (const ShardContentPtr& shard : content.shard_state) {
    shard->files[file].facts = facts;
    shard->files[file].facts_known = facts.size != 0 || facts.inode != 0;
  }
}

}  // namespace penstock
