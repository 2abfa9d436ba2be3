// What is served: the watched folders, kept in step with the engine and the announces.
//
// One thread. inotify says when to look; what there is to do is found by looking (a listing
// compared with the last one, FolderState), so that lost events, network file systems and renames
// need no special care: every folder is also looked at every kRescan, and every kRescanBlind where
// inotify doesn't work. .torrent files are read and hashed on this thread, never on a shard.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "control/config.hh"
#include "control/engine_api.hh"
#include "control/folder_state.hh"

namespace penstock::control {

// A torrent being served, for the API.
struct TorrentInfo {
  TorrentId id;
  std::string name;     // as the torrent has it; UTF-8, may hold anything else
  std::string v1_hash;  // hexadecimal; empty: none
  std::string v2_hash;
  WireInfoHash wire_hash;
  std::vector<WireInfoHash> swarms;  // its wire hashes: two of a hybrid (BEP 52)
  std::uint64_t size = 0;            // bytes, without padding
  std::uint32_t pieces = 0;
  bool is_private = false;
  std::uint64_t upload_rate = 0;  // bytes per second at most; 0: unlimited
  std::string file;               // the .torrent
  std::string pool;
};

// Told what comes and goes; on the library's thread.
class LibraryListener {
 public:
  virtual ~LibraryListener() = default;
  virtual void on_added(const TorrentInfo& torrent, const Metainfo& metainfo) = 0;
  virtual void on_removed(const TorrentInfo& torrent) = 0;
};

class Library {
 public:
  static constexpr Duration kRescan = Duration::seconds(10);
  static constexpr Duration kRescanBlind = Duration::seconds(1);

  // Engine and listener must outlive the library. Starts its thread.
  Library(EngineApi& engine, LibraryListener& listener);
  // Stops the thread; the torrents stay with the engine.
  ~Library();
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  // From now on these pools and folders. Pools are opened at once: an error changes nothing.
  // Folders are looked at on the library's thread. Any thread.
  Result<void> apply(const std::vector<PoolConfig>& pools, const std::vector<WatchConfig>& watches);

  // Any thread.
  [[nodiscard]] std::vector<TorrentInfo> list() const;
  [[nodiscard]] std::size_t torrent_count() const;
  [[nodiscard]] std::uint64_t broken_files() const { return broken_.load(); }
  // Every folder of the last apply() has been gone through.
  [[nodiscard]] bool settled() const { return settled_.load(); }

 private:
  struct Folder;
  struct Request;
  void run();
  void take_request();
  void set_rate(const WatchConfig& watch);
  void look(Folder& folder);
  void act(Folder& folder, const std::vector<FolderState::Action>& actions);
  Result<void> load(Folder& folder, const std::string& name);
  void unload(Folder& folder, const std::string& name);
  void remove_torrent(const std::string& file);
  void drain_inotify();
  void sleep(Instant until);
  void count_broken();
  Instant next_timeout() const;

  EngineApi& engine_;
  LibraryListener& listener_;
  int inotify_ = -1;
  int wake_ = -1;  // eventfd
  std::atomic<bool> stopping_{false};
  std::atomic<bool> settled_{false};
  std::atomic<std::uint64_t> broken_{0};

  mutable std::mutex mutex_;  // guards the three below
  std::unique_ptr<Request> request_;
  std::map<std::string, TorrentInfo> torrents_;  // by file; written by the library's thread only
  std::map<std::string, PoolIndex> pools_;

  // The library's thread only.
  std::map<std::string, std::unique_ptr<Folder>> folders_;  // by directory
  std::map<WireInfoHash, std::string> file_of_;             // of every info-hash that is served
  std::thread thread_;
};

}  // namespace penstock::control
