// The peer wire protocol: handshake and messages of BEP 3, 5 (PORT), 6 (fast), 10 (extended) and
// 52 (hash requests). Header-only, for the hot path: nothing is copied, allocated or thrown.
//
// decode_header() needs at most 5 bytes and refuses a length that its kind can't have before any
// more is read; decode_message() gives views into a message that is there as a whole. Whoever
// streams large bodies (PIECE, BITFIELD) uses the former and peek_piece(). Whether a message makes
// sense (piece exists, was negotiated, was asked for) is for the session to judge.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "base/assert.hh"
#include "base/block_info.hh"
#include "base/digest.hh"
#include "base/endian.hh"
#include "base/strong.hh"

namespace penstock::wire {

// ---- Handshake (BEP 3): 19, "BitTorrent protocol", 8 reserved bytes, info-hash, peer id.

inline constexpr std::size_t kHandshakeSize = 68;
inline constexpr std::string_view kProtocolName =
    "\x13"
    "BitTorrent protocol";
static_assert(kProtocolName.size() == 20);
inline constexpr std::size_t kHandshakeInfoHashOffset = 28;

using PeerId = std::array<std::byte, 20>;

// The reserved bits that mean something here. Unknown ones are neither sent nor looked at.
struct Capabilities {
  bool extended = false;  // BEP 10: byte 5, 0x10
  bool fast = false;      // BEP 6: byte 7, 0x04
  bool dht = false;       // BEP 5: byte 7, 0x01
  bool v2 = false;        // BEP 52: byte 7, 0x10: a hybrid's v1 hash, but v2 is spoken too

  bool operator==(const Capabilities&) const = default;
};

struct Handshake {
  Capabilities capabilities;
  WireInfoHash info_hash;
  PeerId peer_id{};

  bool operator==(const Handshake&) const = default;
};

// What the first bytes of an incoming connection are.
enum class Opening : std::uint8_t {
  need_more,
  bittorrent,  // kProtocolName
  // Nothing that is known: what an MSE key exchange (96 random bytes and padding) looks like.
  mse,
  other_protocol,  // text (HTTP and the like) or TLS
};

[[nodiscard]] inline Opening classify_opening(std::span<const std::byte> bytes) {
  const std::size_t n = bytes.size() < kProtocolName.size() ? bytes.size() : kProtocolName.size();
  if (n == 0 || std::memcmp(bytes.data(), kProtocolName.data(), n) == 0) {
    return n == kProtocolName.size() ? Opening::bittorrent : Opening::need_more;
  }
  // A random key begins with 8 printable bytes once in 2,000 connections, which then merely get
  // the other name.
  constexpr std::size_t kTextProof = 8;
  const bool tls = bytes[0] == std::byte{0x16} && (n < 2 || bytes[1] == std::byte{0x03});
  if (tls) return n < 2 ? Opening::need_more : Opening::other_protocol;
  const std::size_t looked_at = n < kTextProof ? n : kTextProof;
  for (std::size_t i = 0; i < looked_at; ++i) {
    const auto b = static_cast<unsigned char>(bytes[i]);
    if ((b < 0x20 || b > 0x7e) && b != '\r' && b != '\n') return Opening::mse;
  }
  return looked_at < kTextProof ? Opening::need_more : Opening::other_protocol;
}

// bytes: at least kHandshakeSize, of which classify_opening says `bittorrent`.
[[nodiscard]] inline Handshake decode_handshake(std::span<const std::byte> bytes) {
  DCHECK(bytes.size() >= kHandshakeSize);
  Handshake handshake;
  const auto bit = [&](std::size_t byte, unsigned mask) {
    return (static_cast<unsigned>(bytes[kProtocolName.size() + byte]) & mask) != 0;
  };
  handshake.capabilities = {
      .extended = bit(5, 0x10), .fast = bit(7, 0x04), .dht = bit(7, 0x01), .v2 = bit(7, 0x10)};
  std::memcpy(handshake.info_hash.bytes.data(), bytes.data() + kHandshakeInfoHashOffset, 20);
  std::memcpy(handshake.peer_id.data(), bytes.data() + kHandshakeInfoHashOffset + 20, 20);
  return handshake;
}

[[nodiscard]] inline std::array<std::byte, kHandshakeSize> encode_handshake(
    const Handshake& handshake) {
  std::array<std::byte, kHandshakeSize> out{};
  std::memcpy(out.data(), kProtocolName.data(), kProtocolName.size());
  std::byte* const reserved = out.data() + kProtocolName.size();
  const Capabilities& c = handshake.capabilities;
  if (c.extended) reserved[5] |= std::byte{0x10};
  if (c.fast) reserved[7] |= std::byte{0x04};
  if (c.dht) reserved[7] |= std::byte{0x01};
  if (c.v2) reserved[7] |= std::byte{0x10};
  std::memcpy(out.data() + kHandshakeInfoHashOffset, handshake.info_hash.bytes.data(), 20);
  std::memcpy(out.data() + kHandshakeInfoHashOffset + 20, handshake.peer_id.data(), 20);
  return out;
}

// ---- Messages: a length (4 bytes, what follows it), an id, a body.

enum class MessageId : std::uint8_t {
  choke = 0,
  unchoke = 1,
  interested = 2,
  not_interested = 3,
  have = 4,
  bitfield = 5,
  request = 6,
  piece = 7,
  cancel = 8,
  port = 9,            // BEP 5
  suggest_piece = 13,  // BEP 6 …
  have_all = 14,
  have_none = 15,
  reject_request = 16,
  allowed_fast = 17,
  extended = 20,      // BEP 10
  hash_request = 21,  // BEP 52 …
  hashes = 22,
  hash_reject = 23,
  // No id on the wire: a length of zero.
  keepalive = 255,
};

inline constexpr std::size_t kPrefixSize = 4;          // the length
inline constexpr std::size_t kHeaderSize = 5;          // length and id
inline constexpr std::size_t kPieceHeaderSize = 13;    // length, id, piece, begin
inline constexpr std::size_t kHashHeaderSize = 53;     // length, id, root, four numbers
inline constexpr std::size_t kExtendedHeaderSize = 6;  // length, id, extended id
// A request names 16 KiB; 128 KiB is the most that clients ever accepted.
inline constexpr std::uint32_t kBlockLengthMax = 128 * 1024;

// The longest bodies that are read at all. Defaults suit a session that knows its torrent only
// roughly; a session narrows bitfield_bytes_max to its torrent's.
struct MessageLimits {
  std::uint32_t block_bytes_max = kBlockSize;         // of a PIECE's data
  std::uint32_t bitfield_bytes_max = (1u << 22) / 8;  // MetainfoLimits::pieces_max
  std::uint32_t extended_bytes_max = 1024 * 1024;     // of an extended message's payload
  std::uint32_t hashes_max = 8192 + 64;               // in a HASHES: the layer's and the proof's
  std::uint32_t unknown_bytes_max = 1024 * 1024;      // of a message of unknown kind
};

enum class DecodeStatus : std::uint8_t {
  need_more,
  ok,
  too_long,      // longer than any message of its kind may be
  wrong_length,  // a length that its kind can't have
};

struct MessageHeader {
  DecodeStatus status = DecodeStatus::need_more;
  MessageId id = MessageId::keepalive;
  // Bytes of the whole message, prefix included. Of need_more: how many must be there to go on.
  std::uint32_t size = kPrefixSize;
};

// Whether a body of `body` bytes (id excluded) can be of this kind.
[[nodiscard]] constexpr DecodeStatus check_length(MessageId id, std::uint32_t body,
                                                  const MessageLimits& limits) {
  const auto exactly = [&](std::uint32_t n) {
    return body == n ? DecodeStatus::ok : DecodeStatus::wrong_length;
  };
  const auto between = [&](std::uint32_t least, std::uint32_t most) {
    if (body > most) return DecodeStatus::too_long;
    return body < least ? DecodeStatus::wrong_length : DecodeStatus::ok;
  };
  switch (id) {
    case MessageId::choke:
    case MessageId::unchoke:
    case MessageId::interested:
    case MessageId::not_interested:
    case MessageId::have_all:
    case MessageId::have_none:
      return exactly(0);
    case MessageId::have:
    case MessageId::suggest_piece:
    case MessageId::allowed_fast:
      return exactly(4);
    case MessageId::port:
      return exactly(2);
    case MessageId::request:
    case MessageId::cancel:
    case MessageId::reject_request:
      return exactly(12);
    case MessageId::hash_request:
    case MessageId::hash_reject:
      return exactly(kHashHeaderSize - kHeaderSize);
    case MessageId::bitfield:
      return between(0, limits.bitfield_bytes_max);
    case MessageId::piece:
      return between(9, 8 + limits.block_bytes_max);
    case MessageId::extended:
      return between(1, 1 + limits.extended_bytes_max);
    case MessageId::hashes: {
      constexpr std::uint32_t kFixed = kHashHeaderSize - kHeaderSize;
      if (body >= kFixed && (body - kFixed) % sizeof(Sha256Digest) != 0) {
        return DecodeStatus::wrong_length;
      }
      return between(kFixed, kFixed + limits.hashes_max * std::uint32_t{sizeof(Sha256Digest)});
    }
    case MessageId::keepalive:
      break;  // as an id on the wire: unknown
  }
  return between(0, limits.unknown_bytes_max);
}

// Any id that isn't an enumerator, 255 on the wire included, is unknown: passed over by a session.
[[nodiscard]] constexpr bool is_known(std::uint8_t id) {
  return id <= 9 || (id >= 13 && id <= 17) || (id >= 20 && id <= 23);
}

[[nodiscard]] inline MessageHeader decode_header(std::span<const std::byte> bytes,
                                                 const MessageLimits& limits) {
  MessageHeader header;
  if (bytes.size() < kPrefixSize) return header;
  const std::uint32_t length = load_be32(bytes.data());
  if (length == 0) {
    header.status = DecodeStatus::ok;
    return header;
  }
  if (bytes.size() < kHeaderSize) {
    header.size = kHeaderSize;
    return header;
  }
  header.id = static_cast<MessageId>(bytes[kPrefixSize]);
  header.status = check_length(header.id, length - 1, limits);
  header.size = header.status == DecodeStatus::ok ? length + std::uint32_t{kPrefixSize} : 0;
  return header;
}

// One message; what its kind doesn't have is zero. 40 bytes.
struct Message {
  MessageId id = MessageId::keepalive;
  bool known = true;             // false: an id from a later BEP, to be passed over
  std::uint8_t extended_id = 0;  // extended: 0 is the extension handshake
  std::uint16_t port = 0;        // port
  PieceIndex piece;              // have, suggest_piece, allowed_fast, request and kin, piece
  std::uint32_t begin = 0;       // request, cancel, reject_request, piece
  std::uint32_t length = 0;      // request, cancel, reject_request; piece: of its data
  // bitfield, piece (data), extended (after its id), hash_request, hashes and hash_reject (from the
  // root on), unknown: a view into what was decoded.
  std::span<const std::byte> payload;
};

struct Decoded {
  DecodeStatus status = DecodeStatus::need_more;
  std::uint32_t size = 0;  // as in MessageHeader; of ok: bytes to consume
  Message message;         // of ok
};

// The first message in `bytes`, wholly there or need_more.
[[nodiscard]] inline Decoded decode_message(std::span<const std::byte> bytes,
                                            const MessageLimits& limits) {
  const MessageHeader header = decode_header(bytes, limits);
  Decoded decoded{header.status, header.size, {}};
  if (header.status != DecodeStatus::ok) return decoded;
  if (bytes.size() < header.size) {
    decoded.status = DecodeStatus::need_more;
    return decoded;
  }
  Message& m = decoded.message;
  if (header.size == kPrefixSize) return decoded;
  m.id = header.id;
  m.known = is_known(static_cast<std::uint8_t>(header.id));
  const std::span<const std::byte> body = bytes.subspan(kHeaderSize, header.size - kHeaderSize);
  switch (header.id) {
    case MessageId::have:
    case MessageId::suggest_piece:
    case MessageId::allowed_fast:
      m.piece = PieceIndex(load_be32(body.data()));
      break;
    case MessageId::request:
    case MessageId::cancel:
    case MessageId::reject_request:
      m.piece = PieceIndex(load_be32(body.data()));
      m.begin = load_be32(body.data() + 4);
      m.length = load_be32(body.data() + 8);
      break;
    case MessageId::piece:
      m.piece = PieceIndex(load_be32(body.data()));
      m.begin = load_be32(body.data() + 4);
      m.payload = body.subspan(8);
      m.length = static_cast<std::uint32_t>(m.payload.size());
      break;
    case MessageId::port:
      m.port = load_be16(body.data());
      break;
    case MessageId::extended:
      m.extended_id = static_cast<std::uint8_t>(body[0]);
      m.payload = body.subspan(1);
      break;
    default:
      m.payload = body;
      break;
  }
  return decoded;
}

// Where a PIECE belongs, as soon as its first 13 bytes are there.
struct PieceHeader {
  PieceIndex piece;
  std::uint32_t begin = 0;
  std::uint32_t length = 0;  // of the data that follows
};

// header: of bytes, ok, and a PIECE; at least kPieceHeaderSize bytes.
[[nodiscard]] inline PieceHeader peek_piece(std::span<const std::byte> bytes,
                                            const MessageHeader& header) {
  DCHECK(bytes.size() >= kPieceHeaderSize && header.id == MessageId::piece);
  return {PieceIndex(load_be32(bytes.data() + kHeaderSize)),
          load_be32(bytes.data() + kHeaderSize + 4), header.size - std::uint32_t{kPieceHeaderSize}};
}

// What hash_request, hashes and hash_reject begin with (BEP 52).
struct HashQuery {
  Sha256Digest pieces_root;
  std::uint32_t base_layer = 0;    // 0: the hashes of 16 KiB blocks
  std::uint32_t index = 0;         // of the first hash in its layer
  std::uint32_t length = 0;        // hashes
  std::uint32_t proof_layers = 0;  // uncle hashes towards the root

  bool operator==(const HashQuery&) const = default;
};

// message: a hash_request, hashes or hash_reject that decode_message() made.
[[nodiscard]] inline HashQuery hash_query(const Message& message) {
  DCHECK(message.payload.size() >= kHashHeaderSize - kHeaderSize);
  const std::byte* p = message.payload.data();
  HashQuery query;
  std::memcpy(query.pieces_root.bytes.data(), p, 32);
  query.base_layer = load_be32(p + 32);
  query.index = load_be32(p + 36);
  query.length = load_be32(p + 40);
  query.proof_layers = load_be32(p + 44);
  return query;
}

// A HASHES message's hashes, 32 bytes each.
[[nodiscard]] inline std::span<const std::byte> hashes_of(const Message& message) {
  return message.payload.subspan(kHashHeaderSize - kHeaderSize);
}

// ---- Encoders. Each gives all bytes of a message, or of its part before a payload.

[[nodiscard]] inline std::array<std::byte, kPrefixSize> encode_keepalive() {
  return {};
}

// choke, unchoke, interested, not_interested, have_all, have_none.
[[nodiscard]] inline std::array<std::byte, kHeaderSize> encode_simple(MessageId id) {
  std::array<std::byte, kHeaderSize> out{};
  store_be32(out.data(), 1);
  out[kPrefixSize] = static_cast<std::byte>(id);
  return out;
}

// have, suggest_piece, allowed_fast.
[[nodiscard]] inline std::array<std::byte, 9> encode_index(MessageId id, PieceIndex piece) {
  std::array<std::byte, 9> out{};
  store_be32(out.data(), 5);
  out[kPrefixSize] = static_cast<std::byte>(id);
  store_be32(out.data() + kHeaderSize, piece.value);
  return out;
}

// request, cancel, reject_request.
[[nodiscard]] inline std::array<std::byte, 17> encode_block(MessageId id, PieceIndex piece,
                                                            std::uint32_t begin,
                                                            std::uint32_t length) {
  std::array<std::byte, 17> out{};
  store_be32(out.data(), 13);
  out[kPrefixSize] = static_cast<std::byte>(id);
  store_be32(out.data() + kHeaderSize, piece.value);
  store_be32(out.data() + kHeaderSize + 4, begin);
  store_be32(out.data() + kHeaderSize + 8, length);
  return out;
}

// length: of the data that follows.
[[nodiscard]] inline std::array<std::byte, kPieceHeaderSize> encode_piece_header(
    PieceIndex piece, std::uint32_t begin, std::uint32_t length) {
  std::array<std::byte, kPieceHeaderSize> out{};
  store_be32(out.data(), 9 + length);
  out[kPrefixSize] = static_cast<std::byte>(MessageId::piece);
  store_be32(out.data() + kHeaderSize, piece.value);
  store_be32(out.data() + kHeaderSize + 4, begin);
  return out;
}

[[nodiscard]] inline std::array<std::byte, 7> encode_port(std::uint16_t port) {
  std::array<std::byte, 7> out{};
  store_be32(out.data(), 3);
  out[kPrefixSize] = static_cast<std::byte>(MessageId::port);
  store_be16(out.data() + kHeaderSize, port);
  return out;
}

// bytes: of the bits that follow, most significant first, spare bits zero.
[[nodiscard]] inline std::array<std::byte, kHeaderSize> encode_bitfield_header(
    std::uint32_t bytes) {
  std::array<std::byte, kHeaderSize> out{};
  store_be32(out.data(), 1 + bytes);
  out[kPrefixSize] = static_cast<std::byte>(MessageId::bitfield);
  return out;
}

// bytes: of the payload that follows the extended id.
[[nodiscard]] inline std::array<std::byte, kExtendedHeaderSize> encode_extended_header(
    std::uint8_t extended_id, std::uint32_t bytes) {
  std::array<std::byte, kExtendedHeaderSize> out{};
  store_be32(out.data(), 2 + bytes);
  out[kPrefixSize] = static_cast<std::byte>(MessageId::extended);
  out[kHeaderSize] = static_cast<std::byte>(extended_id);
  return out;
}

// id: hash_request, hash_reject, or hashes with the number of hashes that follow.
[[nodiscard]] inline std::array<std::byte, kHashHeaderSize> encode_hash_header(
    MessageId id, const HashQuery& query, std::uint32_t hash_count = 0) {
  std::array<std::byte, kHashHeaderSize> out{};
  const auto fixed = static_cast<std::uint32_t>(kHashHeaderSize - kPrefixSize);
  store_be32(out.data(), fixed + hash_count * std::uint32_t{sizeof(Sha256Digest)});
  out[kPrefixSize] = static_cast<std::byte>(id);
  std::byte* const p = out.data() + kHeaderSize;
  std::memcpy(p, query.pieces_root.bytes.data(), 32);
  store_be32(p + 32, query.base_layer);
  store_be32(p + 36, query.index);
  store_be32(p + 40, query.length);
  store_be32(p + 44, query.proof_layers);
  return out;
}

}  // namespace penstock::wire
