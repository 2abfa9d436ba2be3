#include "swarm/choker.hh"

#include <algorithm>

#include "base/assert.hh"

namespace penstock {

Choker::Choker(std::uint32_t peers_max, std::uint32_t slots, Duration turn)
    : peers_(std::make_unique<Peer[]>(peers_max)),
      peers_max_(peers_max),
      slots_(slots),
      turn_(turn) {}

bool Choker::is_unchoked(std::uint32_t peer) const {
  DCHECK(peer < peers_max_);
  return peers_[peer].where == Where::unchoked;
}

void Choker::append(List& list, std::uint32_t peer, Where where) {
  Peer& p = peers_[peer];
  p.where = where;
  p.next = kNone;
  p.prev = list.tail;
  (list.tail == kNone ? list.head : peers_[list.tail].next) = peer;
  list.tail = peer;
  ++list.count;
}

void Choker::unlink(std::uint32_t peer) {
  Peer& p = peers_[peer];
  List& list = p.where == Where::waiting ? waiting_ : unchoked_;
  (p.prev == kNone ? list.head : peers_[p.prev].next) = p.next;
  (p.next == kNone ? list.tail : peers_[p.next].prev) = p.prev;
  --list.count;
  p.next = p.prev = kNone;
  p.where = Where::absent;
}

void Choker::note_change(std::uint32_t peer) {
  Peer& p = peers_[peer];
  if (p.in_changes) return;
  p.in_changes = true;
  p.change_next = kNone;
  (changes_tail_ == kNone ? changes_head_ : peers_[changes_tail_].change_next) = peer;
  changes_tail_ = peer;
}

void Choker::on_interested(Instant now, std::uint32_t peer) {
  DCHECK(peer < peers_max_);
  if (peers_[peer].where != Where::absent) return;
  append(waiting_, peer, Where::waiting);
  fill_slots(now);
}

void Choker::on_not_interested(Instant now, std::uint32_t peer) {
  DCHECK(peer < peers_max_);
  if (peers_[peer].where == Where::absent) return;
  unlink(peer);
  note_change(peer);
  fill_slots(now);
}

void Choker::remove(Instant now, std::uint32_t peer) {
  DCHECK(peer < peers_max_);
  Peer& p = peers_[peer];
  if (p.where != Where::absent) unlink(peer);
  // An entry in the list of changes stays until it is polled, and says nothing then.
  p.told_unchoked = false;
  fill_slots(now);
}

void Choker::set_slots(Instant now, std::uint32_t slots) {
  slots_ = slots;
  // Those who had the most of their turn go first.
  while (slots_ != 0 && unchoked_.count > slots_) {
    const std::uint32_t peer = unchoked_.head;
    unlink(peer);
    append(waiting_, peer, Where::waiting);
    note_change(peer);
  }
  fill_slots(now);
}

// Free slots go to those who wait longest.
void Choker::fill_slots(Instant now) {
  while (waiting_.count > 0 && (slots_ == 0 || unchoked_.count < slots_)) {
    const std::uint32_t peer = waiting_.head;
    unlink(peer);
    peers_[peer].since = now;
    append(unchoked_, peer, Where::unchoked);
    note_change(peer);
  }
  rearm();
}

void Choker::rearm() {
  if (waiting_.count == 0 || unchoked_.count == 0) {
    timer_ = Instant::never();
    return;
  }
  timer_ = std::max(peers_[unchoked_.head].since + turn_, last_pass_ + turn_ / unchoked_.count);
}

// One slot passes on, from who has had it longest to who waits longest.
void Choker::on_timeout(Instant now) {
  if (now < timer_) return;
  last_pass_ = now;
  const std::uint32_t peer = unchoked_.head;
  unlink(peer);
  append(waiting_, peer, Where::waiting);
  note_change(peer);
  fill_slots(now);
}

bool Choker::poll_change(Instant now, Change& change) {
  static_cast<void>(now);
  while (changes_head_ != kNone) {
    const std::uint32_t peer = changes_head_;
    Peer& p = peers_[peer];
    changes_head_ = p.change_next;
    if (changes_head_ == kNone) changes_tail_ = kNone;
    p.in_changes = false;
    const bool unchoked = p.where == Where::unchoked;
    if (unchoked == p.told_unchoked) continue;
    p.told_unchoked = unchoked;
    change = {peer, !unchoked};
    return true;
  }
  return false;
}

void Choker::validate() const {
  for (const List* list : {&waiting_, &unchoked_}) {
    std::uint32_t count = 0;
    std::uint32_t before = kNone;
    for (std::uint32_t i = list->head; i != kNone; i = peers_[i].next) {
      ASSERT(peers_[i].prev == before);
      ASSERT(peers_[i].where == (list == &waiting_ ? Where::waiting : Where::unchoked));
      before = i;
      ++count;
    }
    ASSERT(before == list->tail && count == list->count);
  }
  ASSERT(slots_ == 0 || unchoked_.count <= slots_);
  ASSERT(waiting_.count == 0 || (slots_ != 0 && unchoked_.count == slots_));
}

}  // namespace penstock
