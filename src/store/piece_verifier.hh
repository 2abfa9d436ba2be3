// Hashes pieces: each through a window of extents, in order, a bounded number of bytes a cycle.
//
// A job is a piece that shall be verified, with the wants that wait for it. Some jobs run: their
// extents are read ahead as far as the window goes, each block is hashed when it is in memory, and
// its extents are let go. What is kept of a piece is the checksum of each block: whether it is
// served from memory later or read again, that is its proof. So a piece needs not stay in memory,
// however large it is.
//
// v1: SHA-1 of the piece. v2: SHA-256 of each block of the file, up to the piece's merkle root.
// Hybrid torrents must match both: a v1 peer would throw away what only matches v2, and the second
// hash is paid once a piece, not once a block served.
//
// Torrents take turns; a torrent has at most half of the running jobs (but for one), a pool three
// quarters.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "crypto/merkle.hh"
#include "crypto/sha.hh"
#include "store/page_demand.hh"
#include "store/want.hh"

namespace penstock {

struct JobRun;

struct PieceJob : Hook<struct JobQueueTag>, Hook<struct JobStateTag> {
  ShardContent* owner = nullptr;
  PieceIndex piece;
  bool background = false;    // a lost piece is looked at again
  PieceJob* chain = nullptr;  // next of the same hash bucket
  JobRun* run = nullptr;      // running
  WantList wants;
};

// The root over leaves that come one by one, whatever their number.
class MerkleAccumulator {
 public:
  void restart() { count_ = 0; }
  void add(MerkleHasher& hasher, Sha256Digest leaf);
  // The node at `height` over the leaves added, and pads (BEP 52).
  Sha256Digest finish(MerkleHasher& hasher, unsigned height) const;

 private:
  // A piece has at most 2^15 leaves (kPieceSizeMax).
  std::array<Sha256Digest, 16> full_{};  // [h]: root over 2^h leaves, if bit h of count_ is set
  std::uint32_t count_ = 0;
};

struct JobRun : Hook<struct RunTag> {
  static constexpr std::uint32_t kWindowMax = 16;

  PieceJob* job = nullptr;
  std::uint32_t length = 0;        // of the piece, bytes
  std::uint32_t hashed = 0;        // bytes done: a multiple of the block size, or length
  std::uint32_t requested = 0;     // bytes whose pages were asked for
  std::uint64_t file_end = 0;      // v2: where the piece's file ends in the piece space
  unsigned root_height = 0;        // v2
  std::uint32_t window_first = 0;  // ring of extents held
  std::uint32_t window_count = 0;
  std::array<Extent*, kWindowMax> window{};
  Sha1 sha1;
  MerkleAccumulator merkle;
};

class PieceVerifier {
 public:
  PieceVerifier(const StoreLimits& limits, ExtentCache& cache, PageDemand& demand,
                StoreCounters& counters, const std::byte* zeros);

  // The job of this piece; a new one if there is none. nullptr: too many jobs.
  PieceJob* find_or_add(ShardContent& owner, PieceIndex piece);
  [[nodiscard]] PieceJob* find(const ShardContent& owner, PieceIndex piece) const;

  enum class Verdict : std::uint8_t {
    match,
    mismatch,    // wrong bytes
    unreadable,  // failed pages: `error`
  };
  struct Finished {
    PieceJob* job = nullptr;
    Verdict verdict = Verdict::match;
    Extent* failed = nullptr;  // unreadable: held until finish()
  };
  // Hashes up to `budget` bytes, which it reduces. True with a finished job: look at it, take its
  // wants, finish() it, and call again.
  bool work(std::uint32_t& budget, Finished& out);
  void finish(PieceJob& job);
  // Pages arrived, memory became free: running jobs may go on.
  void poke() { poked_ = true; }
  // The region's extents have new names: running jobs that touch it begin again.
  void restart_region(const ShardContent& owner, std::uint32_t region);
  // The torrent goes away. Its wants are gone already.
  void forget(ShardContent& owner);
  [[nodiscard]] bool poked() const { return poked_; }
  [[nodiscard]] bool starved() const { return starved_; }
  [[nodiscard]] std::uint32_t job_count() const { return jobs_share_.total(); }

  void validate() const;

 private:
  static constexpr std::uint32_t kJobsMax = 1024;
  static constexpr std::uint32_t kBuckets = 1024;
  static constexpr std::uint32_t kRunsMax = 16;
  // A block needs this many extents at most, and is given them whoever else wants memory.
  static constexpr std::uint32_t kWindowMin = kPartsMax;
  enum class Step : std::uint8_t { progress, waits, finished };

  static std::uint32_t bucket(const ShardContent& owner, PieceIndex piece);
  void start_jobs();
  void begin_run(JobRun& run);
  void read_ahead(JobRun& run);
  bool hold_span(JobRun& run, const Span& span);
  Extent* in_window(const JobRun& run, std::uint64_t key) const;
  void let_go(JobRun& run, std::uint64_t before);
  void drop_window(JobRun& run);
  Step step(JobRun& run, Finished& out);
  void hash_block(JobRun& run, const SpanList& spans, std::uint32_t length);
  bool matches(JobRun& run);

  ExtentCache& cache_;
  PageDemand& demand_;
  StoreCounters& counters_;
  const std::byte* const zeros_;  // an extent of zeros
  const std::uint32_t runs_max_;
  std::unique_ptr<PieceJob[]> jobs_;
  List<PieceJob, struct JobStateTag> free_jobs_;
  std::array<PieceJob*, kBuckets> buckets_{};
  std::unique_ptr<JobRun[]> runs_;
  List<JobRun, struct RunTag> free_runs_;
  List<JobRun, struct RunTag> running_;
  List<ShardContent, struct JobRingTag> ring_;  // torrents with queued jobs
  PoolShare jobs_share_{kJobsMax};
  PoolShare runs_share_;
  Sha256 sha256_;
  MerkleHasher merkle_;
  bool poked_ = false;
  bool starved_ = false;  // a run waits for memory
};

}  // namespace penstock
