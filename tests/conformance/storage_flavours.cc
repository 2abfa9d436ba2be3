#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <utility>

#include "disk_uring/uring_storage.hh"
#include "storage_world.hh"
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

}  // namespace

const std::vector<StorageFlavour>& storage_flavours() {
  static const std::vector<StorageFlavour> flavours{
      {"uring_buffered", [](std::string& why) { return UringWorld::make(false, why); }, kOpsMax,
       false},
      {"uring_direct", [](std::string& why) { return UringWorld::make(true, why); }, kOpsMax, true},
  };
  return flavours;
}

}  // namespace penstock::conformance
