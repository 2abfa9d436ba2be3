#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <utility>

#include <poll.h>

#include "disk_posix/posix_storage.hh"
#include "disk_uring/uring_storage.hh"
#include "host/wake_event.hh"
#include "storage_world.hh"
#include "support/memory_storage.hh"
#include "uring/ring.hh"

namespace penstock::conformance {
namespace {

constexpr std::uint32_t kOpsMax = 32;

// A directory of its own, on the file system of the build (tmpfs would refuse O_DIRECT).
class DiskWorld : public StorageWorld {
 public:
  DiskWorld() {
    std::string name = (std::filesystem::current_path() / "storage_test_XXXXXX").string();
    root_ = ::mkdtemp(name.data());
    std::filesystem::create_directory(root_ / "pool");
  }
  ~DiskWorld() override {
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }
  void put(const std::string& path, const std::vector<std::byte>& content) override {
    write(path, content, std::ios::binary | std::ios::trunc);
  }
  void append(const std::string& path, const std::vector<std::byte>& content) override {
    write(path, content, std::ios::binary | std::ios::app);
  }
  void truncate(const std::string& path, std::uint64_t size) override {
    std::filesystem::resize_file(root_ / "pool" / path, size);
  }
  void remove(const std::string& path) override { std::filesystem::remove(root_ / "pool" / path); }
  void make_directory(const std::string& path) override {
    std::filesystem::create_directories(root_ / "pool" / path);
  }
  std::string directory() override { return (root_ / "pool").string(); }

 private:
  void write(const std::string& path, const std::vector<std::byte>& content,
             std::ios::openmode mode) {
    std::ofstream out(root_ / "pool" / path, mode);
    out.write(reinterpret_cast<const char*>(content.data()),
              static_cast<std::streamsize>(content.size()));
  }
  std::filesystem::path root_;
};

class UringWorld final : public DiskWorld {
 public:
  static std::unique_ptr<StorageWorld> make(bool direct, std::string& why_not) {
    auto world = std::make_unique<UringWorld>();
    auto ring = uring::Ring::create({.entries = 16, .cq_entries = 64});
    if (!ring) {
      why_not = ring.error().message;
      return nullptr;
    }
    world->ring_ = std::move(*ring);
    world->storage_ = std::make_unique<disk_uring::UringStorage>(
        *world->ring_,
        disk_uring::StorageOptions{.ops_max = kOpsMax, .files_max = 16, .direct = direct});
    auto pool = world->storage_->open_pool(world->directory());
    if (!pool) {
      why_not = pool.error().message;
      return nullptr;
    }
    world->pool_ = *pool;
    return world;
  }
  Storage& storage() override { return *storage_; }
  PoolIndex pool() override { return pool_; }
  void step() override { ring_->wait(Duration::milliseconds(1)); }
  void validate() override { storage_->validate(); }

 private:
  std::unique_ptr<uring::Ring> ring_;
  std::unique_ptr<disk_uring::UringStorage> storage_;
  PoolIndex pool_;
};

class PosixWorld final : public DiskWorld {
 public:
  static std::unique_ptr<StorageWorld> make(bool direct, bool openat2, std::string& why_not) {
    auto world = std::make_unique<PosixWorld>();
    auto bell = host::WakeEvent::create();
    if (!bell) {
      why_not = bell.error().message;
      return nullptr;
    }
    world->bell_ = std::move(*bell);
    disk_posix::StorageOptions options{.ops_max = kOpsMax, .files_max = 16, .direct = direct};
    options.openat2 = openat2;
    options.threads = 4;
    options.wake_fd = world->bell_.fd();
    auto storage = disk_posix::PosixStorage::create(options);
    if (!storage) {
      why_not = storage.error().message;
      return nullptr;
    }
    world->storage_ = std::move(*storage);
    auto pool = world->storage_->open_pool(world->directory());
    if (!pool) {
      why_not = pool.error().message;
      return nullptr;
    }
    world->pool_ = *pool;
    return world;
  }
  Storage& storage() override { return *storage_; }
  PoolIndex pool() override { return pool_; }
  // As a parked shard waits: a completion that doesn't ring would let the suite run out of turns.
  void step() override {
    pollfd wait{bell_.fd(), POLLIN, 0};
    ::poll(&wait, 1, 1);
    bell_.quiet();
  }
  void validate() override { storage_->validate(); }

 private:
  host::WakeEvent bell_;
  std::unique_ptr<disk_posix::PosixStorage> storage_;
  PoolIndex pool_;
};

class MemoryWorld final : public StorageWorld {
 public:
  MemoryWorld()
      : storage_(clock_, {.ops_max = kOpsMax, .files_max = 16}), pool_(storage_.add_pool(disk_)) {}
  Storage& storage() override { return storage_; }
  PoolIndex pool() override { return pool_; }
  void step() override {
    const Instant soon = clock_.now() + Duration::milliseconds(1);
    clock_.advance_to(earlier(storage_.next_event(), soon));
  }
  void put(const std::string& path, const std::vector<std::byte>& content) override {
    disk_.put(path, content);
  }
  void append(const std::string& path, const std::vector<std::byte>& content) override {
    disk_.append(path, content);
  }
  void truncate(const std::string& path, std::uint64_t size) override {
    disk_.truncate(path, size);
  }
  void remove(const std::string& path) override { disk_.remove(path); }
  void make_directory(const std::string& path) override { disk_.make_directory(path); }

 private:
  support::VirtualClock clock_;
  support::MemoryDisk disk_;
  support::MemoryStorage storage_;
  PoolIndex pool_;
};

}  // namespace

const std::vector<StorageFlavour>& storage_flavours() {
  static const std::vector<StorageFlavour> flavours{
      {"uring_buffered", [](std::string& why) { return UringWorld::make(false, why); }, kOpsMax,
       false},
      {"uring_direct", [](std::string& why) { return UringWorld::make(true, why); }, kOpsMax, true},
      {"posix_buffered", [](std::string& why) { return PosixWorld::make(false, true, why); },
       kOpsMax, false},
      {"posix_direct", [](std::string& why) { return PosixWorld::make(true, true, why); }, kOpsMax,
       true},
      {"posix_walking", [](std::string& why) { return PosixWorld::make(false, false, why); },
       kOpsMax, false, false},
      {"memory", [](std::string&) { return std::make_unique<MemoryWorld>(); }, kOpsMax, false},
  };
  return flavours;
}

}  // namespace penstock::conformance
