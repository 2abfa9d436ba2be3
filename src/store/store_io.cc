// Operations out, completions in, the bounded work of a cycle, and the end of a torrent.
#include "store/store_impl.hh"

namespace penstock {

bool Store::Impl::poll_io(StorageOp& out) {
  if (has_refused) {
    has_refused = false;
    out = refused;
    return true;
  }
  // An assembly that goes on may need another file opened.
  return files.poll_io(out) || scheduler.poll_io(out) || assembler.poll_io(out) ||
         framer.poll_io(out) || files.poll_io(out);
}

void Store::Impl::wake(Instant now, Extent& extent) {
  for (WaitLink* link = extent.waiters.front(); link != nullptr;) {
    // advance() unlinks at most this want, which has one link to an extent.
    WaitLink* next = extent.waiters.next(link);
    Want& want = *link->want;
    if (want.state == Want::State::reading) settle(want, advance(now, want));
    link = next;
  }
}

void Store::Impl::on_read(Instant now, ReadOp& op, const StorageCompletion& completion) {
  using Outcome = ReadScheduler::Outcome;
  FileState& file = *op.file;
  const Outcome outcome = scheduler.on_read(op, completion);
  if (outcome == Outcome::again && completion.error == IoError::exhausted) files.pause(now, file);
  if (outcome == Outcome::failed || outcome == Outcome::partly)
    on_read_trouble(now, file, completion.error);
  if (outcome != Outcome::again) {
    for (std::uint8_t i = 0; i < op.part_count; ++i)
      wake(now, *op.parts[i].extent);
    for (std::uint8_t i = 0; i < op.part_count; ++i)
      cache.settle_io(*op.parts[i].extent);
  }
  scheduler.finish(op);
  verifier->poke();
}

void Store::Impl::collect_assemblies(Instant now) {
  while (Assembly* assembly = assembler.poll_done()) {
    Extent& extent = *assembly->extent;
    ShardContent& owner = *extent.owner;
    if (assembly->phase == Assembly::Phase::hurt) {
      if (!owner.forgetting) {
        FileState& file = owner.files[assembly->file];
        if (file.phase != FileState::Phase::failed) on_read_trouble(now, file, assembly->error);
        lose_range(now, file, assembly->begin, assembly->end);
      }
      assembler.skip_file(*assembly);
      continue;
    }
    wake(now, extent);
    assembler.finish(*assembly);
    cache.settle_io(extent);
    verifier->poke();
  }
}

void Store::Impl::on_completion(Instant now, const StorageCompletion& completion) {
  last_now = now;
  const std::uint64_t token = completion.token;
  switch (token_tag(token)) {
    case OpTag::read:
      on_read(now, *token_record<ReadOp>(token), completion);
      break;
    case OpTag::assembly:
      assembler.on_read(now, *token_record<Assembly>(token), completion);
      break;
    case OpTag::renew:
      assembler.on_renewed(now, *token_record<Assembly>(token), completion.error);
      break;
    case OpTag::frame:
      framer.on_renewed(*token_record<Framing>(token), completion.error);
      break;
    case OpTag::open: {
      FileState& file = *token_record<FileState>(token);
      on_file_news(now, file, files.on_open(now, file, completion));
      break;
    }
    case OpTag::check: {
      FileState& file = *token_record<FileState>(token);
      on_file_news(now, file, files.on_check(now, file, completion));
      break;
    }
    case OpTag::close: {
      FileState& file = *token_record<FileState>(token);
      files.on_close(file);
      if (!file.owner->forgetting) on_file_news(now, file, FileTable::News::again);
      break;
    }
  }
  collect_assemblies(now);
}

bool Store::Impl::do_work(Instant now) {
  constexpr int kTimersPerCycle = 256;
  last_now = now;
  FileState* file = nullptr;
  FileTable::News news{};
  bool more = false;
  int timers = kTimersPerCycle;
  while (timers-- > 0 && files.poll_timer(now, file, news))
    on_file_news(now, *file, news);
  more |= timers <= 0;
  assembler.on_timeout(now);
  collect_assemblies(now);
  retry_stalled(now);
  more |= run_jobs(now);
  collect_assemblies(now);  // runs of padding are complete at once
  more |= start_recheck();
  more |= framer.work();
  // Jobs that just ended answer their wants in the same cycle.
  if (!stalled.empty()) retry_stalled(now);
  for (ShardContent* content = forgetting.front(); content != nullptr;) {
    ShardContent* next = forgetting.next(content);
    more |= forget_step(*content);
    content = next;
  }
  return more || verifier->poked() || assembler.has_work();
}

Instant Store::Impl::next_timeout() const {
  // What waits for memory or a job is tried again soon; releases and completions give both.
  constexpr Duration kRetry = Duration::milliseconds(1);
  // Releases and completions end a torrent; a disk that hangs may hold it for long.
  constexpr Duration kForgetRetry = Duration::milliseconds(10);
  if (verifier->poked() || assembler.has_work() || framer.has_work()) return last_now;
  const bool waits = !stalled.empty() || verifier->starved();
  Instant retry = waits ? last_now + kRetry : Instant::never();
  if (!forgetting.empty()) retry = earlier(retry, last_now + kForgetRetry);
  return earlier(retry, earlier(files.next_timeout(), assembler.next_timeout()));
}

void Store::Impl::forget(ShardContent& content) {
  if (content.forgetting) return;
  content.forgetting = true;
  if (!content.attached) return;
  for (Want* want = content.wants.front(); want != nullptr; want = content.wants.next(want)) {
    take_from_list(*want);
    want->state = Want::State::lost;
    answers.push_back(want);
  }
  PieceJob*& background_job = background_job_of(content);
  if (background_job != nullptr && background_job->owner == &content) background_job = nullptr;
  verifier->forget(content);
  files.forget(content);
  assembler.forget(content);
  framer.forget(content);
  for (std::uint32_t i = 0; i < content.content.files.size(); ++i) {
    FileState& file = content.files[i];
    if (file.Hook<struct FileEventTag>::linked()) file_events.remove(&file);
  }
  if (content.Hook<struct PieceEventTag>::linked()) piece_events.remove(&content);
  if (content.Hook<struct RecheckTag>::linked()) rechecks.remove(&content);
  forgetting.push_back(&content);
}

// Drops some of its extents. True while there is more to drop at once.
bool Store::Impl::forget_step(ShardContent& content) {
  constexpr std::uint32_t kExtentsPerCycle = 1024;
  collect_assemblies(last_now);
  for (std::uint32_t i = std::min(content.extents.size(), kExtentsPerCycle); i > 0; --i) {
    Extent* extent = content.extents.pop_front();
    content.extents.push_back(extent);
    if (extent->wanted != 0) demand.cancel(*extent);
    // Cancelling may have freed it already.
    if (extent->owner == &content) cache.orphan(*extent);
  }
  if (content.idle()) {
    detach(content);
    return false;
  }
  const Extent* front = content.extents.front();
  return front != nullptr && !front->orphan;
}

void Store::Impl::detach(ShardContent& content) {
  // It is freed next: no list may know anything of it.
  content.check_unlinked();
  forgetting.remove(&content);
  torrents.remove(&content);
  content.attached = false;
}

}  // namespace penstock
