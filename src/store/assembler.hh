// Fills packed extents: the files of a run are read one after the other into a bounce slab and
// copied to where they belong; padding is zeros.
//
// A slab whose pages are exposed must not be written by the processor: it is renewed first. The
// store never sends a packed extent by reference, and bounce slabs are its own, so neither becomes
// exposed while it is one.
#pragma once

#include <array>
#include <cstdint>

#include "store/extent_cache.hh"
#include "store/file_table.hh"
#include "store/read_scheduler.hh"

namespace penstock {

// The filling of one run of pages of one extent.
struct alignas(16) Assembly {
  enum class Phase : std::uint8_t {
    idle,
    renew,     // a renew is to be polled
    renewing,  // … is in flight
    paused,    // the renew failed: tried again at resume_at_
    opening,   // waits for `file` to be open
    ready,     // a read of `file` is to be polled
    reading,   // … is in flight
    hurt,      // to be polled: `file` can't be read: `error`
    done,      // to be polled: extent.valid is set (failed, of a torrent that goes away)
  };
  Phase phase = Phase::idle;
  Extent* extent = nullptr;
  std::uint16_t mask = 0;
  std::uint16_t exposed = 0;  // of mask, before the renew was polled
  std::uint64_t begin = 0;    // in the piece space: what is to be filled, file by file
  std::uint64_t end = 0;
  std::uint32_t bounce = 0;         // slab
  std::uint32_t file = 0;           // being read next
  std::uint64_t read_offset = 0;    // in the file, of the bounce slab's first byte
  std::uint32_t read_expected = 0;  // bytes
  IoError error = IoError::none;
};

class Assembler {
 public:
  static constexpr std::uint32_t kAssembliesMax = 8;

  // Takes up to kAssembliesMax slabs of the cache, fewer of a tiny one.
  Assembler(ExtentCache& cache, FileTable& files, ReadBudget& budget, StoreCounters& counters);

  void on_wanted(Extent& extent);
  void cancel(Extent& extent);
  // A file was opened or failed to open.
  void on_file(FileState& file);
  bool poll_io(StorageOp& out);
  void on_renewed(Instant now, Assembly& assembly, IoError error);
  // What was paused goes on.
  void on_timeout(Instant now);
  [[nodiscard]] Instant next_timeout() const { return resume_at_; }
  void on_read(Instant now, Assembly& assembly, const StorageCompletion& completion);
  // One that is done or hurt: the caller calls finish() or skip_file().
  [[nodiscard]] Assembly* poll_done();
  void finish(Assembly& assembly);
  // Zeros in place of the file's bytes: whoever needs them was told that they are not to be had,
  // and the other files on the same pages must not suffer for it.
  void skip_file(Assembly& assembly);
  // Ends what waits for files of a torrent that goes away.
  void forget(ShardContent& content);
  // One of them is done or hurt.
  [[nodiscard]] bool has_work() const;
  // One of this extent is.
  [[nodiscard]] bool is_done(const Extent& extent) const;

 private:
  [[nodiscard]] bool may_start(const Extent& extent) const;
  void start();
  void fill(Assembly& assembly);
  void advance(Assembly& assembly);
  void abandon(Assembly& assembly);
  static void hurt(Assembly& assembly, IoError error);
  bool poll_read(Assembly& assembly, StorageOp& out);

  ExtentCache& cache_;
  FileTable& files_;
  ReadBudget& budget_;
  StoreCounters& counters_;
  std::uint32_t count_ = 0;
  PoolShare running_;
  Instant resume_at_ = Instant::never();
  std::array<Assembly, kAssembliesMax> assemblies_{};
  List<Extent, struct ReadTag> queue_;
};

}  // namespace penstock
