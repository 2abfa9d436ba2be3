#include "store/piece_verifier.hh"

#include <algorithm>
#include <span>

#include "store/block_checksum.hh"
#include "store/block_runs.hh"

namespace penstock {

void MerkleAccumulator::add(MerkleHasher& hasher, Sha256Digest leaf) {
  unsigned height = 0;
  for (; (count_ >> height) & 1; ++height)
    leaf = hasher.parent(full_[height], leaf);
  full_[height] = leaf;
  ++count_;
}

Sha256Digest MerkleAccumulator::finish(MerkleHasher& hasher, unsigned height) const {
  if (count_ == 0) return hasher.pad(height);
  if (count_ == 1u << height) return full_[height];
  Sha256Digest node;
  bool begun = false;
  for (unsigned h = 0; h < height; ++h) {
    const bool full = ((count_ >> h) & 1) != 0;
    if (begun) {
      node = full ? hasher.parent(full_[h], node) : hasher.parent(node, hasher.pad(h));
    } else if (full) {
      node = hasher.parent(full_[h], hasher.pad(h));
      begun = true;
    }
  }
  return node;
}

PieceVerifier::PieceVerifier(const StoreLimits&, ExtentCache& cache, PageDemand& demand,
                             StoreCounters& counters, const std::byte* zeros)
    : cache_(cache),
      demand_(demand),
      counters_(counters),
      zeros_(zeros),
      runs_max_(std::clamp(cache.slab_count() / 32, 1u, kRunsMax)),
      jobs_(std::make_unique<PieceJob[]>(kJobsMax)),
      runs_(std::make_unique<JobRun[]>(runs_max_)),
      runs_share_(runs_max_) {
  for (std::uint32_t i = 0; i < kJobsMax; ++i)
    free_jobs_.push_back(&jobs_[i]);
  for (std::uint32_t i = 0; i < runs_max_; ++i)
    free_runs_.push_back(&runs_[i]);
}

std::uint32_t PieceVerifier::bucket(const ShardContent& owner, PieceIndex piece) {
  const std::uint64_t mixed =
      (reinterpret_cast<std::uintptr_t>(&owner) ^ (std::uint64_t{piece.value} << 20)) *
      0x9e3779b97f4a7c15ULL;
  return static_cast<std::uint32_t>(mixed >> 54) % kBuckets;
}

PieceJob* PieceVerifier::find(const ShardContent& owner, PieceIndex piece) const {
  PieceJob* job = buckets_[bucket(owner, piece)];
  while (job != nullptr && (job->owner != &owner || job->piece != piece))
    job = job->chain;
  return job;
}

PieceJob* PieceVerifier::find_or_add(ShardContent& owner, PieceIndex piece) {
  if (PieceJob* job = find(owner, piece); job != nullptr) return job;
  // A torrent or a pool whose disk hangs must leave jobs to others.
  if (owner.job_count >= kJobsMax / 2 || !jobs_share_.room(owner.content.pool)) return nullptr;
  PieceJob* job = free_jobs_.pop_front();
  if (job == nullptr) return nullptr;
  job->owner = &owner;
  job->piece = piece;
  job->background = false;
  PieceJob*& head = buckets_[bucket(owner, piece)];
  job->chain = head;
  head = job;
  ++owner.job_count;
  jobs_share_.begin(owner.content.pool);
  owner.queued_jobs.push_back(job);
  if (!owner.Hook<struct JobRingTag>::linked()) ring_.push_back(&owner);
  poked_ = true;
  return job;
}

void PieceVerifier::finish(PieceJob& job) {
  ASSERT(job.wants.empty());
  ShardContent& owner = *job.owner;
  if (job.run != nullptr) {
    drop_window(*job.run);
    running_.remove(job.run);
    free_runs_.push_back(job.run);
    job.run->job = nullptr;
    job.run = nullptr;
    --owner.running_jobs;
    runs_share_.end(owner.content.pool);
  } else {
    owner.queued_jobs.remove(&job);
    if (owner.queued_jobs.empty()) ring_.remove(&owner);
  }
  PieceJob** link = &buckets_[bucket(owner, job.piece)];
  while (*link != &job)
    link = &(*link)->chain;
  *link = job.chain;
  job.chain = nullptr;
  job.owner = nullptr;
  --owner.job_count;
  jobs_share_.end(owner.content.pool);
  free_jobs_.push_back(&job);
  poked_ = true;
}

void PieceVerifier::start_jobs() {
  std::uint32_t passed = 0;
  while (!ring_.empty() && !free_runs_.empty() && passed < ring_.size()) {
    ShardContent* owner = ring_.pop_front();
    if (owner->running_jobs >= std::max(runs_max_ / 2, 1u) ||
        !runs_share_.room(owner->content.pool)) {
      ring_.push_back(owner);
      ++passed;
      continue;
    }
    PieceJob* job = owner->queued_jobs.pop_front();
    if (!owner->queued_jobs.empty()) ring_.push_back(owner);
    JobRun* run = free_runs_.pop_front();
    running_.push_back(run);
    run->job = job;
    job->run = run;
    ++owner->running_jobs;
    runs_share_.begin(owner->content.pool);
    begin_run(*run);
  }
}

void PieceVerifier::begin_run(JobRun& run) {
  const TorrentContent& content = run.job->owner->content;
  const PieceIndex piece = run.job->piece;
  run.length = content.blocks.piece_length(piece);
  run.hashed = run.requested = 0;
  run.sha1.restart();
  run.merkle.restart();
  if (content.v2_pieces.empty()) return;
  // In a v2 torrent every file begins at a piece, so this is the only one in it but for padding.
  const std::uint64_t at = content.blocks.piece_offset(piece);
  run.file_end = at;
  run.root_height = 0;
  const std::uint32_t index = content.file_at(at);
  if (index == content.files.size() || content.files[index].padding) return;
  const ContentFile& file = content.files[index];
  const MerkleShape shape = MerkleShape::of(file.length, content.blocks.piece_size);
  run.file_end = file.offset + file.length;
  run.root_height = shape.has_piece_layer() ? shape.piece_height : shape.tree_height;
}

void PieceVerifier::restart_region(const ShardContent& owner, std::uint32_t region) {
  const RegionState& of = owner.regions[region];
  const BlockInfo& blocks = owner.content.blocks;
  for (JobRun* run = running_.front(); run != nullptr; run = running_.next(run)) {
    const std::uint64_t begin = blocks.piece_offset(run->job->piece);
    const bool touches = begin < of.offset + of.length && of.offset < begin + run->length;
    if (run->job->owner != &owner || !touches) continue;
    drop_window(*run);
    begin_run(*run);
    poked_ = true;
  }
}

void PieceVerifier::forget(ShardContent& owner) {
  if (owner.job_count == 0) return;
  for (std::uint32_t i = 0; i < kJobsMax; ++i) {
    if (jobs_[i].owner == &owner) finish(jobs_[i]);
  }
}

Extent* PieceVerifier::in_window(const JobRun& run, std::uint64_t key) const {
  for (std::uint32_t i = 0; i < run.window_count; ++i) {
    Extent* extent = run.window[(run.window_first + i) % JobRun::kWindowMax];
    if (extent->key == key) return extent;
  }
  return nullptr;
}

bool PieceVerifier::hold_span(JobRun& run, const Span& span) {
  Extent* extent = in_window(run, span.key);
  if (extent == nullptr) {
    if (run.window_count == JobRun::kWindowMax) return false;
    if (run.window_count >= kWindowMin && cache_.held_count() > cache_.slab_count() / 2) {
      return false;
    }
    extent = demand_.get(*run.job->owner, span);
    if (extent == nullptr) {
      starved_ = run.window_count < kWindowMin;
      return false;
    }
    run.window[(run.window_first + run.window_count++) % JobRun::kWindowMax] = extent;
  }
  demand_.want(*extent, span.pages());
  return true;
}

void PieceVerifier::read_ahead(JobRun& run) {
  ShardContent& owner = *run.job->owner;
  const std::uint64_t base = owner.content.blocks.piece_offset(run.job->piece);
  while (run.requested < run.length) {
    const std::uint32_t length = std::min(kBlockSize, run.length - run.requested);
    SpanList spans;
    resolve(owner, run.job->piece, base + run.requested, length, spans);
    for (std::uint32_t i = 0; i < spans.count; ++i) {
      if (!spans.spans[i].zero && !hold_span(run, spans.spans[i])) return;
    }
    run.requested += length;
  }
}

// Lets go the extents that end at or before this offset of the piece space.
void PieceVerifier::let_go(JobRun& run, std::uint64_t before) {
  while (run.window_count > 0) {
    Extent* extent = run.window[run.window_first];
    const RegionState& region = extent->owner->regions[extent->region];
    const std::uint64_t end =
        region.offset + std::min<std::uint64_t>(extent->offset + kExtentSize, region.length);
    if (end > before) return;
    run.window_first = (run.window_first + 1) % JobRun::kWindowMax;
    --run.window_count;
    cache_.unhold(*extent);
  }
}

void PieceVerifier::drop_window(JobRun& run) {
  let_go(run, ~std::uint64_t{0});
}

void PieceVerifier::hash_block(JobRun& run, const SpanList& spans, std::uint32_t length) {
  const PieceJob& job = *run.job;
  TorrentContent& content = job.owner->content;
  BlockRuns runs;
  for (std::uint32_t i = 0; i < spans.count; ++i) {
    const Span& span = spans.spans[i];
    if (span.zero) {
      runs.add(zeros_, span.length);
    } else {
      runs.add(cache_, *in_window(run, span.key), span);
    }
  }
  const auto used = runs.list();
  if (!content.v1_pieces.empty()) {
    for (const auto part : used)
      run.sha1.update(part);
  }
  const std::uint64_t at = content.blocks.piece_offset(job.piece) + run.hashed;
  if (!content.v2_pieces.empty() && at < run.file_end) {
    std::uint64_t left = std::min<std::uint64_t>(length, run.file_end - at);
    for (const auto part : used) {
      const std::size_t take = std::min<std::uint64_t>(part.size(), left);
      sha256_.update(part.first(take));
      left -= take;
    }
    run.merkle.add(merkle_, sha256_.finish());
  }
  // Nobody reads the checksums of a piece that isn't verified.
  const std::size_t block =
      std::size_t{job.piece.value} * content.blocks_per_piece + run.hashed / kBlockSize;
  content.block_checksums[block] = block_checksum(used);
  run.hashed += length;
  counters_.bytes_hashed += length;
}

bool PieceVerifier::matches(JobRun& run) {
  const TorrentContent& content = run.job->owner->content;
  const std::uint32_t piece = run.job->piece.value;
  if (content.v1_pieces.empty() && content.v2_pieces.empty()) return false;
  if (!content.v1_pieces.empty() && run.sha1.finish() != content.v1_pieces[piece]) return false;
  if (content.v2_pieces.empty() || run.file_end <= content.blocks.piece_offset(run.job->piece)) {
    // A piece of padding alone has no v2 hash.
    return true;
  }
  return run.merkle.finish(merkle_, run.root_height) == content.v2_pieces[piece];
}

PieceVerifier::Step PieceVerifier::step(JobRun& run, Finished& out) {
  read_ahead(run);
  ShardContent& owner = *run.job->owner;
  const std::uint64_t base = owner.content.blocks.piece_offset(run.job->piece);
  const std::uint32_t length = std::min(kBlockSize, run.length - run.hashed);
  SpanList spans;
  resolve(owner, run.job->piece, base + run.hashed, length, spans);
  for (std::uint32_t i = 0; i < spans.count; ++i) {
    const Span& span = spans.spans[i];
    if (span.zero) continue;
    Extent* extent = in_window(run, span.key);
    if (extent == nullptr) return Step::waits;
    if ((extent->failed & span.pages()) != 0) {
      out = {run.job, Verdict::unreadable, extent};
      return Step::finished;
    }
    if ((span.pages() & ~extent->valid) != 0) {
      demand_.want(*extent, span.pages());
      return Step::waits;
    }
  }
  hash_block(run, spans, length);
  let_go(run, base + run.hashed);
  if (run.hashed < run.length) return Step::progress;
  out = {run.job, matches(run) ? Verdict::match : Verdict::mismatch, nullptr};
  return Step::finished;
}

bool PieceVerifier::work(std::uint32_t& budget, Finished& out) {
  // Memory comes free by releases and evictions that nobody tells of: what starves tries every
  // time.
  if (!poked_ && !starved_) return false;
  starved_ = false;
  start_jobs();
  // Each run in turn as far as it gets; whoever used up the budget is first next time.
  for (std::uint32_t i = running_.size(); i > 0; --i) {
    JobRun* run = running_.front();
    for (;;) {
      if (budget < kBlockSize) return false;
      const std::uint32_t before = run->hashed;
      const Step result = step(*run, out);
      budget -= std::min(budget, run->hashed - before);
      if (result == Step::finished) return true;
      if (result == Step::waits) break;
    }
    running_.remove(run);
    running_.push_back(run);
  }
  poked_ = false;
  return false;
}

void PieceVerifier::validate() const {
  std::uint32_t running = 0;
  for (JobRun* run = running_.front(); run != nullptr; run = running_.next(run)) {
    ASSERT(run->job != nullptr && run->job->run == run);
    ASSERT(run->hashed <= run->length && run->hashed <= run->requested + kBlockSize);
    for (std::uint32_t i = 0; i < run->window_count; ++i) {
      const Extent* extent = run->window[(run->window_first + i) % JobRun::kWindowMax];
      ASSERT(extent->use == SlabUse::extent && extent->holds > 0);
      ASSERT(extent->owner == run->job->owner);
    }
    ++running;
  }
  std::uint32_t jobs = 0;
  for (const PieceJob* head : buckets_) {
    for (const PieceJob* job = head; job != nullptr; job = job->chain) {
      ++jobs;
      ASSERT(job->owner != nullptr);
      ASSERT((job->run != nullptr) != job->Hook<struct JobQueueTag>::linked());
    }
  }
  ASSERT(jobs == job_count() && jobs + free_jobs_.size() == kJobsMax);
  ASSERT(running + free_runs_.size() == runs_max_ && running == runs_share_.total());
}

}  // namespace penstock
