#include "peer/request_queue.hh"

#include <algorithm>
#include <deque>

#include <gtest/gtest.h>

#include "base/random.hh"

namespace penstock {
namespace {

Request request(std::uint32_t i) {
  return {PieceIndex(i), 0, 1};
}

TEST(RequestQueue, EmptyHoldsNoPage) {
  SessionPages pages(4);
  RequestQueue queue;
  ASSERT_TRUE(queue.push(pages, request(1)));
  EXPECT_EQ(pages.free_count(), 3u);
  queue.pop(pages);
  EXPECT_EQ(pages.free_count(), 4u);
  EXPECT_FALSE(queue.remove(pages, request(1)));
}

TEST(RequestQueue, FullPoolRefuses) {
  SessionPages pages(1);
  RequestQueue queue, other;
  for (std::uint32_t i = 0; i < RequestQueue::kPerPage; ++i)
    ASSERT_TRUE(queue.push(pages, request(i)));
  EXPECT_FALSE(queue.push(pages, request(99)));
  EXPECT_FALSE(other.push(pages, request(99)));
  queue.validate(pages);
  queue.clear(pages);
  EXPECT_TRUE(other.push(pages, request(99)));
  other.clear(pages);
}

// A peer that cancels what it has just asked for, behind a request that waits, once kept a page for
// every 84 of them.
TEST(RequestQueue, HolesTakeNoMemory) {
  SessionPages pages(64);
  RequestQueue queue;
  for (std::uint32_t i = 0; i < 10; ++i)
    ASSERT_TRUE(queue.push(pages, request(i)));
  for (std::uint32_t i = 0; i < 20'000; ++i) {
    ASSERT_TRUE(queue.push(pages, request(100 + i)));
    ASSERT_TRUE(queue.remove(pages, request(i % 10 == 9 ? i / 10 % 10 : 100 + i)));
    if (i % 10 == 9) {
      ASSERT_TRUE(queue.remove(pages, request(100 + i)));
      ASSERT_TRUE(queue.push(pages, request(i / 10 % 10)));
    }
    ASSERT_LE(queue.page_count(pages), 3u);
    if (i % 100 == 0) queue.validate(pages);
  }
  EXPECT_EQ(queue.size(), 10u);
  queue.clear(pages);
  EXPECT_EQ(pages.free_count(), 64u);
}

TEST(RequestQueue, TheLastPagesAreForWhoHasNone) {
  SessionPages pages(5, 2);
  RequestQueue hoarder, others[2];
  std::uint32_t kept = 0;
  while (hoarder.push(pages, request(kept)))
    ++kept;
  EXPECT_EQ(kept, 3 * RequestQueue::kPerPage);
  for (RequestQueue& queue : others) {
    for (std::uint32_t i = 0; i < RequestQueue::kPerPage; ++i)
      ASSERT_TRUE(queue.push(pages, request(i)));
    EXPECT_FALSE(queue.push(pages, request(99)));
  }
  hoarder.validate(pages);
  hoarder.clear(pages);
  EXPECT_TRUE(others[0].push(pages, request(99)));
  for (RequestQueue& queue : others)
    queue.clear(pages);
}

// Against a deque, two queues on one pool.
TEST(RequestQueue, AgreesWithADeque) {
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    Random random(seed);
    SessionPages pages(16);
    RequestQueue queues[2];
    std::deque<Request> models[2];
    for (int step = 0; step < 3000; ++step) {
      const std::size_t which = random.below(2);
      RequestQueue& queue = queues[which];
      std::deque<Request>& model = models[which];
      const Request r = request(static_cast<std::uint32_t>(random.below(200)));
      switch (random.below(10)) {
        case 0:
        case 1:
        case 2:
        case 3:
          if (queue.push(pages, r)) model.push_back(r);
          break;
        case 4:
        case 5:
          if (!model.empty()) {
            ASSERT_EQ(queue.front(pages), model.front());
            queue.pop(pages);
            model.pop_front();
          }
          break;
        case 6:
        case 7: {
          const auto it = std::find(model.begin(), model.end(), r);
          ASSERT_EQ(queue.contains(pages, r), it != model.end());
          ASSERT_EQ(queue.remove(pages, r), it != model.end());
          if (it != model.end()) model.erase(it);
          break;
        }
        case 8:
          if (random.below(20) == 0) {
            queue.take_all(pages, queues[1 - which]);
            model.insert(model.end(), models[1 - which].begin(), models[1 - which].end());
            models[1 - which].clear();
          }
          break;
        default:
          if (random.below(50) == 0) {
            queue.clear(pages);
            model.clear();
          }
      }
      for (int i = 0; i < 2; ++i) {
        queues[i].validate(pages);
        ASSERT_EQ(queues[i].size(), models[i].size());
      }
      std::size_t at = 0;
      queue.for_front(pages, queue.size(), [&](const Request& entry) {
        EXPECT_EQ(entry, model[at++]);
        return true;
      });
      ASSERT_EQ(at, model.size());
      ASSERT_EQ(pages.free_count() + queues[0].page_count(pages) + queues[1].page_count(pages),
                pages.count());
    }
    queues[0].clear(pages);
    queues[1].clear(pages);
    ASSERT_EQ(pages.free_count(), 16u);
  }
}

}  // namespace
}  // namespace penstock
