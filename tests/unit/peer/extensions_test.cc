// BEP 10's handshake, ut_metadata (BEP 9), and hash requests (BEP 52).
#include <map>

#include <gtest/gtest.h>

#include "crypto/merkle.hh"
#include "session_world.hh"
#include "swarm/hash_forest.hh"

namespace penstock::test {
namespace {

TEST(Extensions, OurHandshakeSaysWhatWeSpeak) {
  SessionLimits limits = test_limits();
  limits.listen_port = 6881;
  Rig rig(limits);
  rig.open_seed();
  rig.feed(handshake(rig.content));
  rig.sent(7);  // in small steps
  const auto decoded =
      wire::decode_extension_handshake(std::span(rig.extension_handshake).subspan(6));
  ASSERT_TRUE(decoded.has_value());
  EXPECT_EQ(decoded->ids,
            (wire::ExtensionIds{.ut_metadata = 2, .upload_only = 3, .lt_donthave = 7}));
  EXPECT_EQ(decoded->request_queue, 1024u);
  EXPECT_EQ(decoded->metadata_size, 20'000u);
  EXPECT_EQ(decoded->port, 6881);
  EXPECT_EQ(decoded->your_ip, IpAddress::v4(192, 0, 2, 1));
  EXPECT_TRUE(decoded->upload_only);
  EXPECT_EQ(decoded->client.substr(0, 9), "Penstock/");
}

TEST(Extensions, WithoutMetadataNoneIsOffered) {
  Rig rig;
  rig.content.torrent.info_bytes = {};
  rig.open_seed();
  rig.feed(handshake(rig.content));
  rig.sent();
  const auto decoded =
      wire::decode_extension_handshake(std::span(rig.extension_handshake).subspan(6));
  ASSERT_TRUE(decoded.has_value());
  EXPECT_EQ(decoded->ids.ut_metadata, 0);
  EXPECT_EQ(decoded->metadata_size, std::nullopt);
}

// webtorrent sends the header and the rest apart.
TEST(Extensions, AHandshakeLongerThanAPartialMessage) {
  const Bytes bytes = extended(0, text("d1:md11:lt_donthavei3e11:ut_metadatai1e6:ut_pexi2ee"
                                       "13:metadata_sizei9228ee")) +
                      simple(MessageId::have_none) + simple(MessageId::interested);
  for (const std::size_t cut : {std::size_t{SIZE_MAX}, std::size_t{1}, std::size_t{3},
                                std::size_t{5}, std::size_t{72}, std::size_t{79}}) {
    Rig rig;
    rig.start_seed();
    rig.feed(bytes, cut);
    EXPECT_EQ(rig.events(), "interested") << "cut into " << cut;
  }
}

TEST(Extensions, BadOnes) {
  const struct {
    Bytes bytes;
    const char* events;
  } cases[] = {
      {extended(0, text("not bencoded")), "closed extension_malformed"},
      {extended(7, Bytes(3)), "closed extension_malformed"},
      {extended(7, Bytes(4, std::byte{1})), "closed have_out_of_range"},
      {extended(3, {}), "closed extension_malformed"},
      {extended(99, text("whatever")), ""},
      {extended(2, text("garbage")), ""},
      {extended(0, text("d4:reqqi77ee")) + extended(0, text("d1:v3:abce")), ""},
  };
  for (const auto& c : cases) {
    for (const std::size_t cut : {SIZE_MAX, std::size_t{1}}) {
      Rig rig;
      rig.start_seed();
      rig.feed(c.bytes, cut);
      EXPECT_EQ(rig.events(), c.events);
    }
  }
  Rig plain;
  plain.start_seed({.fast = true});
  plain.feed(extended(0, text("de")));
  EXPECT_EQ(plain.events(), "closed extension_not_negotiated");
}

TEST(Extensions, AVeryLongOneIsPassedOverInAnySegmentation) {
  for (const std::size_t cut : {SIZE_MAX, std::size_t{1}, std::size_t{1000}}) {
    Rig rig;
    rig.start_seed();
    Bytes payload = text("d1:v3000:") + Bytes(3000, std::byte{'x'}) + text("4:reqqi77ee");
    rig.feed(extended(0, payload) + simple(MessageId::interested), cut);
    EXPECT_EQ(rig.events(), "interested");
    EXPECT_EQ(rig.session.peer_requests_max(), 1024u);
  }
}

TEST(Extensions, OneOfAPageIsReadInAnySegmentation) {
  const Bytes payload = text("d1:v900:") + Bytes(900, std::byte{'x'}) + text("4:reqqi77ee");
  for (const std::size_t cut : {std::size_t{1}, std::size_t{4}, std::size_t{500}, SIZE_MAX}) {
    Rig rig;
    rig.start_seed();
    rig.feed(extended(0, payload) + simple(MessageId::interested), cut);
    EXPECT_EQ(rig.events(), "interested") << cut;
    EXPECT_EQ(rig.session.peer_requests_max(), 77u);
  }
}

TEST(Extensions, ReqqIsHeard) {
  Rig rig;
  rig.start_seed();
  rig.feed(extended(0, text("d4:reqqi77ee")), 1);
  EXPECT_EQ(rig.session.peer_requests_max(), 77u);
}

// ---- ut_metadata

const Bytes kSpeaksMetadata = extended(0, text("d1:md11:ut_metadatai5eee"));

Bytes metadata_request(std::uint32_t piece) {
  return extended(2, text("d8:msg_typei0e5:piecei" + std::to_string(piece) + "ee"));
}

TEST(Metadata, IsServedInPieces) {
  for (const std::size_t take : {std::size_t{1000}, SIZE_MAX}) {
    Rig rig;
    rig.start_seed();
    rig.feed(kSpeaksMetadata + metadata_request(1) + metadata_request(0));
    rig.pull(take);
    Bytes info(20'000);
    const Bytes bytes = rig.sent_bytes();
    int count = 0;
    for (std::span<const std::byte> left(bytes); !left.empty(); ++count) {
      const auto d = wire::decode_message(left, {});
      ASSERT_EQ(d.status, wire::DecodeStatus::ok);
      EXPECT_EQ(d.message.extended_id, 5) << "the id that the peer chose";
      const auto m = wire::decode_metadata(d.message.payload);
      ASSERT_TRUE(m.has_value());
      EXPECT_EQ(m->type, wire::MetadataType::data);
      EXPECT_EQ(m->total_size, 20'000u);
      EXPECT_EQ(m->piece, count == 0 ? 1u : 0u);
      std::memcpy(info.data() + m->piece * 16384, m->data.data(), m->data.size());
      left = left.subspan(d.size);
    }
    EXPECT_EQ(count, 2);
    EXPECT_EQ(info, rig.content.info);
  }
}

TEST(Metadata, AllPiecesAtOnceInOrder) {
  TestTorrent big(5, 32 * 1024, 20'000, 1'000'000);  // 62 pieces of metadata
  Rig rig;
  rig.content.torrent.info_bytes = big.info;
  rig.start_seed();
  Bytes bytes = kSpeaksMetadata;
  for (std::uint32_t i = 0; i < 62; ++i)
    bytes = bytes + metadata_request(i);
  rig.feed(bytes);
  std::size_t messages = 0, size = 0;
  const Bytes sent = rig.sent_bytes();
  for (std::span<const std::byte> left(sent); !left.empty(); ++messages) {
    const auto d = wire::decode_message(left, {});
    ASSERT_EQ(d.status, wire::DecodeStatus::ok);
    size += wire::decode_metadata(d.message.payload).value().data.size();
    left = left.subspan(d.size);
  }
  EXPECT_EQ(messages, 62u);
  EXPECT_EQ(size, 1'000'000u);
}

TEST(Metadata, WhatDoesNotExistIsRejected) {
  Rig rig;
  rig.start_seed();
  rig.feed(kSpeaksMetadata + metadata_request(2));
  rig.sent();
  const auto d = wire::decode_message(rig.last_sent, {});
  const auto m = wire::decode_metadata(d.message.payload);
  ASSERT_TRUE(m.has_value());
  EXPECT_EQ(m->type, wire::MetadataType::reject);
  EXPECT_EQ(m->piece, 2u);
}

TEST(Metadata, OverAndOverIsAFlood) {
  Rig rig;
  rig.start_seed();
  rig.feed(kSpeaksMetadata);
  int asked = 0;
  for (; asked < 100 && !rig.session.closed(); ++asked) {
    rig.feed(metadata_request(0));
    rig.sent_bytes();
  }
  EXPECT_EQ(rig.events(), "closed metadata_flood");
  EXPECT_EQ(asked, 3 * 2 + 1);
}

TEST(Metadata, ManyAtOnceOutOfOrderIsAFlood) {
  Rig rig;
  TestTorrent big(5, 32 * 1024, 20'000, 1'000'000);
  rig.content.torrent.info_bytes = big.info;
  rig.start_seed();
  rig.feed(kSpeaksMetadata);
  for (std::uint32_t i = 0; i < 62 && !rig.session.closed(); i += 2)
    rig.feed(metadata_request(i));
  EXPECT_EQ(rig.events(), "closed metadata_flood");
}

// ---- Hash requests

constexpr std::uint32_t kPieceSize = 64 * 1024;

// A v2 torrent of one file of 11 pieces (the last of 2 blocks), and one smaller than a piece.
struct HashedTorrent {
  HashedTorrent() : content(12, kPieceSize, 40'000) {
    Random random(5);
    leaves.resize(42);
    small_leaves.resize(3);
    for (auto* list : {&leaves, &small_leaves}) {
      for (Sha256Digest& d : *list) {
        for (std::byte& b : d.bytes)
          b = static_cast<std::byte>(random.next());
      }
    }
    shape = MerkleShape::of(10 * kPieceSize + kBlockSize + 5, kPieceSize);
    small_shape = MerkleShape::of(40'000, kPieceSize);
    for (std::size_t i = 0; i < leaves.size(); i += 4) {
      layer.push_back(hasher.root_of_piece(
          shape, std::span(leaves).subspan(i, std::min<std::size_t>(4, leaves.size() - i))));
    }
    root = hasher.root_of_piece_layer(shape, layer);
    small_root = hasher.root_of_piece(small_shape, small_leaves);
    const HashForest::File files[] = {
        {.root = root, .length = 10 * kPieceSize + kBlockSize + 5, .piece_layer = layer},
        {.root = small_root, .length = 40'000, .first_piece = PieceIndex(11), .piece_layer = {}}};
    forest = std::make_unique<HashForest>(files, kPieceSize);
    content.torrent.forest = forest.get();
    content.torrent.has_v2 = true;
  }
  TestTorrent content;
  MerkleHasher hasher;
  std::vector<Sha256Digest> leaves, small_leaves, layer;
  MerkleShape shape, small_shape;
  Sha256Digest root, small_root;
  std::unique_ptr<HashForest> forest;
};

class Hashes : public ::testing::Test {
 protected:
  void SetUp() override {
    rig.content.torrent.blocks = v2.content.torrent.blocks;
    rig.content.torrent.pieces = &v2.content.states;
    rig.content.torrent.forest = v2.forest.get();
    rig.content.torrent.has_v2 = true;
    rig.start_seed();
  }
  static Bytes query(const wire::HashQuery& q) {
    return bytes_of(wire::encode_hash_header(MessageId::hash_request, q));
  }
  // Whether an answer's hashes lead to the root: what a client checks.
  bool proves(const wire::HashQuery& q, unsigned tree_height, std::span<const std::byte> bytes) {
    std::vector<Sha256Digest> hashes(bytes.size() / 32);
    std::memcpy(hashes.data(), bytes.data(), bytes.size());
    const unsigned own = merkle_height(q.length);
    Sha256Digest node =
        hasher().root(std::span(hashes).first(q.length), q.base_layer, q.base_layer + own);
    std::uint32_t index = q.index >> own;
    for (std::size_t i = q.length; i < hashes.size(); ++i, index >>= 1) {
      node = index % 2 == 0 ? hasher().parent(node, hashes[i]) : hasher().parent(hashes[i], node);
    }
    EXPECT_EQ(q.base_layer + own + (hashes.size() - q.length), tree_height);
    return node == q.pieces_root;
  }
  MerkleHasher& hasher() { return v2.hasher; }
  // The answer to a query, if it is a HASHES.
  std::optional<wire::Message> answer() {
    sent_ = rig.sent_bytes();
    const auto d = wire::decode_message(sent_, {});
    if (d.status != wire::DecodeStatus::ok || d.message.id != MessageId::hashes) {
      return std::nullopt;
    }
    return d.message;
  }

  HashedTorrent v2;
  Rig rig;
  Bytes sent_;
};

TEST_F(Hashes, OfThePieceLayer) {
  ASSERT_EQ(v2.shape.tree_height, 6u);
  ASSERT_EQ(v2.shape.piece_height, 2u);
  for (const std::uint32_t length : {1u, 2u, 4u, 8u, 16u}) {
    for (std::uint32_t index = 0; index + length <= 16; index += length) {
      wire::HashQuery q{.pieces_root = v2.root, .base_layer = 2, .index = index, .length = length};
      // To the layer below the root: the highest uncle there is.
      q.proof_layers = 3;
      rig.feed(query(q));
      const auto message = answer();
      ASSERT_TRUE(message.has_value()) << length << " at " << index;
      EXPECT_EQ(wire::hash_query(*message), q);
      EXPECT_TRUE(proves(q, 6, wire::hashes_of(*message))) << length << " at " << index;
    }
  }
}

// libtorrent 2.0 asks for as many hashes as the file has, not for a power of two.
TEST_F(Hashes, CutShortAtTheEndOfTheLayer) {
  const wire::HashQuery q{
      .pieces_root = v2.root, .base_layer = 2, .index = 0, .length = 11, .proof_layers = 3};
  rig.feed(query(q));
  const auto message = answer();
  ASSERT_TRUE(message.has_value());
  EXPECT_EQ(wire::hashes_of(*message).size(), 11 * 32u) << "the layer's root is the file's";
  EXPECT_TRUE(proves(q, 6, wire::hashes_of(*message)));
}

TEST_F(Hashes, WithoutProofOnlyTheLayer) {
  const wire::HashQuery q{.pieces_root = v2.root, .base_layer = 2, .index = 4, .length = 4};
  rig.feed(query(q));
  const auto message = answer();
  ASSERT_TRUE(message.has_value());
  ASSERT_EQ(wire::hashes_of(*message).size(), 4 * 32u);
  EXPECT_EQ(std::memcmp(wire::hashes_of(*message).data(), &v2.layer[4], 4 * 32), 0);
}

TEST_F(Hashes, SurviveAnySizeOfSend) {
  const wire::HashQuery q{
      .pieces_root = v2.root, .base_layer = 2, .index = 0, .length = 2, .proof_layers = 3};
  rig.feed(query(q));
  const Bytes whole = rig.sent_bytes();
  for (const std::size_t take : {std::size_t{1}, std::size_t{31}, std::size_t{54}}) {
    rig.feed(query(q));
    rig.pull(take);
    EXPECT_EQ(rig.sent_bytes(), whole) << take;
  }
}

TEST_F(Hashes, OfLeavesComeWithTheShardsHelp) {
  for (const std::uint32_t length : {2u, 4u}) {
    for (const std::uint32_t piece : {0u, 3u, 10u}) {
      const std::uint32_t proof = length == 2 ? 5 : 5;
      const wire::HashQuery q{.pieces_root = v2.root,
                              .base_layer = 0,
                              .index = 4 * piece,
                              .length = length,
                              .proof_layers = proof};
      rig.feed(query(q));
      EXPECT_EQ(rig.events(), "leaf_hashes " + std::to_string(piece));
      EXPECT_EQ(rig.sent(), "") << "not before the leaves are here";
      const std::size_t first = std::size_t{4} * piece;
      rig.session.on_leaf_hashes(
          rig.now, std::span(v2.leaves).subspan(first, std::min<std::size_t>(4, 42 - first)));
      rig.poll();
      EXPECT_EQ(rig.events(), "");
      const auto message = answer();
      EXPECT_EQ(rig.events(), "leaf_hashes_done");
      ASSERT_TRUE(message.has_value());
      EXPECT_TRUE(proves(q, 6, wire::hashes_of(*message))) << length << " of " << piece;
    }
  }
}

TEST_F(Hashes, OfAFileSmallerThanAPiece) {
  const wire::HashQuery q{
      .pieces_root = v2.small_root, .base_layer = 0, .index = 0, .length = 4, .proof_layers = 1};
  rig.feed(query(q));
  EXPECT_EQ(rig.events(), "leaf_hashes 11");
  rig.session.on_leaf_hashes(rig.now, v2.small_leaves);
  const auto message = answer();
  ASSERT_TRUE(message.has_value());
  EXPECT_TRUE(proves(q, 2, wire::hashes_of(*message)));
}

TEST_F(Hashes, LeavesThatDoNotProveAreNotTold) {
  const wire::HashQuery q{.pieces_root = v2.root, .base_layer = 0, .index = 0, .length = 4};
  rig.feed(query(q) + query(q));
  EXPECT_EQ(rig.events(), "leaf_hashes 0");
  rig.session.on_leaf_hashes(rig.now, std::span(v2.leaves).subspan(1, 4));
  EXPECT_EQ(rig.sent(), "hash_reject");
  EXPECT_EQ(rig.events(), "leaf_hashes_done, leaf_hashes 0") << "the next in turn";
  rig.session.refuse_leaf_hashes(rig.now);
  EXPECT_EQ(rig.sent(), "hash_reject");
}

TEST_F(Hashes, WhatNoTreeHasIsRejected) {
  const wire::HashQuery good{.pieces_root = v2.root, .base_layer = 2, .index = 0, .length = 2};
  std::vector<wire::HashQuery> bad(10, good);
  bad[0].pieces_root = v2.layer[0];
  bad[1].index = 1;
  bad[2].index = 16;
  bad[3].base_layer = 6;
  bad[4].base_layer = 0xffffffff;
  bad[5].proof_layers = 4;
  bad[6].proof_layers = 0xffffffff;
  bad[7].length = 17;
  bad[8].length = 0xffffffff;
  bad[9].base_layer = 1;
  for (const wire::HashQuery& q : bad) {
    rig.feed(query(q));
    EXPECT_EQ(rig.sent(), "hash_reject");
    EXPECT_EQ(wire::hash_query(wire::decode_message(rig.last_sent, {}).message), q);
  }
  wire::HashQuery many = good;
  many.base_layer = 0;
  many.length = 8;
  rig.feed(query(many));
  EXPECT_EQ(rig.sent(), "hash_reject") << "leaves of more than one piece";
  v2.content.states.set(PieceIndex(2), PieceState::lost);
  many = {.pieces_root = v2.root, .base_layer = 0, .index = 8, .length = 4};
  rig.feed(query(many));
  EXPECT_EQ(rig.sent(), "hash_reject") << "of a lost piece";
  EXPECT_EQ(rig.events(), "");
}

TEST_F(Hashes, ATorrentWithoutTreesRejects) {
  Rig plain;
  plain.start_seed();
  plain.feed(query({.pieces_root = v2.root, .base_layer = 2, .index = 0, .length = 2}));
  EXPECT_EQ(plain.sent(), "hash_reject");
}

TEST_F(Hashes, Floods) {
  const wire::HashQuery q{.pieces_root = v2.root, .base_layer = 2, .index = 0, .length = 2};
  for (int i = 0; i < 12; ++i)
    rig.feed(query(q));
  EXPECT_EQ(rig.events(), "");
  rig.feed(query(q));
  EXPECT_EQ(rig.events(), "closed hash_request_flood");
}

TEST_F(Hashes, BeyondTheBudgetTheyAreRejectedAndThenClosed) {
  const wire::HashQuery q{.pieces_root = v2.root, .base_layer = 2, .index = 0, .length = 2};
  std::map<std::string, int> answers;
  for (int i = 0; i < 10'000 && !rig.session.closed(); ++i) {
    rig.feed(query(q));
    ++answers[rig.sent()];
  }
  EXPECT_EQ(answers["hashes 2"], 1024);
  EXPECT_NEAR(answers["hash_reject"], 2000, 20);
  EXPECT_EQ(rig.events(), "closed hash_request_flood");
}

TEST_F(Hashes, LeavesHaveASmallerBudget) {
  const wire::HashQuery q{.pieces_root = v2.root, .base_layer = 0, .index = 0, .length = 4};
  int asked = 0;
  for (int i = 0; i < 30; ++i) {
    rig.feed(query(q));
    if (rig.events() != "") {
      ++asked;
      rig.session.refuse_leaf_hashes(rig.now);
    }
    EXPECT_EQ(rig.sent(), "hash_reject");
  }
  EXPECT_EQ(asked, 16);
}

TEST_F(Hashes, ALengthOfZeroIsNoQuestion) {
  rig.feed(query({.pieces_root = v2.root, .base_layer = 2, .index = 0, .length = 0}));
  EXPECT_EQ(rig.events(), "closed hash_request_malformed");
}

TEST_F(Hashes, LateLeavesAreLetGo) {
  rig.feed(query({.pieces_root = v2.root, .base_layer = 0, .index = 0, .length = 4}));
  rig.session.close(CloseReason::shutdown);
  rig.session.on_leaf_hashes(rig.now, std::span(v2.leaves).first(4));
  rig.poll();
  EXPECT_EQ(rig.events(), "leaf_hashes 0, leaf_hashes_done, closed shutdown");
}

}  // namespace
}  // namespace penstock::test
