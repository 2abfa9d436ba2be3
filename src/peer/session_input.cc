// From bytes in any segmentation to whole messages.
//
// A message that lies whole in the input is read where it is. One that is cut is put together in
// partial_ (short ones) or a page (extended ones); BITFIELD, PIECE and what is passed over are
// streamed. Every step consumes bytes, closes the session, or says that there are not enough.
#include <bitset>

#include "peer/session.hh"
#include "wire/peer_wire.hh"

namespace penstock {

namespace {

using wire::MessageId;

constexpr std::uint32_t kRequestSize = 17;
constexpr std::uint32_t kRequestLength = 13;
constexpr std::uint32_t kBodyOffset = wire::kHeaderSize;
constexpr std::uint32_t kBlockOffset = wire::kPieceHeaderSize;
// Up to the info-hash: all that is needed to answer (some send the peer id only after the answer).
constexpr std::size_t kOpeningSize = wire::kHandshakeInfoHashOffset + 20;
constexpr std::size_t kPeerIdSize = 20;
// Bytes that must be there before an opening that isn't known is called MSE or garbage.
constexpr std::size_t kOpeningSample = 20;
// 20 random bytes hold fewer different ones than this once in 10^9 times.
constexpr std::size_t kRandomDistinctMin = 12;

// What MSE opens with is indistinguishable from random. A handshake with a mistake in it isn't.
bool looks_random(std::span<const std::byte> bytes) {
  if (std::memcmp(bytes.data(), wire::kProtocolName.data(), 4) == 0) return false;
  std::bitset<256> seen;
  for (const std::byte b : bytes)
    seen.set(static_cast<unsigned char>(b));
  return seen.count() >= kRandomDistinctMin;
}

}  // namespace

// The next `size` bytes of the message that is being read, in one run; null when they are not there
// yet. Asking again for more of the same message is fine; nothing is consumed before take().
const std::byte* Session::gather(std::size_t size) {
  if (partial_size_ == 0 && assembly_size_ == 0 && input_.size() >= size) return input_.data();
  // Once a page was begun the message's head lies there too, and is asked for again.
  if (size <= kPartialMax && assembly_page_ == kPageNone) {
    const std::size_t copied =
        std::min(size - std::min<std::size_t>(partial_size_, size), input_.size());
    std::memcpy(partial_.data() + partial_size_, input_.data(), copied);
    partial_size_ = static_cast<std::uint8_t>(partial_size_ + copied);
    input_ = input_.subspan(copied);
    return partial_size_ >= size ? partial_.data() : nullptr;
  }
  DCHECK(size <= kSessionPageSize);
  if (assembly_page_ == kPageNone) {
    assembly_page_ = shared_->pages.take();
    if (assembly_page_ == kPageNone) {
      close(CloseReason::no_resources);
      return nullptr;
    }
    std::memcpy(shared_->pages.bytes(assembly_page_), partial_.data(), partial_size_);
    assembly_size_ = partial_size_;
    partial_size_ = 0;
  }
  std::byte* const page = shared_->pages.bytes(assembly_page_);
  const std::size_t copied =
      std::min(size - std::min<std::size_t>(assembly_size_, size), input_.size());
  std::memcpy(page + assembly_size_, input_.data(), copied);
  assembly_size_ = static_cast<std::uint16_t>(assembly_size_ + copied);
  input_ = input_.subspan(copied);
  return assembly_size_ >= size ? page : nullptr;
}

// Consumes what was gathered.
void Session::take(std::size_t size) {
  if (partial_size_ == 0 && assembly_size_ == 0) {
    input_ = input_.subspan(size);
    return;
  }
  DCHECK(std::max<std::size_t>(partial_size_, assembly_size_) == size);
  drop_partial();
}

void Session::drop_partial() {
  partial_size_ = 0;
  if (assembly_page_ == kPageNone) return;
  shared_->pages.give_back(assembly_page_);
  assembly_page_ = kPageNone;
  assembly_size_ = 0;
}

// One step of reading; true: `event` is set.
bool Session::step(SessionEvent& event) {
  switch (stage_) {
    case Stage::opening:
      return read_opening(event);
    case Stage::peer_id:
      return read_peer_id(event);
    case Stage::messages:
      return reading_ == Reading::header ? read_message(event) : read_body(event);
    default:
      input_ = {};
      return false;
  }
}

bool Session::read_opening(SessionEvent& event) {
  const std::byte* bytes = gather(kOpeningSize);
  const std::size_t size = bytes != nullptr ? kOpeningSize : partial_size_;
  if (bytes == nullptr) bytes = partial_.data();
  const auto opening = wire::classify_opening({bytes, size});
  if (opening == wire::Opening::other_protocol) {
    close(CloseReason::not_bittorrent);
    return false;
  }
  if (opening == wire::Opening::mse) {
    if (size < kOpeningSample) return false;
    close(looks_random({bytes, kOpeningSample}) ? CloseReason::encrypted_handshake
                                                : CloseReason::handshake_garbage);
    return false;
  }
  if (size < kOpeningSize) return false;
  std::array<std::byte, wire::kHandshakeSize> whole{};
  std::memcpy(whole.data(), bytes, kOpeningSize);
  const wire::Handshake handshake = wire::decode_handshake(whole);
  take(kOpeningSize);
  fast_ = handshake.capabilities.fast && shared_->limits.fast;
  extended_ = handshake.capabilities.extended && shared_->limits.extensions;
  stage_ = Stage::peer_id;
  if (torrent_ != nullptr) {
    // BEP 52: a hybrid's v1 hash may be answered by its v2 hash.
    if (!torrent_->answers_to(handshake.info_hash)) close(CloseReason::wrong_info_hash);
    if (!outgoing_) {
      info_hash_ = handshake.info_hash;
      handshake_due_ = true;
    }
    return false;
  }
  info_hash_ = handshake.info_hash;
  answer_due_ = true;
  event = {.kind = SessionEvent::Kind::info_hash, .info_hash = info_hash_};
  return true;
}

bool Session::read_peer_id(SessionEvent& event) {
  const std::byte* const bytes = gather(kPeerIdSize);
  if (bytes == nullptr) return false;
  std::memcpy(peer_id_.data(), bytes, kPeerIdSize);
  take(kPeerIdSize);
  if (peer_id_ == shared_->limits.peer_id) {
    close(CloseReason::self_connection);
    return false;
  }
  begin_messages();
  event = {.kind = SessionEvent::Kind::handshaken};
  return true;
}

// The hot path: REQUESTs that lie whole in the input, one after the other.
void Session::read_requests() {
  while (input_.size() >= kRequestSize) {
    const std::byte* const p = input_.data();
    if (load_be32(p) != kRequestLength ||
        p[wire::kPrefixSize] != static_cast<std::byte>(MessageId::request)) {
      return;
    }
    input_ = input_.subspan(kRequestSize);
    on_request({PieceIndex(load_be32(p + 5)), load_be32(p + 9), load_be32(p + 13)});
  }
}

bool Session::read_message(SessionEvent& event) {
  if (partial_size_ == 0 && assembly_size_ == 0) {
    message_fresh_ = true;
    read_requests();
    if (input_.empty()) return false;
  }
  const std::byte* bytes = gather(wire::kPrefixSize);
  if (bytes == nullptr) return false;
  if (load_be32(bytes) == 0) {
    take(wire::kPrefixSize);
    charge();
    return false;
  }
  bytes = gather(wire::kHeaderSize);
  if (bytes == nullptr) return false;
  // Extended messages beyond this are longer than anything that is offered here.
  constexpr std::uint32_t kPassedOverMax = 64 * 1024;
  const std::uint32_t bitfield_size = (torrent_->blocks.piece_count() + 7) / 8;
  const wire::MessageLimits limits{.bitfield_bytes_max = bitfield_size,
                                   .extended_bytes_max = kPassedOverMax,
                                   .unknown_bytes_max = kPassedOverMax};
  const auto id = static_cast<std::uint8_t>(bytes[wire::kPrefixSize]);
  const wire::MessageHeader header = wire::decode_header({bytes, wire::kHeaderSize}, limits);
  if (header.status != wire::DecodeStatus::ok) {
    refuse_header(id, header.status == wire::DecodeStatus::too_long);
    return false;
  }
  const std::uint32_t size = header.size;
  switch (header.id) {
    case MessageId::bitfield:
      if (size != kBodyOffset + bitfield_size) {
        close(CloseReason::bitfield_size);
        return false;
      }
      take(wire::kHeaderSize);
      if (!begin_bitfield(false, bitfield_size)) return false;
      begin_body(Reading::bitfield, bitfield_size);
      return false;
    case MessageId::piece:
      bytes = gather(wire::kPieceHeaderSize);
      if (bytes == nullptr || !on_block_header(bytes, size)) return false;
      take(wire::kPieceHeaderSize);
      begin_body(Reading::block, size - kBlockOffset);
      return false;
    case MessageId::extended:
      if (!extended_) {
        close(CloseReason::extension_not_negotiated);
        return false;
      }
      if (size > kSessionPageSize) break;
      bytes = gather(size);
      return bytes != nullptr && on_message(event, bytes, size);
    case MessageId::port:
    case MessageId::hashes:
    case MessageId::hash_reject:
      break;
    default:
      if (!wire::is_known(id)) break;
      bytes = gather(size);
      return bytes != nullptr && on_message(event, bytes, size);
  }
  // Passed over.
  take(wire::kHeaderSize);
  if (charge_unknown(size)) begin_body(Reading::skip, size - kBodyOffset);
  return false;
}

void Session::refuse_header(std::uint8_t id, bool too_long) {
  if (id == static_cast<std::uint8_t>(MessageId::bitfield)) {
    close(CloseReason::bitfield_size);
  } else {
    close(too_long ? CloseReason::message_too_long : CloseReason::message_malformed);
  }
}

void Session::begin_body(Reading reading, std::uint32_t size) {
  body_left_ = size;
  body_done_ = 0;
  reading_ = size > 0 ? reading : Reading::header;
}

bool Session::read_body(SessionEvent& event) {
  const auto size = static_cast<std::uint32_t>(std::min<std::size_t>(body_left_, input_.size()));
  const std::span<const std::byte> bytes = input_.first(size);
  input_ = input_.subspan(size);
  const Reading reading = reading_;
  body_left_ -= size;
  if (body_left_ == 0) reading_ = Reading::header;
  bool told = false;
  if (reading == Reading::bitfield) told = read_bitfield(event, bytes);
  if (reading == Reading::block) told = read_block(event, bytes);
  body_done_ += size;
  return told;
}

bool Session::read_bitfield(SessionEvent& event, std::span<const std::byte> bytes) {
  for (const std::byte b : bytes)
    have_count_ += static_cast<std::uint32_t>(std::popcount(static_cast<unsigned char>(b)));
  const bool last = body_left_ == 0;
  if (last) {
    const std::uint32_t spare = (8 - torrent_->blocks.piece_count() % 8) % 8;
    const auto end = static_cast<unsigned>(bytes.back());
    if ((end & ((1u << spare) - 1)) != 0) {
      close(CloseReason::bitfield_spare_bits);
      return false;
    }
  }
  if (role_ == SessionRole::seed) return false;
  event = {.kind = SessionEvent::Kind::bitfield,
           .last = last,
           .piece = PieceIndex(8 * body_done_),
           .data = bytes};
  return true;
}

}  // namespace penstock
