#include "control/engine_view.hh"

#include <ctime>

namespace penstock::control {

Instant monotonic_now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return Instant{static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec};
}

std::shared_ptr<const EngineReading> EngineView::read(Duration max_age) {
  const std::lock_guard lock(mutex_);
  const Instant now = monotonic_now();
  if (last_ && now - taken_at_ <= max_age) return last_;
  auto reading = std::make_shared<EngineReading>();
  engine_.snapshot(reading->snapshot);
  for (std::size_t i = 0; i < reading->snapshot.torrents.size(); ++i) {
    reading->index[reading->snapshot.torrents[i].id] = i;
  }
  taken_at_ = now;
  last_ = std::move(reading);
  return last_;
}

}  // namespace penstock::control
