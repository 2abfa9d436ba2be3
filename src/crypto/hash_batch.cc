#include "crypto/hash_batch.hh"

#include <algorithm>

#include "base/assert.hh"
#include "base/block_info.hh"

namespace penstock {
namespace {

// Walks through the parts of a message.
class Cursor {
 public:
  explicit Cursor(MessageParts parts) : parts_(parts) { skip_empty(); }
  // What is left of the part that it stands in; empty at the end.
  [[nodiscard]] std::span<const std::byte> rest() const {
    return parts_.empty() ? std::span<const std::byte>() : parts_[0].subspan(done_);
  }
  void advance(std::size_t bytes) {
    done_ += bytes;
    if (done_ < parts_[0].size()) return;
    parts_ = parts_.subspan(1);
    done_ = 0;
    skip_empty();
  }

 private:
  void skip_empty() {
    while (!parts_.empty() && parts_[0].empty())
      parts_ = parts_.subspan(1);
  }
  MessageParts parts_;
  std::size_t done_ = 0;
};

template <class Hasher>
void add_rest(Hasher& hasher, Cursor& cursor) {
  for (auto rest = cursor.rest(); !rest.empty(); rest = cursor.rest()) {
    hasher.update(rest);
    cursor.advance(rest.size());
  }
}

template <class Hasher, class DigestType>
void hash_all(Hasher (&hashers)[2], std::span<const MessageParts> messages,
              std::span<DigestType> digests) {
  ASSERT(messages.size() == digests.size());
  for (std::size_t i = 0; i < messages.size(); i += 2) {
    Cursor one(messages[i]);
    hashers[0].restart();
    if (i + 1 < messages.size()) {
      Cursor two(messages[i + 1]);
      hashers[1].restart();
      while (!one.rest().empty() && !two.rest().empty()) {
        const std::size_t step = std::min(one.rest().size(), two.rest().size());
        Hasher::update_both(hashers[0], one.rest().first(step), hashers[1], two.rest().first(step));
        one.advance(step);
        two.advance(step);
      }
      add_rest(hashers[1], two);
      digests[i + 1] = hashers[1].finish();
    }
    add_rest(hashers[0], one);
    digests[i] = hashers[0].finish();
  }
}

}  // namespace

void HashBatch::sha1(std::span<const MessageParts> messages, std::span<Sha1Digest> digests) {
  hash_all(sha1_, messages, digests);
}

void HashBatch::sha256(std::span<const MessageParts> messages, std::span<Sha256Digest> digests) {
  hash_all(sha256_, messages, digests);
}

void HashBatch::leaves(std::span<const std::byte> bytes, std::span<Sha256Digest> leaves) {
  ASSERT(leaves.size() == (bytes.size() + kBlockSize - 1) / kBlockSize);
  const auto block = [&](std::size_t index) {
    const auto rest = bytes.subspan(index * kBlockSize);
    return rest.first(std::min<std::size_t>(rest.size(), kBlockSize));
  };
  std::size_t i = 0;
  for (; i + 2 <= leaves.size(); i += 2) {
    sha256_[0].restart();
    sha256_[1].restart();
    Sha256::update_both(sha256_[0], block(i), sha256_[1], block(i + 1));
    leaves[i] = sha256_[0].finish();
    leaves[i + 1] = sha256_[1].finish();
  }
  if (i < leaves.size()) leaves[i] = sha256_[0].hash(block(i));
}

}  // namespace penstock
