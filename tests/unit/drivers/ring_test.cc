#include "uring/ring.hh"

#include <array>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/clock.hh"
#include "host/fd.hh"
#include "support/skip.hh"

namespace penstock::uring {
namespace {

class Sink final : public CompletionSink {
 public:
  void on_completions(std::span<const Completion> completions) override {
    ++runs;
    for (const Completion& c : completions)
      seen.push_back(c);
  }
  std::vector<Completion> seen;
  int runs = 0;
};

class RingTest : public testing::Test {
 protected:
  void SetUp() override {
    auto ring = Ring::create({.entries = 8, .cq_entries = 64});
    if (!ring) {
      PENSTOCK_SKIP(ring.error().message);
    }
    ring_ = std::move(*ring);
    ring_->attach(Tag::streams, &streams_);
    ring_->attach(Tag::storage, &storage_);
  }
  void nop(Tag tag, std::uint64_t own) {
    io_uring_sqe* const sqe = ring_->try_prepare();
    ASSERT_NE(sqe, nullptr);
    io_uring_prep_nop(sqe);
    sqe->user_data = user_data(tag, own);
  }
  std::unique_ptr<Ring> ring_;
  Sink streams_, storage_;
};

TEST_F(RingTest, CompletionsGoToTheirSinkInRuns) {
  for (std::uint64_t i = 0; i < 3; ++i)
    nop(Tag::streams, i);
  nop(Tag::storage, (1ull << 60) - 1);
  EXPECT_EQ(ring_->wait(Duration::seconds(5)), 4u);
  ASSERT_EQ(streams_.seen.size(), 3u);
  EXPECT_EQ(streams_.seen[2].own, 2u);
  EXPECT_EQ(streams_.runs, 1);
  ASSERT_EQ(storage_.seen.size(), 1u);
  EXPECT_EQ(storage_.seen[0].own, (1ull << 60) - 1);
}

TEST_F(RingTest, MoreThanTheSubmissionQueueHoldsIsSubmittedOnTheWay) {
  for (std::uint64_t i = 0; i < 40; ++i)
    nop(Tag::streams, i);
  for (int turn = 0; turn < 10 && streams_.seen.size() < 40; ++turn)
    ring_->wait(Duration::milliseconds(100));
  EXPECT_EQ(streams_.seen.size(), 40u);
}

TEST_F(RingTest, MoreThanTheCompletionQueueHoldsIsNotLost) {
  for (std::uint64_t i = 0; i < 500; ++i)
    nop(Tag::streams, i);
  for (int turn = 0; turn < 50 && streams_.seen.size() < 500; ++turn)
    ring_->wait(Duration::milliseconds(100));
  EXPECT_EQ(streams_.seen.size(), 500u);
}

// However little of what has completed the kernel posts in one enter.
TEST_F(RingTest, OneWaitHandsOutAllThatCompleted) {
  constexpr std::uint64_t kBells = 50;
  std::vector<host::Fd> bells;
  for (std::uint64_t i = 0; i < kBells; ++i) {
    bells.emplace_back(::eventfd(0, EFD_CLOEXEC));
    io_uring_sqe* const sqe = ring_->try_prepare();
    io_uring_prep_poll_add(sqe, bells.back().get(), POLLIN);
    sqe->user_data = user_data(Tag::streams, i);
  }
  ring_->wait(Duration{});
  EXPECT_EQ(streams_.seen.size(), 0u);
  for (const host::Fd& bell : bells)
    ASSERT_EQ(::eventfd_write(bell.get(), 1), 0);
  ring_->wait(Duration::seconds(20));
  EXPECT_EQ(streams_.seen.size(), kBells);
}

TEST_F(RingTest, WaitEndsAtItsTimeout) {
  host::MonotonicClock clock;
  ring_->wait(Duration{});  // the bell's poll is submitted
  const Instant start = clock.now();
  EXPECT_EQ(ring_->wait(Duration::milliseconds(20)), 0u);
  EXPECT_GE(clock.now() - start, Duration::milliseconds(19));
}

TEST_F(RingTest, LookingWithNothingToDoMakesNoSystemCall) {
  ring_->wait(Duration{});
  const std::uint64_t before = ring_->counters().enters;
  for (int i = 0; i < 100; ++i)
    ring_->wait(Duration{});
  EXPECT_EQ(ring_->counters().enters, before);
}

TEST_F(RingTest, AnotherThreadWakesIt) {
  for (int round = 0; round < 50; ++round) {
    std::thread other([&] { ring_->wake(); });
    ring_->wait(Duration::seconds(20));
    other.join();
    EXPECT_GE(ring_->counters().wakes, 1u);
    while (ring_->wait(Duration{}) > 0) {
    }
  }
}

TEST_F(RingTest, ARingBeforeTheWaitEndsIt) {
  host::MonotonicClock clock;
  ring_->wait(Duration{});
  ring_->wake();
  const Instant start = clock.now();
  ring_->wait(Duration::seconds(20));
  EXPECT_LT(clock.now() - start, Duration::seconds(10));
}

TEST_F(RingTest, HurriedWaitDoesNotSleepOnce) {
  host::MonotonicClock clock;
  ring_->wait(Duration{});
  ring_->hurry();
  const Instant start = clock.now();
  ring_->wait(Duration::seconds(20));
  EXPECT_LT(clock.now() - start, Duration::seconds(10));
}

TEST_F(RingTest, GatheringReturnsAfterItsTimeWithWhatIsThere) {
  host::MonotonicClock clock;
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  char byte = 0;
  io_uring_sqe* const sqe = ring_->try_prepare();
  io_uring_prep_read(sqe, ends[0], &byte, 1, 0);
  sqe->user_data = user_data(Tag::storage, 1);
  ASSERT_EQ(::write(ends[1], "x", 1), 1);
  const Instant start = clock.now();
  ring_->wait(
      {.timeout = Duration::seconds(20), .batch = 10, .gather = Duration::milliseconds(20)});
  EXPECT_EQ(storage_.seen.size(), 1u);
  EXPECT_LT(clock.now() - start, Duration::seconds(10));
  ::close(ends[0]);
  ::close(ends[1]);
}

// More operations than one pool may have in flight block, as on a file system that hangs: others go
// on.
TEST_F(RingTest, WhatBlocksLeavesRoomForOthers) {
  char directory[] = "/tmp/penstock-ring-XXXXXX";
  ASSERT_NE(::mkdtemp(directory), nullptr);
  const std::string fifo = std::string(directory) + "/fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  constexpr std::size_t kBlocked = 260;
  const std::string file = std::string(directory) + "/file";
  const auto open = [&](const char* path, Tag tag, std::uint64_t own) {
    io_uring_sqe* const sqe = ring_->try_prepare();
    ASSERT_NE(sqe, nullptr);
    // O_CREAT: the kernel doesn't try it without a worker first.
    io_uring_prep_openat(sqe, AT_FDCWD, path, O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
    sqe->user_data = user_data(tag, own);
  };
  const auto wait_for = [&](const Sink& sink, std::size_t count) {
    host::MonotonicClock clock;
    const Instant deadline = clock.now() + Duration::seconds(20);
    while (sink.seen.size() < count && clock.now() < deadline)
      ring_->wait(Duration::milliseconds(10));
    return sink.seen.size() >= count;
  };
  for (std::uint64_t i = 0; i < kBlocked; ++i)
    open(fifo.c_str(), Tag::storage, i);  // until somebody writes
  ring_->wait(Duration::milliseconds(50));
  open(file.c_str(), Tag::streams, 0);
  const bool went_on = wait_for(streams_, 1);
  EXPECT_TRUE(storage_.seen.empty());
  {
    const host::Fd writer(::open(fifo.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
    EXPECT_TRUE(wait_for(storage_, kBlocked));
  }
  for (const Sink* sink : {&streams_, &storage_}) {
    for (const Completion& c : sink->seen) {
      if (c.result >= 0) ::close(c.result);
    }
  }
  ::unlink(fifo.c_str());
  ::unlink(file.c_str());
  ::rmdir(directory);
  EXPECT_TRUE(went_on);
}

TEST(RingProbe, AgreesWithCreate) {
  EXPECT_EQ(Ring::probe().has_value(), Ring::create({}).has_value());
}

}  // namespace
}  // namespace penstock::uring
