// Requests in the order they came, in pages of a pool that all sessions of a shard share, so that
// a session without requests holds no memory.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/assert.hh"
#include "base/strong.hh"

namespace penstock {

// A block or a part of one, as REQUEST, CANCEL and REJECT name it.
struct Request {
  PieceIndex piece;
  std::uint32_t begin = 0;   // in the piece, bytes
  std::uint32_t length = 0;  // bytes, 1 … kBlockSize

  bool operator==(const Request&) const = default;
};

inline constexpr std::uint32_t kPageNone = 0xffffffff;
// Bytes that a page holds. Also the longest extended message that is read as a whole.
inline constexpr std::size_t kSessionPageSize = 1008;

// Pages for the queues of sessions and for the few messages that must be assembled.
//
// Owner: the shard; outlives its sessions. All memory is taken by the constructor. A page in use is
// in one queue of one session. The last `reserve` pages go to those who have none yet, so that
// peers who ask for much and read nothing can't take the pool from the others.
class SessionPages {
 public:
  explicit SessionPages(std::uint32_t count, std::uint32_t reserve = 0)
      : pages_(std::make_unique_for_overwrite<Page[]>(count)), count_(count), reserve_(reserve) {}

  // kPageNone when all are in use.
  std::uint32_t take() {
    std::uint32_t page = free_;
    if (page != kPageNone) {
      free_ = pages_[page].next;
    } else {
      // A page that was never used: its memory isn't touched (and not resident) before.
      if (fresh_ == count_) return kPageNone;
      page = fresh_++;
    }
    pages_[page].next = kPageNone;
    ++used_count_;
    return page;
  }
  // One more for who has one.
  std::uint32_t take_more() { return free_count() > reserve_ ? take() : kPageNone; }
  void give_back(std::uint32_t page) {
    DCHECK(page < fresh_ && used_count_ > 0);
    pages_[page].next = free_;
    free_ = page;
    --used_count_;
  }
  [[nodiscard]] std::byte* bytes(std::uint32_t page) { return pages_[page].bytes.data(); }
  [[nodiscard]] const std::byte* bytes(std::uint32_t page) const {
    return pages_[page].bytes.data();
  }
  [[nodiscard]] std::uint32_t& next(std::uint32_t page) { return pages_[page].next; }
  [[nodiscard]] std::uint32_t next(std::uint32_t page) const { return pages_[page].next; }
  [[nodiscard]] std::uint32_t free_count() const { return count_ - used_count_; }
  [[nodiscard]] std::uint32_t count() const { return count_; }

 private:
  struct alignas(16) Page {
    std::array<std::byte, kSessionPageSize> bytes;
    std::uint32_t next;
  };
  std::unique_ptr<Page[]> pages_;
  std::uint32_t count_;
  std::uint32_t reserve_;
  std::uint32_t fresh_ = 0;  // pages from here on were never taken
  std::uint32_t used_count_ = 0;
  std::uint32_t free_ = kPageNone;
};

// A queue in such pages. It doesn't know its pool (16 bytes a queue and session): the caller hands
// it in, always the same. Removing from the middle leaves a hole (length 0) that is skipped; when
// there are more holes than entries (and a page of them) the entries move together.
//
// Invariants: size() entries aren't holes; the front is no hole; an empty queue holds no page; at
// most size() + kPerPage holes.
class RequestQueue {
 public:
  static constexpr std::uint32_t kPerPage = kSessionPageSize / sizeof(Request);

  [[nodiscard]] std::uint32_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }

  // False when the pool has no page for it.
  bool push(SessionPages& pages, const Request& request) {
    if (tail_ == kPageNone || tail_at_ == kPerPage) {
      if (!grow(pages)) return false;
    }
    entries(pages, tail_)[tail_at_++] = request;
    ++size_;
    return true;
  }
  // The oldest; not empty.
  [[nodiscard]] const Request& front(const SessionPages& pages) const {
    DCHECK(size_ > 0);
    return entries(pages, head_)[head_at_];
  }
  void pop(SessionPages& pages) {
    DCHECK(size_ > 0);
    --size_;
    ++head_at_;
    skip_holes(pages);
  }
  // Takes out the oldest equal entry; false when there is none.
  bool remove(SessionPages& pages, const Request& request);
  [[nodiscard]] bool contains(const SessionPages& pages, const Request& request) const;
  void clear(SessionPages& pages);
  // Appends all entries of `other`, which is empty afterwards.
  void take_all(SessionPages& pages, RequestQueue& other);
  // Calls visit(request) for the first `count` entries, oldest first, until it says false.
  template <class Visit>
  void for_front(const SessionPages& pages, std::uint32_t count, Visit visit) const {
    std::uint32_t at = head_at_;
    for (std::uint32_t page = head_; page != kPageNone && count > 0;
         page = pages.next(page), at = 0) {
      const Request* const entry = entries(pages, page);
      const std::uint32_t end = page == tail_ ? tail_at_ : kPerPage;
      for (; at < end && count > 0; ++at) {
        if (entry[at].length == 0) continue;
        if (!visit(entry[at])) return;
        --count;
      }
    }
  }
  // Aborts unless the invariants hold.
  void validate(const SessionPages& pages) const;
  [[nodiscard]] std::uint32_t page_count(const SessionPages& pages) const;

 private:
  static Request* entries(SessionPages& pages, std::uint32_t page) {
    return reinterpret_cast<Request*>(pages.bytes(page));
  }
  static const Request* entries(const SessionPages& pages, std::uint32_t page) {
    return reinterpret_cast<const Request*>(pages.bytes(page));
  }
  bool grow(SessionPages& pages);
  void skip_holes(SessionPages& pages);
  void compact(SessionPages& pages);

  std::uint32_t head_ = kPageNone;
  std::uint32_t tail_ = kPageNone;
  std::uint16_t head_at_ = 0;
  std::uint16_t tail_at_ = 0;
  std::uint32_t size_ = 0;
  std::uint32_t holes_ = 0;
};

}  // namespace penstock
