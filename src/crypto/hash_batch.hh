// Many independent messages at once, as many in step as the CPU can.
//
// Callers hand over as many messages as they have (leaves of all pieces read so far), since that is
// what a kernel needs to fill its lanes; those of equal length go best.
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "base/digest.hh"
#include "crypto/sha.hh"

namespace penstock {

// One message, in parts that follow each other (the extents of a piece).
using MessageParts = std::span<const std::span<const std::byte>>;

// A block and where its digest goes.
struct Leaf {
  std::span<const std::byte> bytes;
  Sha256Digest* digest = nullptr;
};

// Never allocates. Belongs to one thread at a time.
class HashBatch {
 public:
  // How many messages of equal length this CPU wants at once.
  static std::size_t in_step();
  // digests.size() == messages.size().
  void sha1(std::span<const MessageParts> messages, std::span<Sha1Digest> digests);
  void sha256(std::span<const MessageParts> messages, std::span<Sha256Digest> digests);
  // The v2 leaves (BEP 52) of contiguous bytes: one digest per 16 KiB, the last may be shorter.
  // leaves.size() == the number of blocks in bytes.
  void leaves(std::span<const std::byte> bytes, std::span<Sha256Digest> leaves);
  // Those of many places.
  void leaves(std::span<const Leaf> leaves);

 private:
  static constexpr std::size_t kInStep = 16;  // the most
  std::array<Sha1, kInStep> sha1_;
  std::array<Sha256, kInStep> sha256_;
};

}  // namespace penstock
