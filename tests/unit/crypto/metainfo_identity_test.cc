#include "crypto/metainfo_identity.hh"

#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "crypto/merkle.hh"
#include "crypto/sha.hh"

namespace penstock {
namespace {

std::vector<std::byte> to_bytes(std::string_view text) {
  const auto* begin = reinterpret_cast<const std::byte*>(text.data());
  return {begin, begin + text.size()};
}
std::string s(std::string_view text) {
  return std::to_string(text.size()) + ":" + std::string(text);
}
std::string text_of(const Sha256Digest& digest) {
  return {reinterpret_cast<const char*>(digest.bytes.data()), digest.bytes.size()};
}

const std::string kV1Info =
    "d6:lengthi1e4:name1:t12:piece lengthi16384e6:pieces20:" + std::string(20, 'h') + "e";

TEST(Identity, v1) {
  const auto m = load_metainfo(to_bytes("d4:info" + kV1Info + "e"));
  ASSERT_TRUE(m) << m.error().message;
  // sha1sum of the info dictionary.
  EXPECT_EQ(m->v1_hash->hex(), "c1b05b03db60d5860f346f563d43ac9398282b29");
  EXPECT_FALSE(m->v2_hash);
  EXPECT_EQ(m->wire_hash(), *m->v1_hash);
  EXPECT_FALSE(load_metainfo(to_bytes("d4:info" + kV1Info)));
}

TEST(Identity, a_folder_without_a_safe_name_is_named_by_its_hash) {
  const std::string info =
      "d5:filesld6:lengthi1e4:pathl1:aeee4:name2:..12:piece lengthi16384e"
      "6:pieces20:" +
      std::string(20, 'h') + "e";
  const auto m = load_metainfo(to_bytes("d4:info" + info + "e"));
  ASSERT_TRUE(m) << m.error().message;
  EXPECT_EQ(m->name, m->v1_hash->hex());
}

// A file of three pieces whose layer is L, L, L; padded with one piece of zero leaves.
struct V2 {
  std::vector<Sha256Digest> layer;
  Sha256Digest root;

  V2() : layer(3) {
    for (Sha256Digest& digest : layer)
      digest.bytes.fill(std::byte{'L'});
    MerkleHasher hasher;
    root = hasher.root_of_piece_layer(MerkleShape::of(3 * 32768, 32768), layer);
  }
  [[nodiscard]] std::string info() const {
    return "d9:file treed1:ad0:d6:lengthi98304e11:pieces root" + s(text_of(root)) +
           "eee12:meta versioni2e4:name1:a12:piece lengthi32768ee";
  }
  [[nodiscard]] std::string torrent() const {
    std::string hashes;
    for (const Sha256Digest& digest : layer)
      hashes += text_of(digest);
    return "d4:info" + info() + "12:piece layersd" + s(text_of(root)) + s(hashes) + "ee";
  }
};

TEST(Identity, v2_with_its_piece_layer) {
  const V2 v2;
  const auto m = load_metainfo(to_bytes(v2.torrent()));
  ASSERT_TRUE(m) << m.error().message;
  EXPECT_EQ(m->v2_hash->hex(), sha256(to_bytes(v2.info())).hex());
  EXPECT_FALSE(m->v1_hash);
  EXPECT_EQ(m->wire_hash(), truncate(*m->v2_hash));
  EXPECT_EQ(m->files[0].piece_layer, v2.layer);
}

TEST(Identity, a_layer_that_does_not_lead_to_its_root_is_refused) {
  for (std::size_t which = 0; which < 3; ++which) {
    V2 v2;
    v2.layer[which].bytes[31] ^= std::byte{1};
    const auto m = load_metainfo(to_bytes(v2.torrent()));
    ASSERT_FALSE(m);
    EXPECT_NE(m.error().message.find("pieces root"), std::string::npos) << m.error().message;
  }
}

TEST(Identity, of_a_bare_info_dictionary) {
  const auto m = load_info_dictionary(to_bytes(V2().info()));
  ASSERT_TRUE(m) << m.error().message;
  EXPECT_TRUE(m->piece_layers_missing);
  EXPECT_TRUE(m->v2_hash);
  EXPECT_EQ(load_info_dictionary(to_bytes(kV1Info))->v1_hash->hex(), sha1(to_bytes(kV1Info)).hex());
}

}  // namespace
}  // namespace penstock
