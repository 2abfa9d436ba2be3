// Hash requests for leaves (BEP 52): the SHA-256 of each 16 KiB of a piece, computed from its
// verified bytes.
//
// One job a connection at most, a few a shard; a job wants the piece's blocks one after the other
// through the same store and homes as uploads do, and hashes a bounded number of them a cycle. The
// session budgets how often a peer may ask.
#include <algorithm>

#include "shard/connection.hh"
#include "shard/shard.hh"

namespace penstock {

namespace {
// Blocks hashed in one cycle over all jobs: about 80 µs.
constexpr int kBlocksPerCycle = 8;
}  // namespace

// Bytes of the piece that are a file's, from its first: a v2 file begins at a piece (BEP 52).
static std::uint32_t file_bytes_in_piece(const TorrentContent& content, PieceIndex piece) {
  const std::uint64_t begin = content.blocks.piece_offset(piece);
  const auto after = std::upper_bound(
      content.files.begin(), content.files.end(), begin,
      [](std::uint64_t offset, const ContentFile& file) { return offset < file.offset; });
  for (auto file = after; file != content.files.begin();) {
    --file;
    if (file->length == 0) continue;
    if (file->padding || file->offset + file->length <= begin) return 0;
    return static_cast<std::uint32_t>(
        std::min<std::uint64_t>(content.blocks.piece_size, file->offset + file->length - begin));
  }
  return 0;
}

void Shard::start_leaf_job(Instant now, Connection& c, PieceIndex piece) {
  const std::uint32_t bytes = file_bytes_in_piece(*c.torrent->content, piece);
  LeafJob* job = nullptr;
  for (LeafJob& candidate : pools_->leaf_jobs) {
    if (!candidate.live) job = &candidate;
  }
  if (job == nullptr || bytes == 0 || bytes > LeafJob::kPieceSizeMax) {
    c.session.refuse_leaf_hashes(now);
    return;
  }
  job->live = true;
  job->waiting = job->answered = false;
  job->again = now;
  job->connection = c.index;
  job->generation = c.generation;
  job->piece = piece;
  job->bytes = bytes;
  job->done = 0;
  c.leaf_job = job;
}

// The peer is gone. A want that is under way comes home to a generation that is gone.
void Shard::abandon_leaf_job(Connection& c) {
  if (c.leaf_job != nullptr) end_leaf_job(c);
}

void Shard::end_leaf_job(Connection& c) {
  c.leaf_job->live = false;
  c.leaf_job = nullptr;
}

bool Shard::run_leaf_jobs(Instant now) {
  bool any = false;
  int left = kBlocksPerCycle;
  for (LeafJob& job : pools_->leaf_jobs) {
    while (job.live && !job.waiting && !job.answered && left > 0) {
      if (now < job.again) {
        stalled_ = true;
        break;
      }
      any = true;
      --left;
      step_leaf_job(now, job);
    }
  }
  if (left == 0) work_left_ = true;
  return any;
}

void Shard::step_leaf_job(Instant now, LeafJob& job) {
  Connection& c = pools_->connections[job.connection];
  TorrentContent& content = *c.torrent->content;
  const ShardId home = content.home(job.piece, exchange_.shard_count());
  const std::uint32_t begin = job.done * kBlockSize;
  const Token token{id_.value, job.connection, job.generation, kLeafSlot};
  const BlockWant want{&content, job.piece, begin, std::min(kBlockSize, job.bytes - begin),
                       token.pack()};
  BlockReady ready{token.pack(), WantStatus::pending, {}};
  if (home == id_) {
    ready.status = store_.want(now, want, ready.block);
  } else if (!open_want(home, want)) {
    ready.status = WantStatus::busy;
  }
  job.waiting = true;
  if (ready.status != WantStatus::pending) {
    on_leaf_block(now, ready, home);
  }
}

void Shard::on_leaf_block(Instant now, const BlockReady& ready, ShardId home) {
  const Token token = Token::unpack(ready.token);
  Connection& c = pools_->connections[token.connection];
  LeafJob* job = c.live && c.generation == token.generation ? c.leaf_job : nullptr;
  if (ready.status == WantStatus::ready) {
    if (job != nullptr) {
      hasher_.restart();
      for (std::uint32_t i = 0; i < ready.block.part_count; ++i) {
        hasher_.update(std::span(ready.block.parts[i].data, ready.block.parts[i].length));
      }
      job->leaves[job->done++] = hasher_.finish();
    }
    release_block(home, ready.block, false);
  }
  if (job == nullptr) return;
  job->waiting = false;
  if (ready.status == WantStatus::busy) {
    job->again = now + kStallRetry;
    stalled_ = true;
  } else if (ready.status == WantStatus::lost) {
    end_leaf_job(c);
    c.session.refuse_leaf_hashes(now);
  } else if (job->done * std::uint64_t{kBlockSize} >= job->bytes) {
    job->answered = true;
    c.session.on_leaf_hashes(now, std::span(job->leaves).first(job->done));
  }
  after_input(now, c);
}

}  // namespace penstock
