// Many independent messages at once: the seam behind which multi-buffer kernels (one message per
// vector lane) can go without any caller changing. Today they are hashed two at a time.
//
// Callers hand over as many messages as they have (leaves of a piece, pieces read so far), since
// that is what a kernel needs to fill its lanes; those of equal length first to last go best.
#pragma once

#include <cstddef>
#include <span>

#include "base/digest.hh"
#include "crypto/sha.hh"

namespace penstock {

// One message, in parts that follow each other (the extents of a piece).
using MessageParts = std::span<const std::span<const std::byte>>;

// Never allocates. Belongs to one thread at a time.
class HashBatch {
 public:
  // digests.size() == messages.size().
  void sha1(std::span<const MessageParts> messages, std::span<Sha1Digest> digests);
  void sha256(std::span<const MessageParts> messages, std::span<Sha256Digest> digests);
  // The v2 leaves (BEP 52) of contiguous bytes: one digest per 16 KiB, the last may be shorter.
  // leaves.size() == the number of blocks in bytes.
  void leaves(std::span<const std::byte> bytes, std::span<Sha256Digest> leaves);

 private:
  Sha1 sha1_[2];
  Sha256 sha256_[2];
};

}  // namespace penstock
