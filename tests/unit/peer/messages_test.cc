// Every message that isn't a request: what it does, what is wrong with it, what too much of it is.
#include <gtest/gtest.h>

#include "session_world.hh"

namespace penstock::test {
namespace {

constexpr wire::Capabilities kPlain{};

// Sends the bytes in several segmentations to a fresh seed; the events of all are the same.
std::string told(const Bytes& bytes,
                 wire::Capabilities capabilities = {.extended = true, .fast = true}) {
  std::string first;
  for (const std::size_t cut : {SIZE_MAX, std::size_t{1}, std::size_t{3}}) {
    Rig rig;
    rig.start_seed(capabilities);
    rig.feed(bytes, cut);
    const std::string events = rig.events();
    if (cut == SIZE_MAX) first = events;
    EXPECT_EQ(events, first) << "cut into " << cut;
  }
  return first;
}

TEST(Messages, InterestIsToldWhenItChanges) {
  const Bytes on = simple(MessageId::interested);
  const Bytes off = simple(MessageId::not_interested);
  EXPECT_EQ(told(off + on + on + off + on), "interested, not_interested, interested");
}

TEST(Messages, WrongLengths) {
  EXPECT_EQ(told(raw(0, Bytes(1))), "closed message_malformed");
  EXPECT_EQ(told(raw(4, Bytes(3))), "closed message_malformed");
  EXPECT_EQ(told(raw(6, Bytes(11))), "closed message_malformed");
  EXPECT_EQ(told(raw(6, Bytes(13))), "closed message_malformed");
  EXPECT_EQ(told(raw(20, {})), "closed message_malformed");
  EXPECT_EQ(told(raw(21, Bytes(47))), "closed message_malformed");
  Bytes huge = raw(99, {});
  store_be32(huge.data(), 0xffffffff);
  EXPECT_EQ(told(huge), "closed message_too_long");
  huge[4] = std::byte{20};
  EXPECT_EQ(told(huge), "closed message_too_long");
  huge[4] = std::byte{5};
  EXPECT_EQ(told(huge), "closed bitfield_size");
}

TEST(Messages, Bitfields) {
  EXPECT_EQ(told(bitfield({std::byte{0xf0}})), "");
  EXPECT_EQ(told(bitfield({std::byte{0xf0}, std::byte{0}})), "closed bitfield_size");
  EXPECT_EQ(told(bitfield({})), "closed bitfield_size");
  EXPECT_EQ(told(bitfield({std::byte{0xfc}})), "closed bitfield_spare_bits");
  EXPECT_EQ(told(bitfield({std::byte{0x01}})), "closed bitfield_spare_bits");
}

TEST(Messages, AnotherBitfield) {
  const auto closes = [](const Bytes& bytes) {
    Rig rig;
    rig.start_leech();
    rig.feed(bytes);
    return std::string(rig.session.closed() ? close_reason_name(rig.session.close_reason()) : "");
  };
  const Bytes all = bitfield({std::byte{0xf8}});
  const Bytes none = simple(MessageId::have_none);
  EXPECT_EQ(closes(all + all), "bitfield_duplicate");
  EXPECT_EQ(closes(simple(MessageId::have_all) + all), "bitfield_duplicate");
  EXPECT_EQ(closes(none + none), "bitfield_duplicate");
  EXPECT_EQ(closes(none + bitfield({std::byte{0x80}})), "") << "a peer that has its metadata now";
  EXPECT_EQ(closes(have(1) + all), "bitfield_late");
  EXPECT_EQ(closes(have(1) + simple(MessageId::have_all)), "bitfield_late");

  // aria2 sends another one instead of many HAVEs, and a seed takes it.
  Rig seed;
  seed.start_seed();
  const Bytes some = bitfield({std::byte{0x80}});
  seed.feed(some + have(1) + bitfield({std::byte{0xe0}}) + some + none);
  EXPECT_EQ(seed.events(), "");
  EXPECT_FALSE(seed.session.peer_is_seed());
  seed.feed(all);
  EXPECT_TRUE(seed.session.peer_is_seed());
  Bytes many;
  for (int i = 0; i < 2500; ++i)
    many = std::move(many) + some;
  seed.feed(many);
  EXPECT_EQ(seed.session.close_reason(), CloseReason::message_flood);
}

TEST(Messages, Have) {
  EXPECT_EQ(told(have(0) + have(4)), "");
  EXPECT_EQ(told(have(5)), "closed have_out_of_range");
  EXPECT_EQ(told(have(0xffffffff)), "closed have_out_of_range");
}

TEST(Messages, OfBep6WithoutIt) {
  EXPECT_EQ(told(simple(MessageId::have_all), kPlain), "closed fast_not_negotiated");
  EXPECT_EQ(told(simple(MessageId::have_none), kPlain), "closed fast_not_negotiated");
  EXPECT_EQ(told(raw(13, Bytes(4)), kPlain), "closed fast_not_negotiated");
  EXPECT_EQ(told(raw(17, Bytes(4)), kPlain), "closed fast_not_negotiated");
  EXPECT_EQ(told(block_message(MessageId::reject_request, 0, 0, 16384), kPlain),
            "closed fast_not_negotiated");
  EXPECT_EQ(told(raw(13, Bytes(4)) + raw(17, Bytes(4))), "");
}

TEST(Messages, ASeedNeedsNothing) {
  EXPECT_EQ(told(piece(0, 0, Bytes(100))), "closed unexpected_piece");
  EXPECT_EQ(told(block_message(MessageId::reject_request, 0, 0, 16384)),
            "closed unexpected_reject");
}

TEST(Messages, UnknownOnesArePassedOverForAWhile) {
  EXPECT_EQ(told(raw(9, Bytes(2)) + raw(77, Bytes(5000)) + raw(255, {}) + raw(10, {}) +
                 simple(MessageId::interested)),
            "interested");
  Bytes bytes;
  for (int i = 0; i < 600; ++i)
    bytes = std::move(bytes) + raw(77, {});
  EXPECT_EQ(told(bytes), "closed unknown_message_flood");
  bytes.clear();
  for (int i = 0; i < 10; ++i)
    bytes = std::move(bytes) + raw(77, Bytes(60 * 1024));
  EXPECT_EQ(told(bytes), "closed unknown_message_flood") << "long ones cost more";
}

TEST(Messages, AFloodOfSmallOnes) {
  const Bytes floods[] = {Bytes(4),
                          simple(MessageId::interested) + simple(MessageId::not_interested),
                          simple(MessageId::choke),
                          have(1),
                          block_message(MessageId::cancel, 0, 0, 16384),
                          raw(17, Bytes(4))};
  for (const Bytes& flood : floods) {
    Rig rig;
    rig.start_seed();
    Bytes bytes;
    for (int i = 0; i < 2500; ++i)
      bytes = std::move(bytes) + flood;
    rig.feed(bytes);
    EXPECT_EQ(rig.session.close_reason(), CloseReason::message_flood);
    EXPECT_TRUE(rig.session.closed());
  }
}

TEST(Messages, APaceThatIsAllowedIsAllowedForever) {
  Rig rig;
  rig.start_seed();
  for (int i = 0; i < 20'000; ++i) {
    rig.feed(Bytes(4));
    rig.advance(Duration::milliseconds(11));
    rig.sent();
  }
  EXPECT_EQ(rig.events(), "");
}

TEST(Messages, AHaveOfEachPieceIsFree) {
  Rig rig;
  TestTorrent big(50'000, 16 * 1024, 1);
  rig.content.torrent.blocks = big.torrent.blocks;
  rig.content.torrent.pieces = &big.states;
  rig.start_seed();
  Bytes bytes;
  for (std::uint32_t i = 0; i < 50'000; ++i)
    bytes = std::move(bytes) + have(i);
  rig.feed(bytes);
  EXPECT_EQ(rig.events(), "");
  EXPECT_TRUE(rig.session.peer_is_seed());
}

// ---- Seeds need no seeds (BEP 21).

TEST(Redundant, ASeedIsClosedAfterAMoment) {
  const Bytes ways[] = {simple(MessageId::have_all), bitfield({std::byte{0xf8}}),
                        bitfield({std::byte{0xf0}}) + have(4),
                        extended(0, text("d11:upload_onlyi1e1:md11:upload_onlyi3eee")),
                        extended(3, {std::byte{1}})};
  for (const Bytes& way : ways) {
    Rig rig;
    rig.start_seed();
    rig.feed(way);
    rig.advance(Duration::milliseconds(4999));
    EXPECT_EQ(rig.events(), "");
    rig.advance(Duration::milliseconds(1));
    EXPECT_EQ(rig.events(), "closed both_seeds");
  }
}

TEST(Redundant, WhoStillWantsSomethingStays) {
  Rig rig;
  rig.start_seed();
  rig.feed(simple(MessageId::interested) + extended(3, {std::byte{1}}));
  rig.advance(Duration::seconds(30));
  EXPECT_EQ(rig.events(), "interested") << "upload_only, yet interested";
  rig.feed(simple(MessageId::not_interested));
  rig.feed(extended(3, {std::byte{0}}));
  rig.advance(Duration::seconds(30));
  EXPECT_EQ(rig.events(), "not_interested") << "not upload_only any more";
}

TEST(Redundant, DontHaveTakesItBack) {
  Rig rig;
  rig.start_seed();
  rig.feed(simple(MessageId::have_all));
  rig.advance(Duration::seconds(3));
  rig.feed(extended(7, {std::byte{0}, std::byte{0}, std::byte{0}, std::byte{2}}));
  rig.advance(Duration::seconds(30));
  EXPECT_EQ(rig.events(), "");
}

TEST(Redundant, CanBeSwitchedOff) {
  SessionLimits limits = test_limits();
  limits.close_redundant = false;
  Rig rig(limits);
  rig.start_seed();
  rig.feed(simple(MessageId::have_all));
  rig.advance(Duration::seconds(60));
  EXPECT_EQ(rig.events(), "");
}

// ---- Time.

TEST(Time, KeepalivesGoOutAndSilenceEndsIt) {
  Rig rig;
  rig.start_seed();
  rig.advance(Duration::seconds(109));
  EXPECT_EQ(rig.sent(), "");
  rig.advance(Duration::seconds(1));
  EXPECT_EQ(rig.sent(), "keepalive");
  rig.advance(Duration::seconds(69));
  EXPECT_EQ(rig.events(), "");
  rig.advance(Duration::seconds(1));
  EXPECT_EQ(rig.events(), "closed silent_peer");
}

TEST(Time, WhoeverIsHeardStays) {
  Rig rig;
  rig.start_seed();
  for (int i = 0; i < 50; ++i) {
    rig.advance(Duration::seconds(120));
    rig.feed(Bytes(4));
    EXPECT_EQ(rig.sent(), "keepalive");
  }
  EXPECT_EQ(rig.events(), "");
}

TEST(Time, BlocksThatGoOutNeedNoKeepalive) {
  Rig rig;
  rig.start_seed();
  rig.session.set_choked(rig.now, false);
  rig.sent();
  for (int i = 0; i < 5; ++i) {
    rig.feed(request(0));
    rig.session.pop_request();
    rig.session.on_block_sent(rig.now);
    rig.advance(Duration::seconds(100));
    EXPECT_EQ(rig.sent(), "");
  }
}

TEST(Time, AMessageOnceBegunMustEnd) {
  const Bytes messages[] = {request(0), raw(77, Bytes(100)), bitfield({std::byte{0xf0}}),
                            extended(0, text("d1:md11:upload_onlyi3e11:ut_metadatai2e6:ut_pexi1eee"
                                             "                              "))};
  for (const Bytes& message : messages) {
    Rig rig;
    rig.start_seed();
    std::size_t at = 0;
    rig.feed({message[at++]});
    // One byte every 7 seconds is not silence, but too slow.
    for (int s = 0; s < 56; s += 7) {
      rig.advance(Duration::seconds(7));
      if (at + 1 < message.size()) rig.feed({message[at++]});
    }
    EXPECT_EQ(rig.events(), "") << "56 s";
    rig.advance(Duration::seconds(4));
    EXPECT_EQ(rig.events(), "closed message_timeout");
  }
}

TEST(Time, TheNextMessageHasItsOwnDeadline) {
  Rig rig;
  rig.start_seed();
  rig.session.set_choked(rig.now, false);
  const Bytes message = request(0);
  rig.feed({message[0]});
  rig.advance(Duration::seconds(50));
  Bytes rest(message.begin() + 1, message.end());
  rest.push_back(message[0]);
  rig.feed(rest);
  rig.advance(Duration::seconds(50));
  EXPECT_EQ(rig.events(), "");
  rig.advance(Duration::seconds(10));
  EXPECT_EQ(rig.events(), "closed message_timeout");
}

TEST(Time, StreamEndsHaveTheirReasons) {
  const struct {
    StreamError error;
    const char* events;
  } cases[] = {{StreamError::closed_by_peer, "closed closed_by_peer"},
               {StreamError::reset, "closed connection_reset"},
               {StreamError::timed_out, "closed connection_timeout"},
               {StreamError::refused, "closed connect_refused"},
               {StreamError::unreachable, "closed connect_unreachable"},
               {StreamError::no_resources, "closed no_resources"}};
  for (const auto& c : cases) {
    Rig rig;
    rig.start_seed();
    rig.session.on_stream_closed(c.error);
    rig.session.close(CloseReason::shutdown);  // the first reason counts
    rig.poll();
    EXPECT_EQ(rig.events(), c.events);
    EXPECT_FALSE(rig.session.small_pending());
  }
}

TEST(CloseReasons, AllHaveANameAText) {
  for (std::size_t i = 0; i < kCloseReasonCount; ++i) {
    const auto reason = static_cast<CloseReason>(i);
    EXPECT_FALSE(close_reason_name(reason).empty());
    EXPECT_GT(close_reason_text(reason).size(), 10u);
  }
  EXPECT_EQ(close_reason_name(CloseReason::request_flood), "request_flood");
  EXPECT_EQ(close_reason_fault(CloseReason::request_flood), CloseFault::peer);
  EXPECT_EQ(close_reason_fault(CloseReason::both_seeds), CloseFault::ours);
}

}  // namespace
}  // namespace penstock::test
