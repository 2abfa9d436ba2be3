#include "discovery/udp_tracker.hh"

#include <cstring>
#include <optional>

#include <gtest/gtest.h>

#include "base/endian.hh"
#include "wire/tracker_udp.hh"

namespace penstock::discovery {
namespace {

// A transcript: what the client sends is looked at, answers are made by hand from BEP 15's tables.
class UdpTrackerTest : public ::testing::Test {
 protected:
  using Bytes = std::vector<std::byte>;

  void start(std::uint64_t token) {
    wire::AnnounceRequest request;
    request.event = wire::AnnounceEvent::started;
    request.port = 6881;
    client_.start(now_, token, tracker_, request, "");
  }
  // The next datagram out, which must go to the tracker.
  Bytes expect_sent(std::size_t size, std::uint32_t action) {
    Endpoint to;
    Bytes bytes;
    EXPECT_TRUE(client_.poll_transmit(to, bytes));
    EXPECT_EQ(to, tracker_);
    EXPECT_EQ(bytes.size(), size);
    bytes.resize(size);
    EXPECT_EQ(load_be32(bytes.data() + 8), action);
    return bytes;
  }
  void expect_silence() {
    Endpoint to;
    Bytes bytes;
    EXPECT_FALSE(client_.poll_transmit(to, bytes));
  }
  static std::uint32_t transaction_of(const Bytes& sent) { return load_be32(sent.data() + 12); }
  void answer_connect(std::uint32_t transaction, std::uint64_t connection) {
    Bytes bytes(16);
    store_be32(bytes.data() + 4, transaction);
    store_be64(bytes.data() + 8, connection);
    client_.on_datagram(now_, tracker_, bytes);
  }
  void answer_announce(std::uint32_t transaction, std::uint32_t interval) {
    Bytes bytes(20);
    store_be32(bytes.data(), 1);
    store_be32(bytes.data() + 4, transaction);
    store_be32(bytes.data() + 8, interval);
    client_.on_datagram(now_, tracker_, bytes);
  }
  void answer_error(std::uint32_t transaction, const char* words) {
    Bytes bytes(8 + std::strlen(words));
    store_be32(bytes.data(), 3);
    store_be32(bytes.data() + 4, transaction);
    std::memcpy(bytes.data() + 8, words, std::strlen(words));
    client_.on_datagram(now_, tracker_, bytes);
  }
  std::optional<UdpAnswer> poll() {
    UdpAnswer answer;
    return client_.poll_answer(answer) ? std::optional(answer) : std::nullopt;
  }
  Duration sleep() {
    const Instant next = client_.next_timeout();
    EXPECT_NE(next, Instant::never());
    const Duration slept = next - now_;
    now_ = next;
    client_.on_timeout(now_);
    return slept;
  }

  Instant now_{1'000'000'000};
  Endpoint tracker_{IpAddress::v4(192, 0, 2, 7), 6969};
  UdpTracker client_{5};
};

TEST_F(UdpTrackerTest, ConnectAnnounceAnswer) {
  start(1);
  const Bytes connect = expect_sent(16, 0);
  EXPECT_EQ(load_be64(connect.data()), 0x41727101980ULL);
  expect_silence();
  answer_connect(transaction_of(connect), 0x1122334455667788);
  const Bytes announce = expect_sent(98, 1);
  EXPECT_EQ(load_be64(announce.data()), 0x1122334455667788ULL);
  answer_announce(transaction_of(announce), 900);
  const auto answer = poll();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->token, 1u);
  EXPECT_EQ(answer->result.outcome, AnnounceOutcome::accepted);
  EXPECT_EQ(answer->result.interval, Duration::seconds(900));
  EXPECT_EQ(client_.next_timeout(), Instant::never());
}

TEST_F(UdpTrackerTest, OneConnectionIdForAMinute) {
  start(1);
  start(2);
  const Bytes connect = expect_sent(16, 0);
  expect_silence();  // the second waits for it too
  answer_connect(transaction_of(connect), 7);
  expect_sent(98, 1);
  expect_sent(98, 1);
  now_ = now_ + Duration::seconds(59);
  start(3);
  expect_sent(98, 1);
  now_ = now_ + Duration::seconds(2);
  start(4);
  expect_sent(16, 0);
}

TEST_F(UdpTrackerTest, RetransmitsThenGivesUp) {
  start(1);
  expect_sent(16, 0);
  EXPECT_EQ(sleep(), Duration::seconds(15));
  expect_sent(16, 0);
  EXPECT_EQ(sleep(), Duration::seconds(30));
  const Bytes third = expect_sent(16, 0);
  answer_connect(transaction_of(third), 7);
  expect_sent(98, 1);
  EXPECT_EQ(sleep(), Duration::seconds(15));
  expect_sent(98, 1);
  EXPECT_EQ(sleep(), Duration::seconds(30));
  expect_sent(98, 1);
  EXPECT_EQ(sleep(), Duration::seconds(60));
  expect_silence();
  const auto answer = poll();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->result.outcome, AnnounceOutcome::unreachable);
}

TEST_F(UdpTrackerTest, NoConnectionAtAll) {
  start(1);
  start(2);
  sleep();
  sleep();
  sleep();
  for (int i = 0; i < 3; ++i)
    expect_sent(16, 0);
  expect_silence();
  for (int i = 0; i < 2; ++i) {
    const auto answer = poll();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->result.outcome, AnnounceOutcome::unreachable);
  }
  EXPECT_EQ(client_.next_timeout(), Instant::never());
}

TEST_F(UdpTrackerTest, AnAnnounceThatOutlivesItsConnectionIdConnectsAnew) {
  start(1);
  const Bytes connect = expect_sent(16, 0);
  answer_connect(transaction_of(connect), 7);
  expect_sent(98, 1);
  sleep();  // 15 s
  expect_sent(98, 1);
  sleep();  // 45 s
  expect_sent(98, 1);
  now_ = now_ + Duration::seconds(20);  // 65 s: the id is old, the third time-out is at 105 s
  start(2);
  const Bytes again = expect_sent(16, 0);
  answer_connect(transaction_of(again), 8);
  EXPECT_EQ(load_be64(expect_sent(98, 1).data()), 8u);
}

TEST_F(UdpTrackerTest, ErrorsAreTheTrackersWords) {
  start(1);
  const Bytes connect = expect_sent(16, 0);
  answer_connect(transaction_of(connect), 7);
  const Bytes announce = expect_sent(98, 1);
  answer_error(transaction_of(announce), "not registered");
  const auto answer = poll();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->result.outcome, AnnounceOutcome::refused);
  EXPECT_EQ(answer->result.error, "not registered");
  start(2);
  expect_sent(16, 0);  // it may have been the connection id
}

TEST_F(UdpTrackerTest, StrangersAndWrongTransactionsCountNothing) {
  start(1);
  const Bytes connect = expect_sent(16, 0);
  answer_connect(transaction_of(connect) + 1, 7);
  expect_silence();
  Bytes bytes(16);
  store_be32(bytes.data() + 4, transaction_of(connect));
  client_.on_datagram(now_, {IpAddress::v4(192, 0, 2, 8), 6969}, bytes);
  client_.on_datagram(now_, {tracker_.ip, 6970}, bytes);
  expect_silence();
  client_.on_datagram(now_, tracker_, Bytes(3));
  expect_silence();
  answer_connect(transaction_of(connect), 7);
  const Bytes announce = expect_sent(98, 1);
  answer_announce(transaction_of(announce) ^ 1, 900);
  EXPECT_FALSE(poll());
}

TEST_F(UdpTrackerTest, CancelledOnesAreNotAnswered) {
  start(1);
  const Bytes connect = expect_sent(16, 0);
  client_.cancel(1);
  answer_connect(transaction_of(connect), 7);
  expect_silence();
  EXPECT_FALSE(poll());
}

}  // namespace
}  // namespace penstock::discovery
