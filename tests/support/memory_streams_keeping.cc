// The keeping half of MemoryStreams: payload by reference, read from memory only when it is sent,
// so that a block that was let go too early arrives as other bytes.
#include <algorithm>

#include "base/assert.hh"
#include "support/memory_streams.hh"

namespace penstock::support {

std::size_t MemoryStreams::kept() const {
  std::size_t count = 0;
  for (const Slot& slot : slots_)
    count += static_cast<std::size_t>(
        std::ranges::count_if(slot.items, [](const Item& item) { return item.data != nullptr; }));
  return count;
}

// Takes a prefix of the parts into items. Returns its bytes.
std::size_t MemoryStreams::keep(Slot& slot, std::span<const SendPart> parts, std::size_t room) {
  const std::size_t before = room;
  for (const SendPart& part : parts) {
    const auto n = static_cast<std::uint32_t>(std::min<std::size_t>(room, part.length));
    if (n == 0) break;
    room -= n;
    Item& item = slot.items.emplace_back();
    item.length = n;
    if (part.kind == SendPart::Kind::small || part.pin == 0) {
      item.small.assign(part.data, part.data + n);
      continue;
    }
    ASSERT(part.content.length == part.length);
    item.data = part.data;
    item.pin = part.pin;
    item.content = part.content;
    item.content.length = n;
  }
  return before - room;
}

void MemoryStreams::transmit_kept(Slot& slot) {
  const StreamHandle stream(std::uint64_t{slot.generation} << 32 |
                            static_cast<std::uint64_t>(&slot - slots_.data()));
  for (Item& item : slot.items) {
    if (item.sent) continue;
    if (slot.in_flight > 0 && slot.in_flight + item.length > options_.flight_max) return;
    if (item.small.empty() && item.data == nullptr) {
      if (!item.asked) {
        item.asked = true;
        said_.push_back(StreamEvent{.kind = StreamEvent::Kind::need,
                                    .stream = stream,
                                    .pin = item.pin,
                                    .content = item.content});
      }
      return;
    }
    item.sent = true;
    slot.in_flight += item.length;
    transmit(slot, item.small.empty() ? std::span(item.data, item.length) : std::span(item.small));
  }
}

void MemoryStreams::release(Slot& slot, Item& item) {
  if (item.data == nullptr) return;
  item.data = nullptr;
  const StreamHandle stream(std::uint64_t{slot.generation} << 32 |
                            static_cast<std::uint64_t>(&slot - slots_.data()));
  said_.push_back(
      StreamEvent{.kind = StreamEvent::Kind::released, .stream = stream, .pin = item.pin});
}

void MemoryStreams::release_all(Slot& slot) {
  for (Item& item : slot.items)
    release(slot, item);
  slot.items.clear();
}

// The peer's application took bytes.
void MemoryStreams::on_read(Slot& slot, std::size_t bytes) {
  slot.progress = network_.clock_.time();
  slot.in_flight -= static_cast<std::uint32_t>(bytes);
  slot.read_of_front += static_cast<std::uint32_t>(bytes);
  while (!slot.items.empty() && slot.read_of_front >= slot.items.front().length) {
    slot.read_of_front -= slot.items.front().length;
    release(slot, slot.items.front());
    slot.items.pop_front();
  }
  transmit_kept(slot);
  if (slot.state != State::ending || !slot.items.empty()) return;
  const Instant due = std::max(network_.clock_.time() + network_.link_.latency, slot.last_arrival);
  slot.peer.port->post(due, slot.peer.handle, What::end, StreamError::closed_by_peer);
  free_slot(slot);
}

bool MemoryStreams::shed_longest_stalled(Instant) {
  Slot* longest = nullptr;
  for (Slot& slot : slots_) {
    const bool keeps =
        std::ranges::any_of(slot.items, [](const Item& item) { return item.data != nullptr; });
    if (keeps && (longest == nullptr || slot.progress < longest->progress)) longest = &slot;
  }
  if (longest == nullptr) return false;
  for (Item& item : longest->items)
    release(*longest, item);
  return true;
}

bool MemoryStreams::on_content(StreamHandle stream, std::uint64_t pin, const ContentRef& content,
                               const std::byte* data) {
  Slot* const slot = find(stream);
  if (slot == nullptr) return false;
  const auto item = std::ranges::find_if(
      slot->items, [&](const Item& one) { return one.asked && one.pin == pin; });
  if (item == slot->items.end()) return false;
  ASSERT(item->content.offset == content.offset && item->content.length == content.length);
  if (data == nullptr) {
    release_all(*slot);
    slot->peer.port->post(network_.clock_.time() + network_.link_.latency, slot->peer.handle,
                          What::end, StreamError::reset);
    if (slot->state == State::open) {
      said_.push_back(StreamEvent{
          .kind = StreamEvent::Kind::closed, .error = StreamError::content_lost, .stream = stream});
    }
    free_slot(*slot);
    return false;
  }
  item->asked = false;
  item->data = data;
  transmit_kept(*slot);
  return true;
}

}  // namespace penstock::support
