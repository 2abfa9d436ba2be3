// The seed's side: requests, choking, rejects, and the limits of each.
#include <gtest/gtest.h>

#include "session_world.hh"

namespace penstock::test {
namespace {

constexpr wire::Capabilities kPlain{};

void unchoke(Rig& rig) {
  rig.session.set_choked(rig.now, false);
  EXPECT_EQ(rig.sent(), "unchoke");
}

TEST(Upload, RequestsComeOutInOrderWhateverTheSegmentation) {
  for (const std::size_t cut : {std::size_t{1}, std::size_t{5}, std::size_t{16}, std::size_t{17},
                                std::size_t{18}, std::size_t{33}, SIZE_MAX}) {
    Rig rig;
    rig.start_seed();
    unchoke(rig);
    Bytes bytes;
    for (std::uint32_t i = 0; i < 4; ++i)
      bytes = bytes + request(i) + request(i, kBlockSize);
    bytes = bytes + request(4, kBlockSize, 20'000 - kBlockSize);
    rig.feed(bytes, cut);
    ASSERT_EQ(rig.session.request_count(), 9u) << cut;
    for (std::uint32_t i = 0; i < 4; ++i) {
      EXPECT_EQ(rig.session.pop_request(), (Request{PieceIndex(i), 0, kBlockSize}));
      EXPECT_EQ(rig.session.pop_request(), (Request{PieceIndex(i), kBlockSize, kBlockSize}));
    }
    EXPECT_EQ(rig.session.pop_request(), (Request{PieceIndex(4), kBlockSize, 3616}));
    EXPECT_EQ(rig.events(), "");
  }
}

TEST(Upload, OutOfRangeAndTooLong) {
  const struct {
    Bytes bytes;
    const char* events;
  } cases[] = {
      {request(5), "closed request_out_of_range"},
      {request(0xffffffff), "closed request_out_of_range"},
      {request(0, 32 * 1024, 1), "closed request_out_of_range"},
      {request(0, 0xffffffff, 16), "closed request_out_of_range"},
      {request(0, kBlockSize, kBlockSize + 1), "closed request_out_of_range"},
      {request(4, kBlockSize), "closed request_out_of_range"},
      {request(0, 0, 0), "closed request_out_of_range"},
      {request(0, 0, kBlockSize + 1), "closed request_too_long"},
      {block_message(MessageId::cancel, 9, 0, kBlockSize), "closed request_out_of_range"},
  };
  for (const auto& c : cases) {
    for (const bool choked : {false, true}) {
      Rig rig;
      rig.start_seed();
      rig.session.set_choked(rig.now, choked);
      rig.feed(c.bytes);
      EXPECT_EQ(rig.events(), c.events);
    }
  }
}

TEST(Upload, WhileChokedIsRejectedOrPassedOver) {
  Rig fast;
  fast.start_seed();
  fast.feed(request(0) + request(1, 5, 100));
  EXPECT_EQ(fast.session.request_count(), 0u);
  EXPECT_EQ(fast.sent(), "reject 0 0 16384, reject 1 5 100");
  Rig plain;
  plain.start_seed(kPlain);
  plain.feed(request(0) + request(1, 5, 100));
  EXPECT_EQ(plain.session.request_count(), 0u);
  EXPECT_EQ(plain.sent(), "");
  EXPECT_EQ(plain.events(), "");
}

TEST(Upload, ChokingRejectsTheQueueAfterTheChoke) {
  Rig rig;
  rig.start_seed();
  unchoke(rig);
  rig.feed(request(0) + request(1) + request(2));
  rig.session.pop_request();
  rig.session.set_choked(rig.now, true);
  EXPECT_EQ(rig.session.request_count(), 0u);
  EXPECT_EQ(rig.sent(), "choke, reject 1 0 16384, reject 2 0 16384");
  EXPECT_TRUE(rig.session.reject(rig.now, {PieceIndex(0), 0, kBlockSize}));
  EXPECT_EQ(rig.sent(), "reject 0 0 16384");
}

TEST(Upload, ChokingAndUnchokingAtOnceStillTellsAPlainPeer) {
  Rig rig;
  rig.start_seed(kPlain);
  unchoke(rig);
  rig.feed(request(0));
  rig.session.set_choked(rig.now, true);
  rig.session.set_choked(rig.now, false);
  EXPECT_EQ(rig.session.request_count(), 0u) << "dropped with the choke, so the choke must be told";
  EXPECT_EQ(rig.sent(), "choke, unchoke");
}

TEST(Upload, AnUnchokeThatWasNeverToldNeedsNoChoke) {
  Rig rig;
  rig.start_seed();
  rig.session.set_choked(rig.now, false);
  rig.session.set_choked(rig.now, true);
  EXPECT_EQ(rig.sent(), "");
}

TEST(Upload, WithoutBep6ARejectCannotBeTold) {
  Rig rig;
  rig.start_seed(kPlain);
  unchoke(rig);
  rig.feed(request(0));
  const Request r = rig.session.pop_request();
  EXPECT_FALSE(rig.session.reject(rig.now, r));
  EXPECT_EQ(rig.sent(), "");
  rig.session.drop_request();
  rig.session.validate();
}

// A request counts until it is sent, rejected or dropped, once.
TEST(Upload, EveryPoppedRequestEndsOnce) {
  SessionLimits limits = test_limits();
  limits.requests_max = 2;
  limits.requests_excess_max = 0;
  Rig rig(limits);
  rig.start_seed(kPlain);
  unchoke(rig);
  for (int i = 0; i < 10; ++i) {
    rig.feed(request(0) + request(1));
    ASSERT_EQ(rig.session.request_count(), 2u) << i;
    const Request r = rig.session.pop_request();
    if (!rig.session.reject(rig.now, r)) rig.session.drop_request();
    rig.session.pop_request();
    rig.session.on_block_sent(rig.now);
  }
  rig.feed(request(0) + request(0) + request(0) + request(0));
  EXPECT_EQ(rig.events(), "") << "without BEP 6 there is twice the room";
  rig.feed(request(0));
  EXPECT_EQ(rig.events(), "closed request_flood");
}

TEST(Upload, CancelOfAQueuedRequestIsAnsweredByAReject) {
  Rig rig;
  rig.start_seed();
  unchoke(rig);
  rig.feed(request(0) + request(1) + request(2) +
           block_message(MessageId::cancel, 1, 0, kBlockSize));
  EXPECT_EQ(rig.events(), "");
  EXPECT_EQ(rig.sent(), "reject 1 0 16384");
  EXPECT_EQ(rig.session.pop_request().piece, PieceIndex(0));
  EXPECT_EQ(rig.session.pop_request().piece, PieceIndex(2));
}

TEST(Upload, CancelOfWhatTheShardTookIsTold) {
  Rig rig;
  rig.start_seed();
  unchoke(rig);
  rig.feed(request(0));
  rig.session.pop_request();
  rig.feed(block_message(MessageId::cancel, 0, 0, kBlockSize));
  EXPECT_EQ(rig.events(), "cancel 0 0 16384");
  EXPECT_EQ(rig.sent(), "");
}

TEST(Upload, BeyondReqqIsRejectedAndThenAFlood) {
  SessionLimits limits = test_limits();
  limits.requests_max = 100;
  limits.requests_excess_max = 50;
  Rig rig(limits);
  rig.start_seed();
  unchoke(rig);
  for (int i = 0; i < 100; ++i)
    rig.feed(request(0));
  EXPECT_EQ(rig.sent(), "");
  rig.feed(request(1));
  EXPECT_EQ(rig.sent(), "reject 1 0 16384");
  // What the shard took still counts, until it is sent.
  for (int i = 0; i < 100; ++i)
    rig.session.pop_request();
  rig.feed(request(2));
  EXPECT_EQ(rig.sent(), "reject 2 0 16384");
  rig.session.on_block_sent(rig.now);
  rig.feed(request(3));
  EXPECT_EQ(rig.session.request_count(), 1u);
  // One of the two was forgiven by the block.
  for (int i = 0; i < 49; ++i)
    rig.feed(request(1));
  EXPECT_EQ(rig.events(), "");
  rig.feed(request(1));
  EXPECT_EQ(rig.events(), "closed request_flood");
}

TEST(Upload, TenThousandRequestsAtOnceAreAFlood) {
  for (const bool fast : {true, false}) {
    Rig rig;
    rig.start_seed({.fast = fast});
    unchoke(rig);
    Bytes bytes;
    for (std::uint32_t i = 0; i < 10'000; ++i)
      bytes = std::move(bytes) + request(i % 4, i % 1000, 1 + i % 100);
    rig.feed(bytes);
    EXPECT_EQ(rig.events(), "closed request_flood");
    EXPECT_EQ(rig.shared.pages.free_count(), rig.shared.pages.count());
  }
}

// What is asked for and cancelled is work for nothing, and once filled the pool of all peers.
TEST(Upload, RequestsThatAreCancelledOverAndOver) {
  for (const bool fast : {true, false}) {
    Rig rig;
    rig.start_seed({.fast = fast});
    unchoke(rig);
    rig.feed(request(0));
    for (std::uint32_t i = 0; i < rig.shared.limits.requests_excess_max; ++i) {
      rig.feed(request(1) + block_message(MessageId::cancel, 1, 0, kBlockSize));
      ASSERT_LE(rig.shared.pages.count() - rig.shared.pages.free_count(), fast ? 28u : 3u);
    }
    EXPECT_EQ(rig.events(), "");
    rig.feed(request(1) + block_message(MessageId::cancel, 1, 0, kBlockSize));
    EXPECT_EQ(rig.events(), "closed request_flood");
  }
}

// BEP 3's CHOKE and CANCEL let the peer forget at once, and ask for as much again, while here it
// still counts. Such requests were dropped without a word, and waited for in vain.
TEST(Upload, WithoutBep6ThereIsRoomForWhatThePeerHasForgotten) {
  SessionLimits limits = test_limits();
  limits.requests_max = 10;
  Rig rig(limits);
  rig.start_seed(kPlain);
  unchoke(rig);
  rig.session.set_choked(rig.now, true);
  rig.session.set_choked(rig.now, false);
  EXPECT_EQ(rig.sent(), "choke, unchoke");
  // Ten that crossed the CHOKE, ten in answer to the UNCHOKE.
  for (std::uint32_t i = 0; i < 10; ++i)
    rig.feed(request(0, i, 1));
  for (std::uint32_t i = 0; i < 10; ++i)
    rig.feed(request(1, i, 1));
  EXPECT_EQ(rig.session.request_count(), 20u);
  rig.feed(request(2));
  EXPECT_EQ(rig.session.request_count(), 20u) << "no more than that";
  EXPECT_EQ(rig.events(), "");
}

// Whoever asks for much and reads nothing gets as much as is left, and at last is closed; others
// still get what they need.
TEST(Upload, AHoarderDoesNotTakeThePoolFromOthers) {
  Rig rig(test_limits(), 8, 4);
  rig.start_seed();
  unchoke(rig);
  Session other;
  other.open(rig.now, rig.shared, SessionRole::seed, {}, false, nullptr);
  const auto feed_other = [&](const Bytes& bytes) {
    other.on_data(rig.now, bytes);
    SessionEvent e;
    while (other.poll_event(e)) {
      if (e.kind == SessionEvent::Kind::info_hash) {
        other.accept_torrent(rig.now, &rig.content.torrent);
      }
    }
    other.validate();
  };
  feed_other(handshake(rig.content));
  other.set_choked(rig.now, false);
  for (std::uint32_t i = 0; i < 4 * RequestQueue::kPerPage; ++i)
    rig.feed(request(0));
  EXPECT_EQ(rig.session.request_count(), 4 * RequestQueue::kPerPage);
  rig.feed(request(1));
  EXPECT_EQ(rig.sent(), "reject 1 0 16384");
  for (std::uint32_t i = 0; i < RequestQueue::kPerPage; ++i)
    rig.feed(request(1));
  EXPECT_EQ(rig.events(), "");
  for (std::uint32_t i = 0; i < 2 * RequestQueue::kPerPage; ++i)
    feed_other(request(0));
  EXPECT_EQ(other.request_count(), RequestQueue::kPerPage);
  EXPECT_FALSE(other.closed());
  rig.feed(request(1));
  EXPECT_EQ(rig.events(), "closed no_resources");
  other.reset();
}

TEST(Upload, AFloodWhileChokedEndsToo) {
  Rig fast;
  fast.start_seed();
  for (int i = 0; i < 20'000 && !fast.session.closed(); ++i)
    fast.feed(request(0));
  EXPECT_EQ(fast.events(), "closed request_flood");
  Rig plain;
  plain.start_seed(kPlain);
  for (int i = 0; i < 20'000 && !plain.session.closed(); ++i)
    plain.feed(request(0));
  EXPECT_EQ(plain.events(), "closed message_flood");
}

TEST(Upload, AnEmptyPoolClosesOnlyWhoNeedsIt) {
  Rig rig(test_limits(), 1);
  rig.start_seed();
  unchoke(rig);
  for (std::uint32_t i = 0; i < RequestQueue::kPerPage; ++i)
    rig.feed(request(0));
  EXPECT_EQ(rig.events(), "");
  rig.feed(request(0));
  EXPECT_EQ(rig.events(), "closed no_resources");
}

TEST(Upload, RejectsSurviveAnySizeOfSend) {
  for (const std::size_t take : {std::size_t{1}, std::size_t{16}, std::size_t{100}, SIZE_MAX}) {
    Rig rig;
    rig.scratch_size = kSmallScratchMin;
    rig.parts_max = 1;
    rig.start_seed();
    unchoke(rig);
    std::string expected = "choke";
    for (std::uint32_t i = 0; i < 200; ++i) {
      rig.feed(request(i % 4, i, 7));
      expected += ", reject " + std::to_string(i % 4) + " " + std::to_string(i) + " 7";
    }
    rig.session.set_choked(rig.now, true);
    EXPECT_EQ(rig.sent(take), expected) << take;
  }
}

TEST(Upload, LostAndRecoveredPieces) {
  Rig rig;
  rig.start_seed();
  rig.session.on_piece_lost(rig.now, PieceIndex(2));
  EXPECT_EQ(rig.sent(), "") << "the peer doesn't speak lt_donthave";
  rig.feed(extended(0, text("d1:md11:lt_donthavei9eee")));
  rig.session.on_piece_lost(rig.now, PieceIndex(3));
  EXPECT_EQ(rig.sent(), "extended 9 (4)");
  EXPECT_EQ(rig.last_sent.back(), std::byte{3});
  rig.session.on_piece_recovered(rig.now, PieceIndex(3));
  EXPECT_EQ(rig.sent(), "have 3");
}

TEST(Upload, ManyLostPiecesAreAllTold) {
  Rig rig;
  TestTorrent big(100);
  rig.content.torrent.blocks = big.torrent.blocks;
  rig.content.torrent.pieces = &big.states;
  rig.start_seed();
  rig.feed(extended(0, text("d1:md11:lt_donthavei9eee")));
  for (std::uint32_t i = 10; i < 60; ++i) {
    big.states.set(PieceIndex(i), PieceState::lost);
    rig.session.on_piece_lost(rig.now, PieceIndex(i));
  }
  const Bytes bytes = rig.sent_bytes();
  std::vector<bool> told(100);
  for (std::span<const std::byte> left(bytes); !left.empty();) {
    const auto d = wire::decode_message(left, {});
    ASSERT_EQ(d.status, wire::DecodeStatus::ok);
    told[wire::decode_dont_have(d.message.payload).value().value] = true;
    left = left.subspan(d.size);
  }
  for (std::uint32_t i = 0; i < 100; ++i)
    EXPECT_EQ(told[i], i >= 10 && i < 60) << i;
}

// A file comes back: those who are here are told of every piece of it, however many there are.
TEST(Upload, ManyRecoveredPiecesAreAllTold) {
  for (const std::size_t take : {std::size_t{1}, std::size_t{13}, SIZE_MAX}) {
    Rig rig;
    TestTorrent big(1000);
    rig.content.torrent.blocks = big.torrent.blocks;
    rig.content.torrent.pieces = &big.states;
    for (std::uint32_t i = 300; i < 700; ++i)
      big.states.set(PieceIndex(i), PieceState::lost);
    rig.start_seed();
    rig.feed(extended(0, text("d1:md11:lt_donthavei9eee")));
    for (std::uint32_t i = 300; i < 700; ++i) {
      if (i % 100 == 50) continue;
      big.states.set(PieceIndex(i), PieceState::unverified);
      rig.session.on_piece_recovered(rig.now, PieceIndex(i));
    }
    std::string expected;
    for (std::uint32_t i = 300; i < 700; ++i) {
      if (i % 100 != 50) expected += (i == 300 ? "have " : ", have ") + std::to_string(i);
    }
    EXPECT_EQ(rig.sent(take), expected) << take;
  }
}

TEST(Upload, ABitfieldOfAMillionPiecesIsMadePiecewise) {
  Rig rig;
  TestTorrent big(1'000'003, 16 * 1024, 1);
  rig.content.torrent.blocks = big.torrent.blocks;
  rig.content.torrent.pieces = &big.states;
  big.states.set(PieceIndex(999'999), PieceState::lost);
  rig.scratch_size = 700;
  rig.open_seed();
  rig.feed(handshake(rig.content, kPlain));
  Bytes bytes = rig.sent_bytes();
  bytes.erase(bytes.begin(), bytes.begin() + 68);
  const auto d = wire::decode_message(bytes, {});
  ASSERT_EQ(d.status, wire::DecodeStatus::ok);
  ASSERT_EQ(d.size, bytes.size());
  ASSERT_EQ(d.message.payload.size(), 125'001u);
  for (std::uint32_t i = 0; i < 1'000'003; ++i) {
    const bool bit = (static_cast<unsigned>(d.message.payload[i / 8]) >> (7 - i % 8) & 1) != 0;
    ASSERT_EQ(bit, i != 999'999) << i;
  }
  EXPECT_EQ(static_cast<unsigned>(d.message.payload.back()) & 0x1f, 0u) << "spare bits";
}

TEST(Upload, AReaderThatStallsIsClosed) {
  Rig rig;
  rig.start_seed();
  unchoke(rig);
  rig.feed(request(0));
  rig.session.set_send_blocked(rig.now, true);
  rig.advance(Duration::seconds(44));
  rig.session.set_send_blocked(rig.now, false);
  rig.session.set_send_blocked(rig.now, true);
  rig.advance(Duration::seconds(44));
  EXPECT_FALSE(rig.session.send_stalled(rig.now));
  EXPECT_EQ(rig.events(), "");
  rig.advance(Duration::seconds(1));
  EXPECT_EQ(rig.events(), "closed reader_stalled");
}

}  // namespace
}  // namespace penstock::test
