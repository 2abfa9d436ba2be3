#include "peer/request_queue.hh"

#include <algorithm>
#include <cstring>
#include <utility>

namespace penstock {

namespace {

// What a removed entry becomes: nobody's request, so that a search passes over it at full speed.
constexpr Request kHole{PieceIndex(0xffffffff), 0xffffffff, 0};

// Where a page's entries from `at` on hold the request; `end` if they don't. Peers may make us look
// through full queues over and over: four entries a step, by one word of each.
std::uint32_t find_in(const Request* entries, std::uint32_t at, std::uint32_t end,
                      const Request& request) {
  static_assert(offsetof(Request, piece) == 0 && offsetof(Request, begin) == 4);
  std::uint64_t key = 0;
  std::memcpy(&key, &request, sizeof key);
  const auto differs = [&](std::uint32_t i) {
    std::uint64_t word = 0;
    std::memcpy(&word, entries + i, sizeof word);
    return word ^ key;
  };
  for (;;) {
    while (at + 4 <= end && differs(at) != 0 && differs(at + 1) != 0 && differs(at + 2) != 0 &&
           differs(at + 3) != 0) {
      at += 4;
    }
    const std::uint32_t stop = std::min(at + 4, end);
    for (; at < stop; ++at) {
      if (differs(at) == 0 && entries[at].length == request.length) return at;
    }
    if (at == end) return at;
  }
}

}  // namespace

bool RequestQueue::grow(SessionPages& pages) {
  const std::uint32_t page = tail_ == kPageNone ? pages.take() : pages.take_more();
  if (page == kPageNone) return false;
  if (tail_ == kPageNone) {
    head_ = page;
    head_at_ = 0;
  } else {
    pages.next(tail_) = page;
  }
  tail_ = page;
  tail_at_ = 0;
  return true;
}

// Moves the front to the next entry that is none of the holes; gives back pages left behind.
void RequestQueue::skip_holes(SessionPages& pages) {
  if (size_ == 0) {
    clear(pages);
    return;
  }
  for (;;) {
    if (head_at_ == kPerPage) {
      const std::uint32_t next = pages.next(head_);
      pages.give_back(head_);
      head_ = next;
      head_at_ = 0;
    }
    if (entries(pages, head_)[head_at_].length != 0) return;
    ++head_at_;
    --holes_;
  }
}

// Each call is paid for by as many calls of remove() as it moves entries.
void RequestQueue::compact(SessionPages& pages) {
  std::uint32_t to = head_;
  std::uint32_t to_at = head_at_;
  std::uint32_t at = head_at_;
  for (std::uint32_t page = head_; page != kPageNone; page = pages.next(page), at = 0) {
    const std::uint32_t end = page == tail_ ? tail_at_ : kPerPage;
    for (; at < end; ++at) {
      const Request request = entries(pages, page)[at];
      if (request.length == 0) continue;
      if (to_at == kPerPage) {
        to = pages.next(to);
        to_at = 0;
      }
      entries(pages, to)[to_at++] = request;
    }
  }
  for (std::uint32_t page = pages.next(to); page != kPageNone;) {
    const std::uint32_t next = pages.next(page);
    pages.give_back(page);
    page = next;
  }
  pages.next(to) = kPageNone;
  tail_ = to;
  tail_at_ = static_cast<std::uint16_t>(to_at);
  holes_ = 0;
}

bool RequestQueue::remove(SessionPages& pages, const Request& request) {
  if (request.length == 0) return false;
  std::uint32_t at = head_at_;
  for (std::uint32_t page = head_; page != kPageNone; page = pages.next(page), at = 0) {
    Request* const entry = entries(pages, page);
    const std::uint32_t end = page == tail_ ? tail_at_ : kPerPage;
    at = find_in(entry, at, end, request);
    if (at == end) continue;
    entry[at] = kHole;
    --size_;
    ++holes_;
    skip_holes(pages);
    if (holes_ > size_ + kPerPage) compact(pages);
    return true;
  }
  return false;
}

bool RequestQueue::contains(const SessionPages& pages, const Request& request) const {
  std::uint32_t at = head_at_;
  for (std::uint32_t page = head_; page != kPageNone; page = pages.next(page), at = 0) {
    const Request* const entry = entries(pages, page);
    const std::uint32_t end = page == tail_ ? tail_at_ : kPerPage;
    if (find_in(entry, at, end, request) != end) return true;
  }
  return false;
}

void RequestQueue::clear(SessionPages& pages) {
  for (std::uint32_t page = head_; page != kPageNone;) {
    const std::uint32_t next = pages.next(page);
    pages.give_back(page);
    page = next;
  }
  *this = RequestQueue{};
}

void RequestQueue::take_all(SessionPages& pages, RequestQueue& other) {
  if (other.empty()) return;
  if (empty()) {
    std::swap(*this, other);
    return;
  }
  // The pages are joined as they are: the unused entries at the seam become holes.
  for (std::uint32_t at = tail_at_; at < kPerPage; ++at)
    entries(pages, tail_)[at].length = 0;
  for (std::uint32_t at = 0; at < other.head_at_; ++at)
    entries(pages, other.head_)[at].length = 0;
  holes_ += kPerPage - tail_at_ + other.head_at_ + other.holes_;
  pages.next(tail_) = other.head_;
  tail_ = other.tail_;
  tail_at_ = other.tail_at_;
  size_ += other.size_;
  other = RequestQueue{};
  if (holes_ > size_ + kPerPage) compact(pages);
}

void RequestQueue::validate(const SessionPages& pages) const {
  if (size_ == 0) {
    ASSERT(head_ == kPageNone && tail_ == kPageNone && holes_ == 0);
    return;
  }
  std::uint32_t counted = 0;
  std::uint32_t holes = 0;
  std::uint32_t at = head_at_;
  ASSERT(entries(pages, head_)[head_at_].length != 0);
  for (std::uint32_t page = head_; page != kPageNone; page = pages.next(page), at = 0) {
    ASSERT(pages.next(page) != kPageNone || page == tail_);
    const std::uint32_t end = page == tail_ ? tail_at_ : kPerPage;
    for (; at < end; ++at) {
      ++(entries(pages, page)[at].length != 0 ? counted : holes);
    }
  }
  ASSERT(counted == size_);
  ASSERT(holes == holes_ && holes <= size_ + kPerPage);
}

std::uint32_t RequestQueue::page_count(const SessionPages& pages) const {
  std::uint32_t count = 0;
  for (std::uint32_t page = head_; page != kPageNone; page = pages.next(page))
    ++count;
  return count;
}

}  // namespace penstock
