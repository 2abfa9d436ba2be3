// What is known of pieces and files, and how it changes: verified, wrong, unreadable, replaced,
// repaired. Events are flags until they are polled, so that none is ever dropped for want of room.
#include "store/store_impl.hh"

namespace penstock {

void Store::Impl::tell(ShardContent& content, PieceIndex piece, std::uint8_t flag) {
  if (content.forgetting) return;
  std::uint8_t& flags = content.piece_flags[piece.value];
  flags =
      static_cast<std::uint8_t>(flags & ~(ShardContent::kTellLost | ShardContent::kTellRecovered));
  flags |= flag;
  if (!content.Hook<struct PieceEventTag>::linked()) {
    content.event_low = piece.value;
    content.event_high = piece.value + 1;
    piece_events.push_back(&content);
    return;
  }
  content.event_low = std::min(content.event_low, piece.value);
  content.event_high = std::max(content.event_high, piece.value + 1);
}

void Store::Impl::tell_file(FileState& file) {
  if (file.owner->forgetting || file.Hook<struct FileEventTag>::linked()) return;
  file_events.push_back(&file);
}

void Store::Impl::lose_piece(Instant now, ShardContent& content, PieceIndex piece, bool by_hash) {
  if (content.content.pieces->get(piece) == PieceState::lost) return;
  content.content.pieces->set(piece, PieceState::lost);
  ++counters.pieces_lost;
  std::uint8_t& flags = content.piece_flags[piece.value];
  flags = static_cast<std::uint8_t>(flags & ~(ShardContent::kLostByHash | ShardContent::kRecheck));
  if (by_hash) flags |= ShardContent::kLostByHash;
  tell(content, piece, ShardContent::kTellLost);
  // Whoever repairs it touches one of its files.
  const std::uint64_t begin = content.content.blocks.piece_offset(piece);
  const std::uint64_t end = begin + content.content.blocks.piece_length(piece);
  for (std::uint32_t i = content.content.file_at(begin); i < content.content.files.size(); ++i) {
    const ContentFile& file = content.content.files[i];
    if (file.offset >= end) break;
    if (file.padding || file.length == 0) continue;
    FileState& state = content.files[i];
    if (state.facts_known) files.begin_trouble(now, state);
  }
}

void Store::Impl::lose_range(Instant now, FileState& file, std::uint64_t begin, std::uint64_t end) {
  const TorrentContent& content = file.owner->content;
  const ContentFile& of = content.files[file.index];
  const std::uint32_t first = content.blocks.piece_at(std::max(begin, of.offset)).value;
  const std::uint32_t last =
      content.blocks.piece_at(std::min(end, of.offset + of.length) - 1).value;
  for (std::uint32_t i = first; i <= last; ++i) {
    if (file.owner->is_home(PieceIndex(i))) lose_piece(now, *file.owner, PieceIndex(i), false);
  }
}

void Store::Impl::drop_piece(ShardContent& content, PieceIndex piece) {
  const std::uint64_t begin = content.content.blocks.piece_offset(piece);
  const std::uint32_t length = content.content.blocks.piece_length(piece);
  for (std::uint32_t at = 0; at < length; at += kSpanRangeMax) {
    SpanList spans;
    resolve(content, piece, begin + at, std::min(kSpanRangeMax, length - at), spans);
    for (std::uint32_t i = 0; i < spans.count; ++i) {
      if (spans.spans[i].zero) continue;
      if (Extent* extent = cache.find(spans.spans[i].key); extent != nullptr) cache.orphan(*extent);
    }
  }
}

void Store::Impl::on_mismatch(ShardContent& content, PieceIndex piece) {
  ++counters.checksum_mismatches;
  drop_piece(content, piece);
  content.content.pieces->set(piece, PieceState::unverified);
}

// By bytes, not by files: a run may begin or end with the gap behind another file.
void Store::Impl::restart_wants_of(ShardContent& content, const RegionState& region) {
  const BlockInfo& blocks = content.content.blocks;
  const std::uint32_t first = blocks.piece_at(region.offset).value;
  const std::uint32_t last = blocks.piece_at(region.offset + region.length - 1).value;
  for (Want* want = content.wants.front(); want != nullptr; want = content.wants.next(want)) {
    const std::uint32_t piece = want->want.piece.value;
    if (piece < first || piece > last) continue;
    if (want->state != Want::State::reading && want->state != Want::State::ready) continue;
    take_from_list(*want);
    want->state = Want::State::stalled;
    stalled.push_back(want);
  }
}

bool Store::Impl::recover_file(FileState& file, Chance chance) {
  ShardContent& content = *file.owner;
  const auto [first, last] = content.pieces_of_file(file.index);
  bool any = false;
  for (std::uint32_t i = first; i <= last; ++i) {
    const PieceIndex piece(i);
    if (content.content.pieces->get(piece) != PieceState::lost || !content.is_home(piece)) continue;
    any = true;
    std::uint8_t& flags = content.piece_flags[i];
    const bool wrong = (flags & ShardContent::kLostByHash) != 0;
    if (wrong && chance == Chance::unread) continue;
    if (wrong || chance != Chance::changed) {
      // Not offered again before it is proven.
      flags |= ShardContent::kRecheck;
      if (!content.Hook<struct RecheckTag>::linked()) rechecks.push_back(&content);
      content.recheck_cursor = 0;
      continue;
    }
    // There may be zeros in memory for what couldn't be read.
    drop_piece(content, piece);
    content.content.pieces->set(piece, PieceState::unverified);
    tell(content, piece, ShardContent::kTellRecovered);
  }
  return any;
}

void Store::Impl::on_file_changed(Instant now, FileState& file) {
  ShardContent& content = *file.owner;
  if (content.content.files[file.index].length == 0) return;
  // What memory has of the older version may be right, but a verification must see the new one.
  const std::uint32_t index = content.region_of_file(file.index);
  RegionState& region = content.regions[index];
  region.key = next_key - content.key_base;
  next_key += (region.length + kExtentSize - 1) / kExtentSize;

  const auto [first, last] = content.pieces_of_file(file.index);
  for (std::uint32_t i = first; i <= last; ++i) {
    const PieceIndex piece(i);
    if (!content.is_home(piece)) continue;
    if (content.content.pieces->get(piece) == PieceState::verified)
      content.content.pieces->set(piece, PieceState::unverified);
  }
  if (!recover_file(file, Chance::changed)) files.end_trouble(file);
  file.error_told = false;
  // Everything that touches the region by its older name begins again.
  restart_wants_of(content, region);
  verifier->restart_region(content, index);
  file.event_changed = true;
  tell_file(file);
  static_cast<void>(now);
}

void Store::Impl::on_file_failed(Instant now, FileState& file) {
  ShardContent& content = *file.owner;
  if (content.content.files[file.index].length == 0) return;
  file.event_failed = true;
  file.event_error = file.error;
  tell_file(file);
  const auto [first, last] = content.pieces_of_file(file.index);
  for (std::uint32_t i = first; i <= last; ++i) {
    if (content.is_home(PieceIndex(i))) lose_piece(now, content, PieceIndex(i), false);
  }
  fail_reads_of(now, file);
}

void Store::Impl::fail_reads_of(Instant now, FileState& file) {
  Extent* extent = nullptr;
  while (scheduler.fail_next(file, extent)) {
    wake(now, *extent);
    cache.settle_io(*extent);
  }
  assembler.on_file(file);
  verifier->poke();
}

void Store::Impl::on_read_trouble(Instant now, FileState& file, IoError error) {
  files.begin_trouble(now, file);
  files.request_check(now, file);  // it may just have changed
  if (file.error_told) return;
  file.error_told = true;
  file.event_failed = true;
  file.event_error = error;
  tell_file(file);
}

void Store::Impl::on_file_news(Instant now, FileState& file, FileTable::News news) {
  using News = FileTable::News;
  switch (news) {
    case News::none:
      return;
    case News::failed:
      on_file_failed(now, file);
      return;
    case News::still_failed:
      fail_reads_of(now, file);
      return;
    case News::changed:
      on_file_changed(now, file);
      break;
    case News::back:
      // Whatever it is now, the verified pieces of it are not verified any more: all were lost.
      file.error_told = false;
      on_file_changed(now, file);
      files.end_trouble(file);
      break;
    case News::retry:
      if (!recover_file(file, Chance::unread)) files.end_trouble(file);
      break;
    case News::retry_all:
      if (!recover_file(file, Chance::unread_all)) files.end_trouble(file);
      break;
    case News::opened:
    case News::again:
      break;
  }
  scheduler.on_readable(file);
  assembler.on_file(file);
  verifier->poke();
}

void Store::Impl::finish_job(Instant now, const PieceVerifier::Finished& finished) {
  using Verdict = PieceVerifier::Verdict;
  PieceJob& job = *finished.job;
  ShardContent& content = *job.owner;
  const PieceIndex piece = job.piece;
  PieceStates& states = *content.content.pieces;
  const bool was_lost = states.get(piece) == PieceState::lost;
  if (finished.verdict == Verdict::match) {
    ++counters.pieces_verified;
    // A file that failed meanwhile loses the piece whatever memory still had of it.
    if (!was_lost || job.background) states.set(piece, PieceState::verified);
    if (was_lost && job.background) tell(content, piece, ShardContent::kTellRecovered);
  } else {
    lose_piece(now, content, piece, finished.verdict == Verdict::mismatch);
    // It may have changed under us: look at once.
    if (finished.verdict == Verdict::mismatch) {
      const std::uint32_t file =
          content.content.file_at(content.content.blocks.piece_offset(piece));
      if (file < content.content.files.size() && !content.content.files[file].padding)
        files.request_check(now, content.files[file]);
    }
  }
  if (PieceJob*& background_job = background_job_of(content); &job == background_job) {
    background_job = nullptr;
    // A dying disk isn't read end to end for every timer.
    if (finished.verdict == Verdict::unreadable && content.Hook<struct RecheckTag>::linked())
      rechecks.remove(&content);
  }
  // The wants go on by themselves: the piece's bytes may be in memory still, or are read again.
  while (Want* want = job.wants.pop_front()) {
    want->state = Want::State::stalled;
    stalled.push_back(want);
  }
  verifier->finish(job);
}

bool Store::Impl::run_jobs(Instant now) {
  std::uint32_t budget_left = std::max(limits.hash_bytes_per_cycle, kBlockSize);
  PieceVerifier::Finished finished;
  while (verifier->work(budget_left, finished))
    finish_job(now, finished);
  return verifier->poked();
}

// One lost piece of a pool at a time is looked at again in the background.
bool Store::Impl::start_recheck() {
  constexpr std::uint32_t kTorrentsPerCall = 16;
  for (std::uint32_t i = std::min(rechecks.size(), kTorrentsPerCall); i > 0; --i) {
    ShardContent& content = *rechecks.front();
    if (background_job_of(content) == nullptr) return start_recheck_of(content);
    rechecks.remove(&content);
    rechecks.push_back(&content);
  }
  return false;
}

bool Store::Impl::start_recheck_of(ShardContent& content) {
  constexpr std::uint32_t kPiecesPerCall = 4096;
  const std::uint32_t count = content.content.pieces->count();
  for (std::uint32_t i = 0; i < kPiecesPerCall && content.recheck_cursor < count; ++i) {
    const PieceIndex piece(content.recheck_cursor++);
    std::uint8_t& flags = content.piece_flags[piece.value];
    if ((flags & ShardContent::kRecheck) == 0) continue;
    flags = static_cast<std::uint8_t>(flags & ~ShardContent::kRecheck);
    if (content.content.pieces->get(piece) != PieceState::lost) continue;
    drop_piece(content, piece);
    PieceJob* const job = verifier->find_or_add(content, piece);
    if (job == nullptr) {
      flags |= ShardContent::kRecheck;
      --content.recheck_cursor;
      return false;
    }
    job->background = true;
    background_job_of(content) = job;
    return true;
  }
  if (content.recheck_cursor < count) return true;
  rechecks.remove(&content);
  content.recheck_cursor = 0;
  return !rechecks.empty();
}

// Which of the piece's files it is, and what is wrong with it.
void Store::Impl::explain_loss(const ShardContent& content, StoreEvent& event) const {
  using Cause = StoreEvent::Cause;
  if ((content.piece_flags[event.piece.value] & ShardContent::kLostByHash) != 0) return;
  event.cause = Cause::unreadable;
  const std::uint64_t end = content.content.blocks.piece_offset(event.piece) +
                            content.content.blocks.piece_length(event.piece);
  const auto count = static_cast<std::uint32_t>(content.content.files.size());
  for (std::uint32_t i = event.file.value; i < count; ++i) {
    if (content.content.files[i].offset >= end) return;
    const FileState& file = content.files[i];
    const bool gone = file.phase == FileState::Phase::failed;
    if (!gone && !file.error_told) continue;
    event.cause = gone ? Cause::no_file : Cause::unreadable;
    event.file = FileIndex(i);
    event.error = gone ? file.error : file.event_error;
    return;
  }
}

bool Store::Impl::poll_event(StoreEvent& out) {
  while (FileState* file = file_events.front()) {
    out = StoreEvent{};
    out.torrent = &file->owner->content;
    out.file = FileIndex(file->index);
    out.piece = out.torrent->blocks.piece_at(out.torrent->files[file->index].offset);
    if (file->event_changed) {
      file->event_changed = false;
      out.kind = StoreEvent::Kind::file_changed;
      return true;
    }
    if (file->event_failed) {
      file->event_failed = false;
      out.kind = StoreEvent::Kind::file_error;
      out.cause = file->phase == FileState::Phase::failed ? StoreEvent::Cause::no_file
                                                          : StoreEvent::Cause::unreadable;
      out.error = file->event_error;
      return true;
    }
    file_events.remove(file);
  }
  while (ShardContent* content = piece_events.front()) {
    constexpr std::uint8_t kTell = ShardContent::kTellLost | ShardContent::kTellRecovered;
    while (content->event_low < content->event_high) {
      const PieceIndex piece(content->event_low++);
      std::uint8_t& flags = content->piece_flags[piece.value];
      if ((flags & kTell) == 0) continue;
      out = StoreEvent{};
      out.kind = (flags & ShardContent::kTellLost) != 0 ? StoreEvent::Kind::piece_lost
                                                        : StoreEvent::Kind::piece_recovered;
      flags = static_cast<std::uint8_t>(flags & ~kTell);
      out.torrent = &content->content;
      out.piece = piece;
      out.file = FileIndex(out.torrent->file_at(out.torrent->blocks.piece_offset(piece)));
      if (out.kind == StoreEvent::Kind::piece_lost) explain_loss(*content, out);
      return true;
    }
    piece_events.remove(content);
  }
  return false;
}

}  // namespace penstock
