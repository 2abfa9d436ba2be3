// What the Storage suite needs: a device with one pool, and a way to put files into it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "store/storage.hh"

namespace penstock::conformance {

class StorageWorld {
 public:
  virtual ~StorageWorld() = default;
  virtual Storage& storage() = 0;
  virtual PoolIndex pool() = 0;
  // Lets a little time pass, real or virtual.
  virtual void step() = 0;
  virtual void put(const std::string& path, const std::vector<std::byte>& content) = 0;
  virtual void append(const std::string& path, const std::vector<std::byte>& content) = 0;
  virtual void truncate(const std::string& path, std::uint64_t size) = 0;
  virtual void remove(const std::string& path) = 0;
  virtual void make_directory(const std::string& path) = 0;
  // The directory that holds the pool on a real file system; empty for a simulated one.
  virtual std::string directory() { return ""; }
  virtual void validate() {}
};

struct StorageFlavour {
  std::string name;
  std::function<std::unique_ptr<StorageWorld>(std::string& why_not)> make;
  std::uint32_t ops_max = 0;  // how many operations it takes at once
  bool direct = false;        // asked for O_DIRECT
  bool follows_links = true;  // symbolic links that stay in the pool
};

const std::vector<StorageFlavour>& storage_flavours();

}  // namespace penstock::conformance
