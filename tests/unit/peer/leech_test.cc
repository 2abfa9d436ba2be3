#include <gtest/gtest.h>

#include "session_world.hh"

namespace penstock::test {
namespace {

constexpr wire::Capabilities kPlain{};

Request block(std::uint32_t piece, std::uint32_t begin = 0, std::uint32_t length = kBlockSize) {
  return {PieceIndex(piece), begin, length};
}
Bytes data(std::size_t size) {
  Bytes bytes(size);
  Random random(size);
  for (std::byte& b : bytes)
    b = static_cast<std::byte>(random.next());
  return bytes;
}

TEST(Leech, AsksAndStreamsTheAnswer) {
  for (const std::size_t cut : {std::size_t{5000}, std::size_t{13}, std::size_t{1}, SIZE_MAX}) {
    Rig rig;
    rig.start_leech();
    rig.session.set_interested(rig.now, true);
    EXPECT_TRUE(rig.session.request(rig.now, block(0, 0, 6000)));
    EXPECT_TRUE(rig.session.request(rig.now, block(1, 7, 100)));
    EXPECT_EQ(rig.sent(), "interested, request 0 0 6000, request 1 7 100");
    EXPECT_EQ(rig.session.outstanding(), 2u);
    const Bytes a = data(6000), b = data(100);
    rig.feed(piece(0, 0, a) + piece(1, 7, b), cut);
    EXPECT_EQ(rig.blocks, a + b);
    EXPECT_EQ(rig.session.outstanding(), 0u);
    const std::string events = rig.events();
    if (cut == SIZE_MAX) {
      EXPECT_EQ(events, "block 0 0 6000 +0 last, block 1 7 100 +0 last");
    }
    if (cut == 5000) {
      EXPECT_EQ(events, "block 0 0 6000 +0, block 0 0 6000 +4987 last, block 1 7 100 +0 last");
    }
  }
}

TEST(Leech, AnswersInAnyOrder) {
  Rig rig;
  rig.start_leech();
  for (std::uint32_t i = 0; i < 4; ++i)
    rig.session.request(rig.now, block(i, 0, 10));
  rig.sent();
  for (const std::uint32_t i : {2u, 0u, 3u, 1u})
    rig.feed(piece(i, 0, data(10)));
  EXPECT_EQ(rig.events(),
            "block 2 0 10 +0 last, block 0 0 10 +0 last, block 3 0 10 +0 last, "
            "block 1 0 10 +0 last");
}

TEST(Leech, WhatWasNotAskedForIsUnexpected) {
  const Bytes wrong[] = {piece(1, 0, data(100)), piece(0, 1, data(100)), piece(0, 0, data(99)),
                         piece(7, 0, data(100)), piece(0, 0, data(100)) + piece(0, 0, data(100))};
  for (const Bytes& bytes : wrong) {
    Rig rig;
    rig.start_leech();
    rig.session.request(rig.now, block(0, 0, 100));
    rig.sent();
    rig.feed(bytes);
    EXPECT_EQ(rig.session.close_reason(), CloseReason::unexpected_piece);
    EXPECT_TRUE(rig.session.closed());
  }
  Rig rig;
  rig.start_leech();
  rig.session.request(rig.now, block(0, 0, 100));
  rig.feed(piece(0, 0, data(100)));
  EXPECT_EQ(rig.events(), "closed unexpected_piece") << "before the request was sent";
}

TEST(Leech, ABlockLongerThanAnyRequestIsTooLong) {
  Rig rig;
  rig.start_leech();
  rig.feed(piece(0, 0, data(kBlockSize + 1)));
  EXPECT_EQ(rig.events(), "closed message_too_long");
}

TEST(Leech, NoRequestsWhileChokedOrBeyondTheQueue) {
  Rig rig;
  rig.open_leech();
  rig.sent();
  rig.feed(handshake(rig.content) + extended(0, text("d4:reqqi3ee")));
  EXPECT_FALSE(rig.session.request(rig.now, block(0)));
  rig.feed(simple(MessageId::unchoke));
  EXPECT_EQ(rig.events(), "handshaken, unchoked");
  for (std::uint32_t i = 0; i < 3; ++i)
    EXPECT_TRUE(rig.session.request(rig.now, block(i)));
  EXPECT_FALSE(rig.session.request(rig.now, block(3)));
}

TEST(Leech, Bep6AnswersEveryRequestAfterAChoke) {
  Rig rig;
  rig.start_leech();
  rig.session.request(rig.now, block(0));
  rig.session.request(rig.now, block(1));
  rig.sent();
  rig.session.request(rig.now, block(2));
  rig.feed(simple(MessageId::choke));
  EXPECT_EQ(rig.events(), "choked");
  EXPECT_EQ(rig.sent(), "") << "what isn't sent waits";
  rig.feed(block_message(MessageId::reject_request, 0, 0, kBlockSize));
  EXPECT_EQ(rig.events(), "rejected 0 0 16384");
  rig.feed(simple(MessageId::unchoke));
  EXPECT_EQ(rig.sent(), "request 2 0 16384");
  rig.feed(block_message(MessageId::reject_request, 3, 0, kBlockSize));
  EXPECT_EQ(rig.events(), "unchoked, closed unexpected_reject");
}

TEST(Leech, WithoutBep6AChokeForgetsWhatWasSent) {
  Rig rig;
  rig.start_leech(kPlain);
  rig.session.request(rig.now, block(0));
  rig.session.request(rig.now, block(1));
  rig.sent();
  rig.session.request(rig.now, block(2));
  rig.feed(simple(MessageId::choke));
  EXPECT_EQ(rig.events(), "choked, rejected 0 0 16384, rejected 1 0 16384");
  EXPECT_EQ(rig.session.outstanding(), 1u);
  rig.feed(simple(MessageId::unchoke));
  EXPECT_EQ(rig.sent(), "request 2 0 16384");
}

// Half of a REQUEST is on the wire when the CHOKE arrives.
TEST(Leech, AChokeThatCrossesARequestForgetsItToo) {
  Rig rig;
  rig.start_leech(kPlain);
  rig.session.request(rig.now, block(0));
  std::vector<std::byte> scratch(4096);
  std::vector<SendPart> parts(4);
  EXPECT_EQ(rig.session.fill_small(rig.now, scratch, parts).bytes, 17u);
  rig.session.on_small_sent(rig.now, 9);
  EXPECT_TRUE(rig.session.mid_small());
  rig.feed(simple(MessageId::choke));
  EXPECT_EQ(rig.events(), "choked");
  EXPECT_EQ(rig.sent_bytes().size(), 8u);
  EXPECT_EQ(rig.events(), "rejected 0 0 16384");
  EXPECT_EQ(rig.session.outstanding(), 0u);
}

TEST(Leech, CancelIsAnsweredWithBep6) {
  Rig rig;
  rig.start_leech();
  rig.session.request(rig.now, block(0));
  rig.session.request(rig.now, block(1));
  rig.sent();
  rig.session.cancel(rig.now, block(0));
  EXPECT_EQ(rig.sent(), "cancel 0 0 16384");
  EXPECT_EQ(rig.session.outstanding(), 2u);
  rig.feed(block_message(MessageId::reject_request, 0, 0, kBlockSize));
  EXPECT_EQ(rig.events(), "rejected 0 0 16384");
}

TEST(Leech, WithoutBep6ACancelledBlockMayStillCome) {
  Rig rig;
  rig.start_leech(kPlain);
  rig.session.request(rig.now, block(0, 0, 10));
  rig.sent();
  rig.session.cancel(rig.now, block(0, 0, 10));
  EXPECT_EQ(rig.sent(), "cancel 0 0 10");
  EXPECT_EQ(rig.session.outstanding(), 0u);
  rig.feed(piece(0, 0, data(10)));
  EXPECT_EQ(rig.events(), "") << "passed over";
  rig.feed(piece(0, 0, data(10)));
  EXPECT_EQ(rig.events(), "closed unexpected_piece") << "once";
}

TEST(Leech, HearsWhatThePeerHas) {
  Rig rig;
  rig.start_leech();
  rig.feed(bitfield({std::byte{0xa8}}) + have(1) +
           extended(7, {std::byte{0}, std::byte{0}, std::byte{0}, std::byte{2}}));
  EXPECT_EQ(rig.events(), "bitfield 0 last, have 1, dont_have 2");
  EXPECT_EQ(rig.bits, Bytes{std::byte{0xa8}});
  EXPECT_FALSE(rig.session.peer_is_seed());

  Rig all;
  all.start_leech();
  all.feed(simple(MessageId::have_all));
  EXPECT_EQ(all.events(), "have_all");
  EXPECT_TRUE(all.session.peer_is_seed());
  Rig none;
  none.start_leech();
  none.feed(simple(MessageId::have_none));
  EXPECT_EQ(none.events(), "have_none");
}

TEST(Leech, ABigBitfieldComesInParts) {
  Rig rig;
  TestTorrent big(1000, 16 * 1024, 1);
  rig.content.torrent.blocks = big.torrent.blocks;
  rig.content.torrent.pieces = &big.states;
  rig.start_leech();
  const Bytes bits = data(125);
  rig.feed(bitfield(bits), 50);
  EXPECT_EQ(rig.events(), "bitfield 0, bitfield 360, bitfield 760 last");
  EXPECT_EQ(rig.bits, bits);
}

TEST(Leech, RequestsOfItsPeerAreRejected) {
  Rig fast;
  fast.start_leech();
  fast.feed(request(0));
  EXPECT_EQ(fast.session.outstanding(), 0u);
  EXPECT_EQ(fast.events(), "");
}

TEST(Leech, AManyRequestsGoOutInAnySizeOfSend) {
  for (const std::size_t take : {std::size_t{1}, std::size_t{40}, SIZE_MAX}) {
    Rig rig;
    rig.start_leech();
    std::string expected;
    for (std::uint32_t i = 0; i < 500; ++i) {
      ASSERT_TRUE(rig.session.request(rig.now, block(i % 4, i, 9)));
      expected += (i > 0 ? ", request " : "request ") + std::to_string(i % 4) + " " +
                  std::to_string(i) + " 9";
    }
    EXPECT_EQ(rig.sent(take), expected);
    EXPECT_EQ(rig.session.outstanding(), 500u);
  }
}

// Without BEP 6 a cancelled request makes room at once: were new ones told first, and again and
// again, the seed would have more of them than it advertised.
TEST(Leech, WhatIsCancelledIsToldBeforeWhatIsAskedForInstead) {
  Rig rig;
  rig.start_leech({});
  ASSERT_TRUE(rig.session.request(rig.now, {PieceIndex(0), 0, 10}));
  EXPECT_EQ(rig.sent(), "request 0 0 10");
  rig.session.cancel(rig.now, {PieceIndex(0), 0, 10});
  ASSERT_TRUE(rig.session.request(rig.now, {PieceIndex(1), 0, 10}));
  EXPECT_EQ(rig.sent(), "cancel 0 0 10, request 1 0 10");
}

}  // namespace
}  // namespace penstock::test
