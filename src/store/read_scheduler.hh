// Turns wanted pages into reads: neighbours into one operation of up to 512 KiB, files and pools in
// turn, and never more in flight than allowed.
//
// A disk or file that hangs must not stop the others: a pool has at most its share of the
// reads in flight, a file at most half.
//
// Wanted pages of packed extents go to the Assembler.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "store/extent_cache.hh"
#include "store/file_table.hh"
#include "store/pool_share.hh"

namespace penstock {

// A read in flight: consecutive pages of one file, into one run of pages of each extent.
struct alignas(16) ReadOp : Hook<struct FreeReadTag> {
  struct Part {
    Extent* extent = nullptr;
    std::uint16_t mask = 0;
    std::uint16_t exposed = 0;  // of mask, before it was polled
  };
  FileState* file = nullptr;
  std::uint32_t expected = 0;  // bytes
  std::uint8_t part_count = 0;
  std::array<Part, kReadSegmentsMax> parts{};
};

// Reads in flight.
class ReadBudget : public PoolShare {
 public:
  explicit ReadBudget(std::uint32_t reads_max)
      : PoolShare(reads_max), file_max_(std::max(reads_max / 2, 1u)) {}

  using PoolShare::room;
  [[nodiscard]] bool room(const FileState& file) const { return file.reads < file_max_; }

 private:
  const std::uint32_t file_max_;
};

class ReadScheduler {
 public:
  ReadScheduler(const StoreLimits& limits, ExtentCache& cache, FileTable& files, ReadBudget& budget,
                StoreCounters& counters);

  // Pages of a file extent became wanted. Opens the file if need be; if it can't be had the pages
  // fail at once (extent.failed).
  void on_wanted(Extent& extent);
  // The file was opened, or may be read again.
  void on_readable(FileState& file);
  // The file can't be had: all wanted pages of it fail. False when there was none left; else
  // `extent` was settled but for settle_io, which the caller owes it.
  bool fail_next(FileState& file, Extent*& extent);
  // Nobody needs the wanted pages of this extent any more.
  void cancel(Extent& extent);

  bool poll_io(StorageOp& out);
  // How a read ended. The parts' masks say which pages it was about; each extent has them in valid
  // or failed now, or wanted again. The caller looks at each extent, calls settle_io for it, then
  // finish().
  enum class Outcome : std::uint8_t {
    done,
    partly,  // short: the file ends earlier than it should
    failed,  // error: pages failed
    again,   // wanted again: each extent alone, or after the file was reopened or a pause
  };
  Outcome on_read(ReadOp& op, const StorageCompletion& completion);
  void finish(ReadOp& op);

 private:
  struct Run {
    std::uint32_t first = 0;
    std::uint32_t count = 0;
  };
  bool is_readable(const FileState& file) const;
  void make_ready(FileState& file);
  void build(FileState& file, StorageOp& out);
  Extent* neighbour(const Extent& extent, bool forward) const;
  void take(ReadOp& op, StorageOp& out, Extent& extent, Run run);
  void want_again(ReadOp& op, bool solo);

  ExtentCache& cache_;
  FileTable& files_;
  ReadBudget& budget_;
  StoreCounters& counters_;
  std::unique_ptr<ReadOp[]> ops_;
  List<ReadOp, struct FreeReadTag> free_ops_;
  PoolQueues<FileState, struct ReadyTag> ready_;
};

}  // namespace penstock
