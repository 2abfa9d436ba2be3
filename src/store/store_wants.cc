// The life of a want: in memory and proven → ready at once. Else it waits for the pages of its
// blocks (State::reading) or, when its piece isn't verified, for a job (State::on_job); without
// room for what it was about to wait for it stays aside (State::stalled). In the end it is polled.
//
// A want holds the extents of whole blocks, since only a whole block can be checked.
#include <cstring>

#include "store/block_checksum.hh"
#include "store/block_runs.hh"
#include "store/store_impl.hh"

namespace penstock {

void Store::Impl::attach(ShardContent& content) {
  content.attached = true;
  content.key_base = next_key;
  next_key += content.extent_count;
  torrents.push_back(&content);
}

bool Store::Impl::try_hit(Instant now, ShardContent& content, const BlockWant& want, Block& out) {
  if (!content.attached || content.forgetting) [[unlikely]]
    return false;
  DCHECK(content.content.blocks.contains(want.piece, want.begin, want.length));
  SpanList spans;
  resolve(content, want.piece, content.content.blocks.piece_offset(want.piece) + want.begin,
          want.length, spans);
  ExtentList extents{};
  for (std::uint32_t i = 0; i < spans.count; ++i) {
    const Span& span = spans.spans[i];
    if (span.zero) continue;
    Extent* extent = cache.find(span.key);
    if (extent == nullptr) return false;
    const BlockRange blocks = blocks_of(content.content, want.piece, span);
    if (!extent->is_checked(blocks.first, blocks.last)) return false;
    extents[i] = extent;
  }
  if (!pin_parts(content, want, spans, extents, out)) return gather(spans, nullptr, out);
  for (std::uint32_t i = 0; i < spans.count; ++i) {
    const Span& span = spans.spans[i];
    if (span.zero) continue;
    Extent& extent = *extents[i];
    cache.fetch_ahead(extent, span.begin);
    const RegionState& region = content.regions[span.region];
    if (region.kind != RegionKind::file) continue;
    files.on_use(now, content.files[region.first_file]);
    if (extent.hits == limits.frame_after && limits.frame_after != 0) framer.nominate(extent);
  }
  return true;
}

// Uses after which an extent that isn't framed is sent by reference. One that could be waits for
// that, so that its slab, never exposed, needs no renewal and keeps its huge page.
std::uint8_t Store::Impl::hot_after(const ShardContent& content) const {
  constexpr std::uint8_t kHotAfter = 2;
  const bool waits = limits.frame_after != 0 && Framer::may_frame(content.content);
  return waits ? static_cast<std::uint8_t>(2 * limits.frame_after) : kHotAfter;
}

// The block, used and pinned. False: it has more parts than can be named.
bool Store::Impl::pin_parts(ShardContent& content, const BlockWant& want, const SpanList& spans,
                            const ExtentList& extents, Block& out) {
  std::size_t count = 0;
  for (std::uint32_t i = 0; i < spans.count; ++i) {
    const Span& span = spans.spans[i];
    if (span.zero) {
      if (count == out.parts.size()) return false;
      out.parts[count++] = {cache.data(cache.at(zero_slab)), span.length, zero_slab};
      continue;
    }
    const Extent& extent = *extents[i];
    const bool hot = content.regions[span.region].kind == RegionKind::file &&
                     (extent.framed || extent.hits >= hot_after(content));
    bool fits = true;
    const std::byte* const slab = cache.data(extent);
    cache.for_each_run(
        extent, span.begin, span.length, [&](const std::byte* data, std::uint32_t length) {
          fits &= count < out.parts.size();
          if (!fits) return;
          const bool tail = data < slab || data >= slab + kSlabSize;
          out.parts[count++] = {data, length, cache.index_of(extent), hot && !tail, tail};
        });
    if (!fits) return false;
  }
  out.part_count = static_cast<std::uint8_t>(count);
  out.framed = is_framed(want, spans.spans[0], extents[0]);
  for (std::size_t i = 0; i < count; ++i) {
    if (out.parts[i].entry != zero_slab) cache.pin(cache.at(out.parts[i].entry));
  }
  for (std::uint32_t i = 0; i < spans.count; ++i) {
    if (extents[i] == nullptr) continue;
    const BlockRange blocks = blocks_of(content.content, want.piece, spans.spans[i]);
    cache.on_hit(*extents[i], extents[i]->touch_mask(blocks.first, blocks.last));
  }
  return true;
}

// Whether the header of exactly this block stands in front of its first byte.
bool Store::Impl::is_framed(const BlockWant& want, const Span& first, const Extent* extent) {
  if (extent == nullptr || !extent->framed || want.begin % kBlockSize != 0) return false;
  const std::uint32_t left = want.torrent->blocks.piece_length(want.piece) - want.begin;
  return want.length == std::min(kBlockSize, left) && extent->framed_at(first.begin) < kExtentSize;
}

WantStatus Store::Impl::want(Instant now, const BlockWant& request, Block& out) {
  last_now = now;
  ShardContent& content = state_of(*request.torrent);
  ASSERT(request.length <= kBlockSize);
  ASSERT(content.content.blocks.contains(request.piece, request.begin, request.length));
  if (content.forgetting) return WantStatus::lost;
  if (!content.attached) attach(content);
  if (content.content.pieces->get(request.piece) == PieceState::lost) return WantStatus::lost;
  // A torrent or a pool whose disk hangs must leave wants to others.
  if (content.wants.size() >= wants_share() || !wants_used.room(content.content.pool))
    return WantStatus::busy;
  Want* want = free_wants.pop_front();
  if (want == nullptr) return WantStatus::busy;
  wants_used.begin(content.content.pool);
  want->want = request;
  want->owner = &content;
  want->mismatches = 0;
  content.wants.push_back(want);
  check_file(now, content, request);
  const Progress progress = place(now, *want);
  if (progress == Progress::no_room) {
    free_want(*want);
    return WantStatus::busy;
  }
  counters.bytes_wanted += request.length;
  if (progress == Progress::ready && build_block(content, request, want, out)) {
    ++counters.hits;
    free_want(*want);
    return WantStatus::ready;
  }
  ++counters.misses;
  if (progress == Progress::lost) {
    free_want(*want);
    return WantStatus::lost;
  }
  settle(*want, progress);
  return WantStatus::pending;
}

// Looks now and then whether the first file of a want changed.
void Store::Impl::check_file(Instant now, ShardContent& content, const BlockWant& want) {
  const std::uint64_t at = content.content.blocks.piece_offset(want.piece) + want.begin;
  const std::uint32_t file = content.content.file_at(at);
  if (file == content.content.files.size() || content.content.files[file].padding) return;
  if (content.files[file].facts_known) files.on_use(now, content.files[file]);
}

void Store::Impl::prefetch(Instant now, const BlockWant& want) {
  last_now = now;
  ShardContent& content = state_of(*want.torrent);
  if (content.forgetting || cache.held_count() > cache.slab_count() / 2) return;
  if (!content.attached) attach(content);
  const PieceState state = content.content.pieces->get(want.piece);
  if (state == PieceState::lost) return;
  if (state == PieceState::unverified) {
    verifier->find_or_add(content, want.piece);
    return;
  }
  SpanList spans;
  resolve(content, want.piece, content.content.blocks.piece_offset(want.piece) + want.begin,
          want.length, spans);
  for (std::uint32_t i = 0; i < spans.count; ++i) {
    const Span& span = spans.spans[i];
    if (span.zero || !may_hold_more(content)) continue;
    Extent* extent = demand.get(content, span);
    if (extent == nullptr) return;
    // Whole extents: one who is asked to read ahead is asked again soon.
    const RegionState& region = content.regions[span.region];
    const auto length = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(kExtentSize, region.length - span.offset));
    demand.want(*extent, page_mask(0, length));
    cache.unhold(*extent);
  }
}

// Jobs must find memory whatever wants do (a quarter of it), and neither may a torrent hold more
// than half nor a pool more than five eighths.
bool Store::Impl::may_hold_more(const ShardContent& content) const {
  const std::uint32_t slabs = cache.slab_count();
  return cache.held_count() < slabs - slabs / 4 && content.held_extents < slabs / 2 &&
         cache.held_count(content.content.pool) < slabs / 2 + slabs / 8;
}

Store::Impl::Progress Store::Impl::place(Instant now, Want& want) {
  switch (want.owner->content.pieces->get(want.want.piece)) {
    case PieceState::lost:
      return Progress::lost;
    case PieceState::verified:
      return place_reading(now, want);
    case PieceState::unverified:
      break;
  }
  PieceJob* job = verifier->find_or_add(*want.owner, want.want.piece);
  if (job == nullptr) return Progress::no_room;
  job->wants.push_back(&want);
  want.state = Want::State::on_job;
  return Progress::waiting;
}

Store::Impl::Progress Store::Impl::place_reading(Instant now, Want& want) {
  ShardContent& content = *want.owner;
  const PieceIndex piece = want.want.piece;
  const std::uint32_t begin = want.want.begin / kBlockSize * kBlockSize;
  const std::uint32_t end =
      std::min((want.want.begin + want.want.length + kBlockSize - 1) / kBlockSize * kBlockSize,
               content.content.blocks.piece_length(piece));
  SpanList spans;
  resolve(content, piece, content.content.blocks.piece_offset(piece) + begin, end - begin, spans);
  for (std::uint32_t i = 0; i < spans.count; ++i) {
    const Span& span = spans.spans[i];
    if (span.zero) continue;
    Extent* extent = nullptr;
    if (may_hold_more(content) || cache.find(span.key) != nullptr)
      extent = demand.get(content, span);
    if (extent == nullptr) {
      unlink(want);
      return Progress::no_room;
    }
    WaitLink& link = want.links[want.link_count++];
    link.extent = extent;
    link.mask = span.pages();
    extent->waiters.push_back(&link);
  }
  want.state = Want::State::reading;
  for (std::uint8_t i = 0; i < want.link_count; ++i)
    demand.want(*want.links[i].extent, want.links[i].mask);
  return advance(now, want);
}

Store::Impl::Progress Store::Impl::advance(Instant now, Want& want) {
  DCHECK(want.state == Want::State::reading);
  bool complete = true;
  for (std::uint8_t i = 0; i < want.link_count; ++i) {
    const WaitLink& link = want.links[i];
    if ((link.extent->failed & link.mask) != 0) {
      lose_piece(now, *want.owner, want.want.piece, false);
      unlink(want);
      return Progress::lost;
    }
    complete &= (link.mask & ~link.extent->valid) == 0;
  }
  if (!complete) return Progress::waiting;
  if (want.owner->content.pieces->get(want.want.piece) == PieceState::verified) {
    if (prove(want)) return Progress::ready;
    on_mismatch(*want.owner, want.want.piece);
    if (++want.mismatches >= kMismatchesMax) lose_piece(now, *want.owner, want.want.piece, true);
  }
  // Its piece isn't verified any more: it waits for a job now, or is lost.
  unlink(want);
  return place(now, want);
}

void Store::Impl::settle(Want& want, Progress progress) {
  switch (progress) {
    case Progress::waiting:
      return;
    case Progress::ready:
      want.state = Want::State::ready;
      answers.push_back(&want);
      return;
    case Progress::lost:
      want.state = Want::State::lost;
      answers.push_back(&want);
      return;
    case Progress::no_room:
      want.state = Want::State::stalled;
      stalled.push_back(&want);
      return;
  }
}

Extent* Store::Impl::extent_of(const Span& span, const Want* links) {
  if (links == nullptr) return cache.find(span.key);
  for (std::uint8_t i = 0; i < links->link_count; ++i) {
    if (links->links[i].extent->key == span.key) return links->links[i].extent;
  }
  UNREACHABLE();
}

bool Store::Impl::prove_block(Want& want, std::uint64_t block, const SpanList& spans) {
  TorrentContent& content = want.owner->content;
  BlockRuns runs;
  ExtentList extents{};
  bool checked = true;
  std::uint32_t length = 0;
  for (std::uint32_t i = 0; i < spans.count; ++i) {
    const Span& span = spans.spans[i];
    length += span.length;
    if (span.zero) {
      runs.add(cache.data(cache.at(zero_slab)), span.length);
      continue;
    }
    extents[i] = extent_of(span, &want);
    runs.add(cache, *extents[i], span);
    checked &= extents[i]->is_checked(block, block);
  }
  if (checked) return true;
  const std::uint32_t checksum = block_checksum(runs.list());
  counters.bytes_checked += length;
  std::uint32_t& recorded = content.block_checksums[block];
  // Trusted: what is read first is taken as right.
  if (recorded == kNoChecksum && content.verify == VerifyMode::trust) recorded = checksum;
  if (recorded != checksum) return false;
  for (std::uint32_t i = 0; i < spans.count; ++i) {
    if (extents[i] != nullptr) extents[i]->set_checked(block);
  }
  return true;
}

bool Store::Impl::prove(Want& want) {
  const TorrentContent& content = want.owner->content;
  const PieceIndex piece = want.want.piece;
  const BlockRange blocks = blocks_of(content, piece, want.want.begin, want.want.length);
  const std::uint64_t piece_begin = content.blocks.piece_offset(piece);
  const std::uint32_t piece_length = content.blocks.piece_length(piece);
  const std::uint64_t first_of_piece = std::uint64_t{piece.value} * content.blocks_per_piece;
  for (std::uint64_t block = blocks.first; block <= blocks.last; ++block) {
    const auto begin = static_cast<std::uint32_t>((block - first_of_piece) * kBlockSize);
    SpanList spans;
    resolve(*want.owner, piece, piece_begin + begin, std::min(kBlockSize, piece_length - begin),
            spans);
    if (!prove_block(want, block, spans)) return false;
  }
  return true;
}

void Store::Impl::unlink(Want& want) {
  for (std::uint8_t i = 0; i < want.link_count; ++i) {
    WaitLink& link = want.links[i];
    link.extent->waiters.remove(&link);
    cache.unhold(*link.extent);
    link.extent = nullptr;
  }
  want.link_count = 0;
}

// Out of whatever list it is in; its links go too.
void Store::Impl::take_from_list(Want& want) {
  switch (want.state) {
    case Want::State::on_job:
      verifier->find(*want.owner, want.want.piece)->wants.remove(&want);
      break;
    case Want::State::stalled:
      stalled.remove(&want);
      break;
    case Want::State::ready:
    case Want::State::lost:
      answers.remove(&want);
      break;
    case Want::State::free:
    case Want::State::reading:
      break;
  }
  unlink(want);
}

void Store::Impl::free_want(Want& want) {
  unlink(want);
  want.owner->wants.remove(&want);
  wants_used.end(want.owner->content.pool);
  want.owner = nullptr;
  want.state = Want::State::free;
  free_wants.push_front(&want);
}

bool Store::Impl::gather(const SpanList& spans, const Want* links, Block& out) {
  if (scratch_free == 0) return false;
  const auto unit = static_cast<std::uint32_t>(__builtin_ctz(scratch_free));
  scratch_free &= scratch_free - 1;
  const std::uint32_t slab = scratch_slabs[unit / kScratchPerSlab];
  std::byte* to = cache.data(cache.at(slab)) + std::size_t{unit % kScratchPerSlab} * kBlockSize;
  std::uint32_t length = 0;
  for (std::uint32_t i = 0; i < spans.count; ++i) {
    const Span& span = spans.spans[i];
    if (span.zero) {
      std::memset(to + length, 0, span.length);
      length += span.length;
      continue;
    }
    cache.for_each_run(*extent_of(span, links), span.begin, span.length,
                       [&](const std::byte* data, std::uint32_t run) {
                         std::memcpy(to + length, data, run);
                         length += run;
                       });
  }
  out.part_count = 1;
  out.framed = false;
  out.parts[0] = {to, length, slab};
  ++counters.gathered_blocks;
  return true;
}

// The block of a want that is ready. False: no scratch to gather it in.
bool Store::Impl::build_block(ShardContent& content, const BlockWant& want, const Want* links,
                              Block& out) {
  SpanList spans;
  resolve(content, want.piece, content.content.blocks.piece_offset(want.piece) + want.begin,
          want.length, spans);
  ExtentList extents{};
  for (std::uint32_t i = 0; i < spans.count; ++i) {
    if (!spans.spans[i].zero) extents[i] = extent_of(spans.spans[i], links);
  }
  return pin_parts(content, want, spans, extents, out) || gather(spans, links, out);
}

bool Store::Impl::poll_ready(BlockReady& out) {
  Want* want = answers.front();
  if (want == nullptr) return false;
  out.token = want->want.token;
  out.block = Block{};
  if (want->state == Want::State::ready) {
    if (!build_block(*want->owner, want->want, want, out.block)) return false;
    out.status = WantStatus::ready;
  } else {
    out.status = WantStatus::lost;
  }
  answers.remove(want);
  free_want(*want);
  return true;
}

void Store::Impl::release(const Block& block, bool exposed) {
  for (std::uint8_t i = 0; i < block.part_count; ++i) {
    const BlockPart& part = block.parts[i];
    Extent& extent = cache.at(part.entry);
    if (extent.use == SlabUse::zero) continue;
    const auto offset = [&] { return static_cast<std::uint32_t>(part.data - cache.data(extent)); };
    if (extent.use == SlabUse::scratch) {
      const std::uint32_t slab = part.entry == scratch_slabs[0] ? 0 : 1;
      const std::uint32_t unit = slab * kScratchPerSlab + offset() / kBlockSize;
      ASSERT((scratch_free & (1u << unit)) == 0);
      scratch_free |= 1u << unit;
      continue;
    }
    ASSERT(extent.use == SlabUse::extent);
    if (exposed && part.hot)
      extent.exposed |= extent.framed ? kAllPages : page_mask(offset(), part.length);
    cache.unpin(extent);
  }
}

void Store::Impl::retry_stalled(Instant now) {
  for (std::uint32_t i = std::min(stalled.size(), 64u); i > 0; --i) {
    Want* want = stalled.pop_front();
    settle(*want, place(now, *want));
  }
}

}  // namespace penstock
