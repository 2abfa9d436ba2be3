// The inside of a Store: its parts, and what joins them. Methods by theme: store.cc (the
// interface), store_wants.cc (the life of a want), store_pieces.cc (what is known of pieces and
// files), store_io.cc (operations and completions), store_validate.cc.
#pragma once

#include <memory>

#include "store/framer.hh"
#include "store/piece_verifier.hh"
#include "store/store.hh"

namespace penstock {

struct Store::Impl {
  Impl(Arena arena, const StoreLimits& store_limits);

  // How far a want got.
  enum class Progress : std::uint8_t {
    ready,    // every byte is in memory and proven
    waiting,  // for pages or for a job
    no_room,  // nothing was begun
    lost,
  };

  // --- wants
  void attach(ShardContent& content);
  WantStatus want(Instant now, const BlockWant& want, Block& out);
  bool try_hit(Instant now, ShardContent& content, const BlockWant& want, Block& out);
  void prefetch(Instant now, const BlockWant& want);
  void check_file(Instant now, ShardContent& content, const BlockWant& want);
  // A want that waits for nothing begins, or begins again.
  Progress place(Instant now, Want& want);
  Progress place_reading(Instant now, Want& want);
  bool may_hold_more(const ShardContent& content) const;
  // Some of its pages came or failed.
  Progress advance(Instant now, Want& want);
  // Takes what advance() or place() said; a want that isn't waiting goes to its list.
  void settle(Want& want, Progress progress);
  bool prove(Want& want);
  bool prove_block(Want& want, std::uint64_t block, const SpanList& spans);
  void unlink(Want& want);
  void take_from_list(Want& want);
  void free_want(Want& want);
  bool build_block(ShardContent& content, const BlockWant& want, const Want* links, Block& out);
  bool gather(const SpanList& spans, const Want* links, Block& out);
  using ExtentList = std::array<Extent*, kPartsMax>;  // of a SpanList; nullptr for zeros
  bool pin_parts(ShardContent& content, const BlockWant& want, const SpanList& spans,
                 const ExtentList& extents, Block& out);
  std::uint8_t hot_after(const ShardContent& content) const;
  static bool is_framed(const BlockWant& want, const Span& first, const Extent* extent);
  Extent* extent_of(const Span& span, const Want* links);
  bool poll_ready(BlockReady& out);
  void release(const Block& block, bool exposed);
  void retry_stalled(Instant now);
  std::uint32_t wants_share() const { return std::max(limits.wants_max / 2, 1u); }

  // --- pieces and files
  void lose_piece(Instant now, ShardContent& content, PieceIndex piece, bool by_hash);
  // The pieces that need bytes of the file in this range of the piece space.
  void lose_range(Instant now, FileState& file, std::uint64_t begin, std::uint64_t end);
  void tell(ShardContent& content, PieceIndex piece, std::uint8_t flag);
  // Wrong bytes came from the disk for a verified piece.
  void on_mismatch(ShardContent& content, PieceIndex piece);
  // Forgets what memory has of a piece, so that the next look is at the disk.
  void drop_piece(ShardContent& content, PieceIndex piece);
  void on_file_news(Instant now, FileState& file, FileTable::News news);
  void on_file_changed(Instant now, FileState& file);
  void on_file_failed(Instant now, FileState& file);
  void fail_reads_of(Instant now, FileState& file);
  // Its lost pieces get another chance. False: it has none.
  enum class Chance : std::uint8_t {
    changed,     // another version: what could not be read is claimed again, what was wrong proven
    unread,      // the same version: what could not be read is tried in the background
    unread_all,  // … and what was wrong too
  };
  bool recover_file(FileState& file, Chance chance);
  void on_read_trouble(Instant now, FileState& file, IoError error);
  void restart_wants_of(ShardContent& content, const RegionState& region);
  void finish_job(Instant now, const PieceVerifier::Finished& finished);
  bool run_jobs(Instant now);
  bool start_recheck();
  bool start_recheck_of(ShardContent& content);
  PieceJob*& background_job_of(const ShardContent& content) {
    return background_jobs[PoolShare::slot(content.content.pool)];
  }
  bool poll_event(StoreEvent& out);
  void explain_loss(const ShardContent& content, StoreEvent& event) const;
  void tell_file(FileState& file);

  // --- I/O
  bool poll_io(StorageOp& out);
  void on_completion(Instant now, const StorageCompletion& completion);
  void on_read(Instant now, ReadOp& op, const StorageCompletion& completion);
  void collect_assemblies(Instant now);
  void wake(Instant now, Extent& extent);
  bool do_work(Instant now);
  Instant next_timeout() const;

  // --- the end of a torrent
  void forget(ShardContent& content);
  bool forget_step(ShardContent& content);
  void detach(ShardContent& content);

  void validate() const;
  void validate_want(const Want& want) const;

  ShardContent& state_of(TorrentContent& content) const {
    return *content.shard_state[limits.shard.value];
  }

  static constexpr std::uint32_t kScratchPerSlab = kSlabSize / kBlockSize;
  static constexpr std::uint32_t kScratchSlabs = 2;
  // Often enough that a flaky disk is not the end, seldom enough that a broken one is.
  static constexpr std::uint8_t kMismatchesMax = 3;

  const StoreLimits limits;
  StoreCounters counters;
  ExtentCache cache;
  FileTable files;
  ReadBudget budget;
  ReadScheduler scheduler;
  Assembler assembler;
  PageDemand demand;
  Framer framer;
  std::uint32_t zero_slab = 0;
  std::array<std::uint32_t, kScratchSlabs> scratch_slabs{};
  std::uint32_t scratch_free = 0;  // bit a unit of kBlockSize
  std::unique_ptr<PieceVerifier> verifier;

  std::unique_ptr<Want[]> want_pool;
  WantList free_wants;
  PoolShare wants_used;
  WantList stalled;
  WantList answers;
  List<ShardContent, struct TorrentTag> torrents;
  List<ShardContent, struct PieceEventTag> piece_events;
  List<FileState, struct FileEventTag> file_events;
  List<ShardContent, struct RecheckTag> rechecks;
  List<ShardContent, struct ForgetTag> forgetting;
  std::array<PieceJob*, PoolShare::kPools> background_jobs{};  // by slot of the pool
  std::uint64_t next_key = 0;
  Instant last_now;
  StorageOp refused;
  bool has_refused = false;
};

}  // namespace penstock
