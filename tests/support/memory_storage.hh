// Storage over files in memory, in virtual time: every operation takes a seeded while, so they
// complete in any order.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <queue>
#include <set>
#include <string>
#include <vector>

#include "base/random.hh"
#include "store/storage.hh"
#include "support/exposure_ledger.hh"
#include "support/virtual_clock.hh"

namespace penstock::support {

// The files of one pool. Shared by the devices of several shards; outlives them.
class MemoryDisk {
 public:
  void put(const std::string& path, std::vector<std::byte> content);  // replaces: another inode
  void append(const std::string& path, const std::vector<std::byte>& content);
  void truncate(const std::string& path, std::uint64_t size);
  void remove(const std::string& path);
  void make_directory(const std::string& path);
  // Bit rot: the file changes, what it says about itself doesn't.
  void flip(const std::string& path, std::uint64_t offset);
  // Mended in place: content as it was, a new modification time.
  void overwrite(const std::string& path, std::uint64_t offset,
                 const std::vector<std::byte>& content);

 private:
  friend class MemoryStorage;
  struct File {
    std::vector<std::byte> content;
    FileFacts facts;
  };
  void touch(File& file);
  // The file, or why there is none.
  IoError find(const std::string& path, std::shared_ptr<File>& out) const;

  std::map<std::string, std::shared_ptr<File>> files_;
  std::set<std::string> directories_;
  std::uint64_t next_inode_ = 1;
  std::int64_t next_mtime_ns_ = 1'000'000'000;
};

struct MemoryStorageOptions {
  std::uint64_t seed = 1;
  Duration latency_min = Duration::microseconds(50);
  Duration latency_max = Duration::microseconds(500);
  std::uint32_t ops_max = 256;
  std::uint32_t files_max = 4096;
  bool direct = false;  // what facts say
  ExposureLedger* ledger = nullptr;
};

class MemoryStorage final : public Storage {
 public:
  // Pools have indices in the order they are added in.
  MemoryStorage(VirtualClock& clock, const MemoryStorageOptions& options)
      : clock_(clock), options_(options), random_(options.seed) {}
  PoolIndex add_pool(MemoryDisk& disk) {
    pools_.push_back(&disk);
    return PoolIndex(static_cast<std::uint32_t>(pools_.size() - 1));
  }

  bool try_submit(const StorageOp& op) override;
  std::size_t poll_completions(std::span<StorageCompletion> out) override;

  // When the next completion is due; never() without one.
  [[nodiscard]] Instant next_event() const {
    return flights_.empty() ? Instant::never() : flights_.top().due;
  }
  // A device that becomes slow, or fast again: for operations submitted from now on.
  void set_latency(Duration least, Duration most) {
    options_.latency_min = least;
    options_.latency_max = most;
  }
  [[nodiscard]] std::size_t open_files() const { return open_.size(); }
  [[nodiscard]] std::uint64_t bytes_read() const { return bytes_read_; }
  [[nodiscard]] std::uint64_t reads() const { return reads_; }

 private:
  struct Open {
    std::shared_ptr<MemoryDisk::File> file;
    bool closing = false;
    std::uint32_t reads = 0;
  };
  struct Flight {
    Instant due;
    std::uint64_t sequence = 0;
    StorageOp op;
    bool operator>(const Flight& o) const {
      return due != o.due ? due > o.due : sequence > o.sequence;
    }
  };
  StorageCompletion execute(const StorageOp& op);
  void read(const StorageOp& op, StorageCompletion& out);

  VirtualClock& clock_;
  MemoryStorageOptions options_;
  Random random_;
  std::vector<MemoryDisk*> pools_;
  std::map<FileHandle, Open> open_;
  std::uint32_t next_handle_ = 1;
  std::priority_queue<Flight, std::vector<Flight>, std::greater<>> flights_;
  std::uint64_t sequence_ = 0;
  std::uint64_t bytes_read_ = 0;
  std::uint64_t reads_ = 0;
};

}  // namespace penstock::support
