#include "crypto/hash_batch.hh"

#include <algorithm>
#include <limits>

#include "base/assert.hh"
#include "base/block_info.hh"
#include "crypto/sha_wide.hh"

namespace penstock {
namespace {

// Walks through the parts of a message.
class Cursor {
 public:
  Cursor() = default;
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

// As long as each is the shortest rest that one of them has.
template <class Hasher, std::size_t kInStep>
void hash_group(std::array<Hasher, kInStep>& hashers, std::span<Cursor> cursors) {
  while (true) {
    std::array<std::span<const std::byte>, kInStep> bytes;
    std::array<Hasher*, kInStep> active;
    std::size_t count = 0;
    std::size_t step = std::numeric_limits<std::size_t>::max();
    for (std::size_t i = 0; i < cursors.size(); ++i) {
      const auto rest = cursors[i].rest();
      if (rest.empty()) continue;
      active[count] = &hashers[i];
      bytes[count++] = rest;
      step = std::min(step, rest.size());
    }
    if (count == 0) return;
    for (std::size_t i = 0; i < count; ++i)
      bytes[i] = bytes[i].first(step);
    Hasher::update_all(std::span(active).first(count), std::span(bytes).first(count));
    for (Cursor& cursor : cursors) {
      if (!cursor.rest().empty()) cursor.advance(step);
    }
  }
}

template <class Hasher, std::size_t kInStep, class DigestType>
void hash_all(std::array<Hasher, kInStep>& hashers, std::span<const MessageParts> messages,
              std::span<DigestType> digests) {
  ASSERT(messages.size() == digests.size());
  for (std::size_t i = 0; i < messages.size(); i += kInStep) {
    const std::size_t count = std::min(kInStep, messages.size() - i);
    std::array<Cursor, kInStep> cursors;
    for (std::size_t j = 0; j < count; ++j) {
      cursors[j] = Cursor(messages[i + j]);
      hashers[j].restart();
    }
    hash_group(hashers, std::span(cursors).first(count));
    for (std::size_t j = 0; j < count; ++j)
      digests[i + j] = hashers[j].finish();
  }
}

}  // namespace

std::size_t HashBatch::in_step() {
  static_assert(kInStep == sha_wide::kLanes);
  return sha_wide::available() ? sha_wide::kLanes : 2;
}

void HashBatch::sha1(std::span<const MessageParts> messages, std::span<Sha1Digest> digests) {
  hash_all(sha1_, messages, digests);
}

void HashBatch::sha256(std::span<const MessageParts> messages, std::span<Sha256Digest> digests) {
  hash_all(sha256_, messages, digests);
}

void HashBatch::leaves(std::span<const std::byte> bytes, std::span<Sha256Digest> leaves) {
  ASSERT(leaves.size() == (bytes.size() + kBlockSize - 1) / kBlockSize);
  std::array<Leaf, kInStep> group;
  for (std::size_t i = 0; i < leaves.size(); i += kInStep) {
    const std::size_t count = std::min(kInStep, leaves.size() - i);
    for (std::size_t j = 0; j < count; ++j) {
      const auto rest = bytes.subspan((i + j) * kBlockSize);
      group[j] = {rest.first(std::min<std::size_t>(rest.size(), kBlockSize)), &leaves[i + j]};
    }
    this->leaves(std::span<const Leaf>(group).first(count));
  }
}

void HashBatch::leaves(std::span<const Leaf> leaves) {
  for (std::size_t i = 0; i < leaves.size(); i += kInStep) {
    const std::size_t count = std::min(kInStep, leaves.size() - i);
    std::array<std::span<const std::byte>, kInStep> bytes;
    std::array<Sha256*, kInStep> hashers;
    for (std::size_t j = 0; j < count; ++j) {
      bytes[j] = leaves[i + j].bytes;
      hashers[j] = &sha256_[j];
      sha256_[j].restart();
    }
    Sha256::update_all(std::span(hashers).first(count), std::span(bytes).first(count));
    for (std::size_t j = 0; j < count; ++j)
      *leaves[i + j].digest = sha256_[j].finish();
  }
}

}  // namespace penstock
