// A whole engine in this process: real files in a folder of its own, shards on their threads, real
// sockets on loopback, and the load generator as its peers.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/engine.hh"
#include "app/load_run.hh"
#include "base/random.hh"
#include "control/dataset/make_torrent.hh"
#include "control/engine_api.hh"

namespace penstock::test {

namespace fs = std::filesystem;

class EngineWorld {
 public:
  // disable: what PENSTOCK_DISABLE says. Below the working directory: on the file system of the
  // build (a tmpfs would refuse O_DIRECT).
  EngineWorld(std::uint32_t shards, const char* disable, bool direct) {
    ::setenv("PENSTOCK_DISABLE", disable, 1);
    std::string name = (fs::current_path() / "engine_test_XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    control::EngineOptions options;
    options.listen = {Endpoint{IpAddress::v4(127, 0, 0, 1), 0}};
    options.shards = shards;
    options.cache_bytes = std::uint64_t{shards} * 64 * kExtentSize;  // the least
    options.io_direct = direct;
    auto started = app::Engine::start(options);
    if (!started) {
      ADD_FAILURE() << started.error().message;
      return;
    }
    engine_ = std::move(*started);
    auto pool = engine_->open_pool(folder_.string());
    EXPECT_TRUE(pool);
    pool_ = *pool;
  }
  ~EngineWorld() {
    engine_.reset();
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
    ::unsetenv("PENSTOCK_DISABLE");
  }

  // Writes files of random bytes and their torrent.
  std::shared_ptr<const Metainfo> make(const std::string& name,
                                       const std::vector<std::uint64_t>& lengths,
                                       control::TorrentFormat format, std::uint64_t piece_size) {
    fs::create_directory(folder_ / name);
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      std::vector<std::uint64_t> words(lengths[i] / 8 + 1);
      for (std::uint64_t& word : words)
        word = random_.next();
      std::ofstream out(folder_ / name / std::to_string(i), std::ios::binary);
      out.write(reinterpret_cast<const char*>(words.data()),
                static_cast<std::streamsize>(lengths[i]));
    }
    auto tree = control::scan_tree((folder_ / name).string());
    EXPECT_TRUE(tree);
    control::MakeTorrentOptions options;
    options.format = format;
    options.piece_size = piece_size;
    auto made = control::make_torrent(*tree, options, [](std::uint64_t) { return true; });
    EXPECT_TRUE(made);
    return std::make_shared<const Metainfo>(std::move(made->metainfo));
  }
  control::TorrentId add(std::shared_ptr<const Metainfo> metainfo) {
    auto id = engine_->add_torrent({std::move(metainfo), pool_, control::VerifyChoice::lazy});
    EXPECT_TRUE(id);
    return *id;
  }
  // One bit of a file, without a trace in its times: the disk did it.
  void flip(const std::string& file, off_t at) {
    const int fd = ::open((folder_ / file).c_str(), O_RDWR | O_CLOEXEC);
    ASSERT_GE(fd, 0);
    struct stat before {};
    ASSERT_EQ(::fstat(fd, &before), 0);
    char byte = 0;
    ASSERT_EQ(::pread(fd, &byte, 1, at), 1);
    byte = static_cast<char>(byte ^ 0x10);
    ASSERT_EQ(::pwrite(fd, &byte, 1, at), 1);
    const timespec times[2] = {before.st_atim, before.st_mtim};
    ASSERT_EQ(::futimens(fd, times), 0);
    ASSERT_EQ(::fsync(fd), 0);
    ::close(fd);
  }

  std::unique_ptr<control::LoadApi> peers(LoadPlan plan, std::shared_ptr<const Metainfo> of) {
    plan.peer = engine_->listening().front();
    auto load = app::start_load(plan, std::move(of), std::nullopt);
    if (!load) {
      ADD_FAILURE() << load.error().message;
      return nullptr;
    }
    return std::move(*load);
  }

  [[nodiscard]] control::EngineApi& engine() { return *engine_; }
  [[nodiscard]] control::EngineSnapshot snapshot() {
    control::EngineSnapshot out;
    engine_->snapshot(out);
    return out;
  }
  [[nodiscard]] const fs::path& folder() const { return folder_; }

 private:
  fs::path folder_;
  Random random_{7};
  std::unique_ptr<control::EngineApi> engine_;
  PoolIndex pool_;
};

}  // namespace penstock::test
