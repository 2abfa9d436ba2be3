// The receiving side: what comes in order is lent to the application as it lies in the frame; what
// comes out of order, or isn't wanted yet, is copied into pages (RFC 9293 §3.10.7.4 sixth/seventh).
//
// Pages are at fixed places of sequence space (4 KiB each) and found through one page of indices,
// so that a byte's place costs nothing to find. What of them is filled beyond next() is a sorted
// list of ranges in one page more (up to 512): a segment costs a binary search and a short move,
// whatever a peer sends. Connections that got everything in order have no page at all.
//
// SACK blocks (RFC 2018 §4): the range that the newest segment fell into comes first, then those
// of the segments before; DSACK (RFC 2883) before them, once.
//
// Invariants: taken() <= next(); [taken, next) less the borrowed bytes lies in pages; ranges are
// disjoint, don't touch, and lie beyond next().
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/seq_number.hh"
#include "tcp/drop_reason.hh"
#include "tcp/page_pool.hh"
#include "wire/tcp.hh"

namespace penstock::tcp {

class Shared;

class Receiver {
 public:
  explicit Receiver(Shared& shared) : shared_(&shared) {}
  ~Receiver();
  Receiver(const Receiver&) = delete;
  Receiver& operator=(const Receiver&) = delete;

  void start(SeqNumber next) { next_ = taken_ = next; }

  struct Arrival {
    DropReason drop = DropReason::none;
    bool advanced = false;      // next() moved
    bool out_of_order = false;  // it left or widened a hole
    bool filled = false;        // a hole, or a part of it
    bool duplicate = false;     // some of it was here: a DSACK is due
  };
  // Payload at seq, within the window: it ends at or before the right edge, and may begin before
  // next(). Borrowed until take().
  Arrival on_payload(SeqNumber seq, std::span<const std::byte> payload, bool reading);
  // A segment that lies wholly before next(): a DSACK is due.
  void on_duplicate(SeqNumber begin, SeqNumber end);

  // The next bytes in order; empty: none. Valid until the next call of settle().
  std::span<const std::byte> take(bool reading) {
    return taken_ == next_ ? std::span<const std::byte>{} : take_unread(reading);
  }
  // Takes back what take() lent. Borrowed bytes must have been taken, or be kept by keep().
  void settle() {
    if ((lent_ & directory_ & island_page_) != kNoPage) settle_pages();
  }
  // Copies what is borrowed and not taken. False: no page; it stays borrowed.
  bool keep();
  void discard();  // everything

  [[nodiscard]] SeqNumber next() const { return next_; }
  [[nodiscard]] SeqNumber taken() const { return taken_; }
  // In order, not taken.
  [[nodiscard]] std::uint32_t unread() const { return next_ - taken_; }
  [[nodiscard]] bool borrowed() const { return !direct_.empty(); }
  [[nodiscard]] bool has_holes() const { return island_count_ != 0; }
  [[nodiscard]] bool dsack_due() const { return dsack_; }
  [[nodiscard]] bool sacks_due() const { return dsack_ || recent_count_ != 0; }
  // As many as fit; the DSACK is due until it was sent.
  std::size_t sack_blocks(std::span<wire::SackBlock> out) const;
  void dsack_sent() { dsack_ = false; }
  [[nodiscard]] std::size_t sack_count(std::size_t most) const;
  void validate() const;

 private:
  static constexpr std::uint32_t kIslandsMost = PagePool::kPageSize / sizeof(wire::SackBlock);
  static constexpr std::size_t kRecent = 4;

  [[nodiscard]] wire::SackBlock* islands() const;
  [[nodiscard]] std::uint32_t& slot(SeqNumber seq) const;
  std::span<const std::byte> take_unread(bool reading);
  void settle_pages();
  DropReason store(SeqNumber seq, std::span<const std::byte> bytes);
  DropReason reserve(SeqNumber seq, std::uint32_t length);
  void insert(SeqNumber begin, SeqNumber end, bool& duplicate);
  void absorb();
  void remember(SeqNumber at);
  void release_if_empty();
  [[nodiscard]] const wire::SackBlock* island_with(SeqNumber at) const;

  Shared* shared_;
  SeqNumber next_;
  SeqNumber taken_;
  std::span<const std::byte> direct_;  // borrowed: the bytes before the pages' [.., next)
  std::uint32_t directory_ = kNoPage;
  std::uint32_t island_page_ = kNoPage;
  std::uint32_t lent_ = kNoPage;
  std::uint16_t island_count_ = 0;
  std::uint16_t page_count_ = 0;
  std::uint8_t recent_count_ = 0;
  bool dsack_ = false;
  std::array<SeqNumber, kRecent> recent_;
  wire::SackBlock dsack_block_;
};

}  // namespace penstock::tcp
