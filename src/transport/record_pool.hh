// Memory for the scoreboards of a shard: pages of 832 bytes, allocated at the start.
//
// A page holds 64 records, or 64 entries of a scoreboard's directory, or 48 ranges that were sent
// again. A connection with nothing in flight has none; else one of records and one of directory at
// least. The last pages (the reserve) aren't given for new bytes, so that what is under way can be
// cut and its retransmissions be followed when the pool runs low; when even they are gone, the
// scoreboard does without (scoreboard_loss.cc).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/assert.hh"

namespace penstock::transport {

// Outlives its scoreboards; one thread uses it.
class RecordPool {
 public:
  static constexpr std::uint32_t kRecords = 64;
  static constexpr std::uint32_t kEntries = 64;
  static constexpr std::uint32_t kRanges = 48;
  static constexpr std::uint32_t kNone = ~0u;

  // Records [begin, end): seq[i] to seq[i + 1], sent at sent[i]. Bit i of the words is record i's;
  // those outside [begin, end) are 0. Raw numbers, so that a page taken isn't written.
  struct Page {
    std::uint64_t sacked;
    std::uint64_t lost;
    std::uint64_t resent;
    std::uint32_t begin;
    std::uint32_t end;
    std::array<std::uint32_t, kRecords + 1> seq;
    std::array<std::int64_t, kRecords> sent;
  };
  struct Entry {
    std::uint32_t first;  // sequence number of the page's first record, or one already acked
    std::uint32_t page;
  };
  struct Directory {
    std::array<Entry, kEntries> entries;
  };
  struct Range {
    std::uint32_t begin;
    std::uint32_t end;
    std::int64_t sent;
  };
  struct Queue {
    std::uint32_t next;
    std::uint32_t begin;
    std::uint32_t end;
    std::array<Range, kRanges> ranges;
  };

  explicit RecordPool(std::uint32_t pages) : RecordPool(pages, pages / 16) {}
  RecordPool(std::uint32_t pages, std::uint32_t reserve)
      : slots_(new Slot[pages]), count_(pages), free_(pages), reserve_(reserve) {}
  RecordPool(const RecordPool&) = delete;
  RecordPool& operator=(const RecordPool&) = delete;

  // kNone: none is left.
  [[nodiscard]] std::uint32_t take() {
    if (free_ == 0) return kNone;
    --free_;
    if (first_ == kNone) return used_++;
    const std::uint32_t index = first_;
    first_ = slots_[index].next;
    return index;
  }
  void give(std::uint32_t index) {
    DCHECK(index < count_);
    slots_[index].next = first_;
    first_ = index;
    ++free_;
  }

  [[nodiscard]] Page& page(std::uint32_t index) const { return slots_[index].page; }
  [[nodiscard]] Directory& directory(std::uint32_t index) const { return slots_[index].directory; }
  [[nodiscard]] Queue& queue(std::uint32_t index) const { return slots_[index].queue; }

  // Whether so many can be taken for new bytes.
  [[nodiscard]] bool has(std::uint32_t pages) const { return free_ >= reserve_ + pages; }
  [[nodiscard]] std::uint32_t free_count() const { return free_; }
  [[nodiscard]] std::uint32_t count() const { return count_; }
  [[nodiscard]] std::span<std::byte> memory() const {
    return {reinterpret_cast<std::byte*>(slots_.get()), count_ * sizeof(Slot)};
  }
  static constexpr std::size_t page_bytes() { return sizeof(Slot); }

 private:
  // All members are trivial; who takes a slot writes it before reading.
  union alignas(64) Slot {
    Page page;
    Directory directory;
    Queue queue;
    std::uint32_t next;
  };
  static_assert(sizeof(Slot) == 832);

  // Default-initialised: memory that was never used is never touched.
  std::unique_ptr<Slot[]> slots_;
  std::uint32_t count_;
  std::uint32_t free_;
  std::uint32_t reserve_;
  std::uint32_t used_ = 0;  // slots from here on were never taken
  std::uint32_t first_ = kNone;
};

}  // namespace penstock::transport
