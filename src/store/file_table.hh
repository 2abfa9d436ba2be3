// The files of all torrents of one store: opened when first read, at most `open_files_max` handles
// at once (the one used longest ago is closed), their facts compared now and then with those that
// the verified pieces were read under.
//
// Timers: a file in trouble (it could not be opened, or pieces of it were lost) is looked at again
// after 1 s, doubling to 60 s; what could not be read is then tried again, what was wrong only when
// the file changed or after ten looks at 60 s. A file that is in use is looked at every 2 s, when a
// want comes by.
#pragma once

#include <array>
#include <cstdint>

#include "base/time.hh"
#include "store/pool_share.hh"
#include "store/shard_content.hh"
#include "store/storage.hh"

namespace penstock {

// What is in StorageOp::token below the pointer: every operation names its own record.
enum class OpTag : std::uint8_t { read, assembly, renew, frame, open, check, close };
inline constexpr std::uint64_t kOpTagMask = 7;

template <class T>
std::uint64_t make_token(T* record, OpTag tag) {
  const auto bits = reinterpret_cast<std::uintptr_t>(record);
  DCHECK((bits & kOpTagMask) == 0);
  return bits | static_cast<std::uint64_t>(tag);
}
inline OpTag token_tag(std::uint64_t token) {
  return static_cast<OpTag>(token & kOpTagMask);
}
template <class T>
T* token_record(std::uint64_t token) {
  return reinterpret_cast<T*>(token & ~kOpTagMask);
}

class FileTable {
 public:
  explicit FileTable(std::uint32_t open_files_max) : open_files_max_(open_files_max) {}

  // What a completion or a timer means for the content of the file.
  enum class News : std::uint8_t {
    none,
    opened,   // it can be read
    changed,  // it is another version (and may have been opened)
    failed,   // it can't be had: file.error
    still_failed,
    back,       // after `failed`: it can be had again (and was opened)
    retry,      // in trouble, unchanged: what could not be read may be readable now
    retry_all,  // … for long: what was wrong may be right, too
    again,      // what was exhausted may be tried again
  };

  // The file shall be open: it is, or `opened` or `failed` follows.
  void want_open(FileState& file);
  // Looks whether it is still the same version, if that was not done within kCheckInterval.
  void on_use(Instant now, FileState& file) {
    if (now >= file.next_check) request_check(now, file);
  }
  void request_check(Instant now, FileState& file);
  // Pieces of it were lost: look again on a timer.
  void begin_trouble(Instant now, FileState& file);
  void end_trouble(FileState& file);
  // A read found the driver exhausted: `again` follows a little later.
  void pause(Instant now, FileState& file);
  [[nodiscard]] static bool paused(const FileState& file) {
    return file.Hook<struct TimerTag>::linked() && file.timer == 0;  // kExhausted
  }
  // ESTALE, or another version was found: closes the handle once its reads have ended.
  void close_soon(FileState& file);
  // A read of it begins, ends.
  void begin_read(FileState& file);
  void end_read(FileState& file);

  bool poll_io(StorageOp& out);
  News on_open(Instant now, FileState& file, const StorageCompletion& completion);
  News on_check(Instant now, FileState& file, const StorageCompletion& completion);
  void on_close(FileState& file);

  // A timer that is due, with what it means; false: none is.
  bool poll_timer(Instant now, FileState*& file, News& news);
  [[nodiscard]] Instant next_timeout() const;

  // The torrent goes: closes what is open, drops what is queued. Call again until it is idle.
  void forget(ShardContent& content);

  [[nodiscard]] std::uint32_t handle_count() const { return handles_; }

 private:
  static constexpr std::uint32_t kTimerCount = 9;
  static constexpr Duration kCheckInterval = Duration::seconds(2);
  static constexpr std::uint32_t kOpensInFlightMax = 32;
  static constexpr std::uint32_t kClosesInFlightMax = 32;
  static constexpr std::uint32_t kChecksInFlightMax = 16;
  static constexpr std::uint32_t kClosingMax = 8;  // to make room for opens

  void arm(Instant now, FileState& file, std::uint8_t timer);
  void disarm(FileState& file);
  void rearm_trouble(Instant now, FileState& file);
  News adopt(FileState& file, const FileFacts& facts);
  void start_close(FileState& file);
  void close_one_idle();

  const std::uint32_t open_files_max_;
  std::uint32_t handles_ = 0;  // open, being opened or closed
  std::uint32_t closing_ = 0;  // queued for or in a close
  PoolShare opens_{kOpensInFlightMax};
  PoolShare closes_{kClosesInFlightMax};
  PoolShare checks_{kChecksInFlightMax};
  List<FileState, struct HandleTag> handle_lru_;  // open; longest unused first
  PoolQueues<FileState, struct OpenTag> to_open_;
  PoolQueues<FileState, struct OpenTag> to_close_;
  PoolQueues<FileState, struct CheckTag> to_check_;
  std::array<List<FileState, struct TimerTag>, kTimerCount> timers_;
};

}  // namespace penstock
