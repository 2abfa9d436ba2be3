#include "relay/impairment.hh"

#include <algorithm>
#include <cstring>

namespace penstock::relay {
namespace {

constexpr std::uint32_t kNone = ~0u;
constexpr std::uint64_t kQueueMin = 64 * 1024;
constexpr std::size_t kEthernet = 14;

}  // namespace

Link::Link(const LinkOptions& options, std::uint64_t seed)
    : options_(options),
      queue_(options.queue > 0 ? options.queue : std::max(options.rate / 10, kQueueMin)),
      random_(seed),
      lent_(kNone),
      memory_(std::make_unique_for_overwrite<std::byte[]>(std::size_t{options.frames_max} *
                                                          options.frame_max)) {
  heap_.reserve(options.frames_max);
  free_.reserve(options.frames_max);
  for (std::uint32_t i = options.frames_max; i > 0; --i)
    free_.push_back(i - 1);
}

// A chain of two states: runs of lost frames of the mean length asked for.
bool Link::loses() {
  if (options_.loss == 0) return false;
  if (options_.loss_run <= 1) return hit(options_.loss);
  // Entered with p, left with r = 1 / run; lost in the mean: p / (p + r) = loss.
  if (losing_) {
    losing_ = random_.below(options_.loss_run) != 0;
  } else {
    const std::uint64_t kept = 1'000'000 - std::min(options_.loss, 999'999u);
    losing_ = random_.below(kept * options_.loss_run) < options_.loss;
  }
  return losing_;
}

void Link::on_frame(Instant now, std::span<const std::byte> frame) {
  ++counters_.frames;
  counters_.bytes += frame.size();
  if (frame.size() > options_.frame_max) {
    ++counters_.too_large;
    return;
  }
  Instant leaves = now;
  if (options_.rate > 0) {
    const auto rate = static_cast<std::int64_t>(options_.rate);
    busy_until_ = std::max(busy_until_, now);
    const auto waiting = static_cast<std::uint64_t>(static_cast<double>((busy_until_ - now).ns) *
                                                    static_cast<double>(rate) * 1e-9);
    counters_.queue_bytes_max = std::max(counters_.queue_bytes_max, waiting);
    if (waiting + frame.size() > queue_) {
      ++counters_.queue_drops;
      return;
    }
    const auto takes = static_cast<std::int64_t>(frame.size()) * 1'000'000'000 / rate;
    leaves = busy_until_ = busy_until_ + Duration::nanoseconds(takes);
  }
  if (loses()) {
    ++counters_.lost;
    return;
  }
  Instant due = leaves + options_.delay;
  if (options_.jitter.ns > 0) {
    due = due + Duration{static_cast<std::int64_t>(
                    random_.below(static_cast<std::uint64_t>(options_.jitter.ns) + 1))};
  }
  due = std::max(due, last_due_);
  if (hit(options_.reorder)) {
    ++counters_.reordered;
    due = due + Duration{static_cast<std::int64_t>(
                    random_.below(static_cast<std::uint64_t>(options_.reorder_by.ns) + 1))};
  } else {
    last_due_ = due;
  }
  launch(due, frame);
  if (hit(options_.duplicate)) {
    ++counters_.duplicated;
    launch(due, frame);
  }
}

void Link::launch(Instant due, std::span<const std::byte> frame) {
  if (free_.empty()) {
    ++counters_.no_slot;
    return;
  }
  const std::uint32_t slot = free_.back();
  free_.pop_back();
  std::byte* const bytes = memory_.get() + std::size_t{slot} * options_.frame_max;
  std::memcpy(bytes, frame.data(), frame.size());
  if (frame.size() > kEthernet && hit(options_.corrupt)) {
    ++counters_.corrupted;
    const std::uint64_t bit = random_.below((frame.size() - kEthernet) * 8);
    bytes[kEthernet + bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
  }
  heap_.push_back({due, order_++, slot, static_cast<std::uint32_t>(frame.size())});
  std::push_heap(heap_.begin(), heap_.end());
}

std::span<const std::byte> Link::poll_due(Instant now, Instant& due) {
  if (lent_ != kNone) free_.push_back(lent_);
  lent_ = kNone;
  if (heap_.empty() || heap_.front().due > now) return {};
  std::pop_heap(heap_.begin(), heap_.end());
  const Flight flight = heap_.back();
  heap_.pop_back();
  lent_ = flight.slot;
  due = flight.due;
  ++counters_.frames_out;
  counters_.bytes_out += flight.length;
  return {memory_.get() + std::size_t{flight.slot} * options_.frame_max, flight.length};
}

}  // namespace penstock::relay
