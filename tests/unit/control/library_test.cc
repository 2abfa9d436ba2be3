// The library on a real directory and with real inotify, against a fake engine. Every wait is for a
// condition, with a deadline.
#include "control/library.hh"

#include <filesystem>
#include <fstream>
#include <functional>

#include <gtest/gtest.h>
#include <poll.h>

#include "control/engine_view.hh"
#include "fake_engine.hh"

namespace penstock::control {
namespace {

// A one-piece v1 torrent of this name (BEP 3).
std::string torrent_bytes(const std::string& name) {
  return "d4:infod6:lengthi16384e4:name" + std::to_string(name.size()) + ":" + name +
         "12:piece lengthi16384e6:pieces20:01234567890123456789ee";
}

class Recorder final : public LibraryListener {
 public:
  void on_added(const TorrentInfo&, const Metainfo& metainfo) override {
    EXPECT_TRUE(metainfo.has_v1);
    ++added;
  }
  void on_removed(const TorrentInfo&) override { ++removed; }
  std::atomic<int> added{0};
  std::atomic<int> removed{0};
};

class LibraryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/penstock-library-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    root_ = name;
    watched_ = root_ / "watched";
    std::filesystem::create_directories(watched_);
  }
  void TearDown() override {
    library_.reset();
    std::filesystem::remove_all(root_);
  }
  void start() {
    library_ = std::make_unique<Library>(engine_, recorder_);
    const auto applied = apply();
    ASSERT_TRUE(applied) << applied.error().message;
  }
  Result<void> apply() {
    return library_->apply({{"main", root_, false}},
                           {{watched_, "main", VerifyChoice::lazy, 0, false}});
  }
  // Written beside and moved in, as a careful program does.
  void drop(const std::string& file, const std::string& bytes) {
    std::ofstream(root_ / "new") << bytes;
    std::filesystem::rename(root_ / "new", watched_ / file);
  }
  static bool eventually(const std::function<bool()>& condition) {
    const Instant deadline = monotonic_now() + Duration::seconds(60);
    while (!condition()) {
      if (monotonic_now() > deadline) return false;
      poll(nullptr, 0, 2);
    }
    return true;
  }
  bool serves(std::size_t count) {
    return eventually([&] {
      return library_->settled() && library_->torrent_count() == count &&
             engine_.torrent_count() == count;
    });
  }

  std::filesystem::path root_;
  std::filesystem::path watched_;
  test::FakeEngine engine_;
  Recorder recorder_;
  std::unique_ptr<Library> library_;
};

TEST_F(LibraryTest, WhatIsThereAtTheStartAndWhatComesAndGoes) {
  drop("a.torrent", torrent_bytes("a"));
  start();
  ASSERT_TRUE(serves(1));
  drop("b.torrent", torrent_bytes("b"));
  ASSERT_TRUE(serves(2));
  std::filesystem::remove(watched_ / "a.torrent");
  ASSERT_TRUE(serves(1));
  const auto list = library_->list();
  EXPECT_EQ(list[0].name, "b");
  EXPECT_EQ(list[0].size, 16384u);
  EXPECT_EQ(list[0].v1_hash.size(), 40u);
  EXPECT_EQ(list[0].pool, "main");
  EXPECT_EQ(recorder_.added, 2);
  EXPECT_EQ(recorder_.removed, 1);
}

TEST_F(LibraryTest, ALimitIsSetWithoutBeginningAnew) {
  drop("a.torrent", torrent_bytes("a"));
  start();
  ASSERT_TRUE(serves(1));
  EXPECT_EQ(library_->list()[0].upload_rate, 0u);
  const auto limit = [&](std::uint64_t rate) {
    return library_->apply({{"main", root_, false}},
                           {{watched_, "main", VerifyChoice::lazy, rate, false}});
  };
  ASSERT_TRUE(limit(1000));
  ASSERT_TRUE(eventually([&] { return library_->list()[0].upload_rate == 1000; }));
  ASSERT_TRUE(eventually([&] { return engine_.rate_of(library_->list()[0].id) == 1000; }));
  drop("b.torrent", torrent_bytes("b"));
  ASSERT_TRUE(serves(2));
  for (const TorrentInfo& info : library_->list())
    EXPECT_EQ(engine_.rate_of(info.id), 1000u) << info.name;
  EXPECT_EQ(recorder_.added, 2);
  EXPECT_EQ(recorder_.removed, 0);
}

TEST_F(LibraryTest, OtherNamesAreNotLookedAt) {
  drop("a.torrent.part", torrent_bytes("a"));
  drop(".b.torrent", torrent_bytes("b"));
  drop("c.txt", torrent_bytes("c"));
  std::filesystem::create_directory(watched_ / "d.torrent");
  drop("e.torrent", torrent_bytes("e"));
  start();
  ASSERT_TRUE(serves(1));
  EXPECT_EQ(library_->broken_files(), 0u);
}

TEST_F(LibraryTest, AHalfWrittenFileIsServedOnceItIsWhole) {
  start();
  const std::string bytes = torrent_bytes("slow");
  std::ofstream file(watched_ / "slow.torrent");
  file << bytes.substr(0, 30) << std::flush;
  ASSERT_TRUE(eventually([&] { return library_->settled(); }));
  EXPECT_EQ(library_->torrent_count(), 0u);
  file << bytes.substr(30) << std::flush;
  ASSERT_TRUE(serves(1));
  EXPECT_EQ(library_->broken_files(), 0u);
}

TEST_F(LibraryTest, ABrokenFileIsCountedAndMended) {
  drop("bad.torrent", "d4:info");
  drop("good.torrent", torrent_bytes("good"));
  start();
  ASSERT_TRUE(serves(1));
  ASSERT_TRUE(eventually([&] { return library_->broken_files() == 1; }));
  drop("bad.torrent", torrent_bytes("bad"));
  ASSERT_TRUE(serves(2));
  EXPECT_TRUE(eventually([&] { return library_->broken_files() == 0; }));
}

TEST_F(LibraryTest, ARenamedFileGoesOn) {
  drop("a.torrent", torrent_bytes("a"));
  start();
  ASSERT_TRUE(serves(1));
  std::filesystem::rename(watched_ / "a.torrent", watched_ / "b.torrent");
  ASSERT_TRUE(eventually([&] {
    const auto list = library_->list();
    return list.size() == 1 && list[0].file.ends_with("/b.torrent");
  }));
  EXPECT_EQ(engine_.torrent_count(), 1u);
}

TEST_F(LibraryTest, AFileThatHasAnotherTorrentNow) {
  drop("a.torrent", torrent_bytes("a"));
  start();
  ASSERT_TRUE(serves(1));
  drop("a.torrent", torrent_bytes("other"));
  ASSERT_TRUE(eventually([&] {
    const auto list = library_->list();
    return list.size() == 1 && list[0].name == "other";
  }));
  EXPECT_EQ(engine_.torrent_count(), 1u);
}

TEST_F(LibraryTest, TheSameTorrentInTwoFilesIsServedUntilBothAreGone) {
  drop("a.torrent", torrent_bytes("same"));
  drop("b.torrent", torrent_bytes("same"));
  start();
  ASSERT_TRUE(serves(1));
  std::filesystem::remove(watched_ / "a.torrent");
  ASSERT_TRUE(eventually([&] {
    const auto list = library_->list();
    return list.size() == 1 && list[0].file.ends_with("/b.torrent");
  }));
  std::filesystem::remove(watched_ / "b.torrent");
  ASSERT_TRUE(serves(0));
}

TEST_F(LibraryTest, AFolderNoLongerWatchedIsNoLongerServed) {
  drop("a.torrent", torrent_bytes("a"));
  start();
  ASSERT_TRUE(serves(1));
  ASSERT_TRUE(library_->apply({{"main", root_, false}}, {}));
  ASSERT_TRUE(serves(0));
  ASSERT_TRUE(apply());
  ASSERT_TRUE(serves(1));
}

TEST_F(LibraryTest, AMissingFolderOrPoolChangesNothing) {
  drop("a.torrent", torrent_bytes("a"));
  engine_.missing_pool = "/missing";
  start();
  ASSERT_TRUE(serves(1));
  auto applied = library_->apply({{"main", root_, false}},
                                 {{root_ / "none", "main", VerifyChoice::lazy, 0, false}});
  ASSERT_FALSE(applied);
  EXPECT_EQ(applied.error().message,
            "watched folder " + (root_ / "none").string() + ": No such file or directory");
  applied = library_->apply({{"gone", "/missing", false}}, {});
  ASSERT_FALSE(applied);
  EXPECT_EQ(applied.error().message, "pool \"gone\": No such file or directory");
  EXPECT_TRUE(serves(1));
}

TEST_F(LibraryTest, AThousandFilesAtTheStart) {
  for (int i = 0; i < 1000; ++i) {
    const std::string name = "t" + std::to_string(i);
    std::ofstream(watched_ / (name + ".torrent")) << torrent_bytes(name);
  }
  start();
  EXPECT_TRUE(serves(1000));
}

}  // namespace
}  // namespace penstock::control
