// What is lost, and what goes again (scoreboard.hh): RACK (RFC 8985), retransmissions, undo.
//
// RACK: a transmission is lost when one sent after it is known delivered and RACK.rtt and the
// reordering window have passed since it was sent. The window is min_rtt / 4, times 1 more for each
// round trip that brought a DSACK (for 16 recoveries), at most SRTT; none in recovery or with three
// records SACKed as long as no reordering was ever seen.
//
// Without a page for the queue of retransmissions, RACK doesn't judge those: the RTO does.
#include <algorithm>

#include "transport/record_bits.hh"
#include "transport/scoreboard.hh"

namespace penstock::transport {
namespace {

constexpr std::uint32_t kDupThresh = 3;
constexpr std::uint8_t kPersist = 16;

std::uint32_t saturating_add(std::uint32_t a, std::uint32_t b) {
  return a + b < a ? ~0u : a + b;
}

}  // namespace

// RACK_sent_after(newest, this), RFC 8985 §6.2.
bool Scoreboard::sent_before_newest(Instant sent, SeqNumber end) const {
  return sent < newest_sent_ || (sent == newest_sent_ && before(end, newest_end_));
}

// RACK_update_reo_wnd, RFC 8985 §6.2 step 4.
Duration Scoreboard::reorder_window(const RttEstimator& rtt) const {
  if (!reordering_seen_ && (in_recovery_ || sacked_count_ >= kDupThresh)) return {};
  const Duration least = rtt.has_sample() ? rtt.least() : newest_rtt_;
  const Duration smoothed = rtt.has_sample() ? rtt.smoothed() : newest_rtt_;
  return std::min(least * reorder_multiple_ / 4, smoothed);
}

void Scoreboard::adapt_reorder_window(bool duplicate, bool in_recovery) {
  if (in_duplicate_round_ && at_or_before(duplicate_round_, una_)) in_duplicate_round_ = false;
  if (!in_duplicate_round_ && duplicate) {
    in_duplicate_round_ = true;
    duplicate_round_ = nxt_;
    if (reorder_multiple_ < 255) ++reorder_multiple_;
    reorder_persist_ = kPersist;
  } else if (in_recovery_ && !in_recovery && reorder_persist_ > 0 && --reorder_persist_ == 0) {
    reorder_multiple_ = 1;
  }
  in_recovery_ = in_recovery;
}

// RACK_detect_loss, RFC 8985 §6.2 step 5.
void Scoreboard::detect_losses(Instant now, const RttEstimator& rtt, AckReport& report) {
  deadline_ = Instant::never();
  if (!rack_ || empty() || newest_sent_.ns < 0) return;
  const Duration patience = newest_rtt_ + reorder_window(rtt);
  judge_resent(now - patience, report);
  judge_originals(now - patience, report);
  if (deadline_ != Instant::never()) deadline_ = deadline_ + patience;
}

// deadline_: of when the first suspect was sent, here.
void Scoreboard::judge_originals(Instant overdue, AckReport& report) {
  if (cursor_ == nxt_) return;
  Place place;
  if (cursor_ == una_) {
    const Page& first = pool_->page(head_);
    const std::uint32_t k = first.begin;
    // Nothing sent later came: the usual case, and then the directory isn't needed.
    if (((first.sacked | first.lost | first.resent) >> k & 1) == 0 &&
        !sent_before_newest(Instant{first.sent[k]}, SeqNumber(first.seq[k + 1])))
      return;
    place = {directory_begin_, k};
  } else {
    place = find(cursor_);
  }
  std::uint32_t from = place.index;
  for (std::uint32_t i = place.entry; i < directory_end_; ++i) {
    Page& in = page(i);
    if (i != place.entry) from = in.begin;
    std::uint64_t open = bit_range(from, in.end) & ~(in.sacked | in.lost | in.resent);
    std::uint64_t lost = 0;
    bool stop = false;
    for (; open != 0; open &= open - 1) {
      const std::uint32_t k = lowest_bit(open);
      const Instant sent{in.sent[k]};
      stop = true;
      cursor_ = SeqNumber(in.seq[k]);
      if (!sent_before_newest(sent, SeqNumber(in.seq[k + 1]))) break;
      if (sent > overdue) {
        deadline_ = earlier(deadline_, sent);
        break;
      }
      lost |= std::uint64_t{1} << k;
      stop = false;
    }
    if (lost != 0) {
      report.lost += bytes_of(in, lost);
      mark_lost(in, lost);
    }
    if (stop) return;
  }
  cursor_ = nxt_;
}

void Scoreboard::judge_resent(Instant overdue, AckReport& report) {
  while (resent_head_ != RecordPool::kNone) {
    RecordPool::Queue& queue = pool_->queue(resent_head_);
    RecordPool::Range& range = queue.ranges[queue.begin];
    const Instant sent{range.sent};
    const SeqNumber end(range.end);
    SeqNumber at = later(SeqNumber(range.begin), una_);
    if (before(at, end)) {
      if (newest_sent_ < sent) return;
      // Records of the range that weren't delivered, lost or sent again since.
      for (Place place = find(at); before(at, end);) {
        Page& in = page(place.entry);
        const std::uint32_t k = place.index;
        const std::uint64_t bit = std::uint64_t{1} << k;
        if ((in.resent & ~(in.sacked | in.lost) & bit) != 0 && in.sent[k] == range.sent) {
          range.begin = in.seq[k];
          if (!sent_before_newest(sent, SeqNumber(in.seq[k + 1]))) return;
          if (sent > overdue) {
            deadline_ = earlier(deadline_, sent);
            return;
          }
          const std::uint32_t bytes = in.seq[k + 1] - in.seq[k];
          report.lost += bytes;
          report.lost_again += bytes;
          mark_lost(in, bit);
        }
        at = SeqNumber(in.seq[k + 1]);
        if (++place.index == in.end && ++place.entry < directory_end_)
          place.index = page(place.entry).begin;
      }
    }
    if (++queue.begin == queue.end) pop_resent_page();
  }
}

void Scoreboard::mark_lost(Page& page, std::uint64_t mask) {
  const SeqNumber first(page.seq[lowest_bit(mask)]);
  lost_first_ = lost_ == 0 ? first : sooner(lost_first_, first);
  lost_end_ = later(lost_end_, SeqNumber(page.seq[highest_bit(mask) + 1]));
  lost_ += bytes_of(page, mask);
  page.lost |= mask;
}

AckReport Scoreboard::on_reorder_timeout(Instant now, const RttEstimator& rtt) {
  AckReport report;
  detect_losses(now, rtt, report);
  return report;
}

void Scoreboard::on_timeout(Instant now, const RttEstimator& rtt, bool reneged) {
  const Instant overdue = now - (newest_rtt_ + reorder_window(rtt));
  for (std::uint32_t i = directory_begin_; i < directory_end_; ++i) {
    Page& in = page(i);
    if (reneged) {
      sacked_ -= bytes_of(in, in.sacked);
      in.sacked = 0;
    }
    std::uint64_t lost = 0;
    for (std::uint64_t open = bit_range(in.begin, in.end) & ~(in.sacked | in.lost); open != 0;
         open &= open - 1) {
      const std::uint32_t k = lowest_bit(open);
      const bool first = i == directory_begin_ && k == in.begin;
      if (first || reneged || !rack_ || Instant{in.sent[k]} <= overdue)
        lost |= std::uint64_t{1} << k;
    }
    if (lost != 0) mark_lost(in, lost);
  }
  if (reneged) {
    sacked_count_ = 0;
    known_count_ = 0;
    highest_ = una_;
  }
  deadline_ = Instant::never();
}

std::uint32_t Scoreboard::mark_first_lost() {
  if (empty()) return 0;
  Page& first = pool_->page(head_);
  const std::uint64_t bit = std::uint64_t{1} << first.begin;
  if (((first.sacked | first.lost) & bit) != 0) return 0;
  mark_lost(first, bit);
  return bytes_of(first, bit);
}

void Scoreboard::undo_lost(Instant now) {
  if (lost_ == 0) return;
  for (std::uint32_t i = directory_begin_; i < directory_end_; ++i) {
    Page& in = page(i);
    // RACK's queue has forgotten these, and they would be out of its order.
    for (std::uint64_t again = in.lost & in.resent; again != 0; again &= again - 1) {
      const std::uint32_t k = lowest_bit(again);
      in.sent[k] = now.ns;
      push_resent(now, SeqNumber(in.seq[k]), SeqNumber(in.seq[k + 1]));
    }
    in.lost = 0;
  }
  lost_ = 0;
  lost_first_ = nxt_;
  cursor_ = una_;
}

void Scoreboard::begin_episode() {
  in_episode_ = true;
  episode_began_ = una_;
  episode_highest_ = una_;
  episode_resent_ = 0;
  lost_end_ = una_;
}

bool Scoreboard::next_lost(std::uint32_t most, Lost& out) {
  if (lost_ == 0 || most == 0) return false;
  Place place = find(lost_first_);
  std::uint64_t ahead = page(place.entry).lost & ~bit_range(0, place.index);
  // There is one: lost_ > 0, and none lies below.
  while (ahead == 0)
    ahead = page(++place.entry).lost;
  std::uint32_t from = lowest_bit(ahead);
  out.seq = SeqNumber(page(place.entry).seq[from]);
  lost_first_ = out.seq;
  hint_ = place.entry;
  out.length = 0;
  // A run of records, on to the next page where it reaches its end.
  for (;;) {
    const Page& in = page(place.entry);
    const std::uint32_t end = run_end(in.lost, from);
    for (std::uint32_t i = from; i < end; ++i) {
      const std::uint32_t length = in.seq[i + 1] - out.seq.value;
      if (length > most) {
        if (out.length == 0) out.length = most;
        return true;
      }
      out.length = length;
    }
    if (end < in.end || ++place.entry == directory_end_) return true;
    from = page(place.entry).begin;
    if ((page(place.entry).lost >> from & 1) == 0) return true;
  }
}

bool Scoreboard::last_sent(std::uint32_t most, Lost& out) const {
  if (empty() || most == 0) return false;
  const Page& last = pool_->page(tail_);
  if ((last.sacked >> (last.end - 1) & 1) != 0) return false;
  out.length = std::min(nxt_.value - last.seq[last.end - 1], most);
  out.seq = nxt_ - out.length;
  return true;
}

void Scoreboard::on_resent(Instant now, const Lost& sent) {
  DCHECK(sent.length > 0 && at_or_before(una_, sent.seq) &&
         at_or_before(sent.seq + sent.length, nxt_));
  // Where there is no memory to cut, whole records count as sent again: what wasn't is found lost
  // later.
  (void)cut(sent.seq);
  (void)cut(sent.seq + sent.length);
  const SeqNumber end = sent.seq + sent.length;
  Place place = find(sent.seq);
  const SeqNumber begin(page(place.entry).seq[place.index]);
  SeqNumber at = begin;
  while (before(at, end)) {
    Page& in = page(place.entry);
    const std::uint32_t k = place.index;
    const std::uint64_t bit = std::uint64_t{1} << k;
    at = SeqNumber(in.seq[k + 1]);
    if ((in.sacked & bit) == 0) {
      if ((in.lost & bit) != 0) lost_ -= in.seq[k + 1] - in.seq[k];
      in.lost &= ~bit;
      in.resent |= bit;
      in.sent[k] = now.ns;
    }
    if (++place.index == in.end && ++place.entry < directory_end_)
      place.index = page(place.entry).begin;
  }
  push_resent(now, begin, at);
  duplicate_credit_ = saturating_add(duplicate_credit_, sent.length);
  if (in_episode_) {
    episode_resent_ = saturating_add(episode_resent_, sent.length);
    episode_highest_ = later(episode_highest_, end);
  }
}

void Scoreboard::on_probed(Instant now, const Lost& sent) {
  on_resent(now, sent);
  probe_begin_ = sent.seq;
  probe_end_ = sent.seq + sent.length;
}

void Scoreboard::push_resent(Instant now, SeqNumber begin, SeqNumber end) {
  if (resent_tail_ != RecordPool::kNone) {
    RecordPool::Queue& queue = pool_->queue(resent_tail_);
    RecordPool::Range& last = queue.ranges[queue.end - 1];
    if (last.sent == now.ns && last.end == begin.value) {
      last.end = end.value;
      return;
    }
    if (queue.end < RecordPool::kRanges) {
      queue.ranges[queue.end++] = {begin.value, end.value, now.ns};
      return;
    }
  }
  const std::uint32_t index = pool_->take();
  if (index == RecordPool::kNone) return;
  RecordPool::Queue& fresh = pool_->queue(index);
  fresh.next = RecordPool::kNone;
  fresh.begin = 0;
  fresh.end = 1;
  fresh.ranges[0] = {begin.value, end.value, now.ns};
  if (resent_tail_ != RecordPool::kNone)
    pool_->queue(resent_tail_).next = index;
  else
    resent_head_ = index;
  resent_tail_ = index;
}

void Scoreboard::pop_resent_page() {
  const std::uint32_t next = pool_->queue(resent_head_).next;
  pool_->give(resent_head_);
  resent_head_ = next;
  if (next == RecordPool::kNone) resent_tail_ = RecordPool::kNone;
}

}  // namespace penstock::transport
