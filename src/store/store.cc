#include "store/store.hh"

#include <cstring>

#include "store/store_impl.hh"

namespace penstock {
namespace {

// Zeros, scratch, bounce slabs, and a few to work with.
constexpr std::uint32_t kSlabsMin = 16;

}  // namespace

Store::Impl::Impl(Arena arena, const StoreLimits& store_limits)
    : limits(store_limits),
      cache(arena, store_limits, counters),
      files(std::max(store_limits.open_files_max, 1u)),
      budget(store_limits.reads_in_flight_max),
      scheduler(store_limits, cache, files, budget, counters),
      assembler(cache, files, budget, counters),
      demand(cache, scheduler, assembler),
      framer(cache, counters),
      want_pool(std::make_unique<Want[]>(store_limits.wants_max)),
      wants_used(store_limits.wants_max) {
  ASSERT(arena.slab_count() >= kSlabsMin);
  ASSERT(cache.try_reserve(zero_slab));
  cache.at(zero_slab).use = SlabUse::zero;
  std::memset(cache.data(cache.at(zero_slab)), 0, kSlabSize);
  for (std::uint32_t& slab : scratch_slabs) {
    ASSERT(cache.try_reserve(slab));
    cache.at(slab).use = SlabUse::scratch;
  }
  scratch_free = (1u << (kScratchPerSlab * kScratchSlabs)) - 1;
  verifier = std::make_unique<PieceVerifier>(limits, cache, demand, counters,
                                             cache.data(cache.at(zero_slab)));
  for (std::uint32_t i = 0; i < limits.wants_max; ++i) {
    for (WaitLink& link : want_pool[i].links)
      link.want = &want_pool[i];
    free_wants.push_back(&want_pool[i]);
  }
}

Store::Store(Arena arena, const StoreLimits& limits)
    : impl_(std::make_unique<Impl>(arena, limits)) {}

Store::~Store() = default;

WantStatus Store::want(Instant now, const BlockWant& want, Block& out) {
  ShardContent& content = impl_->state_of(*want.torrent);
  if (want.torrent->pieces->get(want.piece) == PieceState::verified &&
      impl_->try_hit(now, content, want, out)) [[likely]] {
    ++impl_->counters.hits;
    impl_->counters.bytes_wanted += want.length;
    return WantStatus::ready;
  }
  return impl_->want(now, want, out);
}

bool Store::crowded() const {
  return impl_->cache.pinned_count() > impl_->cache.slab_count() / 2;
}

void Store::prefetch(Instant now, const BlockWant& want) {
  impl_->prefetch(now, want);
}

bool Store::poll_ready(BlockReady& out) {
  return impl_->poll_ready(out);
}

void Store::release(const Block& block, bool exposed) {
  impl_->release(block, exposed);
}

bool Store::poll_io(StorageOp& out) {
  return impl_->poll_io(out);
}

void Store::io_refused(const StorageOp& op) {
  ASSERT(!impl_->has_refused);
  impl_->refused = op;
  impl_->has_refused = true;
}

void Store::on_completion(Instant now, const StorageCompletion& completion) {
  impl_->on_completion(now, completion);
}

bool Store::do_work(Instant now) {
  return impl_->do_work(now);
}

Instant Store::next_timeout() const {
  return impl_->next_timeout();
}

bool Store::poll_event(StoreEvent& out) {
  return impl_->poll_event(out);
}

void Store::forget(TorrentContent* torrent) {
  impl_->forget(impl_->state_of(*torrent));
}

bool Store::forgotten(const TorrentContent* torrent) const {
  const ShardContent& content = *torrent->shard_state[impl_->limits.shard.value];
  return !content.attached;
}

const StoreCounters& Store::counters() const {
  return impl_->counters;
}

void Store::validate() const {
  impl_->validate();
}

}  // namespace penstock
