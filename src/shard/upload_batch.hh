// One try_send: what goes into it, and how to account for what of it was taken.
//
// Private to shard/. A shard has one, which is used again: it is 11 KiB, of which a send of one
// block needs a few lines. Only what the counts name is valid.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "shard/connection.hh"
#include "wire/peer_wire.hh"

namespace penstock {

struct Shard::Batch {
  static constexpr std::size_t kSmallScratch = 2048;
  static constexpr std::size_t kPartsPerBlockMax = 4;
  static constexpr std::uint32_t kPieceHeaderSize = wire::kPieceHeaderSize;

  std::array<SendPart, kSendPartsMax> parts;
  std::array<std::array<std::byte, kPieceHeaderSize>, UploadWindow::kSlots> headers;
  std::array<std::byte, kSmallScratch> scratch;
  std::array<UploadSlot*, UploadWindow::kSlots> slots;
  std::size_t part_count = 0;
  std::size_t slot_count = 0;
  std::size_t bytes = 0;
  std::size_t small_bytes = 0;
  std::array<std::size_t, UploadWindow::kSlots> first_part;  // of slots[i]; they follow each other
  std::array<std::size_t, UploadWindow::kSlots> parts_end;
  bool starts_inside = false;  // slots[0] goes before the control messages
  bool refused = false;        // no more parts can be kept

  void clear() {
    part_count = slot_count = bytes = small_bytes = 0;
    starts_inside = refused = false;
  }
  void add(const std::byte* data, std::uint32_t length, SendPart::Kind kind) {
    parts[part_count++] = SendPart{data, length, kind};
    bytes += length;
  }
  // The rest of a block, from slot.sent on. A header in front of it in the slab is of no use to
  // those who keep: what they refer to is content, and nothing else.
  void add_kept_block(UploadSlot& slot, KeptBlocks& kept, ContentRef content) {
    slot.block.framed = false;
    const std::size_t which = slot_count;
    first_part[which] = part_count;
    const std::uint32_t from = slot.sent < kPieceHeaderSize ? 0 : slot.sent - kPieceHeaderSize;
    content.offset += from;
    add_block(slot);
    const std::size_t headers_of = slot.sent < kPieceHeaderSize ? 1 : 0;
    for (std::size_t i = first_part[which] + headers_of; i < part_count; ++i) {
      SendPart& part = parts[i];
      content.length = part.length;
      part.content = content;
      if (part.kind != SendPart::Kind::small) part.pin = kept.new_pin();
      content.offset += part.length;
    }
    parts_end[which] = part_count;
  }
  void add_block(UploadSlot& slot) {
    auto& header = headers[slot_count];
    slots[slot_count++] = &slot;
    std::uint32_t skip = slot.sent;
    const Block& block = slot.block;
    const std::uint32_t in_front = block.framed ? kPieceHeaderSize : 0;
    if (block.framed) {
      // The header comes with the first part.
    } else if (skip < kPieceHeaderSize) {
      header = wire::encode_piece_header(slot.piece, slot.begin, slot.length);
      add(header.data() + skip, kPieceHeaderSize - skip, SendPart::Kind::small);
      skip = 0;
    } else {
      skip -= kPieceHeaderSize;
    }
    for (std::uint32_t i = 0; i < block.part_count; ++i) {
      const BlockPart& part = block.parts[i];
      const std::uint32_t more = i == 0 ? in_front : 0;
      const std::byte* const data = part.data - more;
      const std::uint32_t length = part.length + more;
      if (skip >= length) {
        skip -= length;
        continue;
      }
      add(data + skip, length - skip, kind_of(part));
      skip = 0;
    }
  }
  [[nodiscard]] std::span<const SendPart> parts_of(std::size_t which) const {
    return std::span(parts).subspan(first_part[which], parts_end[which] - first_part[which]);
  }
  static SendPart::Kind kind_of(const BlockPart& part) {
    if (part.tail) return SendPart::Kind::small;
    return part.hot ? SendPart::Kind::hot_slab : SendPart::Kind::slab;
  }
  [[nodiscard]] bool has_room() const { return part_count + kPartsPerBlockMax <= parts.size(); }
};

}  // namespace penstock
