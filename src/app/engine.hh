// The engine: shards on real drivers, behind control's EngineApi.
//
// Threads: one a shard (ShardRunner), and one of its own, the steward, which alone reads the
// shards' reports, frees torrents that all shards have forgotten, passes lost and recovered pieces
// on to the other shards, and keeps the verification state on disk. All other state is behind one
// mutex that no data-plane thread ever takes.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "app/nic_device.hh"
#include "app/shard_runner.hh"
#include "base/clock.hh"
#include "control/engine_api.hh"
#include "host/arena_mapping.hh"
#include "host/capabilities.hh"
#include "shard/mailbox.hh"
#include "shard/torrent_table.hh"
#include "swarm/hash_forest.hh"

namespace penstock::app {

class Engine final : public control::EngineApi {
 public:
  // Listens and runs when it returns.
  static Result<std::unique_ptr<control::EngineApi>> start(const control::EngineOptions& options);
  ~Engine() override;

  Result<PoolIndex> open_pool(const std::string& directory) override;
  Result<control::TorrentId> add_torrent(const control::AddTorrent& torrent) override;
  Result<void> remove_torrent(control::TorrentId id) override;
  Result<void> set_limits(const control::EngineLimits& limits) override;
  Result<void> set_torrent_rate(control::TorrentId id, std::uint64_t upload_rate) override;
  void snapshot(control::EngineSnapshot& out) override;
  [[nodiscard]] std::vector<Endpoint> listening() const override;

 private:
  struct Entry;

  explicit Engine(const control::EngineOptions& options);
  Result<void> start_shards();
  [[nodiscard]] Result<void> check_network() const;
  Result<void> make_arena(host::PageChoice pages);
  void set_up_own_tcp(RunnerOptions& runner, Entropy& entropy) const;
  [[nodiscard]] ShardLimits limits_of(const control::EngineLimits& limits,
                                      std::uint32_t shards) const;
  void publish(Entry& entry);
  [[nodiscard]] std::string state_path(const Entry& entry) const;
  void load_state(Entry& entry);
  void save_state(const Entry& entry);
  void finish_check(Entry& entry);
  bool settle(std::uint64_t id);
  void steward();
  void tell_trouble();
  void on_report(const ShardReport& report);
  void on_store_event(Entry& entry, const StoreEvent& event);
  static void log_lost_piece(const Entry& entry, const StoreEvent& event);
  void post(ShardId shard, const ControlMessage& message);
  void post_all(const ControlMessage& message);

  control::EngineOptions options_;
  host::Capabilities capabilities_;
  std::uint64_t descriptor_limit_ = 0;           // of open files
  std::unique_ptr<NicEnvironment> environment_;  // of own TCP's devices
  host::ArenaMapping mapping_;                   // unless the environment has the arena
  Arena arena_;
  std::unique_ptr<Exchange> exchange_;
  std::vector<std::unique_ptr<ShardRunner>> runners_;
  std::vector<Endpoint> listening_;
  std::mutex pools_mutex_;
  std::vector<std::string> pools_;  // canonical paths, by PoolIndex

  std::mutex mutex_;  // guards all below, and the sending ends of exchange_->to_shard
  std::condition_variable wake_steward_;
  bool stopping_ = false;
  std::uint64_t next_id_ = 1;
  std::map<std::uint64_t, std::unique_ptr<Entry>> torrents_;
  std::vector<std::uint64_t> unsettled_;  // those that are being checked or removed
  std::set<WireInfoHash> hashes_;         // served
  bool splice_trouble_told_ = false;
  bool failure_told_ = false;
  std::vector<std::uint32_t> free_slots_;
  std::thread steward_;
};

}  // namespace penstock::app
