#include "wire/peer_wire.hh"

#include <gtest/gtest.h>

#include "base/random.hh"
#include "bytes.hh"

namespace penstock::wire {
namespace {

using test::from_hex;
using test::to_bytes;
using test::to_hex;
using test::to_text;

constexpr MessageLimits kLimits{};

Decoded decode(std::string_view hex) {
  // Kept until the next call: a decoded message points into it.
  static std::vector<std::byte> bytes;
  bytes = from_hex(hex);
  return decode_message(bytes, kLimits);
}

TEST(Handshake, golden_bytes_and_back) {
  Handshake handshake;
  handshake.capabilities = {.extended = true, .fast = true, .dht = true, .v2 = true};
  for (std::size_t i = 0; i < 20; ++i) {
    handshake.info_hash.bytes[i] = static_cast<std::byte>(i);
    handshake.peer_id[i] = static_cast<std::byte>('a' + i);
  }
  const auto bytes = encode_handshake(handshake);
  EXPECT_EQ(to_hex(bytes),
            "13426974546f7272656e742070726f746f636f6c"
            "0000000000100015"
            "000102030405060708090a0b0c0d0e0f10111213"
            "6162636465666768696a6b6c6d6e6f7071727374");
  EXPECT_EQ(classify_opening(bytes), Opening::bittorrent);
  EXPECT_EQ(decode_handshake(bytes), handshake);
}

TEST(Handshake, each_reserved_bit_alone) {
  for (int bit = 0; bit < 4; ++bit) {
    Handshake handshake;
    handshake.capabilities = {
        .extended = bit == 0, .fast = bit == 1, .dht = bit == 2, .v2 = bit == 3};
    EXPECT_EQ(decode_handshake(encode_handshake(handshake)), handshake);
  }
}

TEST(Handshake, unknown_reserved_bits_are_passed_over) {
  auto bytes = encode_handshake({});
  for (std::size_t i = 20; i < 28; ++i)
    bytes[i] = std::byte{0xff};
  EXPECT_EQ(decode_handshake(bytes).capabilities,
            (Capabilities{.extended = true, .fast = true, .dht = true, .v2 = true}));
}

TEST(Opening, every_prefix_of_the_protocol_name_needs_more) {
  const auto bytes = to_bytes(kProtocolName);
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_EQ(classify_opening(std::span(bytes).first(n)), Opening::need_more) << n;
  }
  EXPECT_EQ(classify_opening(bytes), Opening::bittorrent);
}

TEST(Opening, kinds) {
  EXPECT_EQ(classify_opening(from_hex("8f 01")), Opening::mse);
  EXPECT_EQ(classify_opening(from_hex("13 42 69 00")), Opening::mse);
  EXPECT_EQ(classify_opening(to_bytes("GET / HTTP/1.1\r\n")), Opening::other_protocol);
  EXPECT_EQ(classify_opening(to_bytes("GET / H")), Opening::need_more);
  EXPECT_EQ(classify_opening(from_hex("16")), Opening::need_more);
  EXPECT_EQ(classify_opening(from_hex("16 03 01 02")), Opening::other_protocol);
  EXPECT_EQ(classify_opening(from_hex("16 04 01 02")), Opening::mse);
}

TEST(Opening, random_keys_are_taken_for_mse) {
  Random random(1);
  int mse = 0;
  for (int i = 0; i < 1000; ++i) {
    std::array<std::byte, 96> key;
    for (std::byte& b : key)
      b = static_cast<std::byte>(random.next());
    mse += classify_opening(key) == Opening::mse;
  }
  EXPECT_GE(mse, 990);
}

TEST(Message, golden_bytes_of_the_fixed_ones) {
  EXPECT_EQ(to_hex(encode_keepalive()), "00000000");
  EXPECT_EQ(to_hex(encode_simple(MessageId::choke)), "0000000100");
  EXPECT_EQ(to_hex(encode_simple(MessageId::not_interested)), "0000000103");
  EXPECT_EQ(to_hex(encode_simple(MessageId::have_all)), "000000010e");
  EXPECT_EQ(to_hex(encode_simple(MessageId::have_none)), "000000010f");
  EXPECT_EQ(to_hex(encode_index(MessageId::have, PieceIndex(258))), "000000050400000102");
  EXPECT_EQ(to_hex(encode_block(MessageId::request, PieceIndex(1), 0x4000, 0x4000)),
            "0000000d06000000010000400000004000");
  EXPECT_EQ(to_hex(encode_piece_header(PieceIndex(1), 0x4000, 0x4000)),
            "00004009070000000100004000");
  EXPECT_EQ(to_hex(encode_port(6881)), "00000003091ae1");
  EXPECT_EQ(to_hex(encode_bitfield_header(3)), "0000000405");
  EXPECT_EQ(to_hex(encode_extended_header(3, 10)), "0000000c1403");
}

TEST(Message, keepalive) {
  const Decoded d = decode("00 00 00 00");
  EXPECT_EQ(d.status, DecodeStatus::ok);
  EXPECT_EQ(d.size, 4u);
  EXPECT_EQ(d.message.id, MessageId::keepalive);
  EXPECT_TRUE(d.message.known);
}

TEST(Message, simple_ones_come_back) {
  for (const MessageId id :
       {MessageId::choke, MessageId::unchoke, MessageId::interested, MessageId::not_interested,
        MessageId::have_all, MessageId::have_none}) {
    const auto bytes = encode_simple(id);
    const Decoded d = decode_message(bytes, kLimits);
    EXPECT_EQ(d.status, DecodeStatus::ok);
    EXPECT_EQ(d.size, bytes.size());
    EXPECT_EQ(d.message.id, id);
    EXPECT_TRUE(d.message.payload.empty());
  }
}

TEST(Message, index_and_block_ones_come_back) {
  for (const MessageId id : {MessageId::have, MessageId::suggest_piece, MessageId::allowed_fast}) {
    const auto bytes = encode_index(id, PieceIndex(0xfffffffe));
    const Decoded d = decode_message(bytes, kLimits);
    EXPECT_EQ(d.message.id, id);
    EXPECT_EQ(d.message.piece, PieceIndex(0xfffffffe));
  }
  for (const MessageId id : {MessageId::request, MessageId::cancel, MessageId::reject_request}) {
    const auto bytes = encode_block(id, PieceIndex(7), 0xffffffff, 5);
    const Decoded d = decode_message(bytes, kLimits);
    EXPECT_EQ(d.message.id, id);
    EXPECT_EQ(d.message.piece, PieceIndex(7));
    EXPECT_EQ(d.message.begin, 0xffffffffu);
    EXPECT_EQ(d.message.length, 5u);
  }
}

TEST(Message, piece_is_a_view) {
  const Decoded d = decode("0000000c 07 00000002 00000010 aabbcc");
  ASSERT_EQ(d.status, DecodeStatus::ok);
  EXPECT_EQ(d.message.id, MessageId::piece);
  EXPECT_EQ(d.message.piece, PieceIndex(2));
  EXPECT_EQ(d.message.begin, 16u);
  EXPECT_EQ(d.message.length, 3u);
  EXPECT_EQ(to_hex(d.message.payload), "aabbcc");
}

TEST(Message, piece_can_be_placed_before_its_data_is_there) {
  const auto bytes = from_hex("00004009 07 00000003 00008000");
  const MessageHeader header = decode_header(bytes, kLimits);
  ASSERT_EQ(header.status, DecodeStatus::ok);
  EXPECT_EQ(header.size, 13u + 16384u);
  const PieceHeader piece = peek_piece(bytes, header);
  EXPECT_EQ(piece.piece, PieceIndex(3));
  EXPECT_EQ(piece.begin, 0x8000u);
  EXPECT_EQ(piece.length, 16384u);
}

TEST(Message, bitfield_extended_port) {
  Decoded d = decode("00000003 05 ff80");
  EXPECT_EQ(d.message.id, MessageId::bitfield);
  EXPECT_EQ(to_hex(d.message.payload), "ff80");
  d = decode("00000005 14 03 646565");
  EXPECT_EQ(d.message.id, MessageId::extended);
  EXPECT_EQ(d.message.extended_id, 3);
  EXPECT_EQ(to_text(d.message.payload), "dee");
  d = decode("00000003 09 1ae1");
  EXPECT_EQ(d.message.port, 6881);
}

TEST(Message, hash_messages) {
  HashQuery query;
  query.pieces_root.bytes.fill(std::byte{0xab});
  query.base_layer = 1;
  query.index = 512;
  query.length = 256;
  query.proof_layers = 9;
  const auto request = encode_hash_header(MessageId::hash_request, query);
  std::string root;
  for (int i = 0; i < 32; ++i)
    root += "ab";
  EXPECT_EQ(to_hex(request), "0000003115" + root + "00000001000002000000010000000009");
  Decoded d = decode_message(request, kLimits);
  ASSERT_EQ(d.status, DecodeStatus::ok);
  EXPECT_EQ(d.message.id, MessageId::hash_request);
  EXPECT_EQ(hash_query(d.message), query);

  const auto header = encode_hash_header(MessageId::hashes, query, 2);
  std::vector<std::byte> hashes(header.begin(), header.end());
  hashes.insert(hashes.end(), 64, std::byte{0x5a});
  d = decode_message(hashes, kLimits);
  ASSERT_EQ(d.status, DecodeStatus::ok);
  EXPECT_EQ(d.size, hashes.size());
  EXPECT_EQ(hash_query(d.message), query);
  EXPECT_EQ(hashes_of(d.message).size(), 64u);
  EXPECT_EQ(decode_message(encode_hash_header(MessageId::hash_reject, query), kLimits).message.id,
            MessageId::hash_reject);
}

TEST(Message, unknown_ids_are_passed_over_whole) {
  for (const char* id : {"0a", "0c", "12", "13", "18", "fe", "ff"}) {
    const Decoded d = decode(std::string("00000004") + id + "010203");
    EXPECT_EQ(d.status, DecodeStatus::ok);
    EXPECT_EQ(d.size, 8u);
    EXPECT_FALSE(d.message.known) << id;
    EXPECT_EQ(d.message.payload.size(), 3u);
  }
}

TEST(Message, every_prefix_needs_more_and_says_how_much) {
  const auto bytes = from_hex("0000000d 06 00000001 00004000 00004000");
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    const Decoded d = decode_message(std::span(bytes).first(n), kLimits);
    EXPECT_EQ(d.status, DecodeStatus::need_more) << n;
    EXPECT_GT(d.size, n);
    EXPECT_EQ(d.size, n < 4 ? 4u : n < 5 ? 5u : 17u);
  }
}

TEST(Message, lengths_that_a_kind_cannot_have) {
  struct Case {
    const char* hex;
    DecodeStatus status;
  };
  // Five bytes are enough to refuse.
  const Case cases[] = {
      {"00000002 00", DecodeStatus::wrong_length},  // choke with a body
      {"00000002 0e", DecodeStatus::wrong_length},  // have_all with a body
      {"00000001 04", DecodeStatus::wrong_length},  // have without an index
      {"00000006 04", DecodeStatus::wrong_length},  // have, too long
      {"0000000c 06", DecodeStatus::wrong_length},  // request, one byte short
      {"0000000e 08", DecodeStatus::wrong_length},  // cancel, one byte more
      {"00000009 07", DecodeStatus::wrong_length},  // piece without data
      {"0000400a 07", DecodeStatus::too_long},      // piece of 16 KiB and a byte
      {"00000004 09", DecodeStatus::wrong_length},  // port of three bytes
      {"00080002 05", DecodeStatus::too_long},      // bitfield beyond the limit
      {"00000001 14", DecodeStatus::wrong_length},  // extended without an id
      {"00100003 14", DecodeStatus::too_long},      // extended beyond 1 MiB
      {"00000030 15", DecodeStatus::wrong_length},  // hash_request, short
      {"00000051 15", DecodeStatus::wrong_length},  // hash_request, long
      {"00000030 16", DecodeStatus::wrong_length},  // hashes without all numbers
      {"00000032 16", DecodeStatus::wrong_length},  // hashes: a part of one
      {"00042012 16", DecodeStatus::wrong_length},  // hashes: many, and a part
      {"00200031 16", DecodeStatus::too_long},      // hashes: too many
      {"ffffffff 06", DecodeStatus::wrong_length}, {"ffffffff 07", DecodeStatus::too_long},
      {"ffffffff 63", DecodeStatus::too_long},  // unknown, endless
  };
  for (const Case& c : cases) {
    EXPECT_EQ(decode(c.hex).status, c.status) << c.hex;
  }
}

TEST(Message, a_session_narrows_the_limits) {
  MessageLimits limits;
  limits.bitfield_bytes_max = 2;
  limits.block_bytes_max = kBlockLengthMax;
  EXPECT_EQ(decode_message(from_hex("00000003 05 ff80"), limits).status, DecodeStatus::ok);
  EXPECT_EQ(decode_header(from_hex("00000004 05"), limits).status, DecodeStatus::too_long);
  EXPECT_EQ(decode_header(from_hex("00020009 07"), limits).status, DecodeStatus::ok);
}

TEST(Message, a_stream_of_messages_is_walked) {
  std::vector<std::byte> stream;
  const auto add = [&](const auto& bytes) {
    stream.insert(stream.end(), bytes.begin(), bytes.end());
  };
  add(encode_simple(MessageId::interested));
  add(encode_keepalive());
  add(encode_block(MessageId::request, PieceIndex(0), 0, 16384));
  add(encode_block(MessageId::request, PieceIndex(0), 16384, 16384));
  std::vector<MessageId> seen;
  std::span<const std::byte> rest = stream;
  while (!rest.empty()) {
    const Decoded d = decode_message(rest, kLimits);
    ASSERT_EQ(d.status, DecodeStatus::ok);
    seen.push_back(d.message.id);
    rest = rest.subspan(d.size);
  }
  EXPECT_EQ(seen, (std::vector{MessageId::interested, MessageId::keepalive, MessageId::request,
                               MessageId::request}));
}

}  // namespace
}  // namespace penstock::wire
