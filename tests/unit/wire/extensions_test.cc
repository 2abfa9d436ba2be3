#include "wire/extensions.hh"

#include <gtest/gtest.h>

#include "bytes.hh"
#include "wire/bencode.hh"

namespace penstock::wire {
namespace {

using test::from_hex;
using test::to_bytes;
using test::to_hex;
using test::to_text;

ExtensionHandshake full_handshake() {
  ExtensionHandshake h;
  h.ids = {.ut_metadata = 2, .ut_pex = 1, .upload_only = 3, .lt_donthave = 7};
  h.client = "Penstock 0.1.0";
  h.port = 6881;
  h.request_queue = 500;
  h.metadata_size = 31235;
  h.your_ip = IpAddress::v4(192, 0, 2, 1);
  h.ipv4 = IpAddress::v4(198, 51, 100, 7);
  h.ipv6 = *parse_ip("2001:db8::1");
  h.upload_only = true;
  h.complete_ago = 12;
  return h;
}

TEST(ExtensionHandshake, golden_bytes) {
  ExtensionHandshake h;
  h.ids = {.ut_metadata = 2, .lt_donthave = 7};
  h.client = "Penstock 0.1.0";
  h.request_queue = 500;
  h.upload_only = true;
  h.metadata_size = 99;
  std::array<std::byte, 512> out;
  const std::size_t size = encode_extension_handshake(h, out);
  EXPECT_EQ(to_text(std::span(out).first(size)),
            "d1:md11:lt_donthavei7e11:ut_metadatai2ee13:metadata_sizei99e4:reqqi500e"
            "11:upload_onlyi1e1:v14:Penstock 0.1.0e");
}

TEST(ExtensionHandshake, everything_comes_back_canonically) {
  const ExtensionHandshake h = full_handshake();
  std::array<std::byte, 512> out;
  const auto bytes = std::span(out).first(encode_extension_handshake(h, out));
  bencode::Document document;
  ASSERT_EQ(document.parse(bytes).fault, bencode::Fault::none);
  EXPECT_TRUE(bencode::is_canonical(document.root()));
  const auto back = decode_extension_handshake(bytes);
  ASSERT_TRUE(back);
  EXPECT_EQ(*back, h);
}

TEST(ExtensionHandshake, what_does_not_fit_is_not_written) {
  const ExtensionHandshake h = full_handshake();
  std::array<std::byte, 512> out;
  const std::size_t size = encode_extension_handshake(h, out);
  ASSERT_GT(size, 0u);
  for (std::size_t room = 0; room < size; ++room) {
    EXPECT_EQ(encode_extension_handshake(h, std::span(out).first(room)), 0u);
  }
  EXPECT_EQ(encode_extension_handshake(h, std::span(out).first(size)), size);
}

TEST(ExtensionHandshake, a_later_one_changes_only_what_it_mentions) {
  const ExtensionIds before{.ut_metadata = 2, .ut_pex = 1};
  const auto later = decode_extension_handshake(to_bytes("d1:md6:ut_pexi0eee"), before);
  ASSERT_TRUE(later);
  EXPECT_EQ(later->ids.ut_metadata, 2);
  EXPECT_EQ(later->ids.ut_pex, 0);
}

TEST(ExtensionHandshake, odd_fields_count_as_absent) {
  const auto h = decode_extension_handshake(
      to_bytes("d4:ipv43:abc1:mi3e13:metadata_sizei-1e1:pi70000e4:reqqi0e1:vi1e6:yourip5:abcdee"));
  ASSERT_TRUE(h);
  EXPECT_EQ(*h, ExtensionHandshake{});
}

TEST(ExtensionHandshake, ids_beyond_a_byte_are_none) {
  const auto h = decode_extension_handshake(to_bytes("d1:md11:ut_metadatai256e6:ut_pexi-1eee"));
  ASSERT_TRUE(h);
  EXPECT_EQ(h->ids, ExtensionIds{});
}

TEST(ExtensionHandshake, malformed) {
  EXPECT_FALSE(decode_extension_handshake({}));
  EXPECT_FALSE(decode_extension_handshake(to_bytes("le")));
  EXPECT_FALSE(decode_extension_handshake(to_bytes("d1:m")));
  EXPECT_FALSE(decode_extension_handshake(to_bytes("d1:mdi1ei2eee")));
  std::string many = "d1:ml";
  for (int i = 0; i < 300; ++i)
    many += "0:";
  EXPECT_FALSE(decode_extension_handshake(to_bytes(many + "ee")));
}

TEST(Metadata, golden_bytes) {
  std::array<std::byte, 64> out;
  std::size_t size = encode_metadata({.type = MetadataType::request, .piece = 3}, out);
  EXPECT_EQ(to_text(std::span(out).first(size)), "d8:msg_typei0e5:piecei3ee");
  size = encode_metadata({.type = MetadataType::data, .piece = 0, .total_size = 34256}, out);
  EXPECT_EQ(to_text(std::span(out).first(size)), "d8:msg_typei1e5:piecei0e10:total_sizei34256ee");
  size = encode_metadata({.type = MetadataType::reject, .piece = 4294967295}, out);
  EXPECT_EQ(to_text(std::span(out).first(size)), "d8:msg_typei2e5:piecei4294967295ee");
}

TEST(Metadata, data_follows_its_dictionary) {
  const auto bytes = to_bytes("d8:msg_typei1e5:piecei2e10:total_sizei40000eexxxxxxxx");
  const auto message = decode_metadata(bytes);
  ASSERT_TRUE(message);
  EXPECT_EQ(message->type, MetadataType::data);
  EXPECT_EQ(message->piece, 2u);
  EXPECT_EQ(message->total_size, 40000u);
  EXPECT_EQ(to_text(message->data), "xxxxxxxx");
}

TEST(Metadata, malformed) {
  for (const char* text :
       {"", "i1e", "de", "d8:msg_typei0ee", "d8:msg_typei0e5:piecei-1ee",
        "d8:msg_typei3e5:piecei0ee", "d8:msg_typei1e5:piecei0ee",
        "d8:msg_typei1e5:piecei0e10:total_sizei9ee",  // no data
        "d8:msg_typei1e5:piecei0e10:total_sizei0eexx", "d8:msg_typei0e5:piecei4294967296ee"}) {
    EXPECT_FALSE(decode_metadata(to_bytes(text))) << text;
  }
  const std::string head = "d8:msg_typei1e5:piecei0e10:total_sizei99999ee";
  EXPECT_TRUE(decode_metadata(to_bytes(head + std::string(16384, 'x'))));
  EXPECT_FALSE(decode_metadata(to_bytes(head + std::string(16385, 'x'))));
}

TEST(DontHave, both_ways) {
  EXPECT_EQ(to_hex(encode_dont_have(PieceIndex(0x01020304))), "01020304");
  EXPECT_EQ(decode_dont_have(from_hex("01020304")), PieceIndex(0x01020304));
  EXPECT_FALSE(decode_dont_have(from_hex("010203")));
  EXPECT_FALSE(decode_dont_have(from_hex("0102030405")));
}

TEST(UploadOnly, one_byte) {
  EXPECT_EQ(decode_upload_only(from_hex("01")), true);
  EXPECT_EQ(decode_upload_only(from_hex("00")), false);
  EXPECT_FALSE(decode_upload_only({}));
}

TEST(Pex, lists_and_flags) {
  std::string text = "d5:added12:";
  text += std::string("\xc0\x00\x02\x01\x1a\xe1", 6) + std::string("\xc0\x00\x02\x02\x1a\xe2", 6);
  text += std::string("7:added.f2:\x02\x14", 13);
  text += "6:added618:" + std::string(16, '\x20') + "\x1a\xe1" + "7:dropped0:e";
  const auto bytes = to_bytes(text);
  const auto pex = decode_pex(bytes);
  ASSERT_TRUE(pex);
  ASSERT_EQ(pex->added.size(), 12u);
  EXPECT_EQ(decode_compact(pex->added.subspan(6, 6)).to_string(), "192.0.2.2:6882");
  EXPECT_EQ(pex->added_flags.size(), 2u);
  EXPECT_TRUE(decode_pex_flags(static_cast<std::uint8_t>(pex->added_flags[0])).upload_only);
  const PexFlags second = decode_pex_flags(static_cast<std::uint8_t>(pex->added_flags[1]));
  EXPECT_TRUE(second.utp && second.reachable);
  EXPECT_FALSE(second.upload_only || second.prefers_encryption || second.holepunch);
  EXPECT_EQ(decode_compact(pex->added6).port, 6881);
  EXPECT_TRUE(pex->dropped.empty());
}

TEST(Pex, flags_that_match_no_peers_say_nothing) {
  const auto pex =
      decode_pex(to_bytes("d5:added6:aaaabb7:added.f2:\x01\x01"
                          "e"));
  ASSERT_TRUE(pex);
  EXPECT_TRUE(pex->added_flags.empty());
}

TEST(Pex, malformed) {
  EXPECT_FALSE(decode_pex(to_bytes("le")));
  EXPECT_FALSE(decode_pex(to_bytes("d5:added5:aaaaae")));
  EXPECT_FALSE(decode_pex(to_bytes("d6:added66:aaaaaae")));
  EXPECT_FALSE(decode_pex(to_bytes("d5:added1206:" + std::string(1206, 'a') + "e")));
  EXPECT_TRUE(decode_pex(to_bytes("d5:added1200:" + std::string(1200, 'a') + "e")));
}

TEST(Compact, both_families_come_back) {
  for (const char* text : {"192.0.2.1:6881", "[2001:db8::7]:51413"}) {
    const Endpoint endpoint = *parse_endpoint(text);
    std::array<std::byte, kCompactV6Size> out;
    const std::size_t size = encode_compact(endpoint, out);
    EXPECT_EQ(size, endpoint.ip.is_v4() ? kCompactV4Size : kCompactV6Size);
    EXPECT_EQ(decode_compact(std::span(out).first(size)), endpoint);
  }
}

}  // namespace
}  // namespace penstock::wire
