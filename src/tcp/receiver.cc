#include "tcp/receiver.hh"

#include <algorithm>
#include <cstring>

#include "base/assert.hh"
#include "tcp/shared.hh"

namespace penstock::tcp {

namespace {

constexpr std::uint32_t kPage = PagePool::kPageSize;
constexpr std::uint32_t kSlots = kPage / sizeof(std::uint32_t);

// The window, which a scaled field may round up, touches no two pages of one slot.
static_assert(kReceiveWindowMost + 128 <= (kSlots - 1) * kPage);

}  // namespace

Receiver::~Receiver() {
  discard();
}

wire::SackBlock* Receiver::islands() const {
  return reinterpret_cast<wire::SackBlock*>(shared_->receive_pages.at(island_page_));
}

std::uint32_t& Receiver::slot(SeqNumber seq) const {
  auto* slots = reinterpret_cast<std::uint32_t*>(shared_->receive_pages.at(directory_));
  return slots[seq.value / kPage % kSlots];
}

const wire::SackBlock* Receiver::island_with(SeqNumber at) const {
  if (island_count_ == 0) return nullptr;
  const wire::SackBlock* first = islands();
  const wire::SackBlock* last = first + island_count_;
  // The first that ends after `at`.
  const auto* found = std::partition_point(
      first, last, [at](const wire::SackBlock& i) { return at_or_before(i.end, at); });
  return found != last && at_or_before(found->begin, at) ? found : nullptr;
}

void Receiver::remember(SeqNumber at) {
  const wire::SackBlock* island = island_with(at);
  DCHECK(island != nullptr);
  // Those in the same island are the same block: one is enough.
  std::array<SeqNumber, kRecent> kept;
  std::size_t count = 0;
  kept[count++] = at;
  for (std::size_t i = 0; i < recent_count_ && count < kRecent; ++i)
    if (!within(recent_[i], island->begin, island->end - island->begin)) kept[count++] = recent_[i];
  recent_ = kept;
  recent_count_ = static_cast<std::uint8_t>(count);
}

// Has pages for [seq, seq + length), or says why not; all or nothing.
DropReason Receiver::reserve(SeqNumber seq, std::uint32_t length) {
  PagePool& pool = shared_->receive_pages;
  if (directory_ == kNoPage) {
    directory_ = pool.take();
    if (directory_ == kNoPage) return DropReason::no_page;
    std::memset(pool.at(directory_), 0xff, kPage);
  }
  const std::uint32_t first = seq.value / kPage;
  const std::uint32_t count = (seq.value % kPage + length + kPage - 1) / kPage;
  for (std::uint32_t i = 0; i < count; ++i) {
    std::uint32_t& page = slot(SeqNumber((first + i) * kPage));
    if (page != kNoPage) continue;
    page = pool.take_share(page_count_);
    if (page == kNoPage) {
      // What was taken stays in its slot: free_before and release_if_empty find it.
      return DropReason::no_page;
    }
    ++page_count_;
  }
  return DropReason::none;
}

DropReason Receiver::store(SeqNumber seq, std::span<const std::byte> bytes) {
  const DropReason reason = reserve(seq, static_cast<std::uint32_t>(bytes.size()));
  if (reason != DropReason::none) {
    ++shared_->counters.page_shortages;
    return reason;
  }
  while (!bytes.empty()) {
    const std::uint32_t at = seq.value % kPage;
    const std::size_t length = std::min<std::size_t>(bytes.size(), kPage - at);
    std::memcpy(shared_->receive_pages.at(slot(seq)) + at, bytes.data(), length);
    bytes = bytes.subspan(length);
    seq += static_cast<std::uint32_t>(length);
  }
  return DropReason::none;
}

// Makes [begin, end) part of the islands, joined with those that it touches.
void Receiver::insert(SeqNumber begin, SeqNumber end, bool& duplicate) {
  wire::SackBlock* first = islands();
  wire::SackBlock* last = first + island_count_;
  // Those that touch it: [low, high).
  wire::SackBlock* low = std::partition_point(
      first, last, [begin](const wire::SackBlock& i) { return before(i.end, begin); });
  wire::SackBlock* high = low;
  for (; high != last && at_or_before(high->begin, end); ++high) {
    const SeqNumber from = later(begin, high->begin);
    const SeqNumber to = sooner(end, high->end);
    if (before(from, to) && !duplicate) {
      duplicate = true;
      on_duplicate(from, to);
    }
  }
  if (low == high) {
    std::memmove(low + 1, low, static_cast<std::size_t>(last - low) * sizeof *low);
    *low = {begin, end};
    ++island_count_;
    return;
  }
  low->begin = sooner(low->begin, begin);
  low->end = later((high - 1)->end, end);
  std::memmove(low + 1, high, static_cast<std::size_t>(last - high) * sizeof *low);
  island_count_ = static_cast<std::uint16_t>(island_count_ - (high - low - 1));
}

// Islands that next() has reached are none any more.
void Receiver::absorb() {
  if (island_count_ == 0) return;
  wire::SackBlock* first = islands();
  std::uint32_t gone = 0;
  while (gone < island_count_ && at_or_before(first[gone].begin, next_)) {
    next_ = later(next_, first[gone].end);
    ++gone;
  }
  if (gone == 0) return;
  island_count_ = static_cast<std::uint16_t>(island_count_ - gone);
  std::memmove(first, first + gone, island_count_ * sizeof *first);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < recent_count_; ++i)
    if (after(recent_[i], next_)) recent_[kept++] = recent_[i];
  recent_count_ = static_cast<std::uint8_t>(kept);
}

void Receiver::on_duplicate(SeqNumber begin, SeqNumber end) {
  dsack_ = true;
  dsack_block_ = {begin, end};
}

Receiver::Arrival Receiver::on_payload(SeqNumber seq, std::span<const std::byte> payload,
                                       bool reading) {
  Arrival out;
  const SeqNumber end = seq + static_cast<std::uint32_t>(payload.size());
  if (before(seq, next_)) {
    out.duplicate = true;
    on_duplicate(seq, sooner(end, next_));
    if (at_or_before(end, next_)) return out;
    payload = payload.subspan(next_ - seq);
    seq = next_;
  }
  if (seq == next_) {
    if (reading && unread() == 0) {
      direct_ = payload;
    } else {
      out.drop = store(seq, payload);
      if (out.drop != DropReason::none) return out;
    }
    if (island_count_ != 0) {
      const wire::SackBlock& first = *islands();
      out.filled = true;
      if (before(first.begin, end) && !out.duplicate) {
        out.duplicate = true;
        on_duplicate(first.begin, sooner(end, first.end));
      }
    }
    next_ = end;
    absorb();
    out.advanced = true;
    return out;
  }
  out.out_of_order = true;
  if (island_page_ == kNoPage) {
    island_page_ = shared_->receive_pages.take();
    if (island_page_ == kNoPage) {
      out.drop = DropReason::no_page;
      return out;
    }
  }
  // It may need a range of its own.
  if (island_count_ == kIslandsMost && island_with(seq) == nullptr && island_with(end) == nullptr) {
    out.drop = DropReason::too_many_holes;
    return out;
  }
  out.drop = store(seq, payload);
  if (out.drop != DropReason::none) return out;
  insert(seq, end, out.duplicate);
  remember(seq);
  return out;
}

std::span<const std::byte> Receiver::take_unread(bool reading) {
  if (!direct_.empty()) {
    const auto out = direct_;
    direct_ = {};
    taken_ += static_cast<std::uint32_t>(out.size());
    return out;
  }
  if (!reading) return {};
  settle();
  const std::uint32_t at = taken_.value % kPage;
  const std::uint32_t length = std::min(kPage - at, unread());
  std::uint32_t& page = slot(taken_);
  DCHECK(page != kNoPage);
  const std::span<const std::byte> out(shared_->receive_pages.at(page) + at, length);
  taken_ += length;
  // Wholly used: no unread byte and no island is in it.
  const SeqNumber page_end = taken_ - (at + length) + kPage;
  if (at + length == kPage ||
      (taken_ == next_ && (island_count_ == 0 || at_or_before(page_end, islands()->begin)))) {
    lent_ = page;
    page = kNoPage;
    --page_count_;
  }
  return out;
}

void Receiver::settle_pages() {
  if (lent_ != kNoPage) {
    shared_->receive_pages.give_back(lent_);
    lent_ = kNoPage;
  }
  if (directory_ != kNoPage || island_page_ != kNoPage) release_if_empty();
}

void Receiver::release_if_empty() {
  PagePool& pool = shared_->receive_pages;
  if (island_count_ == 0 && island_page_ != kNoPage) {
    pool.give_back(island_page_);
    island_page_ = kNoPage;
  }
  if (island_count_ != 0 || unread() != direct_.size() || directory_ == kNoPage) return;
  // Pages that were reserved for payload which then had no room.
  for (std::uint32_t i = 0; i < kSlots && page_count_ != 0; ++i) {
    std::uint32_t& page = slot(SeqNumber(i * kPage));
    if (page == kNoPage) continue;
    pool.give_back(page);
    --page_count_;
  }
  pool.give_back(directory_);
  directory_ = kNoPage;
}

bool Receiver::keep() {
  if (direct_.empty()) return true;
  if (store(taken_, direct_) != DropReason::none) return false;
  direct_ = {};
  return true;
}

void Receiver::discard() {
  direct_ = {};
  taken_ = next_;
  island_count_ = 0;
  recent_count_ = 0;
  dsack_ = false;
  settle();
}

std::size_t Receiver::sack_count(std::size_t most) const {
  return std::min<std::size_t>(most, std::size_t{dsack_} + recent_count_);
}

std::size_t Receiver::sack_blocks(std::span<wire::SackBlock> out) const {
  std::size_t count = 0;
  if (dsack_ && !out.empty()) out[count++] = dsack_block_;
  for (std::size_t i = 0; i < recent_count_ && count < out.size(); ++i) {
    const wire::SackBlock* island = island_with(recent_[i]);
    DCHECK(island != nullptr);
    out[count++] = *island;
  }
  return count;
}

void Receiver::validate() const {
  ASSERT(at_or_before(taken_, next_));
  ASSERT(direct_.size() <= unread());
  SeqNumber last = next_;
  for (std::uint32_t i = 0; i < island_count_; ++i) {
    const wire::SackBlock& island = islands()[i];
    ASSERT(after(island.begin, last) && before(island.begin, island.end));
    last = island.end;
    for (SeqNumber at = island.begin; before(at, island.end);
         at = SeqNumber((at.value / kPage + 1) * kPage))
      ASSERT(slot(at) != kNoPage);
  }
  for (std::size_t i = 0; i < recent_count_; ++i) {
    const wire::SackBlock* island = island_with(recent_[i]);
    ASSERT(island != nullptr);
    for (std::size_t j = 0; j < i; ++j)
      ASSERT(island_with(recent_[j]) != island);
  }
  if (directory_ == kNoPage) {
    ASSERT(page_count_ == 0 && unread() == direct_.size());
    return;
  }
  std::uint32_t pages = 0;
  for (std::uint32_t i = 0; i < kSlots; ++i)
    pages += slot(SeqNumber(i * kPage)) != kNoPage;
  ASSERT(pages == page_count_);
}

}  // namespace penstock::tcp
