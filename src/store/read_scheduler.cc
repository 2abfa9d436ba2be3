#include "store/read_scheduler.hh"

#include <bit>

namespace penstock {
namespace {

// Where the run of ones that begins at `first` ends.
std::uint32_t run_end(std::uint32_t mask, std::uint32_t first) {
  return first + static_cast<std::uint32_t>(std::countr_one(mask >> first));
}

}  // namespace

ReadScheduler::ReadScheduler(const StoreLimits& limits, ExtentCache& cache, FileTable& files,
                             ReadBudget& budget, StoreCounters& counters)
    : cache_(cache), files_(files), budget_(budget), counters_(counters) {
  const std::uint32_t count = std::max(limits.reads_in_flight_max, 1u);
  ops_ = std::make_unique<ReadOp[]>(count);
  for (std::uint32_t i = 0; i < count; ++i)
    free_ops_.push_back(&ops_[i]);
}

void ReadScheduler::on_wanted(Extent& extent) {
  FileState& file = extent.owner->files[extent.owner->regions[extent.region].first_file];
  if (file.phase == FileState::Phase::failed) {
    extent.failed |= extent.wanted;
    extent.wanted = 0;
    extent.error = file.error;
    return;
  }
  if (!extent.Hook<struct ReadTag>::linked()) file.wanted.push_back(&extent);
  files_.want_open(file);
  make_ready(file);
}

bool ReadScheduler::is_readable(const FileState& file) const {
  return file.phase == FileState::Phase::open && !file.reopen && !file.wanted.empty() &&
         budget_.room(file) && !FileTable::paused(file);
}

void ReadScheduler::make_ready(FileState& file) {
  if (file.Hook<struct ReadyTag>::linked() || !is_readable(file)) return;
  ready_.push_back(&file, file.owner->content.pool);
}

void ReadScheduler::on_readable(FileState& file) {
  if (file.wanted.empty()) return;
  files_.want_open(file);
  make_ready(file);
}

void ReadScheduler::cancel(Extent& extent) {
  if (extent.wanted == 0) return;
  extent.wanted = 0;
  FileState& file = extent.owner->files[extent.owner->regions[extent.region].first_file];
  file.wanted.remove(&extent);
  if (file.wanted.empty() && file.Hook<struct ReadyTag>::linked())
    ready_.remove(&file, file.owner->content.pool);
}

bool ReadScheduler::fail_next(FileState& file, Extent*& extent) {
  extent = file.wanted.front();
  if (extent == nullptr) return false;
  const std::uint16_t mask = extent->wanted;
  cancel(*extent);
  extent->failed |= mask;
  extent->error = file.error;
  return true;
}

bool ReadScheduler::poll_io(StorageOp& out) {
  while (FileState* file = ready_.pop_front(budget_)) {
    if (!is_readable(*file)) continue;  // closed since; on_readable() brings it back
    build(*file, out);
    make_ready(*file);  // to the end of the line
    return true;
  }
  return false;
}

Extent* ReadScheduler::neighbour(const Extent& extent, bool forward) const {
  if (!forward && extent.offset == 0) return nullptr;
  Extent* other = cache_.find(forward ? extent.key + 1 : extent.key - 1);
  // Keys of neighbouring regions are neighbours too, and so may the old and the new keys of a
  // region be whose file changed; a solo extent was in a read that failed.
  if (other == nullptr || other->owner != extent.owner || other->region != extent.region ||
      other->solo) {
    return nullptr;
  }
  const std::uint64_t behind = forward ? extent.offset : other->offset;
  const std::uint64_t ahead = forward ? other->offset : extent.offset;
  return ahead == behind + kExtentSize ? other : nullptr;
}

void ReadScheduler::take(ReadOp& op, StorageOp& out, Extent& extent, Run run) {
  const auto mask = static_cast<std::uint16_t>(((1u << run.count) - 1) << run.first);
  extent.wanted = static_cast<std::uint16_t>(extent.wanted & ~mask);
  extent.flight |= mask;
  FileState& file = *op.file;
  if (extent.wanted == 0) file.wanted.remove(&extent);
  StorageOp::Segment& segment = out.segments[op.part_count];
  segment.data = cache_.data(extent) + std::size_t{run.first} * kPageSize;
  segment.length = run.count * kPageSize;
  segment.renew = (extent.exposed & mask) != 0;
  op.parts[op.part_count++] = {&extent, mask, static_cast<std::uint16_t>(extent.exposed & mask)};
  extent.exposed = static_cast<std::uint16_t>(extent.exposed & ~mask);
}

void ReadScheduler::build(FileState& file, StorageOp& out) {
  Extent* extent = file.wanted.front();
  std::uint32_t first = static_cast<std::uint32_t>(std::countr_zero(extent->wanted));
  // Back to where the run of wanted pages begins, if that is in an earlier extent.
  std::uint32_t steps = kReadSegmentsMax - 1;
  while (first == 0 && !extent->solo && steps-- > 0) {
    Extent* before = neighbour(*extent, false);
    if (before == nullptr || (before->wanted & 0x8000) == 0) break;
    extent = before;
    const auto gaps = static_cast<std::uint16_t>(~extent->wanted);
    first = gaps == 0 ? 0 : 16 - static_cast<std::uint32_t>(std::countl_zero(gaps));
  }

  ReadOp& op = *free_ops_.pop_front();
  op.file = &file;
  op.part_count = 0;
  out = StorageOp{};
  out.kind = StorageOp::Kind::read;
  out.pool = file.owner->content.pool;
  out.path = file.owner->content.files[file.index].path.c_str();
  out.file = file.handle;
  out.offset = extent->offset + std::uint64_t{first} * kPageSize;
  std::uint32_t length = 0;
  while (extent != nullptr) {
    const std::uint32_t end = run_end(extent->wanted, first);
    if (end == first) break;
    Extent* after = end == kPagesPerExtent && !extent->solo ? neighbour(*extent, true) : nullptr;
    take(op, out, *extent, {first, end - first});
    length += (end - first) * kPageSize;
    if (op.part_count == kReadSegmentsMax) break;
    extent = after;
    first = 0;
  }
  const std::uint64_t file_length = file.owner->content.files[file.index].length;
  op.expected =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(length, file_length - out.offset));
  out.segment_count = op.part_count;
  out.token = make_token(&op, OpTag::read);
  budget_.begin(file.owner->content.pool);
  files_.begin_read(file);
  ++counters_.reads;
  counters_.bytes_read += op.expected;
}

void ReadScheduler::want_again(ReadOp& op, bool solo) {
  for (std::uint32_t i = 0; i < op.part_count; ++i) {
    Extent& extent = *op.parts[i].extent;
    extent.flight = static_cast<std::uint16_t>(extent.flight & ~op.parts[i].mask);
    extent.wanted |= op.parts[i].mask;
    extent.solo |= solo;
    if (!extent.Hook<struct ReadTag>::linked()) op.file->wanted.push_back(&extent);
  }
}

ReadScheduler::Outcome ReadScheduler::on_read(ReadOp& op, const StorageCompletion& completion) {
  FileState& file = *op.file;
  IoError error = completion.error;
  if (error != IoError::none) {
    ++counters_.read_errors;
    // Perhaps it failed before the pages were renewed: then the old ones are still exposed.
    for (std::uint32_t i = 0; i < op.part_count; ++i)
      op.parts[i].extent->exposed |= op.parts[i].exposed;
    if (error == IoError::exhausted) {
      want_again(op, false);
      return Outcome::again;
    }
    if (error == IoError::stale && file.stale_retries < 3) {
      ++file.stale_retries;
      want_again(op, false);
      files_.close_soon(file);
      return Outcome::again;
    }
    if (op.part_count > 1) {
      // Which of the extents is it? Each by itself will tell.
      want_again(op, true);
      return Outcome::again;
    }
  }
  std::uint32_t left = error == IoError::none ? std::min(completion.bytes, op.expected) : 0;
  const bool whole = left == op.expected;
  std::uint32_t due = op.expected;
  for (std::uint32_t i = 0; i < op.part_count; ++i) {
    auto [extent, mask, exposed] = op.parts[i];
    static_cast<void>(exposed);
    extent->flight = static_cast<std::uint16_t>(extent->flight & ~mask);
    for (std::uint32_t page = 0; page < kPagesPerExtent; ++page) {
      const auto bit = static_cast<std::uint16_t>(1u << page);
      if ((mask & bit) == 0) continue;
      const std::uint32_t need = std::min(due, kPageSize);
      if (left >= need) {
        extent->valid |= bit;
      } else {
        extent->failed |= bit;
        extent->error = error;
      }
      left -= std::min(left, need);
      due -= need;
    }
    extent->solo = false;
  }
  if (error != IoError::none) return Outcome::failed;
  return whole ? Outcome::done : Outcome::partly;
}

void ReadScheduler::finish(ReadOp& op) {
  FileState& file = *op.file;
  budget_.end(file.owner->content.pool);
  files_.end_read(file);
  op.file = nullptr;
  free_ops_.push_front(&op);
  make_ready(file);
}

}  // namespace penstock
