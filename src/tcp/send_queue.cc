#include "tcp/send_queue.hh"

#include <algorithm>
#include <cstring>

#include "base/assert.hh"
#include "tcp/shared.hh"

namespace penstock::tcp {

namespace {

constexpr std::uint32_t kAlign = 8;
// How many references are asked for at once: the reads overlap.
constexpr std::uint8_t kAskAhead = 8;

constexpr std::uint32_t aligned(std::uint32_t bytes) {
  return (bytes + kAlign - 1) & ~(kAlign - 1);
}

}  // namespace

SendQueue::~SendQueue() {
  while (head_.page != kNoPage) {
    const std::uint32_t page = head_.page;
    head_.page = head_of(page).next;
    if (page_idle(shared_->send_pages.at(page)))
      shared_->send_pages.give_back(page);
    else
      shared_->send_pages.park(page);
  }
}

bool SendQueue::page_idle(std::byte* page) {
  const auto& head = *reinterpret_cast<PageHead*>(page);
  if (head.in_use != 0) return false;
  for (std::uint32_t at = head.begin; at < head.end;) {
    const auto& entry = *reinterpret_cast<Entry*>(page + at);
    if (entry.kind == kReference && reinterpret_cast<const Reference&>(entry).in_use != 0)
      return false;
    at += entry.size;
  }
  return true;
}

SendQueue::PageHead& SendQueue::head_of(std::uint32_t page) const {
  return *reinterpret_cast<PageHead*>(shared_->send_pages.at(page));
}

SendQueue::Entry& SendQueue::entry_at(const Place& place) const {
  return *reinterpret_cast<Entry*>(shared_->send_pages.at(place.page) + place.offset);
}

SendQueue::Reference* SendQueue::reference_at(const Place& place) const {
  Entry& entry = entry_at(place);
  return entry.kind == kReference ? reinterpret_cast<Reference*>(&entry) : nullptr;
}

bool SendQueue::advance(Place& place) const {
  const Entry& entry = entry_at(place);
  const PageHead& head = head_of(place.page);
  if (place.offset + entry.size < head.end) {
    place.seq += entry.length;
    place.offset += entry.size;
    return true;
  }
  if (head.next == kNoPage) return false;
  place.seq += entry.length;
  place.page = head.next;
  place.offset = head_of(place.page).begin;
  return true;
}

// Moves `place` to the entry that `seq` lies in: head_seq_ <= seq < end_.
void SendQueue::locate(Place& place, SeqNumber seq) const {
  if (place.page == kNoPage || !after(place.seq, head_seq_) || after(place.seq, seq)) place = head_;
  // Whole pages first.
  for (std::uint32_t next = head_of(place.page).next;
       next != kNoPage && at_or_before(head_of(next).seq, seq); next = head_of(next).next)
    place = {next, head_of(next).begin, head_of(next).seq};
  while (seq - place.seq >= entry_at(place).length) {
    const bool more = advance(place);
    DCHECK(more);
    static_cast<void>(more);
  }
}

bool SendQueue::has_page() const {
  return shared_->send_pages.has_share(page_count_);
}

std::size_t SendQueue::room() const {
  const std::uint32_t most = shared_->limits().send_buffer;
  return queued() >= most ? 0 : most - queued();
}

// Space for an entry at the end of the last page, or in a new one.
std::byte* SendQueue::make_room(std::size_t bytes) {
  if (tail_ != kNoPage && head_of(tail_).end + bytes <= PagePool::kPageSize) {
    PageHead& head = head_of(tail_);
    last_offset_ = head.end;
    head.end = static_cast<std::uint16_t>(head.end + bytes);
    return shared_->send_pages.at(tail_) + last_offset_;
  }
  const std::uint32_t page = shared_->take_send_page(page_count_);
  if (page == kNoPage) {
    starved_ = true;
    return nullptr;
  }
  PageHead& head = head_of(page);
  head = {.next = kNoPage,
          .in_use = 0,
          .seq = end_,
          .begin = sizeof(PageHead),
          .end = static_cast<std::uint16_t>(sizeof(PageHead) + bytes)};
  if (tail_ == kNoPage)
    head_ = {page, head.begin, end_};
  else
    head_of(tail_).next = page;
  tail_ = page;
  ++page_count_;
  last_offset_ = head.begin;
  return shared_->send_pages.at(page) + head.begin;
}

bool SendQueue::append_small(const std::byte* data, std::uint32_t length, std::uint32_t& taken) {
  taken = 0;
  while (taken < length) {
    // Room behind the last entry, if that is small: it grows.
    if (tail_ != kNoPage) {
      PageHead& head = head_of(tail_);
      Entry& last = entry_at({tail_, last_offset_, end_});
      const auto used = static_cast<std::uint32_t>(last_offset_ + sizeof(Entry) + last.length);
      if (last.kind == kSmall && used < PagePool::kPageSize) {
        const auto more = std::min<std::uint32_t>(length - taken, PagePool::kPageSize - used);
        std::memcpy(shared_->send_pages.at(tail_) + used, data + taken, more);
        last.length += more;
        last.size = static_cast<std::uint16_t>(aligned(sizeof(Entry) + last.length));
        head.end = static_cast<std::uint16_t>(last_offset_ + last.size);
        taken += more;
        end_ += more;
        continue;
      }
    }
    const auto first = std::min<std::uint32_t>(length - taken, kAlign);
    std::byte* at = make_room(sizeof(Entry) + kAlign);
    if (at == nullptr) return false;
    *reinterpret_cast<Entry*>(at) = {
        .length = first, .size = sizeof(Entry) + kAlign, .kind = kSmall, .flags = 0};
    std::memcpy(at + sizeof(Entry), data + taken, first);
    taken += first;
    end_ += first;
  }
  return true;
}

bool SendQueue::append_reference(const SendPart& part) {
  std::byte* at = make_room(sizeof(Reference));
  if (at == nullptr) return false;
  *reinterpret_cast<Reference*>(at) = {
      .entry = {.length = part.length, .size = sizeof(Reference), .kind = kReference, .flags = 0},
      .data = part.data,
      .pin = part.pin,
      .offset = part.content.offset,
      .torrent = part.content.torrent,
      .in_use = 0};
  end_ += part.length;
  return true;
}

std::size_t SendQueue::append(std::span<const SendPart> parts) {
  starved_ = false;
  std::size_t accepted = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const SendPart& part = parts[i];
    if (part.length == 0) continue;
    const bool by_reference = part.kind != SendPart::Kind::small && part.pin != 0;
    // The parts of a pin go together, beyond the limit if need be: a block at most.
    const bool goes_on = by_reference && i > 0 && parts[i - 1].pin == part.pin;
    const std::size_t left = room();
    if (left == 0 && !goes_on) break;
    if (by_reference) {
      if (!append_reference(part)) break;
      accepted += part.length;
      continue;
    }
    const auto length = static_cast<std::uint32_t>(std::min<std::size_t>(part.length, left));
    std::uint32_t taken = 0;
    const bool whole = append_small(part.data, length, taken);
    accepted += taken;
    if (!whole || taken < part.length) break;
  }
  return accepted;
}

std::uint32_t SendQueue::gather(Cursor which, SeqNumber from, std::uint32_t most, SegmentOut& out) {
  Place& place = which == Cursor::fresh ? fresh_ : again_;
  DCHECK(at_or_before(head_seq_, from) && before(from, end_));
  locate(place, from);
  std::uint32_t skip = from - place.seq;
  std::uint32_t gathered = 0;
  out.part_count = 0;
  for (;;) {
    Entry& entry = entry_at(place);
    PayloadPart& part = out.parts[out.part_count];
    if (entry.kind == kReference) {
      auto& reference = reinterpret_cast<Reference&>(entry);
      if (reference.data == nullptr) {
        ask_from(place);
        break;
      }
      part.data = reference.data + skip;
      part.in_use = &reference.in_use;
    } else {
      part.data = reinterpret_cast<std::byte*>(&entry) + sizeof(Entry) + skip;
      part.in_use = &head_of(place.page).in_use;
    }
    part.length = std::min(entry.length - skip, most - gathered);
    gathered += part.length;
    ++out.part_count;
    skip = 0;
    if (gathered == most || out.part_count == kPartsMax || !advance(place)) break;
  }
  return gathered;
}

void SendQueue::prefetch() const {
  if (head_.page == kNoPage) return;
  const std::byte* head = shared_->send_pages.at(head_.page);
  const std::byte* tail = shared_->send_pages.at(tail_);
  __builtin_prefetch(head);
  __builtin_prefetch(head + head_.offset);
  __builtin_prefetch(head + head_.offset + 64);
  __builtin_prefetch(tail + last_offset_);
  __builtin_prefetch(tail + last_offset_ + 64);
  if (tail != head) __builtin_prefetch(tail);
  if (fresh_.page == kNoPage) return;
  const std::byte* fresh = shared_->send_pages.at(fresh_.page);
  __builtin_prefetch(fresh + fresh_.offset);
  __builtin_prefetch(fresh + fresh_.offset + 64);
  if (fresh != head) __builtin_prefetch(fresh);
}

void SendQueue::give_up() {
  una_ = end_;
  need_left_ = 0;
}

bool SendQueue::shares_pin_with_next(const Place& place) const {
  Place next = place;
  if (!advance(next)) return false;
  const Reference* after_it = reference_at(next);
  return after_it != nullptr && after_it->data != nullptr &&
         after_it->pin == reference_at(place)->pin && (after_it->entry.flags & kOwn) == 0;
}

void SendQueue::pop_head() {
  const Place popped = head_;
  PageHead& page = head_of(popped.page);
  const Entry& entry = entry_at(popped);
  head_seq_ = popped.seq + entry.length;
  const std::uint32_t after_it = popped.offset + entry.size;
  if (after_it < page.end) {
    head_ = {popped.page, after_it, head_seq_};
    page.begin = static_cast<std::uint16_t>(after_it);
    page.seq = head_seq_;
  } else {
    page.begin = page.end;
    --page_count_;
    if (page.next == kNoPage) {
      head_ = {};
      tail_ = kNoPage;
    } else {
      head_ = {page.next, head_of(page.next).begin, head_of(page.next).seq};
    }
    if (page.in_use == 0)
      shared_->send_pages.give_back(popped.page);
    else
      shared_->send_pages.park(popped.page);
  }
  // A cursor that stood there.
  for (Place* place : {&fresh_, &again_, &shed_at_, &need_at_})
    if (place->page == popped.page && place->offset == popped.offset) *place = head_;
  if (head_.page == kNoPage) {
    shedding_ = false;
    need_left_ = 0;
  }
}

bool SendQueue::poll_released(std::uint64_t& pin) {
  blocked_ = false;
  if (shedding_ && poll_shed(pin)) return true;
  while (head_.page != kNoPage && at_or_before(head_.seq + entry_at(head_).length, una_)) {
    const Reference* reference = reference_at(head_);
    bool released = false;
    if (reference != nullptr && reference->data != nullptr) {
      if (reference->in_use != 0) {
        blocked_ = true;
        return false;
      }
      released = (reference->entry.flags & kOwn) != 0 || !shares_pin_with_next(head_);
      pin = reference->pin;
    }
    pop_head();
    if (released) return true;
  }
  return false;
}

void SendQueue::shed() {
  if (head_.page == kNoPage) return;
  shedding_ = true;
  shed_at_ = head_;
}

bool SendQueue::poll_shed(std::uint64_t& pin) {
  while (shedding_) {
    Reference* reference = reference_at(shed_at_);
    bool released = false;
    if (reference != nullptr && reference->data != nullptr) {
      if (reference->in_use != 0) {
        blocked_ = true;
        return false;
      }
      released = (reference->entry.flags & kOwn) != 0 || !shares_pin_with_next(shed_at_);
      pin = reference->pin;
      reference->data = nullptr;
      reference->entry.flags = 0;
      ++shared_->counters.shed;
    }
    if (!advance(shed_at_)) shedding_ = false;
    if (released) return true;
  }
  return false;
}

void SendQueue::ask_from(const Place& place) {
  if ((entry_at(place).flags & kAsked) != 0) return;
  need_at_ = place;
  need_left_ = kAskAhead;
}

bool SendQueue::poll_need(std::uint64_t& pin, ContentRef& content) {
  while (need_left_ != 0) {
    --need_left_;
    Reference* reference = reference_at(need_at_);
    if (!advance(need_at_)) need_left_ = 0;
    if (reference == nullptr || reference->data != nullptr ||
        (reference->entry.flags & kAsked) != 0)
      continue;
    reference->entry.flags |= kAsked;
    pin = reference->pin;
    content = {reference->torrent, reference->entry.length, reference->offset};
    ++shared_->counters.needed;
    return true;
  }
  return false;
}

bool SendQueue::on_content(std::uint64_t pin, const ContentRef& content, const std::byte* data) {
  if (head_.page == kNoPage) return false;
  Place place = head_;
  do {
    Reference* reference = reference_at(place);
    if (reference == nullptr || reference->data != nullptr ||
        (reference->entry.flags & kAsked) == 0 || reference->pin != pin ||
        reference->offset != content.offset || reference->torrent != content.torrent)
      continue;
    if (at_or_before(place.seq + reference->entry.length, una_)) return false;
    reference->data = data;
    reference->entry.flags = kOwn;
    return true;
  } while (advance(place));
  return false;
}

void SendQueue::validate() const {
  if (head_.page == kNoPage) {
    ASSERT(tail_ == kNoPage && head_seq_ == end_ && page_count_ == 0);
    return;
  }
  ASSERT(at_or_before(head_seq_, una_) || head_seq_ == una_);
  Place place = head_;
  ASSERT(place.seq == head_seq_ && place.offset == head_of(place.page).begin);
  SeqNumber seq = head_seq_;
  do {
    ASSERT(place.seq == seq);
    const Entry& entry = entry_at(place);
    ASSERT(entry.length > 0 && entry.size % kAlign == 0);
    ASSERT(entry.kind == kReference ? entry.size == sizeof(Reference)
                                    : entry.size >= sizeof(Entry) + entry.length);
    seq += entry.length;
  } while (advance(place));
  ASSERT(seq == end_);
  std::uint32_t pages = 0;
  for (std::uint32_t page = head_.page; page != kNoPage; page = head_of(page).next)
    ++pages;
  ASSERT(pages == page_count_);
  ASSERT(place.page == tail_ && place.offset == last_offset_);
}

}  // namespace penstock::tcp
