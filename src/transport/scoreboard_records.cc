// Where the records lie: pages, the directory, cutting (scoreboard.hh).
#include <algorithm>
#include <cstring>

#include "transport/record_bits.hh"
#include "transport/scoreboard.hh"

namespace penstock::transport {

Scoreboard::Scoreboard(RecordPool& pool, SeqNumber first)
    : pool_(&pool),
      una_(first),
      nxt_(first),
      newest_end_(first),
      highest_(first),
      cursor_(first),
      lost_first_(first) {}

Scoreboard::~Scoreboard() {
  release_all();
}

RecordPool::Entry& Scoreboard::entry(std::uint32_t i) const {
  DCHECK(i < directory_end_);
  return pool_->directory(directory_[i / RecordPool::kEntries]).entries[i % RecordPool::kEntries];
}

bool Scoreboard::on_sent(Instant now, std::uint32_t length, std::uint16_t mss) {
  DCHECK(length > 0 && mss > 0);
  const std::uint32_t records = length <= mss ? 1 : (length + mss - 1) / mss;
  const std::uint32_t room =
      tail_ == RecordPool::kNone ? 0 : RecordPool::kRecords - pool_->page(tail_).end;
  if (records > room) {
    const std::uint32_t pages = (records - room + RecordPool::kRecords - 1) / RecordPool::kRecords;
    // Directories begin at a multiple of kEntries.
    const std::uint32_t had = (directory_end_ + RecordPool::kEntries - 1) / RecordPool::kEntries;
    const std::uint32_t needed =
        (directory_end_ + pages + RecordPool::kEntries - 1) / RecordPool::kEntries;
    if (needed > kDirectoriesMax || !pool_->has(pages + needed - had)) return false;
  }
  std::uint32_t left = length;
  Page* tail = tail_ == RecordPool::kNone ? nullptr : &pool_->page(tail_);
  for (std::uint32_t i = 0; i < records; ++i) {
    if (tail == nullptr || tail->end == RecordPool::kRecords) {
      [[maybe_unused]] const bool appended = append_page();
      DCHECK(appended);
      tail = &pool_->page(tail_);
    }
    const std::uint32_t size = std::min<std::uint32_t>(left, mss);
    tail->sent[tail->end] = now.ns;
    nxt_ += size;
    left -= size;
    tail->seq[++tail->end] = nxt_.value;
  }
  return true;
}

// Behind the last: an empty page that begins at nxt().
bool Scoreboard::append_page() {
  if (!insert_entry(directory_end_)) return false;
  const std::uint32_t index = pool_->take();
  if (index == RecordPool::kNone) {
    // Nobody may see an entry without a page.
    --directory_end_;
    if (directory_end_ % RecordPool::kEntries == 0)
      pool_->give(directory_[directory_end_ / RecordPool::kEntries]);
    return false;
  }
  Page& fresh = pool_->page(index);
  fresh.sacked = fresh.lost = fresh.resent = 0;
  fresh.begin = fresh.end = 0;
  fresh.seq[0] = nxt_.value;
  entry(directory_end_ - 1) = {nxt_.value, index};
  tail_ = index;
  if (head_ == RecordPool::kNone) head_ = index;
  return true;
}

// The first page's records were all acknowledged.
void Scoreboard::pop_page() {
  pool_->give(head_);
  ++directory_begin_;
  if (directory_begin_ == directory_end_) {
    for (std::uint32_t i = 0; i <= (directory_end_ - 1) / RecordPool::kEntries; ++i)
      pool_->give(directory_[i]);
    directory_begin_ = directory_end_ = 0;
    head_ = tail_ = RecordPool::kNone;
    return;
  }
  if (directory_begin_ == RecordPool::kEntries) {
    pool_->give(directory_[0]);
    std::copy(directory_.begin() + 1, directory_.end(), directory_.begin());
    directory_begin_ = 0;
    directory_end_ -= RecordPool::kEntries;
    hint_ = hint_ < RecordPool::kEntries ? 0 : hint_ - RecordPool::kEntries;
  }
  head_ = entry(directory_begin_).page;
}

// Makes room for an entry before `at`; the caller fills it. False: no page for it.
bool Scoreboard::insert_entry(std::uint32_t at) {
  if (directory_end_ % RecordPool::kEntries == 0) {
    const std::uint32_t slot = directory_end_ / RecordPool::kEntries;
    if (slot == kDirectoriesMax) return false;
    const std::uint32_t index = pool_->take();
    if (index == RecordPool::kNone) return false;
    directory_[slot] = index;
  }
  ++directory_end_;
  for (std::uint32_t i = directory_end_ - 1; i > at; --i)
    entry(i) = entry(i - 1);
  return true;
}

// The upper half of a full page goes to a page of its own.
bool Scoreboard::split_page(std::uint32_t at) {
  constexpr std::uint32_t kHalf = RecordPool::kRecords / 2;
  const std::uint32_t index = pool_->take();
  if (index == RecordPool::kNone) return false;
  if (!insert_entry(at + 1)) {
    pool_->give(index);
    return false;
  }
  Page& lower = page(at);
  Page& upper = pool_->page(index);
  std::copy(lower.seq.begin() + kHalf, lower.seq.end(), upper.seq.begin());
  std::copy(lower.sent.begin() + kHalf, lower.sent.end(), upper.sent.begin());
  upper.sacked = lower.sacked >> kHalf;
  upper.lost = lower.lost >> kHalf;
  upper.resent = lower.resent >> kHalf;
  upper.begin = 0;
  upper.end = RecordPool::kRecords - kHalf;
  const std::uint64_t kept = bit_range(0, kHalf);
  lower.sacked &= kept;
  lower.lost &= kept;
  lower.resent &= kept;
  lower.end = kHalf;
  entry(at + 1) = {upper.seq[0], index};
  if (tail_ == entry(at).page) tail_ = index;
  return true;
}

// una() <= seq < nxt().
Scoreboard::Place Scoreboard::find(SeqNumber seq) const {
  DCHECK(at_or_before(una_, seq) && before(seq, nxt_));
  std::uint32_t at = hint_;
  const bool hit = at >= directory_begin_ && at < directory_end_ &&
                   at_or_before(SeqNumber(entry(at).first), seq) &&
                   (at + 1 == directory_end_ || before(seq, SeqNumber(entry(at + 1).first)));
  if (!hit) {
    // The last entry that begins at seq or before; the first one does.
    at = directory_begin_;
    std::uint32_t count = directory_end_ - directory_begin_;
    while (count > 1) {
      const std::uint32_t half = count / 2;
      if (at_or_before(SeqNumber(entry(at + half).first), seq)) at += half;
      count -= half;
    }
    hint_ = at;
  }
  const Page& in = page(at);
  std::uint32_t index = in.begin;
  std::uint32_t count = in.end - in.begin;
  while (count > 1) {
    const std::uint32_t half = count / 2;
    index += at_or_before(SeqNumber(in.seq[index + half]), seq) ? half : 0;
    count -= half;
  }
  return {at, index};
}

namespace {

// Bit `at` twice, those above one place up.
std::uint64_t double_bit(std::uint64_t word, std::uint32_t at) {
  const std::uint64_t below = word & bit_range(0, at + 1);
  const std::uint64_t from = word & ~bit_range(0, at);
  return below | (from << 1);
}

// Records of a page go to its front.
void move_to_front(RecordPool::Page& page) {
  const std::uint32_t by = page.begin;
  std::copy(page.seq.begin() + by, page.seq.begin() + page.end + 1, page.seq.begin());
  std::copy(page.sent.begin() + by, page.sent.begin() + page.end, page.sent.begin());
  page.sacked >>= by;
  page.lost >>= by;
  page.resent >>= by;
  page.begin = 0;
  page.end -= by;
}

}  // namespace

// A record shall begin at `at`, una() <= at <= nxt(). False: no memory, it is as it was.
bool Scoreboard::cut(SeqNumber at) {
  if (at == nxt_) return true;
  Place place = find(at);
  if (page(place.entry).seq[place.index] == at.value) return true;
  if (page(place.entry).end == RecordPool::kRecords) {
    if (page(place.entry).begin > 0)
      move_to_front(page(place.entry));
    else if (!split_page(place.entry))
      return false;
    place = find(at);
  }
  Page& in = page(place.entry);
  const std::uint32_t i = place.index;
  std::copy_backward(in.seq.begin() + i + 1, in.seq.begin() + in.end + 1,
                     in.seq.begin() + in.end + 2);
  std::copy_backward(in.sent.begin() + i, in.sent.begin() + in.end, in.sent.begin() + in.end + 1);
  in.seq[i + 1] = at.value;
  if ((in.sacked >> i & 1) != 0) ++sacked_count_;
  in.sacked = double_bit(in.sacked, i);
  in.lost = double_bit(in.lost, i);
  in.resent = double_bit(in.resent, i);
  ++in.end;
  return true;
}

void Scoreboard::release_all() {
  while (head_ != RecordPool::kNone)
    pop_page();
  while (resent_head_ != RecordPool::kNone)
    pop_resent_page();
}

Instant Scoreboard::oldest_sent() const {
  if (head_ == RecordPool::kNone) return Instant::never();
  const Page& first = pool_->page(head_);
  return Instant{first.sent[first.begin]};
}

bool Scoreboard::reneged() const {
  if (head_ == RecordPool::kNone) return false;
  const Page& first = pool_->page(head_);
  return (first.sacked >> first.begin & 1) != 0;
}

void Scoreboard::validate() const {
  ASSERT((head_ == RecordPool::kNone) == empty());
  ASSERT(at_or_before(una_, cursor_) && at_or_before(cursor_, nxt_));
  ASSERT(at_or_before(una_, lost_first_) && at_or_before(lost_first_, nxt_));
  SeqNumber at = una_;
  std::uint32_t sacked = 0, lost = 0, sacked_count = 0;
  std::int64_t last_original = -1;
  for (std::uint32_t i = directory_begin_; i < directory_end_; ++i) {
    const Page& in = page(i);
    ASSERT(in.begin < in.end && in.end <= RecordPool::kRecords);
    ASSERT(at_or_before(SeqNumber(entry(i).first), at));
    ASSERT(i == directory_begin_ || entry(i).first == at.value);
    ASSERT(i != directory_begin_ || entry(i).page == head_);
    ASSERT(i + 1 != directory_end_ || entry(i).page == tail_);
    ASSERT(in.seq[in.begin] == at.value);
    const std::uint64_t used = bit_range(in.begin, in.end);
    ASSERT(((in.sacked | in.lost | in.resent) & ~used) == 0);
    ASSERT((in.sacked & in.lost) == 0);
    for (std::uint32_t k = in.begin; k < in.end; ++k) {
      ASSERT(before(SeqNumber(in.seq[k]), SeqNumber(in.seq[k + 1])));
      if ((in.resent >> k & 1) == 0) {
        ASSERT(in.sent[k] >= last_original);
        last_original = in.sent[k];
        const bool decided = ((in.sacked | in.lost) >> k & 1) != 0;
        ASSERT(decided || at_or_before(cursor_, SeqNumber(in.seq[k])));
      }
      ASSERT((in.lost >> k & 1) == 0 || at_or_before(lost_first_, SeqNumber(in.seq[k])));
    }
    sacked += bytes_of(in, in.sacked);
    lost += bytes_of(in, in.lost);
    sacked_count += static_cast<std::uint32_t>(std::popcount(in.sacked));
    at = SeqNumber(in.seq[in.end]);
  }
  ASSERT(at == nxt_);
  ASSERT(sacked == sacked_ && lost == lost_ && sacked_count == sacked_count_);
}

}  // namespace penstock::transport
