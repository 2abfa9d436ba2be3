// An engine without shards, for the tests of control: remembers what it was told.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "control/engine_api.hh"

namespace penstock::test {

class FakeEngine final : public control::EngineApi {
 public:
  explicit FakeEngine(control::EngineOptions options = {}) : options_(std::move(options)) {
    if (options_.listen.empty()) options_.listen.push_back({IpAddress{}, 6881});
  }

  Result<PoolIndex> open_pool(const std::string& directory) override {
    const std::lock_guard lock(mutex_);
    if (directory == missing_pool) return fail("No such file or directory", ErrorKind::io);
    const auto index = static_cast<std::uint32_t>(pools_.size());
    return PoolIndex{pools_.emplace(directory, index).first->second};
  }
  Result<control::TorrentId> add_torrent(const control::AddTorrent& torrent) override {
    const std::lock_guard lock(mutex_);
    const WireInfoHash hash = torrent.metainfo->wire_hash();
    for (const auto& [id, snapshot] : torrents_) {
      if (snapshot.second == hash) return fail("served already");
    }
    const control::TorrentId id{++last_id_};
    control::TorrentSnapshot snapshot;
    snapshot.id = id;
    snapshot.uploaded_bytes = uploaded_of_each;
    torrents_[id.value] = {snapshot, hash};
    rates_[id.value] = torrent.upload_rate;
    return id;
  }
  Result<void> remove_torrent(control::TorrentId id) override {
    const std::lock_guard lock(mutex_);
    if (torrents_.erase(id.value) == 0) return fail("no such torrent", ErrorKind::not_found);
    return {};
  }
  Result<void> set_limits(const control::EngineLimits& limits) override {
    const std::lock_guard lock(mutex_);
    limits_ = limits;
    return {};
  }
  Result<void> set_torrent_rate(control::TorrentId id, std::uint64_t rate) override {
    const std::lock_guard lock(mutex_);
    if (!torrents_.contains(id.value)) return fail("no such torrent", ErrorKind::not_found);
    rates_[id.value] = rate;
    return {};
  }
  void snapshot(control::EngineSnapshot& out) override {
    const std::lock_guard lock(mutex_);
    out = {};
    out.close_reasons = {"peer_closed", "handshake_timeout"};
    for (std::uint32_t i = 0; i < options_.shards; ++i) {
      control::ShardSnapshot shard;
      shard.closes = {3, i};
      shard.payload_bytes = 1000 + i;
      shard.busy_ns = 1'500'000'000;
      out.shards.push_back(shard);
    }
    for (const auto& [id, torrent] : torrents_)
      out.torrents.push_back(torrent.first);
  }
  [[nodiscard]] std::vector<Endpoint> listening() const override { return options_.listen; }

  [[nodiscard]] std::size_t torrent_count() const {
    const std::lock_guard lock(mutex_);
    return torrents_.size();
  }
  [[nodiscard]] control::EngineLimits limits() const {
    const std::lock_guard lock(mutex_);
    return limits_;
  }

  [[nodiscard]] std::uint64_t rate_of(control::TorrentId id) const {
    const std::lock_guard lock(mutex_);
    const auto known = rates_.find(id.value);
    return known == rates_.end() ? 0 : known->second;
  }

  // Set before the threads start.
  std::string missing_pool;
  std::uint64_t uploaded_of_each = 0;

 private:
  mutable std::mutex mutex_;
  control::EngineOptions options_;
  control::EngineLimits limits_;
  std::map<std::string, std::uint32_t> pools_;
  std::map<std::uint64_t, std::pair<control::TorrentSnapshot, WireInfoHash>> torrents_;
  std::map<std::uint64_t, std::uint64_t> rates_;
  std::uint64_t last_id_ = 0;
};

}  // namespace penstock::test
