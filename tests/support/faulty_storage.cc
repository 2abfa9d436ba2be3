#include "support/faulty_storage.hh"

#include <algorithm>
#include <utility>

namespace penstock::support {

bool FaultyStorage::try_submit(const StorageOp& op) {
  const auto kind = static_cast<std::size_t>(op.kind);
  Flight flight{op, false, {}};
  for (const Fault& fault : faults_) {
    if (fault.kind != op.kind) continue;
    if (fault.effect == Effect::refuse) {
      if (seen_[kind] >= fault.first && refused_[kind] < fault.count) {
        ++refused_[kind];
        ++struck_;
        return false;
      }
    } else if (seen_[kind] >= fault.first && seen_[kind] < fault.first + fault.count) {
      flight.faulty = true;
      flight.fault = fault;
    }
  }
  if (flight.faulty && flight.fault.effect == Effect::hang) {
    ++seen_[kind];
    ++struck_;
    flight.faulty = false;
    hanging_.push_back(flight);
    return true;
  }
  if (!pass_on(flight)) return false;
  ++seen_[kind];
  return true;
}

bool FaultyStorage::pass_on(const Flight& flight) {
  const std::uint64_t token = next_token_++;
  StorageOp op = flight.op;
  op.token = token;
  // A failing read must not touch the memory: it becomes a look at nothing.
  if (flight.faulty && flight.fault.effect == Effect::fail) {
    if (op.kind == StorageOp::Kind::read || op.kind == StorageOp::Kind::open) {
      op = StorageOp{.kind = StorageOp::Kind::check, .pool = PoolIndex(~0u), .path = ""};
      op.token = token;
    }
  }
  if (!inner_.try_submit(op)) return false;
  flights_[token] = flight;
  return true;
}

void FaultyStorage::release() {
  std::vector<Flight> waiting;
  std::swap(waiting, hanging_);
  for (const Flight& flight : waiting) {
    if (!pass_on(flight)) hanging_.push_back(flight);
  }
}

std::size_t FaultyStorage::poll_completions(std::span<StorageCompletion> out) {
  const std::size_t n = inner_.poll_completions(out);
  for (StorageCompletion& completion : out.first(n)) {
    const Flight flight = flights_.at(completion.token);
    flights_.erase(completion.token);
    completion.token = flight.op.token;
    completion.kind = flight.op.kind;
    if (!flight.faulty) continue;
    ++struck_;
    switch (flight.fault.effect) {
      case Effect::fail:
        completion.error = flight.fault.error;
        completion.bytes = 0;
        break;
      case Effect::rot:
        if (completion.bytes > 0) {
          std::uint64_t at = random_.below(completion.bytes);
          std::size_t i = 0;
          for (; at >= flight.op.segments[i].length; ++i)
            at -= flight.op.segments[i].length;
          flight.op.segments[i].data[at] ^= static_cast<std::byte>(1u << random_.below(8));
        }
        break;
      case Effect::cut:
        completion.bytes /= 2;
        break;
      case Effect::hang:
      case Effect::refuse:
        break;
    }
  }
  return n;
}

}  // namespace penstock::support
