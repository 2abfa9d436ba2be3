#include "store/assembler.hh"

#include <bit>
#include <cstring>

namespace penstock {

using Phase = Assembly::Phase;

Assembler::Assembler(ExtentCache& cache, FileTable& files, ReadBudget& budget,
                     StoreCounters& counters)
    : cache_(cache),
      files_(files),
      budget_(budget),
      counters_(counters),
      running_(std::min(std::max(cache.slab_count() / 32, 2u), kAssembliesMax)) {
  const std::uint32_t share = std::max(cache.slab_count() / 32, 2u);
  while (count_ < std::min(share, kAssembliesMax) &&
         cache_.try_reserve(assemblies_[count_].bounce)) {
    cache_.at(assemblies_[count_].bounce).use = SlabUse::bounce;
    ++count_;
  }
}

void Assembler::on_wanted(Extent& extent) {
  if (!extent.Hook<struct ReadTag>::linked()) queue_.push_back(&extent);
  start();
}

void Assembler::cancel(Extent& extent) {
  if (extent.wanted == 0) return;
  extent.wanted = 0;
  queue_.remove(&extent);
}

// A torrent whose disk hangs keeps at most half of them, a pool what PoolShare says.
bool Assembler::may_start(const Extent& extent) const {
  const ShardContent& owner = *extent.owner;
  return owner.assemblies < std::max(count_ / 2, 1u) && running_.room(owner.content.pool);
}

void Assembler::start() {
  for (std::uint32_t i = 0; i < count_ && !queue_.empty(); ++i) {
    Assembly& assembly = assemblies_[i];
    if (assembly.phase != Phase::idle) continue;
    // What may not start now goes to the end of the line, so that the others' turn comes whatever
    // hangs before them.
    Extent* extent = queue_.front();
    for (std::uint32_t step = 0; step < 16 && !may_start(*extent); ++step) {
      queue_.remove(extent);
      queue_.push_back(extent);
      extent = queue_.front();
    }
    if (!may_start(*extent)) return;

    ShardContent& owner = *extent->owner;
    const auto first = static_cast<std::uint32_t>(std::countr_zero(extent->wanted));
    const auto pages =
        static_cast<std::uint32_t>(std::countr_one(static_cast<unsigned>(extent->wanted) >> first));
    assembly.mask = static_cast<std::uint16_t>(((1u << pages) - 1) << first);
    extent->wanted = static_cast<std::uint16_t>(extent->wanted & ~assembly.mask);
    extent->flight |= assembly.mask;
    if (extent->wanted == 0) queue_.remove(extent);
    const RegionState& region = owner.regions[extent->region];
    const std::uint64_t at = extent->offset + std::uint64_t{first} * kPageSize;
    assembly.begin = region.offset + at;
    assembly.end = region.offset +
                   std::min<std::uint64_t>(at + std::uint64_t{pages} * kPageSize, region.length);
    assembly.extent = extent;
    assembly.file = std::max(owner.content.file_at(assembly.begin), region.first_file);
    if (assembly.file == owner.content.files.size()) assembly.file = region.first_file;
    assembly.error = IoError::none;
    ++owner.assemblies;
    running_.begin(owner.content.pool);
    if ((extent->exposed & assembly.mask) != 0) {
      assembly.phase = Phase::renew;
    } else {
      fill(assembly);
    }
  }
}

void Assembler::on_renewed(Instant now, Assembly& assembly, IoError error) {
  constexpr Duration kPause = Duration::milliseconds(100);
  Extent& extent = *assembly.extent;
  --extent.owner->operations;
  if (error != IoError::none) {
    extent.exposed |= assembly.exposed;
    assembly.phase = Phase::paused;
    if (extent.owner->forgetting) abandon(assembly);
    resume_at_ = earlier(resume_at_, now + kPause);
    return;
  }
  fill(assembly);
}

void Assembler::on_timeout(Instant now) {
  if (now < resume_at_) return;
  resume_at_ = Instant::never();
  for (std::uint32_t i = 0; i < count_; ++i) {
    if (assemblies_[i].phase == Phase::paused) assemblies_[i].phase = Phase::renew;
  }
}

void Assembler::fill(Assembly& assembly) {
  Extent& extent = *assembly.extent;
  const auto first = static_cast<std::uint32_t>(std::countr_zero(assembly.mask));
  const auto pages = static_cast<std::uint32_t>(std::popcount(assembly.mask));
  std::memset(cache_.data(extent) + std::size_t{first} * kPageSize, 0,
              std::size_t{pages} * kPageSize);
  if (extent.owner->forgetting) {
    abandon(assembly);
    return;
  }
  advance(assembly);
}

// Goes to the next file with bytes in the range.
void Assembler::advance(Assembly& assembly) {
  ShardContent& owner = *assembly.extent->owner;
  const RegionState& region = owner.regions[assembly.extent->region];
  const std::uint32_t files_end = region.first_file + region.file_count;
  for (; assembly.file < files_end; ++assembly.file) {
    const ContentFile& of = owner.content.files[assembly.file];
    if (of.length == 0 || of.padding || of.offset + of.length <= assembly.begin) continue;
    if (of.offset >= assembly.end) break;
    FileState& file = owner.files[assembly.file];
    if (file.phase == FileState::Phase::failed) {
      hurt(assembly, file.error);
      return;
    }
    const bool readable =
        file.phase == FileState::Phase::open && !file.reopen && !FileTable::paused(file);
    assembly.phase = readable ? Phase::ready : Phase::opening;
    file.needed += readable;
    if (!readable && !FileTable::paused(file)) files_.want_open(file);
    return;
  }
  Extent& extent = *assembly.extent;
  extent.flight = static_cast<std::uint16_t>(extent.flight & ~assembly.mask);
  extent.valid |= assembly.mask;
  assembly.phase = Phase::done;
}

void Assembler::abandon(Assembly& assembly) {
  Extent& extent = *assembly.extent;
  if (assembly.phase == Phase::ready) --extent.owner->files[assembly.file].needed;
  extent.flight = static_cast<std::uint16_t>(extent.flight & ~assembly.mask);
  extent.failed |= assembly.mask;
  assembly.phase = Phase::done;
}

void Assembler::hurt(Assembly& assembly, IoError error) {
  assembly.error = error;
  assembly.phase = Phase::hurt;
}

void Assembler::skip_file(Assembly& assembly) {
  DCHECK(assembly.phase == Phase::hurt);
  if (assembly.extent->owner->forgetting) {
    abandon(assembly);
    return;
  }
  ++assembly.file;
  advance(assembly);
}

void Assembler::on_file(FileState& file) {
  for (std::uint32_t i = 0; i < count_; ++i) {
    Assembly& assembly = assemblies_[i];
    if (assembly.phase == Phase::opening && assembly.extent->owner == file.owner &&
        assembly.file == file.index) {
      advance(assembly);
    }
  }
}

bool Assembler::poll_read(Assembly& assembly, StorageOp& out) {
  ShardContent& owner = *assembly.extent->owner;
  if (!budget_.room(owner.content.pool)) return false;
  FileState& file = owner.files[assembly.file];
  --file.needed;
  if (file.phase != FileState::Phase::open || file.reopen) {
    advance(assembly);  // it was closed meanwhile
    return false;
  }
  const ContentFile& of = owner.content.files[assembly.file];
  const std::uint64_t begin = assembly.begin > of.offset ? assembly.begin - of.offset : 0;
  const std::uint64_t end = std::min(assembly.end - of.offset, of.length);
  assembly.read_offset = begin / kPageSize * kPageSize;
  const std::uint64_t aligned_end = (end + kPageSize - 1) / kPageSize * kPageSize;
  out = StorageOp{};
  out.kind = StorageOp::Kind::read;
  out.pool = owner.content.pool;
  out.path = of.path.c_str();
  out.file = file.handle;
  out.offset = assembly.read_offset;
  out.segment_count = 1;
  out.segments[0].data = cache_.data(cache_.at(assembly.bounce));
  out.segments[0].length = static_cast<std::uint32_t>(aligned_end - assembly.read_offset);
  out.token = make_token(&assembly, OpTag::assembly);
  assembly.read_expected =
      static_cast<std::uint32_t>(std::min(aligned_end, of.length) - assembly.read_offset);
  assembly.phase = Phase::reading;
  budget_.begin(owner.content.pool);
  files_.begin_read(file);
  ++counters_.reads;
  counters_.bytes_read += assembly.read_expected;
  return true;
}

bool Assembler::poll_io(StorageOp& out) {
  start();
  for (std::uint32_t i = 0; i < count_; ++i) {
    Assembly& assembly = assemblies_[i];
    if (assembly.phase == Phase::renew) {
      Extent& extent = *assembly.extent;
      const auto first = static_cast<std::uint32_t>(std::countr_zero(assembly.mask));
      const auto pages = static_cast<std::uint32_t>(std::popcount(assembly.mask));
      out = StorageOp{};
      out.kind = StorageOp::Kind::renew;
      out.segment_count = 1;
      out.segments[0].data = cache_.data(extent) + std::size_t{first} * kPageSize;
      out.segments[0].length = pages * kPageSize;
      out.segments[0].renew = true;
      out.token = make_token(&assembly, OpTag::renew);
      assembly.exposed = static_cast<std::uint16_t>(extent.exposed & assembly.mask);
      extent.exposed = static_cast<std::uint16_t>(extent.exposed & ~assembly.mask);
      assembly.phase = Phase::renewing;
      ++extent.owner->operations;
      return true;
    }
    if (assembly.phase == Phase::ready && !budget_.full() && poll_read(assembly, out)) return true;
  }
  return false;
}

void Assembler::on_read(Instant now, Assembly& assembly, const StorageCompletion& completion) {
  ShardContent& owner = *assembly.extent->owner;
  FileState& file = owner.files[assembly.file];
  budget_.end(owner.content.pool);
  files_.end_read(file);
  if (owner.forgetting) {
    abandon(assembly);
    return;
  }
  if (completion.error != IoError::none) {
    ++counters_.read_errors;
    if (completion.error == IoError::exhausted) {
      files_.pause(now, file);
      assembly.phase = Phase::opening;
      return;
    }
    if (completion.error == IoError::stale && file.stale_retries < 3) {
      ++file.stale_retries;
      files_.close_soon(file);
      assembly.phase = Phase::opening;
      return;
    }
    hurt(assembly, completion.error);
    return;
  }
  const ContentFile& of = owner.content.files[assembly.file];
  const std::uint64_t begin = assembly.begin > of.offset ? assembly.begin - of.offset : 0;
  const std::uint64_t end = std::min(assembly.end - of.offset, of.length);
  if (assembly.read_offset + completion.bytes < end) {
    hurt(assembly, IoError::none);  // shorter than it should be
    return;
  }
  const RegionState& region = owner.regions[assembly.extent->region];
  const std::uint64_t to = of.offset + begin - region.offset - assembly.extent->offset;
  std::memcpy(cache_.data(*assembly.extent) + to,
              cache_.data(cache_.at(assembly.bounce)) + (begin - assembly.read_offset),
              end - begin);
  ++assembly.file;
  advance(assembly);
}

Assembly* Assembler::poll_done() {
  for (std::uint32_t i = 0; i < count_; ++i) {
    const Phase phase = assemblies_[i].phase;
    if (phase == Phase::done || phase == Phase::hurt) return &assemblies_[i];
  }
  return nullptr;
}

void Assembler::finish(Assembly& assembly) {
  DCHECK(assembly.phase == Phase::done);
  running_.end(assembly.extent->owner->content.pool);
  --assembly.extent->owner->assemblies;
  assembly.extent = nullptr;
  assembly.phase = Phase::idle;
}

void Assembler::forget(ShardContent& content) {
  for (std::uint32_t i = 0; i < count_; ++i) {
    Assembly& assembly = assemblies_[i];
    if (assembly.phase == Phase::opening || assembly.phase == Phase::ready ||
        assembly.phase == Phase::renew || assembly.phase == Phase::paused) {
      if (assembly.extent->owner == &content) abandon(assembly);
    }
  }
}

bool Assembler::is_done(const Extent& extent) const {
  for (std::uint32_t i = 0; i < count_; ++i) {
    if (assemblies_[i].phase == Phase::done && assemblies_[i].extent == &extent) return true;
  }
  return false;
}

bool Assembler::has_work() const {
  for (std::uint32_t i = 0; i < count_; ++i) {
    const Phase phase = assemblies_[i].phase;
    if (phase == Phase::done || phase == Phase::hurt) return true;
  }
  return false;
}

}  // namespace penstock
