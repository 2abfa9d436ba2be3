// Send queue and receiver against naive models, from seeds.
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "base/random.hh"
#include "tcp/support.hh"

namespace penstock::tcp::test {
namespace {

TEST(TcpReceiver, AgreesWithABitmap) {
  for (std::uint64_t seed = 1; seed <= 25; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    Shared shared(small_limits(), kSecret);
    {
      Receiver r(shared);
      const SeqNumber first(static_cast<std::uint32_t>(random.next()));
      r.start(first);
      const std::uint32_t total = 300'000;
      const auto bytes = pattern(total, seed);
      std::vector<bool> have(total);
      std::vector<std::byte> out;
      std::uint32_t next = 0;
      bool reading = true;
      const auto drain = [&] {
        for (;;) {
          const auto data = r.take(reading);
          if (data.empty()) break;
          out.insert(out.end(), data.begin(), data.end());
        }
      };
      for (int i = 0; i < 3000 && out.size() < total; ++i) {
        if (random.below(20) == 0) reading = !reading;
        drain();
        const std::uint32_t window =
            std::min(total, static_cast<std::uint32_t>(out.size()) + 100'000);
        std::uint32_t begin = next;
        if (random.below(4) != 0 && window > next)
          begin = next + static_cast<std::uint32_t>(random.below(window - next));
        if (random.below(8) == 0) begin -= static_cast<std::uint32_t>(random.below(begin + 1));
        const std::uint32_t end =
            std::min(window, begin + 1 + static_cast<std::uint32_t>(random.below(6000)));
        if (begin >= end || end <= next) continue;
        r.settle();
        bool seen = false;
        for (std::uint32_t at = begin; at < end; ++at)
          seen = seen || have[at];
        const Receiver::Arrival arrival =
            r.on_payload(first + begin, std::span(bytes).subspan(begin, end - begin), reading);
        ASSERT_EQ(arrival.drop, DropReason::none);
        ASSERT_EQ(arrival.duplicate, seen);
        for (std::uint32_t at = begin; at < end; ++at)
          have[at] = true;
        const std::uint32_t was = next;
        while (next < total && have[next])
          ++next;
        ASSERT_EQ(arrival.advanced, next != was);
        ASSERT_EQ(r.next(), first + next);
        std::array<wire::SackBlock, 4> blocks;
        const std::size_t count = r.sack_blocks(blocks);
        r.dsack_sent();
        for (std::size_t b = arrival.duplicate ? 1 : 0; b < count; ++b) {
          // Exactly a run of the bitmap.
          const std::uint32_t from = blocks[b].begin - first;
          const std::uint32_t to = blocks[b].end - first;
          ASSERT_LT(next, from);
          ASSERT_TRUE(!have[from - 1] && (to == total || !have[to]));
          for (std::uint32_t at = from; at < to; ++at)
            ASSERT_TRUE(have[at]);
        }
        if (arrival.out_of_order) {
          const std::size_t b = arrival.duplicate ? 1 : 0;
          ASSERT_LE(blocks[b].begin - first, begin > next ? begin : next + 1);
        }
        if (random.below(5) == 0) reading = false;
        if (!reading && r.borrowed()) {
          ASSERT_TRUE(r.keep());
        }
        drain();
        r.validate();
      }
      r.settle();
      ASSERT_TRUE(std::equal(out.begin(), out.end(), bytes.begin()));
      EXPECT_GT(out.size(), 50'000u);
    }
    EXPECT_EQ(shared.receive_pages.free_count(), shared.receive_pages.count());
  }
}

TEST(TcpReceiver, HolesAreBounded) {
  Shared shared(small_limits(), kSecret);
  Receiver r(shared);
  r.start(SeqNumber(0));
  const auto bytes = pattern(1);
  std::uint32_t refused = 0;
  for (std::uint32_t i = 1; i <= 600; ++i)
    refused += r.on_payload(SeqNumber(i * 2), bytes, true).drop == DropReason::too_many_holes;
  EXPECT_EQ(refused, 600u - 512u);
  // One that joins two is still taken.
  EXPECT_EQ(r.on_payload(SeqNumber(3), bytes, true).drop, DropReason::none);
  r.validate();
}

// Peers that send holes leave pages to others, however many they are.
TEST(TcpReceiver, HolesOfOneLeavePagesToOthers) {
  Limits limits = small_limits();
  limits.receive_pages = 120;
  Shared shared(limits, kSecret);
  const auto bytes = pattern(1);
  std::vector<std::unique_ptr<Receiver>> greedy;
  for (int i = 0; i < 5; ++i) {
    greedy.push_back(std::make_unique<Receiver>(shared));
    Receiver& r = *greedy.back();
    r.start(SeqNumber());
    for (std::uint32_t page = 1; page < 200; ++page)
      static_cast<void>(r.on_payload(SeqNumber(page * 4096), bytes, true));
    r.validate();
  }
  EXPECT_GE(shared.receive_pages.free_count(), 30u);
  EXPECT_GT(shared.counters.page_shortages, 0u);
  greedy.resize(1);
  // One alone has a fifth, and the two pages that list them.
  EXPECT_LE(shared.receive_pages.free_count(), 96u);
  EXPECT_GE(shared.receive_pages.free_count(), 90u);
  Receiver late(shared);
  late.start(SeqNumber());
  for (std::uint32_t page = 1; page < 15; ++page)
    EXPECT_EQ(late.on_payload(SeqNumber(page * 4096), bytes, true).drop, DropReason::none);
}

TEST(TcpSendQueue, OneLeavesPagesToOthers) {
  Limits limits = small_limits();
  limits.send_pages = 100;
  Shared shared(limits, kSecret);
  const auto bytes = pattern(600'000);
  SendQueue greedy(shared);
  SendQueue late(shared);
  greedy.start(SeqNumber(1));
  late.start(SeqNumber(1));
  const SendPart all = small(bytes.data(), bytes.size());
  EXPECT_LT(greedy.append(std::span(&all, 1)), bytes.size());
  EXPECT_TRUE(greedy.starved());
  EXPECT_EQ(shared.send_pages.free_count(), 80u);
  const SendPart some = small(bytes.data(), 60'000);
  EXPECT_EQ(late.append(std::span(&some, 1)), 60'000u);
  greedy.validate();
  std::uint64_t pin = 0;
  greedy.acknowledge(greedy.end());
  EXPECT_FALSE(greedy.poll_released(pin));
  greedy.validate();
  EXPECT_EQ(shared.send_pages.free_count(), 85u);  // `late` has fifteen
}

TEST(TcpReceiver, WithoutPagesWhatIsInOrderStillPasses) {
  Limits limits = small_limits();
  limits.receive_pages = 1;
  Shared shared(limits, kSecret);
  Receiver r(shared);
  r.start(SeqNumber(0));
  const auto bytes = pattern(100);
  EXPECT_EQ(r.on_payload(SeqNumber(100), bytes, true).drop, DropReason::no_page);
  r.settle();
  EXPECT_EQ(shared.receive_pages.free_count(), 1u);
  EXPECT_TRUE(r.on_payload(SeqNumber(0), bytes, true).advanced);
  EXPECT_EQ(r.take(true).size(), 100u);
}

// A queue with everything that can happen to it, and the stream as one vector beside it.
struct QueueModel {
  explicit QueueModel(std::uint64_t seed) : random(seed), queue(shared) {
    first = SeqNumber(static_cast<std::uint32_t>(random.next()));
    queue.start(first);
    store = pattern(1 << 16, seed);
  }

  void append() {
    std::vector<SendPart> parts;
    bool goes_on = false;  // the part before is of last_pin
    for (std::uint64_t n = 1 + random.below(6); n > 0; --n) {
      const auto at = static_cast<std::size_t>(random.below(30'000));
      const auto length =
          static_cast<std::size_t>(1 + random.below(random.below(5) != 0 ? 40 : 9000));
      if (random.below(2) != 0) {
        parts.push_back(small(store.data() + at, length));
        goes_on = false;
      } else {
        if (!goes_on || random.below(3) == 0) ++last_pin;
        parts.push_back(content(store.data() + at, length, last_pin, at));
        goes_on = true;
      }
    }
    std::size_t left = queue.append(parts);
    std::uint64_t pin = 0;
    for (const SendPart& part : parts) {
      const std::size_t n = std::min<std::size_t>(left, part.length);
      stream.insert(stream.end(), part.data, part.data + n);
      if (n != 0 && part.pin != 0 && part.pin != pin) held.insert(part.pin);
      pin = part.pin;
      left -= n;
    }
    ASSERT_EQ(left, 0u);
    ASSERT_EQ(queue.end(), first + static_cast<std::uint32_t>(stream.size()));
  }
  void gather() {
    if (una == stream.size()) return;
    const std::size_t from = una + random.below(stream.size() - una);
    const auto most = static_cast<std::uint32_t>(
        std::min<std::size_t>(1 + random.below(20'000), stream.size() - from));
    SegmentOut out;
    const auto cursor = random.below(2) != 0 ? SendQueue::Cursor::fresh : SendQueue::Cursor::again;
    const std::uint32_t got =
        queue.gather(cursor, first + static_cast<std::uint32_t>(from), most, out);
    std::size_t at = from;
    for (std::size_t i = 0; i < out.part_count; ++i) {
      ASSERT_TRUE(std::equal(out.parts[i].data, out.parts[i].data + out.parts[i].length,
                             stream.begin() + static_cast<std::ptrdiff_t>(at)));
      at += out.parts[i].length;
      if (random.below(10) == 0) {
        ++*out.parts[i].in_use;
        busy.push_back(out.parts[i].in_use);
      }
    }
    ASSERT_EQ(at - from, got);
    ASSERT_LE(got, most);
  }
  void events() {
    std::uint64_t pin = 0;
    while (queue.poll_released(pin)) {
      ASSERT_TRUE(held.contains(pin)) << pin;
      held.erase(held.find(pin));
    }
    ContentRef content;
    while (queue.poll_need(pin, content))
      asked.emplace_back(pin, content);
  }
  void answer() {
    if (asked.empty()) return;
    const auto [pin, content] = asked.front();
    asked.erase(asked.begin());
    if (queue.on_content(pin, content, store.data() + content.offset)) held.insert(pin);
  }

  Shared shared{small_limits(), kSecret};
  Random random;
  SendQueue queue;
  SeqNumber first;
  std::vector<std::byte> store;
  std::vector<std::byte> stream;
  std::size_t una = 0;
  std::uint64_t last_pin = 0;
  std::multiset<std::uint64_t> held;
  std::vector<std::uint32_t*> busy;
  std::vector<std::pair<std::uint64_t, ContentRef>> asked;
};

TEST(TcpSendQueue, AgreesWithAVector) {
  for (std::uint64_t seed = 1; seed <= 80; ++seed) {
    SCOPED_TRACE(seed);
    QueueModel m(seed);
    for (int i = 0; i < 1500; ++i) {
      switch (m.random.below(7)) {
        case 0:
          if (m.queue.queued() < 300'000) m.append();
          break;
        case 1:
        case 2:
          m.gather();
          break;
        case 3:
          m.una += m.random.below(m.stream.size() - m.una + 1);
          m.queue.acknowledge(m.first + static_cast<std::uint32_t>(m.una));
          break;
        case 4:
          if (m.random.below(4) == 0) m.queue.shed();
          break;
        case 5:
          m.answer();
          break;
        default:
          for (std::uint32_t* in_use : m.busy)
            --*in_use;
          m.busy.clear();
          break;
      }
      m.events();
      m.queue.validate();
      if (testing::Test::HasFatalFailure()) return;
    }
    for (std::uint32_t* in_use : m.busy)
      --*in_use;
    m.queue.give_up();
    m.events();
    EXPECT_TRUE(m.queue.idle());
    EXPECT_TRUE(m.held.empty()) << m.held.size();
    // Pages that a device was reading come back as others are taken.
    for (std::uint32_t n = m.shared.send_pages.limbo_count(); n > 0; --n)
      m.shared.send_pages.give_back(m.shared.take_send_page(0));
    EXPECT_EQ(m.shared.send_pages.free_count(), m.shared.send_pages.count());
  }
}

}  // namespace
}  // namespace penstock::tcp::test
