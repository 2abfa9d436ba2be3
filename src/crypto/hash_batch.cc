#include "crypto/hash_batch.hh"

#include <algorithm>

#include "base/assert.hh"
#include "base/block_info.hh"

namespace penstock {
namespace {

template <class Hasher, class DigestType>
void hash_each(Hasher& hasher, std::span<const MessageParts> messages,
               std::span<DigestType> digests) {
  ASSERT(messages.size() == digests.size());
  for (std::size_t i = 0; i < messages.size(); ++i) {
    hasher.restart();
    for (const std::span<const std::byte> part : messages[i])
      hasher.update(part);
    digests[i] = hasher.finish();
  }
}

}  // namespace

void HashBatch::sha1(std::span<const MessageParts> messages, std::span<Sha1Digest> digests) {
  hash_each(sha1_, messages, digests);
}

void HashBatch::sha256(std::span<const MessageParts> messages, std::span<Sha256Digest> digests) {
  hash_each(sha256_, messages, digests);
}

void HashBatch::leaves(std::span<const std::byte> bytes, std::span<Sha256Digest> leaves) {
  ASSERT(leaves.size() == (bytes.size() + kBlockSize - 1) / kBlockSize);
  for (Sha256Digest& leaf : leaves) {
    leaf = sha256_.hash(bytes.first(std::min<std::size_t>(bytes.size(), kBlockSize)));
    bytes = bytes.subspan(std::min<std::size_t>(bytes.size(), kBlockSize));
  }
}

}  // namespace penstock
