#include "net/neighbours.hh"

#include "base/endian.hh"
#include "base/sip_hash.hh"

namespace penstock::net {

Neighbours::Neighbours(Instant now, std::uint32_t entries_max,
                       const std::array<std::uint64_t, 2>& secret)
    : entries_max_(entries_max),
      secret_(secret),
      random_(secret[0]),
      entries_(std::make_unique<Entry[]>(entries_max)),
      table_(entries_max),
      wheel_(now) {
  for (std::uint32_t i = 0; i < entries_max; ++i)
    idle_.push_back(&entries_[i]);
}

std::uint32_t Neighbours::hash_of(const IpAddress& address) const {
  return static_cast<std::uint32_t>(SipHash13(secret_)
                                        .add(load_be64(address.bytes.data()))
                                        .add(load_be64(address.bytes.data() + 8))
                                        .finish());
}

Neighbours::Entry* Neighbours::find(const IpAddress& address) {
  const std::uint32_t at = table_.find(
      hash_of(address), [&](std::uint32_t i) { return entries_[i].address == address; });
  return at == FlowTable::kNone ? nullptr : &entries_[at];
}

void Neighbours::forget(Entry& entry) {
  if (entry.state == State::free) return;
  stop_asking(entry);
  table_.erase(entry.hash, id_of(entry));
  if (entry.Hook<SettledTag>::linked()) settled_.remove(&entry);
  entry.state = State::free;
}

NeighbourId Neighbours::hold(const IpAddress& address, std::uint32_t interface) {
  Entry* entry = find(address);
  if (entry == nullptr) {
    entry = idle_.front();
    if (entry == nullptr) return kNoNeighbour;
    forget(*entry);
    entry->address = address;
    entry->interface = interface;
    entry->state = State::idle;
    entry->hash = hash_of(address);
    table_.insert(entry->hash, id_of(*entry));
  }
  if (entry->holders++ == 0) {
    idle_.remove(entry);
    ++held_;
  }
  return id_of(*entry);
}

void Neighbours::release(NeighbourId id) {
  Entry& entry = entries_[id];
  ASSERT(entry.holders > 0);
  if (--entry.holders != 0) return;
  idle_.push_back(&entry);
  --held_;
}

void Neighbours::settle(Entry& entry) {
  if (!entry.Hook<SettledTag>::linked()) settled_.push_back(&entry);
}

NeighbourId Neighbours::poll_settled() {
  const Entry* entry = settled_.pop_front();
  return entry == nullptr ? kNoNeighbour : id_of(*entry);
}

void Neighbours::set_known(Instant now, Entry& entry, State state) {
  const bool was_unknown = entry.state == State::incomplete || entry.state == State::failed;
  stop_asking(entry);
  entry.state = state;
  if (state == State::reachable) {
    // RFC 4861 §6.3.2: between half and one and a half of it, so that hosts don't ask in step.
    const auto spread = static_cast<std::uint64_t>(kReachable.ns);
    entry.until =
        now + Duration{kReachable.ns / 2 + static_cast<std::int64_t>(random_.below(spread))};
  }
  if (was_unknown) settle(entry);
}

void Neighbours::start_asking(Entry& entry) {
  entry.state = State::incomplete;
  entry.asked = 0;
  asking_.push_back(&entry);
}

void Neighbours::stop_asking(Entry& entry) {
  wheel_.disarm(entry);
  if (entry.Hook<AskTag>::linked()) asking_.remove(&entry);
}

Neighbours::Answer Neighbours::resolve(Instant now, NeighbourId id, wire::MacAddress& mac) {
  Entry& entry = entries_[id];
  switch (entry.state) {
    case State::free:
      UNREACHABLE();
    case State::idle:
      start_asking(entry);
      return Answer::asked;
    case State::incomplete:
      return Answer::asked;
    case State::failed:
      if (now < entry.until) return Answer::failed;
      start_asking(entry);
      return Answer::asked;
    case State::reachable:
      if (now < entry.until) break;
      entry.state = State::stale;
      [[fallthrough]];
    case State::stale:
      entry.state = State::delay;
      wheel_.arm(entry, now + kDelay);
      break;
    case State::delay:
    case State::probe:
      break;
  }
  mac = entry.mac;
  return Answer::known;
}

void Neighbours::suggest(NeighbourId id, const wire::MacAddress& mac) {
  Entry& entry = entries_[id];
  if (entry.state != State::idle && entry.state != State::incomplete &&
      entry.state != State::failed)
    return;
  entry.mac = mac;
  set_known({}, entry, State::stale);
}

void Neighbours::on_advertisement(Instant now, const IpAddress& address,
                                  const wire::MacAddress& mac, Advertisement flags) {
  Entry* entry = find(address);
  if (entry == nullptr || mac.is_group() || mac.is_zero()) return;
  const bool unknown = entry->state == State::idle || entry->state == State::incomplete ||
                       entry->state == State::failed;
  if (!unknown && entry->mac != mac && !flags.overrides) {
    // RFC 4861 §7.2.5 I: doubt, no change.
    if (entry->state == State::reachable) entry->state = State::stale;
    return;
  }
  const bool changed = unknown || entry->mac != mac;
  entry->mac = mac;
  if (flags.solicited) {
    set_known(now, *entry, State::reachable);
  } else if (changed) {
    set_known(now, *entry, State::stale);
  }
}

void Neighbours::on_heard(const IpAddress& address, const wire::MacAddress& mac) {
  Entry* entry = find(address);
  if (entry == nullptr || mac.is_group() || mac.is_zero()) return;
  if (entry->state == State::failed || entry->state == State::incomplete || entry->mac != mac ||
      entry->state == State::idle) {
    entry->mac = mac;
    set_known({}, *entry, State::stale);
  }
}

bool Neighbours::ask(Instant now, Entry& entry, Question& out) {
  ++entry.asked;
  wheel_.arm(entry, now + kRetransmit);
  out.address = entry.address;
  out.interface = entry.interface;
  out.unicast = entry.state == State::probe;
  out.mac = entry.mac;
  return true;
}

bool Neighbours::on_timer(Instant now, Entry& entry, Question& out) {
  if (entry.state == State::delay) {
    entry.state = State::probe;
    entry.asked = 0;
  }
  if (entry.asked < kSolicitationsMax) return ask(now, entry, out);
  // RFC 4861 §7.3.3 lets the entry go; the next packet would ask by broadcast. Somebody may wait
  // for it, so ask at once.
  if (entry.state == State::probe && entry.holders != 0) {
    entry.state = State::incomplete;
    entry.asked = 0;
    return ask(now, entry, out);
  }
  entry.state = State::failed;
  entry.until = now + kRetransmit;
  settle(entry);
  return false;
}

bool Neighbours::poll_question(Instant now, Question& out) {
  if (Entry* entry = asking_.pop_front()) return ask(now, *entry, out);
  while (FineTimer* timer = wheel_.poll_expired(now)) {
    if (on_timer(now, static_cast<Entry&>(*timer), out)) return true;
  }
  return false;
}

Instant Neighbours::next_timeout() const {
  return settled_.empty() && asking_.empty() ? wheel_.next() : Instant{};
}

void Neighbours::validate() const {
  table_.validate();
  std::uint32_t held = 0, used = 0;
  for (std::uint32_t i = 0; i < entries_max_; ++i) {
    const Entry& entry = entries_[i];
    held += entry.holders != 0;
    used += entry.state != State::free;
    ASSERT(entry.Hook<IdleTag>::linked() == (entry.holders == 0));
    ASSERT(entry.state != State::free || entry.holders == 0);
    const bool timed = entry.state == State::incomplete || entry.state == State::delay ||
                       entry.state == State::probe;
    ASSERT((entry.armed() || entry.Hook<AskTag>::linked()) == timed);
  }
  ASSERT(held == held_ && used == table_.size());
}

}  // namespace penstock::net
