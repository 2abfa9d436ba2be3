// Re-derives what the shard counts, for tests and the simulator.
#include "shard/connection.hh"
#include "shard/shard.hh"

namespace penstock {

void Shard::validate() const {
  std::uint32_t live = 0;
  std::uint32_t active = 0;
  std::uint32_t windows = 0;
  for (std::uint32_t i = 0; i < limits_.connections_max; ++i) {
    Connection& c = pools_->connections[i];
    ASSERT(c.index == i);
    if (!c.live) {
      ASSERT(c.next_active == nullptr && c.window == nullptr && c.leaf_job == nullptr);
      ASSERT(!c.timer.armed());
      continue;
    }
    ++live;
    c.session.validate();
    ASSERT(pools_->by_stream[stream_index(c.stream)] == &c);
    if (c.next_active != nullptr) {
      ++active;
      ASSERT(c.next_active->prev_active == &c && c.prev_active->next_active == &c);
    }
    std::uint32_t pending = 0;
    std::uint32_t begun = 0;
    if (c.window != nullptr) {
      ++windows;
      ASSERT(c.window->size() > 0);
      for (std::uint32_t place = 0; place < c.window->size(); ++place) {
        const UploadSlot& slot = c.window->at(place);
        ASSERT(slot.state != UploadSlot::State::free);
        pending += slot.state == UploadSlot::State::pending ? 1 : 0;
        begun += slot.sent > 0 ? 1 : 0;
        // A peer without room holds no pins.
        ASSERT(c.writable || slot.state != UploadSlot::State::ready);
      }
    }
    ASSERT(pending == c.pending && begun <= 1);
  }
  ASSERT(live == live_ && active == active_count_);
  ASSERT((active_ != nullptr) == (active_count_ > 0));
  ASSERT(live + pools_->free_connection_count == limits_.connections_max);
  if (keeping_ != nullptr) keeping_->blocks.validate();
  ASSERT(windows + pools_->free_window_count == limits_.connections_max);
}

}  // namespace penstock
