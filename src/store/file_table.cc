#include "store/file_table.hh"

#include <algorithm>

namespace penstock {
namespace {

// One FIFO of files a duration: each is ordered by expiry without sorting. The first is for what
// was exhausted; the others are the backoff of trouble.
constexpr std::array<Duration, 9> kTimers{
    Duration::milliseconds(100), Duration::seconds(1),  Duration::seconds(2),
    Duration::seconds(4),        Duration::seconds(8),  Duration::seconds(16),
    Duration::seconds(32),       Duration::seconds(60), Duration::seconds(60),
};
constexpr std::uint8_t kExhausted = 0;
constexpr std::uint8_t kBackoffFirst = 1;
constexpr std::uint8_t kBackoffLast = 8;
// Levels beyond the last backoff until an unchanged file is read again.
constexpr std::uint8_t kRetryLevel = kBackoffLast + 10;

PoolIndex pool_of(const FileState& file) {
  return file.owner->content.pool;
}

}  // namespace

void FileTable::want_open(FileState& file) {
  if (file.phase != FileState::Phase::closed || file.owner->forgetting) return;
  file.phase = FileState::Phase::opening;
  to_open_.push_back(&file, pool_of(file));
}

void FileTable::request_check(Instant now, FileState& file) {
  file.next_check = now + kCheckInterval;
  if (file.checking || file.owner->forgetting) return;
  file.checking = true;
  to_check_.push_back(&file, pool_of(file));
}

void FileTable::arm(Instant now, FileState& file, std::uint8_t timer) {
  disarm(file);
  // A read that ends after its torrent was forgotten may still be in trouble.
  if (file.owner->forgetting) return;
  file.timer = timer;
  file.timer_at = now + kTimers[timer];
  timers_[timer].push_back(&file);
}

void FileTable::disarm(FileState& file) {
  if (file.Hook<struct TimerTag>::linked()) timers_[file.timer].remove(&file);
}

void FileTable::begin_trouble(Instant now, FileState& file) {
  if (file.troubled) return;
  file.troubled = true;
  file.level = kBackoffFirst;
  if (!paused(file)) arm(now, file, kBackoffFirst);
}

void FileTable::rearm_trouble(Instant now, FileState& file) {
  // Checks come from wants too: only the timer's own count. The end of a pause arms this again.
  if (file.Hook<struct TimerTag>::linked()) return;
  if (file.level < kRetryLevel) ++file.level;
  arm(now, file, file.level < kBackoffLast ? file.level : kBackoffLast);
}

void FileTable::pause(Instant now, FileState& file) {
  arm(now, file, kExhausted);
}

void FileTable::end_trouble(FileState& file) {
  file.troubled = false;
  file.error_told = false;
  file.level = 0;
  if (!paused(file)) disarm(file);
}

void FileTable::begin_read(FileState& file) {
  ++file.reads;
  ++file.owner->operations;
  if (file.phase == FileState::Phase::open) {
    handle_lru_.remove(&file);
    handle_lru_.push_back(&file);
  }
}

void FileTable::end_read(FileState& file) {
  ASSERT(file.reads > 0);
  --file.reads;
  --file.owner->operations;
  if (file.reads == 0 && file.reopen) start_close(file);
}

void FileTable::close_soon(FileState& file) {
  if (file.phase != FileState::Phase::open) return;
  file.reopen = true;
  if (file.reads == 0) start_close(file);
}

void FileTable::start_close(FileState& file) {
  DCHECK(file.phase == FileState::Phase::open && file.reads == 0);
  file.reopen = false;
  handle_lru_.remove(&file);
  file.phase = FileState::Phase::closing;
  ++closing_;
  to_close_.push_back(&file, pool_of(file));
}

void FileTable::close_one_idle() {
  // Files being read are at the back; a few steps find an idle one, or all are busy.
  FileState* file = handle_lru_.front();
  for (int i = 0; file != nullptr && i < 16; ++i, file = handle_lru_.next(file)) {
    if (file->reads == 0 && file->needed == 0 && file->wanted.empty() && !file->reopen) {
      start_close(*file);
      return;
    }
  }
}

bool FileTable::poll_io(StorageOp& out) {
  if (handles_ >= open_files_max_ && closing_ < std::min(to_open_.size(), kClosingMax))
    close_one_idle();
  FileState* file = nullptr;
  out = StorageOp{};
  if ((file = to_close_.pop_front(closes_)) != nullptr) {
    closes_.begin(pool_of(*file));
    out.kind = StorageOp::Kind::close;
    out.file = file->handle;
    out.token = make_token(file, OpTag::close);
  } else if (handles_ < open_files_max_ && (file = to_open_.pop_front(opens_)) != nullptr) {
    ++handles_;
    opens_.begin(pool_of(*file));
    ++file->owner->open_count;
    out.kind = StorageOp::Kind::open;
    out.token = make_token(file, OpTag::open);
  } else if ((file = to_check_.pop_front(checks_)) != nullptr) {
    checks_.begin(pool_of(*file));
    out.kind = StorageOp::Kind::check;
    out.token = make_token(file, OpTag::check);
  } else {
    return false;
  }
  ++file->owner->operations;
  out.pool = pool_of(*file);
  out.path = file->owner->content.files[file->index].path.c_str();
  return true;
}

// Another version of the file than the one whose facts are known?
FileTable::News FileTable::adopt(FileState& file, const FileFacts& facts) {
  const bool changed = file.facts_known && !file.facts.same_version(facts);
  file.facts = facts;
  file.facts_known = true;
  return changed ? News::changed : News::opened;
}

FileTable::News FileTable::on_open(Instant now, FileState& file,
                                   const StorageCompletion& completion) {
  opens_.end(pool_of(file));
  --file.owner->operations;
  DCHECK(file.phase == FileState::Phase::opening);
  if (completion.error == IoError::none) {
    const bool was_failed = file.error != IoError::none;
    file.phase = FileState::Phase::open;
    file.handle = completion.file;
    file.error = IoError::none;
    file.stale_retries = 0;
    handle_lru_.push_back(&file);
    file.next_check = now + kCheckInterval;
    if (file.owner->forgetting) {
      start_close(file);
      return News::none;
    }
    const News news = adopt(file, completion.facts);
    return was_failed ? News::back : news;
  }
  --handles_;
  --file.owner->open_count;
  if (file.owner->forgetting) {
    file.phase = FileState::Phase::closed;
    return News::none;
  }
  if (completion.error == IoError::exhausted) {
    // Not the file's fault: what is open may have to close first. One that could not be had before
    // is looked at again by its timer; nobody wants it, so nobody else would.
    const bool was_failed = file.error != IoError::none;
    file.phase = was_failed ? FileState::Phase::failed : FileState::Phase::closed;
    close_one_idle();
    pause(now, file);
    return News::none;
  }
  const bool known = file.error != IoError::none;
  file.phase = FileState::Phase::failed;
  file.error = completion.error;
  if (file.troubled) {
    rearm_trouble(now, file);
  } else {
    begin_trouble(now, file);
  }
  return known ? News::still_failed : News::failed;
}

FileTable::News FileTable::on_check(Instant now, FileState& file,
                                    const StorageCompletion& completion) {
  checks_.end(pool_of(file));
  --file.owner->operations;
  file.checking = false;
  const bool timed = file.timed_check;
  file.timed_check = false;
  if (file.owner->forgetting) return News::none;
  file.next_check = now + kCheckInterval;
  if (completion.error == IoError::exhausted) {
    if (file.troubled) rearm_trouble(now, file);
    return News::none;
  }
  if (completion.error != IoError::none) {
    if (file.phase == FileState::Phase::failed) {
      rearm_trouble(now, file);
      return News::none;
    }
    if (file.phase == FileState::Phase::opening) {  // the open will tell
      if (file.troubled) rearm_trouble(now, file);
      return News::none;
    }
    // It is gone. An open handle may still read what it was, but nobody would seed it knowingly.
    if (file.phase == FileState::Phase::open || file.phase == FileState::Phase::closing) {
      if (file.phase == FileState::Phase::open) close_soon(file);
      if (file.troubled) rearm_trouble(now, file);
      file.next_check = now;  // once it is closed
      return News::none;
    }
    file.phase = FileState::Phase::failed;
    file.error = completion.error;
    if (file.troubled) {
      rearm_trouble(now, file);
    } else {
      begin_trouble(now, file);
    }
    return News::failed;
  }
  if (file.phase == FileState::Phase::failed) {
    // Something is there again; whether it can be had, an open will tell.
    file.phase = FileState::Phase::closed;
    want_open(file);
    return News::none;
  }
  if (!file.facts_known) {
    if (file.troubled) rearm_trouble(now, file);
    return News::none;
  }
  if (adopt(file, completion.facts) == News::changed) {
    close_soon(file);
    file.level = kBackoffFirst;
    if (file.troubled) rearm_trouble(now, file);
    return News::changed;
  }
  if (!file.troubled || !timed) return News::none;
  const bool long_enough = file.level >= kRetryLevel;
  if (long_enough) file.level = kBackoffLast;
  rearm_trouble(now, file);
  return long_enough ? News::retry_all : News::retry;
}

void FileTable::on_close(FileState& file) {
  DCHECK(file.phase == FileState::Phase::closing);
  closes_.end(pool_of(file));
  --closing_;
  --handles_;
  --file.owner->open_count;
  --file.owner->operations;
  file.phase = FileState::Phase::closed;
}

bool FileTable::poll_timer(Instant now, FileState*& out, News& news) {
  for (std::uint8_t i = 0; i < kTimerCount; ++i) {
    FileState* file = timers_[i].front();
    if (file == nullptr || file->timer_at > now) continue;
    timers_[i].remove(file);
    out = file;
    news = News::none;
    if (i == kExhausted) {
      news = News::again;
      if (file->troubled) rearm_trouble(now, *file);
    } else {
      file->timed_check = true;
      request_check(now, *file);
    }
    return true;
  }
  return false;
}

Instant FileTable::next_timeout() const {
  Instant next = Instant::never();
  for (const auto& timer : timers_) {
    if (const FileState* file = timer.front(); file != nullptr)
      next = earlier(next, file->timer_at);
  }
  return next;
}

void FileTable::forget(ShardContent& content) {
  const auto count = static_cast<std::uint32_t>(content.content.files.size());
  for (std::uint32_t i = 0; i < count; ++i) {
    FileState& file = content.files[i];
    disarm(file);
    if (file.Hook<struct CheckTag>::linked()) {
      to_check_.remove(&file, pool_of(file));
      file.checking = false;
    }
    if (file.phase == FileState::Phase::opening && file.Hook<struct OpenTag>::linked()) {
      to_open_.remove(&file, pool_of(file));
      file.phase = FileState::Phase::closed;
    }
    if (file.phase == FileState::Phase::open && !file.reopen) close_soon(file);
  }
}

}  // namespace penstock
