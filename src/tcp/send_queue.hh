// What a connection has to send and what isn't acknowledged yet: small bytes, copied, and
// references to content, in order.
//
// A log in pooled pages. An entry is 8 bytes and its small bytes, or a reference of 40 bytes; small
// bytes that follow small bytes extend the last entry. A page knows the sequence number that it
// begins with, so a place is found by skipping pages; two cursors (new data, retransmission) make
// that a step in the common case.
//
// Memory of content: a reference is let go (`released`) in order, when it is wholly acknowledged
// and no device reads it; consecutive entries of one pin together. shed() lets go of all of them
// at once: bytes that then must go (again) are asked for (`need`) and come by on_content, each
// answer being a reference of its own that is released once.
//
// Invariants: entries lie in [head seq, end); a cursor stands at an entry, never past the end; an
// entry with data == nullptr is shed; small bytes never move (a device may read them: the page
// counts).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/seq_number.hh"
#include "stream/byte_stream.hh"
#include "tcp/page_pool.hh"
#include "tcp/segment_out.hh"

namespace penstock::tcp {

class Shared;

class SendQueue {
 public:
  explicit SendQueue(Shared& shared) : shared_(&shared) {}
  ~SendQueue();
  SendQueue(const SendQueue&) = delete;
  SendQueue& operator=(const SendQueue&) = delete;

  void start(SeqNumber first) { head_seq_ = una_ = end_ = first; }

  // Takes parts while there is room; the parts of one pin whole or not at all, but for a shortage
  // of pages. Returns bytes.
  std::size_t append(std::span<const SendPart> parts);
  [[nodiscard]] std::size_t room() const;
  [[nodiscard]] SeqNumber end() const { return end_; }
  // Bytes that aren't acknowledged, sent or not.
  [[nodiscard]] std::uint32_t queued() const { return end_ - una_; }

  enum class Cursor : std::uint8_t { fresh, again };
  // References to [from, from + most), at most kPartsMax of them, into out.parts. Returns the bytes
  // gathered; fewer when the parts are all used, or at bytes that were shed: these are asked for.
  std::uint32_t gather(Cursor which, SeqNumber from, std::uint32_t most, SegmentOut& out);

  void acknowledge(SeqNumber una) { una_ = una; }
  // Into the cache: what the next ACK lets go of, what goes next, where more is appended.
  void prefetch() const;
  // Everything counts as acknowledged; nothing is needed any more.
  void give_up();
  void shed();
  // False: those bytes aren't wanted any more, and `data` is not kept.
  bool on_content(std::uint64_t pin, const ContentRef& content, const std::byte* data);

  // What happened, one at a time. May say nothing while a device still reads: blocked().
  bool poll_released(std::uint64_t& pin);
  bool poll_need(std::uint64_t& pin, ContentRef& content);
  [[nodiscard]] bool blocked() const { return blocked_; }
  // Something is to be asked for: poll_need.
  [[nodiscard]] bool asks() const { return need_left_ != 0; }
  // append() found no page.
  [[nodiscard]] bool starved() const { return starved_; }
  // Now there would be one for it.
  [[nodiscard]] bool has_page() const;
  [[nodiscard]] bool idle() const { return head_.page == kNoPage; }
  void validate() const;

  // Whether no device reads a page of a queue that is gone.
  static bool page_idle(std::byte* page);

 private:
  struct PageHead {
    std::uint32_t next;
    std::uint32_t in_use;  // small bytes of this page
    SeqNumber seq;
    std::uint16_t begin;  // of the first entry
    std::uint16_t end;
  };
  struct Entry {
    std::uint32_t length;  // bytes of the stream
    std::uint16_t size;    // in the page
    std::uint8_t kind;
    std::uint8_t flags;
  };
  struct Reference {
    Entry entry;
    const std::byte* data;
    std::uint64_t pin;
    std::uint64_t offset;
    TorrentSlot torrent;
    std::uint32_t in_use;
  };
  struct Place {
    std::uint32_t page = kNoPage;
    std::uint32_t offset = 0;
    SeqNumber seq;  // of the entry's first byte
  };
  enum Kind : std::uint8_t { kSmall, kReference };
  enum Flag : std::uint8_t {
    kNeeded = 1,  // to be asked for
    kAsked = 2,
    kOwn = 4,  // came by on_content: released by itself
  };

  [[nodiscard]] PageHead& head_of(std::uint32_t page) const;
  [[nodiscard]] Entry& entry_at(const Place& place) const;
  [[nodiscard]] Reference* reference_at(const Place& place) const;
  bool advance(Place& place) const;  // false: it was the last
  void locate(Place& place, SeqNumber seq) const;
  [[nodiscard]] std::byte* make_room(std::size_t bytes);
  bool append_small(const std::byte* data, std::uint32_t length, std::uint32_t& taken);
  bool append_reference(const SendPart& part);
  void pop_head();
  void ask_from(const Place& place);
  [[nodiscard]] bool shares_pin_with_next(const Place& place) const;
  bool poll_shed(std::uint64_t& pin);

  Shared* shared_;
  SeqNumber una_;
  SeqNumber end_;
  SeqNumber head_seq_;
  std::uint32_t tail_ = kNoPage;
  std::uint32_t last_offset_ = 0;  // of the last entry, in tail_
  Place head_;
  Place fresh_;
  Place again_;
  Place shed_at_;
  Place need_at_;
  std::uint16_t page_count_ = 0;
  std::uint8_t need_left_ = 0;
  bool shedding_ = false;
  bool blocked_ = false;
  bool starved_ = false;
};

}  // namespace penstock::tcp
