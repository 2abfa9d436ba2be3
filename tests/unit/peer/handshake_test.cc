#include <gtest/gtest.h>

#include "session_world.hh"

namespace penstock::test {
namespace {

constexpr wire::Capabilities kPlain{};
constexpr wire::Capabilities kModern{.extended = true, .fast = true};

TEST(Handshake, IncomingIsAnsweredOnceTheTorrentIsKnown) {
  Rig rig;
  rig.open_seed();
  EXPECT_EQ(rig.sent(), "");
  rig.feed(handshake(rig.content, kModern));
  EXPECT_EQ(rig.events(), "info_hash, handshaken");
  EXPECT_EQ(rig.sent().substr(0, 34), "handshake, have_all, extended 0 (1");
  EXPECT_EQ(rig.hello.info_hash, rig.content.torrent.hash_list[0]);
  EXPECT_EQ(rig.hello.peer_id, peer_id('A'));
  EXPECT_EQ(rig.hello.capabilities, kModern);
  EXPECT_TRUE(rig.session.handshaken());
}

// Some clients send their peer id only after our handshake.
TEST(Handshake, IsAnsweredBeforeThePeerId) {
  Rig rig;
  rig.open_seed();
  const Bytes bytes = handshake(rig.content);
  rig.feed({bytes.begin(), bytes.begin() + 48});
  EXPECT_EQ(rig.events(), "info_hash");
  EXPECT_EQ(rig.sent(), "handshake");
  rig.feed({bytes.begin() + 48, bytes.end()});
  EXPECT_EQ(rig.events(), "handshaken");
}

TEST(Handshake, InterestedInTheSamePacketAndInEverySplit) {
  for (std::size_t cut = 1; cut <= 74; ++cut) {
    Rig rig;
    rig.open_seed();
    rig.feed(handshake(rig.content) + simple(MessageId::interested), cut);
    EXPECT_EQ(rig.events(), "info_hash, handshaken, interested") << cut;
  }
}

TEST(Handshake, PlainPeerGetsABitfieldAndNoExtensions) {
  Rig rig;
  rig.open_seed();
  rig.feed(handshake(rig.content, kPlain));
  EXPECT_EQ(rig.sent(), "handshake, bitfield f8");
  EXPECT_FALSE(rig.session.fast());
}

TEST(Handshake, ALostPieceIsMissingFromTheBitfield) {
  Rig rig;
  rig.content.states.set(PieceIndex(1), PieceState::lost);
  rig.open_seed();
  rig.feed(handshake(rig.content));
  EXPECT_EQ(rig.sent().substr(0, 24), "handshake, bitfield b8, ");
}

TEST(Handshake, TruncatedV2HashAndTheV2Bit) {
  Rig rig;
  rig.content.torrent.hash_count = 2;
  rig.content.torrent.has_v2 = true;
  rig.open_seed();
  rig.feed(handshake(rig.content, kModern, 'Z', 1));
  EXPECT_EQ(rig.events(), "info_hash, handshaken");
  rig.sent();
  EXPECT_EQ(rig.hello.info_hash, rig.content.torrent.hash_list[1]) << "as it asked";
  EXPECT_TRUE(rig.hello.capabilities.v2);
}

TEST(Handshake, UnknownTorrentIsRefused) {
  Rig rig;
  rig.open_seed();
  TestTorrent other;
  other.torrent.hash_list[0].bytes.fill(std::byte{0x33});
  rig.feed(handshake(other));
  EXPECT_EQ(rig.events(), "info_hash, closed unknown_torrent");
  EXPECT_EQ(rig.sent(), "");
}

TEST(Handshake, AWithdrawnTorrentIsRefused) {
  Rig rig;
  rig.content.torrent.withdrawn = true;
  rig.open_seed();
  rig.feed(handshake(rig.content));
  EXPECT_EQ(rig.events(), "info_hash, closed torrent_withdrawn");
}

TEST(Handshake, ToOurselvesIsSeenFromBothSides) {
  Rig in;
  in.open_seed();
  in.feed(handshake(in.content, kModern, 'A'));
  EXPECT_EQ(in.events(), "info_hash, closed self_connection");
  Rig out;
  out.open_leech();
  out.feed(handshake(out.content, kModern, 'A'));
  EXPECT_EQ(out.events(), "closed self_connection");
}

TEST(Handshake, OutgoingSpeaksFirstAndChecksTheAnswer) {
  Rig rig;
  rig.open_leech();
  EXPECT_EQ(rig.sent(), "handshake");
  rig.feed(handshake(rig.content));
  EXPECT_EQ(rig.events(), "handshaken");
  EXPECT_EQ(rig.sent().substr(0, 23), "have_none, extended 0 (");

  Rig wrong;
  wrong.open_leech();
  wrong.feed(handshake(wrong.content, kModern, 'Z', 1));
  EXPECT_EQ(wrong.events(), "closed wrong_info_hash");
}

// BEP 52: the answer to a hybrid's v1 hash may carry its v2 hash.
TEST(Handshake, OutgoingAcceptsTheUpgradeOfAHybrid) {
  Rig rig;
  rig.content.torrent.hash_count = 2;
  rig.open_leech();
  rig.feed(handshake(rig.content, kModern, 'Z', 1));
  EXPECT_EQ(rig.events(), "handshaken");
}

TEST(Handshake, TimesOutHoweverSlowlyItDrips) {
  Rig rig;
  rig.open_seed();
  const Bytes bytes = handshake(rig.content);
  for (std::size_t i = 0; i < 9; ++i) {
    rig.feed({bytes[i]});
    rig.advance(Duration::seconds(1));
    ASSERT_EQ(rig.events(), "");
  }
  rig.advance(Duration::seconds(1));
  EXPECT_EQ(rig.events(), "closed handshake_timeout");
}

TEST(Handshake, SilenceAfterConnectingTimesOut) {
  Rig rig;
  rig.open_seed();
  rig.advance(Duration::milliseconds(9999));
  EXPECT_EQ(rig.events(), "");
  rig.advance(Duration::milliseconds(1));
  EXPECT_EQ(rig.events(), "closed handshake_timeout");
}

TEST(Handshake, OtherOpeningsAreCalledByTheirName) {
  Random random(7);
  Bytes key(96);
  for (std::byte& b : key)
    b = static_cast<std::byte>(random.next());
  key[0] = std::byte{0xa7};
  Bytes zeros(96);
  const struct {
    Bytes bytes;
    const char* events;
  } cases[] = {
      {key, "closed encrypted_handshake"},
      {zeros, "closed handshake_garbage"},
      {text("\x13"
            "BitTorrent protoc0l is what I say") +
           zeros,
       "closed handshake_garbage"},
      {text("GET / HTTP/1.1\r\nHost: example\r\n\r\n"), "closed not_bittorrent"},
      {text("\x16\x03\x01\x02") + zeros, "closed not_bittorrent"},
  };
  for (const auto& c : cases) {
    for (const std::size_t cut : {std::size_t{1}, std::size_t{7}, SIZE_MAX}) {
      Rig rig;
      rig.open_seed();
      rig.feed(c.bytes, cut);
      EXPECT_EQ(rig.events(), c.events) << cut;
    }
  }
}

TEST(Handshake, NothingIsReadAfterTheClose) {
  Rig rig;
  rig.open_seed();
  rig.feed(text("GET / HTTP/1.1\r\n") + handshake(rig.content));
  rig.feed(handshake(rig.content));
  EXPECT_EQ(rig.events(), "closed not_bittorrent");
  EXPECT_EQ(rig.session.next_timeout(), Instant::never());
}

TEST(Handshake, NoAnswerIsARefusal) {
  Rig rig;
  rig.open_seed();
  const Bytes bytes = handshake(rig.content);
  rig.session.on_data(rig.now, bytes);
  SessionEvent event;
  ASSERT_TRUE(rig.session.poll_event(event));
  ASSERT_EQ(event.kind, SessionEvent::Kind::info_hash);
  ASSERT_TRUE(rig.session.poll_event(event));
  EXPECT_EQ(event.kind, SessionEvent::Kind::closed);
  EXPECT_EQ(event.reason, CloseReason::unknown_torrent);
}

TEST(Handshake, ASessionCanBeUsedAgain) {
  Rig rig;
  rig.start_seed();
  rig.session.set_choked(rig.now, false);
  rig.feed(request(0) + request(1));
  EXPECT_EQ(rig.session.request_count(), 2u);
  rig.session.reset();
  EXPECT_EQ(rig.session.request_count(), 0u);
  rig.open_seed();
  rig.feed(handshake(rig.content, kPlain));
  EXPECT_EQ(rig.events(), "info_hash, handshaken");
  EXPECT_TRUE(rig.session.choked());
}

}  // namespace
}  // namespace penstock::test
