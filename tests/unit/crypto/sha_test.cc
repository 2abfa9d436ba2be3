#include "crypto/sha.hh"

#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/crypto.h>

#include "crypto/hash_batch.hh"
#include "crypto/merkle.hh"

namespace penstock {
namespace {

// OpenSSL's own allocations, which operator new doesn't see. Must be set before its first one,
// hence at static initialisation.
int g_allocations = 0;

void* count_malloc(std::size_t size, const char*, int) {
  ++g_allocations;
  return std::malloc(size);
}
void* count_realloc(void* old, std::size_t size, const char*, int) {
  ++g_allocations;
  return std::realloc(old, size);
}
void plain_free(void* memory, const char*, int) {
  std::free(memory);
}
const bool g_counting = CRYPTO_set_mem_functions(count_malloc, count_realloc, plain_free) == 1;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

struct Vector {
  std::string message;
  const char* sha1;
  const char* sha256;
};

// NIST's examples for FIPS 180-4 ("abc", two blocks, four blocks, a million a's) and the empty
// message.
std::vector<Vector> nist_vectors() {
  return {
      {"", "da39a3ee5e6b4b0d3255bfef95601890afd80709",
       "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
      {"abc", "a9993e364706816aba3e25717850c26c9cd0d89d",
       "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
      {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
       "84983e441c3bd26ebaae4aa1f95129e5e54670f1",
       "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
      {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopq"
       "klmnopqrlmnopqrsmnopqrstnopqrstu",
       "a49b2446a02c645bf419f995b67091253a04a259",
       "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
      {std::string(1'000'000, 'a'), "34aa973cd4c4daa4f61eeb2bdbad27316534016f",
       "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
  };
}

TEST(Sha, MatchesNistVectors) {
  for (const Vector& vector : nist_vectors()) {
    EXPECT_EQ(sha1(bytes_of(vector.message)).hex(), vector.sha1);
    EXPECT_EQ(sha256(bytes_of(vector.message)).hex(), vector.sha256);
  }
}

TEST(Sha, IsTheSameHoweverTheMessageIsCut) {
  const Vector vector = nist_vectors()[3];
  Sha1 one;
  Sha256 two;
  for (std::size_t cut = 0; cut <= vector.message.size(); ++cut) {
    const std::string_view text = vector.message;
    one.update(bytes_of(text.substr(0, cut)));
    one.update(bytes_of(text.substr(cut)));
    two.update(bytes_of(text.substr(0, cut)));
    two.update(bytes_of(text.substr(cut)));
    EXPECT_EQ(one.finish().hex(), vector.sha1);
    EXPECT_EQ(two.finish().hex(), vector.sha256);
  }
}

TEST(Sha, RestartForgetsAndCopiesKeepTheState) {
  Sha1 first;
  first.update(bytes_of("noise"));
  first.restart();
  first.update(bytes_of("a"));
  Sha1 second(first);
  second.update(bytes_of("bc"));
  EXPECT_EQ(second.finish().hex(), "a9993e364706816aba3e25717850c26c9cd0d89d");
  EXPECT_EQ(second.hash(bytes_of("")).hex(), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
}

TEST(Sha, AllocatesNothing) {
  ASSERT_TRUE(g_counting);
  OPENSSL_free(OPENSSL_malloc(1));  // the canary: allocations are seen
  EXPECT_GT(g_allocations, 0);
  const int before = g_allocations;
  Sha1 one;
  Sha256 two;
  MerkleHasher merkle;
  HashBatch batch;
  std::vector<std::byte> data(100'000, std::byte{7});
  std::vector<Sha256Digest> leaves(7);
  for (int i = 0; i < 3; ++i) {
    one.update(data);
    one.finish();
    two.update(data);
    two.finish();
    batch.leaves(data, leaves);
    merkle.root(leaves, 0, 4);
  }
  EXPECT_EQ(g_allocations, before);
}

}  // namespace
}  // namespace penstock
