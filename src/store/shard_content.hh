// What the store of one shard keeps of one torrent at run time: its files' handles and facts, the
// names of its extents, flags of its pieces, and the lists of all that refers to it.
//
// Built by control together with the TorrentContent (nothing is allocated on the data plane), used
// by one store only, freed with the TorrentContent after Store::forgotten().
#pragma once

#include <cstdint>
#include <memory>

#include "base/intrusive_list.hh"
#include "base/time.hh"
#include "store/content.hh"
#include "store/storage.hh"

namespace penstock {

struct Extent;
struct Want;
struct PieceJob;

// One file, as one shard sees it.
struct FileState : Hook<struct HandleTag>,
                   Hook<struct OpenTag>,
                   Hook<struct CheckTag>,
                   Hook<struct ReadyTag>,
                   Hook<struct TimerTag>,
                   Hook<struct FileEventTag> {
  enum class Phase : std::uint8_t {
    closed,
    opening,  // queued for, or in, an open
    open,
    closing,  // queued for, or in, a close
    failed,   // could not be opened, or is gone: `error`; a timer looks again
  };

  ShardContent* owner = nullptr;
  std::uint32_t index = 0;
  Phase phase = Phase::closed;
  IoError error = IoError::none;
  IoError event_error = IoError::none;
  bool facts_known = false;
  bool checking = false;       // queued for, or in, a check
  bool timed_check = false;    // the check is the timer's
  bool event_failed = false;   // StoreEvent file_error to be told
  bool event_changed = false;  // StoreEvent file_changed to be told
  bool troubled = false;       // pieces of it were lost: checked on a timer
  bool error_told = false;     // once an episode of trouble
  bool reopen = false;         // close it when its reads have ended
  std::uint8_t timer = 0;      // index of the timer's duration (file_table.cc)
  std::uint8_t level = 0;      // of the backoff
  std::uint8_t stale_retries = 0;
  std::uint32_t reads = 0;   // in flight
  std::uint32_t needed = 0;  // by assemblies about to read it: not to be closed
  Instant timer_at;
  Instant next_check;                   // when a want makes us look whether it changed
  FileHandle handle;                    // open, closing
  FileFacts facts;                      // of the version that was opened or checked last
  List<Extent, struct ReadTag> wanted;  // extents with pages to be read from it
};

struct RegionState {
  std::uint64_t offset = 0;  // in the piece space, bytes
  std::uint64_t length = 0;
  // The cache's name of its first extent, relative to the torrent's; the others follow. Given anew
  // when its files change, so that no older extent is ever found again.
  std::uint64_t key = 0;
  RegionKind kind = RegionKind::file;
  std::uint32_t first_file = 0;
  std::uint32_t file_count = 0;
};

class ShardContent : public Hook<struct TorrentTag>,
                     public Hook<struct JobRingTag>,
                     public Hook<struct PieceEventTag>,
                     public Hook<struct RecheckTag>,
                     public Hook<struct ForgetTag> {
 public:
  // Bits of piece_flags.
  static constexpr std::uint8_t kLostByHash = 1;  // wrong bytes; else lost for an I/O error
  static constexpr std::uint8_t kTellLost = 2;    // StoreEvents to be polled
  static constexpr std::uint8_t kTellRecovered = 4;
  static constexpr std::uint8_t kRecheck = 8;  // to be verified again in the background

  ShardContent(TorrentContent& content, ShardId shard);

  [[nodiscard]] std::uint32_t shard_count() const {
    return static_cast<std::uint32_t>(content.shard_state.size());
  }
  [[nodiscard]] bool is_home(PieceIndex piece) const {
    return content.home(piece, shard_count()) == shard;
  }
  // Nothing in the store refers to it any more.
  [[nodiscard]] bool idle() const {
    return extents.empty() && wants.empty() && job_count == 0 && open_count == 0 && operations == 0;
  }
  // Aborts (where DCHECK is on) when a file of it is in a list.
  void check_unlinked() const;
  // The region that holds this offset of the piece space, which lies in `piece`.
  [[nodiscard]] std::uint32_t region_at(PieceIndex piece, std::uint64_t offset) const {
    std::uint32_t low = content.first_region[piece.value];
    // The next piece's first region bounds the search; one region a torrent is the common case.
    std::uint32_t high = piece.value + 1 < content.first_region.size()
                             ? content.first_region[piece.value + 1] + 1
                             : region_count;
    while (high - low > 1) {
      const std::uint32_t middle = low + (high - low) / 2;
      if (regions[middle].offset <= offset) {
        low = middle;
      } else {
        high = middle;
      }
    }
    return low;
  }
  // The region of a file with bytes in it.
  [[nodiscard]] std::uint32_t region_of_file(std::uint32_t file) const;
  // The pieces that a file touches: first … last. The file has bytes.
  [[nodiscard]] std::pair<std::uint32_t, std::uint32_t> pieces_of_file(std::uint32_t file) const;

  TorrentContent& content;
  const ShardId shard;
  bool attached = false;
  bool forgetting = false;
  const std::uint32_t region_count;
  std::uint32_t extent_count = 0;  // of all regions; an attached torrent takes as many keys
  std::uint64_t key_base = 0;
  std::unique_ptr<RegionState[]> regions;
  std::unique_ptr<FileState[]> files;
  std::unique_ptr<std::uint8_t[]> piece_flags;

  List<Extent, struct ExtentOfTag> extents;
  List<Want, struct WantOfTag> wants;
  List<PieceJob, struct JobQueueTag> queued_jobs;
  std::uint32_t held_extents = 0;  // in use by wants, jobs and reads
  std::uint32_t job_count = 0;
  std::uint32_t running_jobs = 0;
  std::uint32_t open_count = 0;  // handles, also those being opened or closed
  std::uint32_t operations = 0;  // polled, not completed
  std::uint32_t assemblies = 0;
  // Pieces that may carry one of the kTell flags: [event_low, event_high).
  std::uint32_t event_low = 0;
  std::uint32_t event_high = 0;
  // Where the search for kRecheck flags goes on.
  std::uint32_t recheck_cursor = 0;
};

// What the file was when its pieces were verified; all zero: unknown. Before any shard has the
// content.
void set_verified_facts(TorrentContent& content, std::uint32_t file, const FileFacts& facts);

}  // namespace penstock
