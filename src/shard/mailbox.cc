#include "shard/mailbox.hh"

namespace penstock {

namespace {
// Torrents that control adds or removes between two cycles of a shard; control waits when it is
// full.
constexpr std::size_t kControlCapacity = 1024;
}  // namespace

Exchange::Exchange(std::uint16_t shard_count, std::size_t capacity)
    : shard_count_(shard_count), wants_open_max_(static_cast<std::uint32_t>(capacity / 4)) {
  for (std::uint32_t i = 0; i < std::uint32_t{shard_count} * shard_count; ++i) {
    between_.push_back(
        std::make_unique<Mailbox<ShardMessage>>(i / shard_count == i % shard_count ? 1 : capacity));
  }
  for (std::uint16_t i = 0; i < shard_count; ++i) {
    to_shard_.push_back(std::make_unique<Mailbox<ControlMessage>>(kControlCapacity));
    from_shard_.push_back(std::make_unique<Mailbox<ShardReport>>(kControlCapacity));
    doorbells_.push_back(std::make_unique<Doorbell>());
  }
}

}  // namespace penstock
