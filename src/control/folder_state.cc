#include "control/folder_state.hh"

#include <algorithm>
#include <set>

#include "base/assert.hh"

namespace penstock::control {

void FolderState::on_listing(Instant now, const std::vector<FolderFile>& files,
                             std::vector<Action>& out) {
  std::set<std::string_view> there;
  for (const FolderFile& file : files)
    there.insert(file.name);
  for (auto it = entries_.begin(); it != entries_.end();) {
    if (there.contains(it->first)) {
      ++it;
      continue;
    }
    const Entry& entry = it->second;
    if (entry.phase == Phase::loaded || entry.was_loaded) {
      out.push_back({Action::Kind::unload, it->first});
    }
    it = entries_.erase(it);
  }
  for (const FolderFile& file : files) {
    Entry& entry = entries_[file.name];
    const bool is_new = entry.file.name.empty();
    if (!is_new && entry.file.same_version(file)) continue;
    entry.was_loaded = entry.was_loaded || entry.phase == Phase::loaded;
    entry.file = file;
    entry.phase = Phase::loading;
    entry.reported = false;
    entry.changed_at = now;
    out.push_back({Action::Kind::load, file.name});
  }
}

void FolderState::on_timeout(Instant now, std::vector<Action>& out) {
  for (auto& [name, entry] : entries_) {
    if (entry.phase != Phase::retrying || entry.retry_at > now) continue;
    entry.phase = Phase::loading;
    out.push_back({Action::Kind::load, name});
  }
}

Instant FolderState::next_timeout() const {
  Instant next = Instant::never();
  for (const auto& [name, entry] : entries_) {
    if (entry.phase == Phase::retrying) next = earlier(next, entry.retry_at);
  }
  return next;
}

void FolderState::on_loaded(const std::string& name) {
  Entry& entry = entries_.at(name);
  ASSERT(entry.phase == Phase::loading);
  entry.phase = Phase::loaded;
  entry.was_loaded = false;
  entry.reported = false;
}

bool FolderState::on_failed(Instant now, const std::string& name) {
  Entry& entry = entries_.at(name);
  ASSERT(entry.phase == Phase::loading);
  if (now - entry.changed_at < kSettled) {
    entry.phase = Phase::retrying;
    entry.retry_at = now + kRetry;
    return false;
  }
  entry.phase = Phase::broken;
  const bool report = !entry.reported;
  entry.reported = true;
  return report;
}

void FolderState::retry_failed(Instant now) {
  for (auto& [name, entry] : entries_) {
    if (entry.phase != Phase::broken) continue;
    entry.phase = Phase::retrying;
    entry.retry_at = now;
  }
}

std::size_t FolderState::broken_count() const {
  return static_cast<std::size_t>(std::count_if(
      entries_.begin(), entries_.end(), [](auto& e) { return e.second.phase == Phase::broken; }));
}

std::size_t FolderState::loaded_count() const {
  return static_cast<std::size_t>(std::count_if(
      entries_.begin(), entries_.end(), [](auto& e) { return e.second.phase == Phase::loaded; }));
}

}  // namespace penstock::control
