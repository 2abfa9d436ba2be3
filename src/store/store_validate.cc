// Every counter and list derived again from the other side.
#include "store/store_impl.hh"

namespace penstock {

void Store::Impl::validate_want(const Want& want) const {
  switch (want.state) {
    case Want::State::free:
      ASSERT(want.link_count == 0 && want.owner == nullptr);
      return;
    case Want::State::on_job:
      ASSERT(want.link_count == 0);
      ASSERT(verifier->find(*want.owner, want.want.piece) != nullptr);
      return;
    case Want::State::reading: {
      bool complete = true;
      bool told = true;
      for (std::uint8_t i = 0; i < want.link_count; ++i) {
        const Extent& extent = *want.links[i].extent;
        const std::uint16_t mask = want.links[i].mask;
        ASSERT(extent.use == SlabUse::extent && extent.holds > 0);
        // An assembly that is done is told by do_work, and not before.
        told &= !assembler.is_done(extent);
        ASSERT((extent.failed & mask) == 0 || !told);
        // Every page it waits for is there or on its way: it will be woken.
        ASSERT((mask & ~(extent.valid | extent.wanted | extent.flight | extent.failed)) == 0);
        complete &= (mask & ~extent.valid) == 0;
      }
      ASSERT(!complete || !told);
      return;
    }
    case Want::State::stalled:
    case Want::State::lost:
      ASSERT(want.link_count == 0);
      return;
    case Want::State::ready:
      for (std::uint8_t i = 0; i < want.link_count; ++i)
        ASSERT((want.links[i].mask & ~want.links[i].extent->valid) == 0);
      return;
  }
}

void Store::Impl::validate() const {
  cache.validate();
  verifier->validate();
  std::uint32_t reading = 0;
  std::uint32_t on_job = 0;
  std::uint32_t links = 0;
  for (std::uint32_t i = 0; i < limits.wants_max; ++i) {
    const Want& want = want_pool[i];
    validate_want(want);
    reading += want.state == Want::State::reading;
    on_job += want.state == Want::State::on_job;
    links += want.link_count;
  }
  ASSERT(reading + on_job + stalled.size() + answers.size() + free_wants.size() ==
         limits.wants_max);
  std::uint32_t wants = 0;
  std::uint32_t jobs = 0;
  std::uint32_t extents = 0;
  std::uint32_t held = 0;
  std::uint32_t waiters = 0;
  std::uint32_t handles = 0;
  for (const ShardContent* content = torrents.front(); content != nullptr;
       content = torrents.next(content)) {
    ASSERT(content->attached);
    wants += content->wants.size();
    jobs += content->job_count;
    held += content->held_extents;
    handles += content->open_count;
    for (const Extent* extent = content->extents.front(); extent != nullptr;
         extent = content->extents.next(extent)) {
      ASSERT(extent->owner == content);
      ++extents;
      waiters += extent->waiters.size();
    }
  }
  ASSERT(wants + free_wants.size() == limits.wants_max);
  ASSERT(wants == wants_used.total());
  ASSERT(jobs == verifier->job_count());
  ASSERT(held == cache.held_count());
  ASSERT(waiters == links);
  ASSERT(handles == files.handle_count());
  std::uint32_t used = 0;
  for (std::uint32_t i = 0; i < cache.slab_count(); ++i)
    used += cache.at(i).use == SlabUse::extent;
  ASSERT(used == extents);
}

}  // namespace penstock
