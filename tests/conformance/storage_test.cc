// One suite for every Storage (src/store/storage.hh).
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <optional>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/arena.hh"
#include "base/random.hh"
#include "storage_world.hh"
#include "support/skip.hh"

namespace penstock::conformance {
namespace {

std::vector<std::byte> random_bytes(std::uint64_t seed, std::size_t size) {
  Random random(seed);
  std::vector<std::byte> out(size);
  for (std::byte& b : out)
    b = static_cast<std::byte>(random.next());
  return out;
}

class StorageSuite : public testing::TestWithParam<StorageFlavour> {
 protected:
  void SetUp() override {
    std::string why_not;
    world_ = GetParam().make(why_not);
    if (world_ == nullptr) {
      PENSTOCK_SKIP(why_not);
    }
    slabs_ = static_cast<std::byte*>(
        ::mmap(nullptr, kSlabsSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(slabs_, MAP_FAILED);
  }
  void TearDown() override {
    world_.reset();
    if (slabs_ != nullptr) ::munmap(slabs_, kSlabsSize);
  }

  void collect() {
    std::array<StorageCompletion, 4> done;
    std::size_t n = 0;
    while ((n = world_->storage().poll_completions(done)) > 0) {
      for (std::size_t i = 0; i < n; ++i) {
        EXPECT_FALSE(answers_.contains(done[i].token)) << "two completions of one operation";
        answers_[done[i].token] = done[i];
      }
    }
    world_->validate();
  }
  std::optional<StorageCompletion> wait_for(std::uint64_t token) {
    for (int turn = 0; turn < 20'000 && !answers_.contains(token); ++turn) {
      world_->step();
      collect();
    }
    if (!answers_.contains(token)) return std::nullopt;
    return answers_[token];
  }
  StorageCompletion run(StorageOp op) {
    op.token = next_token_++;
    EXPECT_TRUE(world_->storage().try_submit(op));
    const auto answer = wait_for(op.token);
    EXPECT_TRUE(answer.has_value()) << "no completion";
    if (!answer) return {};
    EXPECT_EQ(answer->kind, op.kind);
    return *answer;
  }
  StorageCompletion open(const std::string& path) {
    return run({.kind = StorageOp::Kind::open, .pool = world_->pool(), .path = path.c_str()});
  }
  StorageCompletion check(const std::string& path) {
    return run({.kind = StorageOp::Kind::check, .pool = world_->pool(), .path = path.c_str()});
  }
  StorageCompletion close(FileHandle file) {
    return run({.kind = StorageOp::Kind::close, .file = file});
  }
  static StorageOp read_op(FileHandle file, std::uint64_t offset,
                           std::initializer_list<StorageOp::Segment> segments) {
    StorageOp op{.kind = StorageOp::Kind::read, .file = file, .offset = offset};
    for (const auto& segment : segments)
      op.segments[op.segment_count++] = segment;
    return op;
  }
  std::byte* slab(std::size_t i) { return slabs_ + i * kSlabSize; }

  static constexpr std::size_t kSlabs = 64;
  static constexpr std::size_t kSlabsSize = kSlabs * kSlabSize;
  std::unique_ptr<StorageWorld> world_;
  std::map<std::uint64_t, StorageCompletion> answers_;
  std::uint64_t next_token_ = 1;
  std::byte* slabs_ = nullptr;
};

TEST_P(StorageSuite, OpensReadsAndCloses) {
  const auto content = random_bytes(1, 300'000);
  world_->put("a", content);
  const StorageCompletion opened = open("a");
  ASSERT_EQ(opened.error, IoError::none);
  EXPECT_EQ(opened.facts.size, content.size());
  EXPECT_NE(opened.facts.inode, 0u);
  EXPECT_NE(opened.facts.mtime_ns, 0);
  EXPECT_TRUE(GetParam().direct || !opened.facts.direct);
  const auto read = run(read_op(opened.file, 65536, {{slab(0), 65536}}));
  ASSERT_EQ(read.error, IoError::none);
  ASSERT_EQ(read.bytes, 65536u);
  EXPECT_EQ(std::memcmp(slab(0), content.data() + 65536, 65536), 0);
  EXPECT_EQ(close(opened.file).error, IoError::none);
}

TEST_P(StorageSuite, ScatteredSegmentsAreConsecutiveInTheFile) {
  const auto content = random_bytes(2, 600'000);
  world_->put("a", content);
  const FileHandle file = open("a").file;
  const auto read = run(read_op(file, 4096,
                                {{slab(7), 65536},
                                 {slab(2), 4096},
                                 {slab(3) + 8192, 8192},
                                 {slab(9), 65536},
                                 {slab(1), 65536}}));
  ASSERT_EQ(read.error, IoError::none);
  ASSERT_EQ(read.bytes, 65536u * 3 + 4096 + 8192);
  const std::byte* at = content.data() + 4096;
  EXPECT_EQ(std::memcmp(slab(7), at, 65536), 0);
  EXPECT_EQ(std::memcmp(slab(2), at + 65536, 4096), 0);
  EXPECT_EQ(std::memcmp(slab(3) + 8192, at + 65536 + 4096, 8192), 0);
  EXPECT_EQ(std::memcmp(slab(9), at + 65536 + 12288, 65536), 0);
  EXPECT_EQ(std::memcmp(slab(1), at + 2 * 65536 + 12288, 65536), 0);
}

TEST_P(StorageSuite, TheLargestReadWorks) {
  const auto content = random_bytes(3, kReadSizeMax);
  world_->put("a", content);
  StorageOp op{.kind = StorageOp::Kind::read, .file = open("a").file};
  op.segment_count = kReadSegmentsMax;
  for (std::size_t i = 0; i < kReadSegmentsMax; ++i)
    op.segments[i] = {slab(kReadSegmentsMax - 1 - i), kSlabSize};
  const auto read = run(op);
  ASSERT_EQ(read.bytes, kReadSizeMax);
  for (std::size_t i = 0; i < kReadSegmentsMax; ++i) {
    EXPECT_EQ(
        std::memcmp(slab(kReadSegmentsMax - 1 - i), content.data() + i * kSlabSize, kSlabSize), 0);
  }
}

TEST_P(StorageSuite, OnlyTheEndOfTheFileIsShort) {
  for (const std::uint64_t size : {1u, 511u, 512u, 4095u, 4096u, 4097u, 65536u, 70'001u}) {
    const auto content = random_bytes(size, size);
    world_->put("f" + std::to_string(size), content);
    const StorageCompletion opened = open("f" + std::to_string(size));
    ASSERT_EQ(opened.error, IoError::none);
    for (std::uint64_t offset = 0; offset < size + 8192; offset += 4096) {
      std::memset(slab(0), 0xee, kSlabSize);
      const auto read = run(read_op(opened.file, offset, {{slab(0), kSlabSize}}));
      ASSERT_EQ(read.error, IoError::none);
      const std::size_t there =
          offset >= size ? 0 : std::min<std::size_t>(kSlabSize, size - offset);
      ASSERT_EQ(read.bytes, there) << size << " at " << offset;
      ASSERT_TRUE(std::equal(slab(0), slab(0) + there, content.data() + std::min(offset, size)));
    }
    close(opened.file);
  }
}

TEST_P(StorageSuite, EmptyFileIsAFile) {
  world_->put("empty", {});
  const auto opened = open("empty");
  ASSERT_EQ(opened.error, IoError::none);
  EXPECT_EQ(opened.facts.size, 0u);
  EXPECT_EQ(run(read_op(opened.file, 0, {{slab(0), 4096}})).bytes, 0u);
}

TEST_P(StorageSuite, CheckSeesVersionsWithoutAHandle) {
  world_->put("a", random_bytes(4, 5000));
  const auto first = check("a");
  ASSERT_EQ(first.error, IoError::none);
  EXPECT_EQ(first.facts.size, 5000u);
  const auto opened = open("a");
  EXPECT_TRUE(opened.facts.same_version(first.facts));
  world_->append("a", random_bytes(5, 100));
  const auto second = check("a");
  EXPECT_EQ(second.facts.size, 5100u);
  EXPECT_FALSE(second.facts.same_version(first.facts));
  EXPECT_EQ(second.facts.inode, first.facts.inode);
  world_->remove("a");
  EXPECT_EQ(check("a").error, IoError::not_found);
}

TEST_P(StorageSuite, GrowthAndTruncationAreSeenByReads) {
  const auto content = random_bytes(6, 100'000);
  world_->put("a", {content.begin(), content.begin() + 50'000});
  const FileHandle file = open("a").file;
  ASSERT_EQ(run(read_op(file, 0, {{slab(0), kSlabSize}})).bytes, 50'000u);
  world_->append("a", {content.begin() + 50'000, content.end()});
  auto read = run(read_op(file, 65536, {{slab(0), kSlabSize}}));
  ASSERT_EQ(read.error, IoError::none);
  ASSERT_EQ(read.bytes, 100'000u - 65536);
  EXPECT_EQ(std::memcmp(slab(0), content.data() + 65536, read.bytes), 0);
  world_->truncate("a", 70'000);
  EXPECT_EQ(run(read_op(file, 65536, {{slab(0), kSlabSize}})).bytes, 70'000u - 65536);
  world_->truncate("a", 10);
  EXPECT_EQ(run(read_op(file, 65536, {{slab(0), kSlabSize}})).bytes, 0u);
}

TEST_P(StorageSuite, RemovedFileCanStillBeReadByItsHandle) {
  const auto content = random_bytes(7, 20'000);
  world_->put("a", content);
  const FileHandle file = open("a").file;
  world_->remove("a");
  EXPECT_EQ(open("a").error, IoError::not_found);
  ASSERT_EQ(run(read_op(file, 0, {{slab(0), kSlabSize}})).bytes, content.size());
  EXPECT_EQ(std::memcmp(slab(0), content.data(), content.size()), 0);
}

TEST_P(StorageSuite, PathsThatAreNoFilesOfThePool) {
  world_->make_directory("dir/sub");
  world_->put("file", random_bytes(8, 10));
  const auto error_of = [&](const std::string& path) {
    const IoError opened = open(path).error;
    EXPECT_EQ(check(path).error, opened) << path;
    return opened;
  };
  EXPECT_EQ(error_of("missing"), IoError::not_found);
  EXPECT_EQ(error_of("missing/too"), IoError::not_found);
  EXPECT_EQ(error_of("file/below"), IoError::not_found);
  EXPECT_EQ(error_of(""), IoError::not_found);
  EXPECT_EQ(error_of("/etc/passwd"), IoError::not_found);
  EXPECT_EQ(error_of("../pool/file"), IoError::not_found);
  EXPECT_EQ(error_of("dir/../../pool/file"), IoError::not_found);
  EXPECT_EQ(error_of(std::string(300, 'x')), IoError::not_found);
  EXPECT_EQ(error_of("dir"), IoError::not_a_file);
  EXPECT_EQ(error_of("dir/sub"), IoError::not_a_file);
}

TEST_P(StorageSuite, UnknownPoolsAndHandlesAreRefused) {
  world_->put("a", random_bytes(9, 10));
  EXPECT_EQ(run({.kind = StorageOp::Kind::open, .pool = PoolIndex(99), .path = "a"}).error,
            IoError::not_found);
  const FileHandle file = open("a").file;
  ASSERT_EQ(close(file).error, IoError::none);
  EXPECT_EQ(run(read_op(file, 0, {{slab(0), 4096}})).error, IoError::stale);
  EXPECT_EQ(close(file).error, IoError::stale);
  const FileHandle again = open("a").file;
  EXPECT_NE(again, file);
  EXPECT_EQ(run(read_op(file, 0, {{slab(0), 4096}})).error, IoError::stale);
  EXPECT_EQ(run(read_op(again, 0, {{slab(0), 4096}})).bytes, 10u);
}

TEST_P(StorageSuite, HandlesRunOutAndComeBack) {
  world_->put("a", random_bytes(10, 10));
  std::vector<FileHandle> files;
  IoError error = IoError::none;
  while (files.size() < 1000) {
    const auto opened = open("a");
    error = opened.error;
    if (error != IoError::none) break;
    files.push_back(opened.file);
  }
  EXPECT_EQ(error, IoError::exhausted);
  close(files.back());
  EXPECT_EQ(open("a").error, IoError::none);
}

TEST_P(StorageSuite, AFullQueueSaysSoAndTakesAgainAfterACompletion) {
  const auto content = random_bytes(11, 1 << 20);
  world_->put("a", content);
  const FileHandle file = open("a").file;
  std::uint64_t submitted = 0;
  const std::uint64_t first = next_token_;
  StorageOp op;
  for (; submitted < 10'000; ++submitted) {
    op = read_op(file, 4096 * (submitted % 200), {{slab(submitted % kSlabs), 4096}});
    op.token = next_token_;
    if (!world_->storage().try_submit(op)) break;
    ++next_token_;
  }
  ASSERT_EQ(submitted, GetParam().ops_max);
  for (std::uint64_t i = 0; i < submitted; ++i) {
    const auto answer = wait_for(first + i);
    ASSERT_TRUE(answer.has_value());
    EXPECT_EQ(answer->error, IoError::none);
    EXPECT_EQ(answer->bytes, 4096u);
    EXPECT_EQ(std::memcmp(slab(i % kSlabs), content.data() + 4096 * (i % 200), 4096), 0);
  }
  EXPECT_TRUE(world_->storage().try_submit(op));
  EXPECT_TRUE(wait_for(op.token).has_value());
}

TEST_P(StorageSuite, ManyMixedOperationsInParallel) {
  std::vector<std::vector<std::byte>> contents;
  std::vector<FileHandle> files;
  for (std::uint64_t i = 0; i < 8; ++i) {
    contents.push_back(random_bytes(20 + i, 200'000 + 777 * i));
    world_->put("f" + std::to_string(i), contents.back());
    files.push_back(open("f" + std::to_string(i)).file);
  }
  Random random(12);
  struct Flight {
    std::size_t file;
    std::uint64_t offset;
    std::size_t slab;
    StorageOp::Kind kind;
  };
  std::map<std::uint64_t, Flight> flights;
  std::vector<std::size_t> free;
  for (std::size_t i = 0; i < kSlabs; ++i)
    free.push_back(i);
  std::size_t done = 0;
  for (int turn = 0; turn < 100'000 && done < 2000; ++turn) {
    while (!free.empty() && done + flights.size() < 2000) {
      const std::size_t which = random.below(8);
      const Flight flight{which, 4096 * random.below(48), free.back(),
                          random.below(5) == 0 ? StorageOp::Kind::check : StorageOp::Kind::read};
      static const char* const kNames[] = {"f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7"};
      StorageOp op = read_op(files[which], flight.offset, {{slab(flight.slab), kSlabSize}});
      op.kind = flight.kind;
      op.pool = world_->pool();
      op.path = kNames[which];
      op.segments[0].renew = random.below(2) == 0;
      op.token = next_token_;
      if (!world_->storage().try_submit(op)) break;
      flights[next_token_++] = flight;
      free.pop_back();
    }
    world_->step();
    collect();
    for (const auto& [token, answer] : answers_) {
      const auto it = flights.find(token);
      if (it == flights.end()) continue;
      const Flight& flight = it->second;
      const auto& content = contents[flight.file];
      ASSERT_EQ(answer.error, IoError::none);
      if (flight.kind == StorageOp::Kind::read) {
        const std::size_t there = std::min<std::size_t>(kSlabSize, content.size() - flight.offset);
        ASSERT_EQ(answer.bytes, there);
        ASSERT_EQ(std::memcmp(slab(flight.slab), content.data() + flight.offset, there), 0);
      } else {
        ASSERT_EQ(answer.facts.size, content.size());
      }
      free.push_back(flight.slab);
      flights.erase(it);
      ++done;
    }
    answers_.clear();
  }
  EXPECT_EQ(done, 2000u);
}

TEST_P(StorageSuite, CloseWaitsForReadsUnderWay) {
  const auto content = random_bytes(13, 1 << 20);
  world_->put("a", content);
  for (int round = 0; round < 20; ++round) {
    const FileHandle file = open("a").file;
    const std::uint64_t first = next_token_;
    for (std::uint64_t i = 0; i < 8; ++i) {
      StorageOp op = read_op(file, i * kSlabSize, {{slab(i), kSlabSize}});
      op.token = next_token_++;
      ASSERT_TRUE(world_->storage().try_submit(op));
    }
    StorageOp op{.kind = StorageOp::Kind::close, .file = file};
    op.token = next_token_++;
    ASSERT_TRUE(world_->storage().try_submit(op));
    // Another file in its place must not be what the reads under way see.
    world_->put("b", random_bytes(14, 1000));
    const auto other = open("b");
    for (std::uint64_t i = 0; i < 8; ++i) {
      const auto answer = wait_for(first + i);
      ASSERT_TRUE(answer.has_value());
      ASSERT_EQ(answer->error, IoError::none);
      ASSERT_EQ(answer->bytes, kSlabSize);
      EXPECT_EQ(std::memcmp(slab(i), content.data() + i * kSlabSize, kSlabSize), 0);
    }
    ASSERT_TRUE(wait_for(op.token).has_value());
    EXPECT_EQ(run(read_op(file, 0, {{slab(0), 4096}})).error, IoError::stale);
    close(other.file);
  }
}

TEST_P(StorageSuite, RenewedPagesAreOthers) {
  const auto content = random_bytes(15, kSlabSize);
  world_->put("a", content);
  const FileHandle file = open("a").file;
  std::memset(slab(0), 0x11, 2 * kSlabSize);
  // A pipe that refers to the pages, as a socket would.
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  iovec iov{slab(0), 16384};
  ASSERT_EQ(::vmsplice(ends[1], &iov, 1, 0), 16384);
  StorageOp op = read_op(file, 0, {{slab(0), kSlabSize, true}});
  ASSERT_EQ(run(op).bytes, kSlabSize);
  EXPECT_EQ(std::memcmp(slab(0), content.data(), kSlabSize), 0);
  std::vector<std::byte> kept(16384);
  ASSERT_EQ(::read(ends[0], kept.data(), kept.size()), 16384);
  EXPECT_EQ(std::count(kept.begin(), kept.end(), std::byte{0x11}), 16384);
  EXPECT_EQ(slab(1)[0], std::byte{0x11}) << "nothing but the segment is renewed";
  ::close(ends[0]);
  ::close(ends[1]);

  StorageOp renew{.kind = StorageOp::Kind::renew};
  renew.segment_count = 1;
  renew.segments[0] = {slab(1), kSlabSize};
  EXPECT_EQ(run(renew).error, IoError::none);
  EXPECT_EQ(std::count(slab(1), slab(2), std::byte{0}), kSlabSize);
}

// --- only where there is a file system ---

TEST_P(StorageSuite, SymbolicLinksStayInThePool) {
  const std::string pool = world_->directory();
  if (pool.empty()) return;  // a simulated device has no links
  world_->make_directory("dir");
  const auto content = random_bytes(16, 5000);
  world_->put("dir/target", content);
  ASSERT_EQ(::symlink("dir/target", (pool + "/inside").c_str()), 0);
  ASSERT_EQ(::symlink("../dir", (pool + "/dir/up").c_str()), 0);
  ASSERT_EQ(::symlink("/etc/passwd", (pool + "/absolute").c_str()), 0);
  ASSERT_EQ(::symlink("../../outside", (pool + "/dir/relative").c_str()), 0);
  ASSERT_EQ(::symlink("../..", (pool + "/dir/out").c_str()), 0);
  ASSERT_EQ(::symlink("loop", (pool + "/loop").c_str()), 0);
  ASSERT_EQ(::symlink("/proc/self/root", (pool + "/magic").c_str()), 0);
  if (GetParam().follows_links) {
    EXPECT_EQ(open("inside").facts.size, content.size());
    EXPECT_EQ(open("dir/up/target").facts.size, content.size());
  } else {
    EXPECT_EQ(open("inside").error, IoError::not_found);
    EXPECT_EQ(open("dir/up/target").error, IoError::not_found);
  }
  for (const char* path :
       {"absolute", "dir/relative", "dir/out/pool/dir/target", "loop", "magic/etc/passwd"}) {
    EXPECT_EQ(open(path).error, IoError::not_found) << path;
    EXPECT_EQ(check(path).error, IoError::not_found) << path;
  }
}

TEST_P(StorageSuite, WhatIsNotARegularFileIsRefused) {
  const std::string pool = world_->directory();
  if (pool.empty()) return;
  ASSERT_EQ(::mkfifo((pool + "/fifo").c_str(), 0600), 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  ASSERT_EQ(::chdir(pool.c_str()), 0);
  std::strcpy(address.sun_path, "socket");
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::chdir("/"), 0);
  for (const char* path : {"fifo", "socket"}) {
    EXPECT_EQ(open(path).error, IoError::not_a_file) << path;
    EXPECT_EQ(check(path).error, IoError::not_a_file) << path;
  }
  ::close(fd);
}

// Root may read everything: then as nobody.
class AsOrdinaryUser {
 public:
  AsOrdinaryUser() { changed_ = ::geteuid() == 0 && ::seteuid(65534) == 0; }
  ~AsOrdinaryUser() {
    if (changed_ && ::seteuid(0) != 0) std::abort();
  }
  AsOrdinaryUser(const AsOrdinaryUser&) = delete;
  AsOrdinaryUser& operator=(const AsOrdinaryUser&) = delete;
  [[nodiscard]] bool changed() const { return changed_; }

 private:
  bool changed_ = false;
};

TEST_P(StorageSuite, UnreadableFileIsForbidden) {
  const std::string pool = world_->directory();
  if (pool.empty()) return;
  world_->put("secret", random_bytes(17, 10));
  world_->put("public", random_bytes(17, 10));
  ASSERT_EQ(::chmod((pool + "/secret").c_str(), 0), 0);
  ASSERT_EQ(::chmod((pool + "/public").c_str(), 0644), 0);
  ASSERT_EQ(::chmod(pool.c_str(), 0755), 0);
  const AsOrdinaryUser ordinary;
  EXPECT_EQ(open("secret").error, IoError::forbidden);
  EXPECT_EQ(check("secret").error, IoError::none) << "looking at it takes no permission";
  // As root's file it refuses O_NOATIME to nobody, and is opened nevertheless.
  EXPECT_EQ(open("public").error, IoError::none);
}

TEST_P(StorageSuite, DirectWhereTheFileSystemDoesIt) {
  const std::string pool = world_->directory();
  if (pool.empty() || !GetParam().direct) return;
  world_->put("a", random_bytes(18, 70'000));
  const int fd = ::open((pool + "/a").c_str(), O_RDONLY | O_DIRECT);
  const bool supported = fd >= 0 && ::pread(fd, slab(0), 4096, 0) == 4096;
  if (fd >= 0) ::close(fd);
  EXPECT_EQ(open("a").facts.direct, supported);
}

INSTANTIATE_TEST_SUITE_P(Devices, StorageSuite, testing::ValuesIn(storage_flavours()),
                         [](const auto& flavour) { return flavour.param.name; });

}  // namespace
}  // namespace penstock::conformance
