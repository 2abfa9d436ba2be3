// Puts control messages into the parts of one send, from any byte on. Private to peer/.
#pragma once

#include <algorithm>
#include <cstring>

#include "peer/session.hh"

namespace penstock {

// Bytes that were sent already are skipped; what doesn't fit is left out, and full() tells.
// Invariant: what was put is a prefix of what is to come, without gaps.
class Session::Writer {
 public:
  Writer(std::span<std::byte> scratch, std::span<SendPart> parts)
      : scratch_(scratch), parts_(parts) {}

  // The next `bytes` of what is put are not wanted.
  void skip(std::size_t bytes) { skip_ = bytes; }
  // So much may still be passed over whole: then does it, and says true.
  bool skips(std::size_t size) {
    if (skip_ < size) return false;
    skip_ -= size;
    return true;
  }
  void put(std::span<const std::byte> bytes) {
    const std::size_t skipped = std::min(skip_, bytes.size());
    skip_ -= skipped;
    bytes = bytes.subspan(skipped);
    if (bytes.empty() || full_) return;
    const std::size_t taken = std::min(bytes.size(), scratch_.size() - used_);
    full_ |= taken < bytes.size();
    if (taken == 0) return;
    std::byte* const at = scratch_.data() + used_;
    if (!extend(at, taken)) return;
    std::memcpy(at, bytes.data(), taken);
    used_ += taken;
  }
  // Bytes that stay where they are until they are sent.
  void refer(std::span<const std::byte> bytes) {
    const std::size_t skipped = std::min(skip_, bytes.size());
    skip_ -= skipped;
    bytes = bytes.subspan(skipped);
    if (!bytes.empty() && !full_) extend(bytes.data(), bytes.size());
  }
  [[nodiscard]] bool full() const { return full_; }
  // How much scratch is left, bytes.
  [[nodiscard]] std::size_t room() const { return scratch_.size() - used_; }
  [[nodiscard]] std::size_t part_count() const { return part_count_; }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

 private:
  // Into the last part if it ends where these bytes begin, else into a new one.
  bool extend(const std::byte* data, std::size_t size) {
    if (part_count_ > 0) {
      SendPart& last = parts_[part_count_ - 1];
      if (last.data + last.length == data) {
        last.length += static_cast<std::uint32_t>(size);
        bytes_ += size;
        return true;
      }
    }
    if (part_count_ == parts_.size()) {
      full_ = true;
      return false;
    }
    parts_[part_count_++] = {data, static_cast<std::uint32_t>(size), SendPart::Kind::small};
    bytes_ += size;
    return true;
  }

  std::span<std::byte> scratch_;
  std::span<SendPart> parts_;
  std::size_t skip_ = 0;
  std::size_t used_ = 0;
  std::size_t part_count_ = 0;
  std::size_t bytes_ = 0;
  bool full_ = false;
};

}  // namespace penstock
