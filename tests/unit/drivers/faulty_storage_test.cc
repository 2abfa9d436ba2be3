// The faulty device is itself a thing that can be wrong.
#include "support/faulty_storage.hh"

#include <array>
#include <optional>

#include <gtest/gtest.h>

#include "base/arena.hh"
#include "support/memory_storage.hh"

namespace penstock::support {
namespace {

using Effect = FaultyStorage::Effect;
using Kind = StorageOp::Kind;

class FaultyStorageTest : public testing::Test {
 protected:
  FaultyStorageTest() : memory_(clock_, {}), faulty_(memory_) {
    pool_ = memory_.add_pool(disk_);
    disk_.put("a", std::vector<std::byte>(100'000, std::byte{7}));
    file_ = run({.kind = Kind::open, .pool = pool_, .path = "a"})->file;
  }
  std::optional<StorageCompletion> run(StorageOp op) {
    op.token = ++token_;
    if (!faulty_.try_submit(op)) return std::nullopt;
    return finish();
  }
  std::optional<StorageCompletion> finish() {
    for (int i = 0; i < 10; ++i) {
      clock_.advance(Duration::milliseconds(1));
      std::array<StorageCompletion, 4> out;
      if (faulty_.poll_completions(out) > 0) return out[0];
    }
    return std::nullopt;
  }
  StorageOp read() {
    StorageOp op{.kind = Kind::read, .file = file_};
    op.segment_count = 1;
    op.segments[0] = {memory_slab_.data(), kSlabSize};
    return op;
  }
  VirtualClock clock_;
  MemoryDisk disk_;
  MemoryStorage memory_;
  FaultyStorage faulty_;
  PoolIndex pool_;
  FileHandle file_;
  std::uint64_t token_ = 0;
  std::vector<std::byte> memory_slab_ = std::vector<std::byte>(kSlabSize);
};

TEST_F(FaultyStorageTest, PassesOnWhatIsNotChosen) {
  faulty_.add({.effect = Effect::fail, .kind = Kind::read, .first = 1});
  EXPECT_EQ(run(read())->bytes, kSlabSize);
  EXPECT_EQ(run(read())->error, IoError::media);
  EXPECT_EQ(run(read())->error, IoError::none);
  EXPECT_EQ(faulty_.struck(), 1u);
  EXPECT_EQ(faulty_.seen(Kind::read), 3u);
}

TEST_F(FaultyStorageTest, AFailedReadLeavesMemoryAlone) {
  faulty_.add({.effect = Effect::fail, .kind = Kind::read, .error = IoError::exhausted});
  const auto answer = run(read());
  EXPECT_EQ(answer->error, IoError::exhausted);
  EXPECT_EQ(answer->kind, Kind::read);
  EXPECT_EQ(answer->token, token_);
  EXPECT_EQ(memory_slab_, std::vector<std::byte>(kSlabSize));
}

TEST_F(FaultyStorageTest, RotChangesOneBit) {
  faulty_.add({.effect = Effect::rot, .kind = Kind::read});
  ASSERT_EQ(run(read())->error, IoError::none);
  int bits = 0;
  for (const std::byte b : memory_slab_)
    bits += __builtin_popcount(static_cast<unsigned>(b ^ std::byte{7}));
  EXPECT_EQ(bits, 1);
}

TEST_F(FaultyStorageTest, CutEndsEarly) {
  faulty_.add({.effect = Effect::cut, .kind = Kind::read});
  EXPECT_EQ(run(read())->bytes, kSlabSize / 2);
}

TEST_F(FaultyStorageTest, HangingWaitsForRelease) {
  faulty_.add({.effect = Effect::hang, .kind = Kind::read});
  EXPECT_FALSE(run(read()).has_value());
  EXPECT_EQ(faulty_.hanging(), 1u);
  faulty_.clear();
  faulty_.release();
  EXPECT_EQ(finish()->bytes, kSlabSize);
}

TEST_F(FaultyStorageTest, RefusalIsForOnce) {
  faulty_.add({.effect = Effect::refuse, .kind = Kind::read, .count = 2});
  EXPECT_FALSE(faulty_.try_submit(read()));
  EXPECT_FALSE(faulty_.try_submit(read()));
  EXPECT_EQ(run(read())->bytes, kSlabSize);
}

TEST(ExposureLedger, CountsWritesToPagesThatWentOut) {
  ExposureLedger ledger;
  alignas(kPageSize) static std::array<std::byte, 4 * kPageSize> pages{};
  ledger.expose(pages.data() + 100, kPageSize);
  EXPECT_EQ(ledger.exposed_pages(), 2u);
  ledger.write(pages.data() + 2 * kPageSize, kPageSize);
  EXPECT_EQ(ledger.violations(), 0u);
  ledger.write(pages.data(), 2 * kPageSize);
  EXPECT_EQ(ledger.violations(), 2u);
  ledger.renew(pages.data(), pages.size());
  ledger.write(pages.data(), pages.size());
  EXPECT_EQ(ledger.violations(), 2u);
}

}  // namespace
}  // namespace penstock::support
