#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "host/arena_mapping.hh"
#include "host/capabilities.hh"
#include "host/clock.hh"
#include "host/cpu.hh"
#include "host/fd.hh"
#include "host/files.hh"
#include "host/io_error.hh"
#include "host/wake_event.hh"

namespace penstock::host {
namespace {

TEST(Capabilities, AreAllOnByDefault) {
  const auto on = parse_disabled("");
  ASSERT_TRUE(on);
  EXPECT_TRUE(on->uring && on->splice && on->hugepages && on->direct && on->openat2);
}

TEST(Capabilities, AreSwitchedOffByName) {
  const auto some = parse_disabled("uring,splice,dpdk");
  ASSERT_TRUE(some);
  EXPECT_FALSE(some->uring);
  EXPECT_FALSE(some->splice);
  EXPECT_TRUE(some->direct);
  const auto others = parse_disabled("hugepages,direct,openat2,");
  ASSERT_TRUE(others);
  EXPECT_FALSE(others->hugepages || others->direct || others->openat2);
  EXPECT_TRUE(others->uring);
}

TEST(Capabilities, UnknownNamesAreErrors) {
  const auto wrong = parse_disabled("uring,slice");
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().kind, ErrorKind::usage);
  EXPECT_NE(wrong.error().message.find("\"slice\""), std::string::npos);
}

TEST(Pinning, HoldsForTheCallingThread) {
  const unsigned cpu = usable_cpus().back();
  std::vector<unsigned> seen;
  std::thread([&] {
    ASSERT_TRUE(pin_to_cpu(cpu));
    seen = usable_cpus();
  }).join();
  EXPECT_EQ(seen, std::vector<unsigned>{cpu});
  EXPECT_FALSE(pin_to_cpu(1023));
}

TEST(Arena, IsAlignedRoundedAndZero) {
  const auto mapping = map_arena(3 * kSlabSize + 1, PageChoice::small);
  ASSERT_TRUE(mapping);
  EXPECT_EQ(mapping->size(), 4u * kSlabSize);
  EXPECT_FALSE(mapping->huge());
  const Arena arena = mapping->arena();
  EXPECT_EQ(arena.slab_count(), 4u);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(arena.memory().data()) % (2u << 20), 0u);
  for (const std::byte b : arena.memory())
    ASSERT_EQ(b, std::byte{0});
  std::memset(arena.memory().data(), 1, arena.memory().size());
}

TEST(Arena, IsUnmappedWithItsOwnerAndMoves) {
  std::byte* data = nullptr;
  {
    auto mapping = map_arena(kSlabSize, PageChoice::huge);
    ASSERT_TRUE(mapping);
    data = mapping->arena().memory().data();
    const ArenaMapping moved = std::move(*mapping);
    EXPECT_EQ(moved.arena().memory().data(), data);
    EXPECT_EQ(::mincore(data, kSlabSize, (std::vector<unsigned char>(16)).data()), 0);
  }
  EXPECT_EQ(::mincore(data, kSlabSize, (std::vector<unsigned char>(16)).data()), -1);
  EXPECT_EQ(errno, ENOMEM);
}

// Whatever the pages: who refers to the old ones keeps their bytes, the neighbours stay.
TEST(Arena, ASlabIsRenewedAlone) {
  for (const auto pages : {PageChoice::small, PageChoice::huge}) {
    SCOPED_TRACE(pages == PageChoice::huge ? "huge" : "small");
    const auto mapping = map_arena(32 * kSlabSize, pages);
    ASSERT_TRUE(mapping);
    const Arena arena = mapping->arena();
    std::memset(arena.memory().data(), 7, arena.memory().size());
    std::byte* const slab = arena.slab(SlabIndex(5));
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const Fd out(ends[0]);
    const Fd in(ends[1]);
    const iovec handed{slab, kPageSize};
    ASSERT_EQ(::vmsplice(in.get(), &handed, 1, 0), static_cast<ssize_t>(kPageSize));

    StorageOp op;
    op.kind = StorageOp::Kind::renew;
    op.segment_count = 1;
    op.segments[0] = {slab, kSlabSize, true};
    ASSERT_TRUE(renew_segments(op, true, pages));
    for (std::uint32_t i = 0; i < kSlabSize; ++i)
      ASSERT_EQ(slab[i], std::byte{0});
    std::memset(slab, 9, kSlabSize);
    EXPECT_EQ(slab[-1], std::byte{7});
    EXPECT_EQ(slab[kSlabSize], std::byte{7});
    std::vector<std::byte> kept(kPageSize);
    ASSERT_EQ(::read(out.get(), kept.data(), kept.size()), static_cast<ssize_t>(kPageSize));
    EXPECT_EQ(kept, std::vector<std::byte>(kPageSize, std::byte{7}));
  }
}

TEST(Arena, TooLargeIsAnErrorWithASize) {
  const auto mapping = map_arena(1ull << 60, PageChoice::small);
  ASSERT_FALSE(mapping);
  EXPECT_NE(mapping.error().message.find("PiB"), std::string::npos);
}

TEST(MonotonicClock, DoesNotGoBack) {
  MonotonicClock clock;
  Instant last = clock.now();
  for (int i = 0; i < 1000; ++i) {
    const Instant now = clock.now();
    ASSERT_GE(now, last);
    last = now;
  }
}

TEST(SystemEntropy, FillsAllOfALongSpan) {
  SystemEntropy entropy;
  std::vector<std::byte> bytes(100'000);
  entropy.fill(bytes);
  // A byte value missing from the last 10,000 has probability 256 · e^-39.
  for (int value = 0; value < 256; ++value) {
    EXPECT_NE(std::count(bytes.end() - 10'000, bytes.end(), static_cast<std::byte>(value)), 0);
  }
}

TEST(WakeEvent, IsHeardByAnotherThreadUntilQuieted) {
  auto bell = WakeEvent::create();
  ASSERT_TRUE(bell);
  pollfd wait{bell->fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&wait, 1, 0), 0);
  std::thread([&] {
    bell->ring();
    bell->ring();
  }).join();
  EXPECT_EQ(::poll(&wait, 1, 0), 1);
  bell->quiet();
  EXPECT_EQ(::poll(&wait, 1, 0), 0);
}

TEST(IoErrors, FollowTheTable) {
  EXPECT_EQ(open_error(0), IoError::none);
  for (const int e : {ENOENT, ENOTDIR, ELOOP, EXDEV, ENAMETOOLONG, EINVAL, EILSEQ})
    EXPECT_EQ(open_error(e), IoError::not_found) << e;
  for (const int e : {EACCES, EPERM}) {
    EXPECT_EQ(open_error(e), IoError::forbidden) << e;
    EXPECT_EQ(read_error(e), IoError::forbidden) << e;
  }
  for (const int e : {EISDIR, ENXIO, ENODEV})
    EXPECT_EQ(open_error(e), IoError::not_a_file) << e;
  for (const int e : {EMFILE, ENFILE, ENOMEM, ENOBUFS, EAGAIN}) {
    EXPECT_EQ(open_error(e), IoError::exhausted) << e;
    EXPECT_EQ(read_error(e), IoError::exhausted) << e;
  }
  for (const int e : {ESTALE, EBADF}) {
    EXPECT_EQ(open_error(e), IoError::stale) << e;
    EXPECT_EQ(read_error(e), IoError::stale) << e;
  }
  for (const int e : {EIO, EUCLEAN, EBADMSG, ENODATA, EREMOTEIO, ETIMEDOUT, 4095}) {
    EXPECT_EQ(open_error(e), IoError::media) << e;
    EXPECT_EQ(read_error(e), IoError::media) << e;
  }
  for (const int e : {EINVAL, ENXIO, ENODEV, EFAULT})
    EXPECT_EQ(read_error(e), IoError::media) << e;
  EXPECT_EQ(read_error(ENOENT), IoError::not_found);
  EXPECT_EQ(read_error(EISDIR), IoError::not_a_file);
}

}  // namespace
}  // namespace penstock::host
