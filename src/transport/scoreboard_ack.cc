// What an acknowledgement means for the records (scoreboard.hh).
#include <algorithm>

#include "transport/record_bits.hh"
#include "transport/scoreboard.hh"

namespace penstock::transport {

// What is gathered while an ACK is gone through.
struct Scoreboard::AckState {
  AckReport& report;
  std::int64_t now;
  std::int64_t echoed;
  std::int64_t rtt_least;
  SeqNumber highest_before;
  // Newest originals delivered; -1: none. A cumulative ACK that also covers retransmissions doesn't
  // say when the originals among them came (Karn).
  std::int64_t acked_sent = -1;
  std::int64_t sacked_sent = -1;
  bool acked_resent = false;
  // Newest transmission delivered, for RACK.
  std::int64_t newest_sent = -1;
  SeqNumber newest_end{};
};

// The record that `ack` lies in, or the last of the page. Near, most often.
std::uint32_t Scoreboard::records_until(const Page& page, SeqNumber ack) {
  std::uint32_t end = page.begin;
  std::uint32_t count = 1;
  while (end + count < page.end && at_or_before(SeqNumber(page.seq[end + count]), ack)) {
    end += count;
    count *= 2;
  }
  count = std::min(count, page.end - end);
  while (count > 1) {
    const std::uint32_t half = count / 2;
    end += at_or_before(SeqNumber(page.seq[end + half]), ack) ? half : 0;
    count -= half;
  }
  return end;
}

AckReport Scoreboard::on_ack(Instant now, SeqNumber ack, std::span<const wire::SackBlock> sacks,
                             const RttEstimator& rtt, bool in_recovery, Instant echoed) {
  AckReport report;
  if (after(ack, nxt_)) {
    report.nonsense = true;
    return report;
  }
  if (sacks.empty() && after(ack, una_) && in_recovery == in_recovery_ &&
      ack_in_order(now, ack, rtt, report))
    return report;
  AckState state{.report = report,
                 .now = now.ns,
                 .echoed = echoed.ns,
                 .rtt_least = rtt.has_sample() ? rtt.least().ns : 0,
                 .highest_before = highest_};
  if (after(ack, una_)) pop_acked(state, ack);
  bool duplicate = false;
  if (!sacks.empty()) {
    duplicate = take_duplicate(state, ack, sacks);
    take_sacks(state, sacks.subspan(report.dsack ? 1 : 0));
  } else if (sacked_ == 0) {
    known_count_ = 0;
  }
  const std::int64_t sample =
      std::max(state.sacked_sent, state.acked_resent ? -1 : state.acked_sent);
  if (sample >= 0) report.rtt = Duration::nanoseconds(std::max<std::int64_t>(now.ns - sample, 1));
  if (state.newest_sent >= 0) {
    // RFC 8985 §6.2 step 2.
    newest_rtt_ = Duration::nanoseconds(now.ns - state.newest_sent);
    const Instant sent{state.newest_sent};
    if (newest_sent_ < sent || (newest_sent_ == sent && before(newest_end_, state.newest_end))) {
      newest_sent_ = sent;
      newest_end_ = state.newest_end;
    }
  }
  adapt_reorder_window(duplicate, in_recovery);
  detect_losses(now, rtt, report);
  return report;
}

// What nearly every ACK is: whole records of the first page, and nothing is SACKed, lost, sent
// again or suspected. Does what on_ack does then. False: it isn't that, and nothing was done.
bool Scoreboard::ack_in_order(Instant now, SeqNumber ack, const RttEstimator& rtt,
                              AckReport& report) {
  if ((sacked_ | lost_) != 0 || resent_head_ != RecordPool::kNone || in_duplicate_round_ ||
      cursor_ != una_ || after(highest_, una_))
    return false;
  Page& first = pool_->page(head_);
  const std::uint32_t end = records_until(first, ack);
  if (first.seq[end] != ack.value || first.resent != 0) return false;
  const Instant sent{first.sent[end - 1]};
  report.acked = report.original = ack - una_;
  report.rtt = std::max(now - sent, Duration::nanoseconds(1));
  newest_rtt_ = now - sent;
  if (newest_sent_ < sent || (newest_sent_ == sent && before(newest_end_, ack))) {
    newest_sent_ = sent;
    newest_end_ = ack;
  }
  first.begin = end;
  una_ = cursor_ = highest_ = ack;
  lost_first_ = later(lost_first_, ack);
  known_count_ = 0;
  deadline_ = Instant::never();
  if (sent_before_newest(Instant{first.sent[end]}, SeqNumber(first.seq[end + 1])))
    detect_losses(now, rtt, report);
  return true;
}

// Records newly delivered (RFC 8985 §6.2 steps 2 and 3).
void Scoreboard::deliver(AckState& state, const Page& page, std::uint64_t mask, bool cumulative) {
  const auto newest = [&state](std::int64_t sent, SeqNumber end) {
    if (sent < state.newest_sent || (sent == state.newest_sent && before(end, state.newest_end)))
      return;
    state.newest_sent = sent;
    state.newest_end = end;
  };
  const std::uint64_t originals = mask & ~page.resent;
  if (originals != 0) {
    // In order of time: the last is the newest.
    const std::uint32_t last = highest_bit(originals);
    newest(page.sent[last], SeqNumber(page.seq[last + 1]));
    std::int64_t& sample = cumulative ? state.acked_sent : state.sacked_sent;
    sample = std::max(sample, page.sent[last]);
    if (before(SeqNumber(page.seq[lowest_bit(originals) + 1]), state.highest_before)) {
      state.report.reordered = true;
      reordering_seen_ = true;
    }
    state.report.original += bytes_of(page, originals);
  }
  for (std::uint64_t resent = mask & page.resent; resent != 0; resent &= resent - 1) {
    const std::uint32_t i = lowest_bit(resent);
    if (cumulative) state.acked_resent = true;
    // Which transmission was it? The last one only if nothing speaks against it.
    if (state.echoed < page.sent[i] || state.now - page.sent[i] < state.rtt_least) continue;
    newest(page.sent[i], SeqNumber(page.seq[i + 1]));
  }
  highest_ = later(highest_, SeqNumber(page.seq[highest_bit(mask) + 1]));
}

// Records [page.begin, end) are acknowledged; the caller has una().
void Scoreboard::pop_records(AckState& state, Page& page, std::uint32_t end) {
  if (end == page.begin) return;
  const std::uint64_t range = bit_range(page.begin, end);
  if (const std::uint64_t had = page.sacked & range; had != 0) {
    const std::uint32_t bytes = bytes_of(page, had);
    state.report.unsacked += bytes;
    sacked_ -= bytes;
    sacked_count_ -= static_cast<std::uint32_t>(std::popcount(had));
  }
  if (const std::uint64_t lost = page.lost & range; lost != 0) lost_ -= bytes_of(page, lost);
  if (const std::uint64_t fresh = range & ~page.sacked; fresh != 0)
    deliver(state, page, fresh, true);
  page.sacked &= ~range;
  page.lost &= ~range;
  page.resent &= ~range;
  page.begin = end;
}

// ack: in (una(), nxt()].
void Scoreboard::pop_acked(AckState& state, SeqNumber ack) {
  state.report.acked = ack - una_;
  // Each turn but the last frees a page.
  while (head_ != RecordPool::kNone) {
    Page& first = pool_->page(head_);
    if (at_or_before(SeqNumber(first.seq[first.end]), ack)) {
      pop_records(state, first, first.end);
      pop_page();
      continue;
    }
    pop_records(state, first, records_until(first, ack));
    una_ = ack;
    trim_first(state, ack);
    break;
  }
  una_ = ack;
  cursor_ = later(cursor_, una_);
  lost_first_ = later(lost_first_, una_);
  highest_ = later(highest_, una_);
  if (empty()) release_all();
}

// The first record is acknowledged in part.
void Scoreboard::trim_first(AckState& state, SeqNumber ack) {
  Page& first = pool_->page(head_);
  const std::uint32_t bytes = ack.value - first.seq[first.begin];
  if (bytes == 0) return;
  const std::uint64_t bit = std::uint64_t{1} << first.begin;
  if ((first.sacked & bit) != 0) {
    sacked_ -= bytes;
    state.report.unsacked += bytes;
  } else if ((first.lost & bit) != 0) {
    lost_ -= bytes;
  }
  if (((first.sacked | first.resent) & bit) == 0) state.report.original += bytes;
  first.seq[first.begin] = ack.value;
}

// RFC 2883 §4: the first block tells of a duplicate if it lies below the ACK, or within the second
// block. Returns whether it speaks for a reordering window that is too small.
bool Scoreboard::take_duplicate(AckState& state, SeqNumber ack,
                                std::span<const wire::SackBlock> sacks) {
  // Further below the ACK than any window is nonsense.
  constexpr std::uint32_t kOldest = 1u << 30;
  const wire::SackBlock& block = sacks[0];
  if (!before(block.begin, block.end)) return false;
  const bool below = at_or_before(block.end, ack) && ack - block.begin <= kOldest;
  const bool inside = sacks.size() > 1 && at_or_before(sacks[1].begin, block.begin) &&
                      at_or_before(block.end, sacks[1].end) && at_or_before(una_, block.begin) &&
                      at_or_before(block.end, nxt_);
  if (!below && !inside) return false;
  state.report.dsack = true;
  state.report.duplicate = block;
  const std::uint32_t bytes = block.end - block.begin;
  // More than was sent twice: the network doubled it, or the peer lies.
  if (bytes > duplicate_credit_) return false;
  duplicate_credit_ -= bytes;
  if (in_episode_ && episode_resent_ > 0 && at_or_before(episode_began_, block.begin) &&
      at_or_before(block.end, episode_highest_)) {
    episode_resent_ -= std::min(bytes, episode_resent_);
    state.report.spurious = episode_resent_ == 0;
  }
  return block.begin != probe_begin_ || block.end != probe_end_;
}

void Scoreboard::take_sacks(AckState& state, std::span<const wire::SackBlock> sacks) {
  std::array<wire::SackBlock, 4> taken;
  std::uint32_t count = 0;
  for (const wire::SackBlock& given : sacks.first(std::min(sacks.size(), taken.size()))) {
    wire::SackBlock block = given;
    if (!before(block.begin, block.end) || after(block.end, nxt_)) {
      state.report.nonsense = true;
      continue;
    }
    // An old ACK's: nothing new.
    if (at_or_before(block.end, una_)) continue;
    block.begin = later(block.begin, una_);
    take_block(state, block);
    if (before(block.begin, block.end)) taken[count++] = block;
  }
  known_ = taken;
  known_count_ = sacked_ == 0 ? 0 : static_cast<std::uint8_t>(count);
}

// Marks what isn't known of the ACK before. Leaves in `block` what is marked now: whole records.
void Scoreboard::take_block(AckState& state, wire::SackBlock& block) {
  const std::span<const wire::SackBlock> known(known_.data(), known_count_);
  SeqNumber at = block.begin;
  SeqNumber marked_end = block.begin;
  bool any = false;
  // Each known block is skipped once and ends a stretch once.
  for (std::uint32_t turn = 0; turn < 2 * known_.size() + 1 && before(at, block.end); ++turn) {
    wire::SackBlock stretch{at, block.end};
    const wire::SackBlock* covering = nullptr;
    for (const wire::SackBlock& k : known) {
      if (at_or_before(k.begin, at) && before(at, k.end)) covering = &k;
      if (after(k.begin, at)) stretch.end = sooner(stretch.end, k.begin);
    }
    if (covering != nullptr) {
      if (!any) block.begin = at;
      at = covering->end;
      marked_end = sooner(at, block.end);
      any = true;
      continue;
    }
    at = stretch.end;
    mark_sacked(state, stretch);
    if (!before(stretch.begin, stretch.end)) continue;
    if (!any) block.begin = stretch.begin;
    marked_end = stretch.end;
    any = true;
  }
  block.end = any ? marked_end : block.begin;
}

// Marks the records that lie within `block`, and leaves in it where they begin and end.
void Scoreboard::mark_sacked(AckState& state, wire::SackBlock& block) {
  const Place place = find(block.begin);
  std::uint32_t from = place.index;
  if (page(place.entry).seq[from] != block.begin.value) ++from;
  bool any = false;
  for (std::uint32_t i = place.entry; i < directory_end_; ++i) {
    Page& in = page(i);
    if (i != place.entry) from = in.begin;
    std::uint32_t end = in.end;
    if (after(SeqNumber(in.seq[end]), block.end)) {
      // The last record that begins at the block's end or before it isn't within.
      end = from;
      std::uint32_t count = in.end - from;
      while (count > 1) {
        const std::uint32_t half = count / 2;
        end += at_or_before(SeqNumber(in.seq[end + half]), block.end) ? half : 0;
        count -= half;
      }
    }
    if (from < end) {
      if (!any) block.begin = SeqNumber(in.seq[from]);
      any = true;
      const std::uint64_t fresh = bit_range(from, end) & ~in.sacked;
      if (fresh != 0) {
        hint_ = i;
        const std::uint32_t bytes = bytes_of(in, fresh);
        if ((in.lost & fresh) != 0) {
          lost_ -= bytes_of(in, in.lost & fresh);
          in.lost &= ~fresh;
        }
        in.sacked |= fresh;
        sacked_ += bytes;
        sacked_count_ += static_cast<std::uint32_t>(std::popcount(fresh));
        state.report.sacked += bytes;
        deliver(state, in, fresh, false);
      }
    }
    if (end < in.end || in.seq[end] == block.end.value) {
      if (any) block.end = SeqNumber(in.seq[end]);
      break;
    }
  }
  if (!any) block.end = block.begin;
}

}  // namespace penstock::transport
