// The peer wire: a stream of messages decodes the same however it is cut, and each message is
// encoded back to the bytes it came from.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/assert.hh"
#include "wire/extensions.hh"
#include "wire/peer_wire.hh"

namespace {

using namespace penstock;
using namespace penstock::wire;
using Bytes = std::span<const std::byte>;

constexpr MessageLimits kLimits{};

bool starts_with(Bytes bytes, Bytes prefix) {
  return bytes.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), bytes.begin());
}

void check_encoding(const Decoded& d, Bytes bytes) {
  const Message& m = d.message;
  const auto body = static_cast<std::uint32_t>(m.payload.size());
  if (!m.known) return;
  switch (m.id) {
    case MessageId::keepalive:
      ASSERT(starts_with(bytes, encode_keepalive()));
      return;
    case MessageId::choke:
    case MessageId::unchoke:
    case MessageId::interested:
    case MessageId::not_interested:
    case MessageId::have_all:
    case MessageId::have_none:
      ASSERT(starts_with(bytes, encode_simple(m.id)));
      return;
    case MessageId::have:
    case MessageId::suggest_piece:
    case MessageId::allowed_fast:
      ASSERT(starts_with(bytes, encode_index(m.id, m.piece)));
      return;
    case MessageId::request:
    case MessageId::cancel:
    case MessageId::reject_request:
      ASSERT(starts_with(bytes, encode_block(m.id, m.piece, m.begin, m.length)));
      return;
    case MessageId::piece:
      ASSERT(m.length == body);
      ASSERT(starts_with(bytes, encode_piece_header(m.piece, m.begin, m.length)));
      return;
    case MessageId::bitfield:
      ASSERT(starts_with(bytes, encode_bitfield_header(body)));
      return;
    case MessageId::port:
      ASSERT(starts_with(bytes, encode_port(m.port)));
      return;
    case MessageId::extended:
      ASSERT(starts_with(bytes, encode_extended_header(m.extended_id, body)));
      return;
    case MessageId::hash_request:
    case MessageId::hash_reject:
      ASSERT(starts_with(bytes, encode_hash_header(m.id, hash_query(m))));
      return;
    case MessageId::hashes: {
      const auto count = static_cast<std::uint32_t>(hashes_of(m).size() / sizeof(Sha256Digest));
      ASSERT(starts_with(bytes, encode_hash_header(m.id, hash_query(m), count)));
      return;
    }
  }
  UNREACHABLE();
}

void check_extended(Bytes payload) {
  if (const auto h = decode_extension_handshake(payload)) {
    std::vector<std::byte> out(payload.size() + 512);
    const std::size_t size = encode_extension_handshake(*h, out);
    ASSERT(size > 0);
    const auto again = decode_extension_handshake(Bytes(out).first(size));
    ASSERT(again && *again == *h);
  }
  if (const auto message = decode_metadata(payload)) {
    std::array<std::byte, 64> out;
    const std::size_t size = encode_metadata(*message, out);
    ASSERT(size > 0);
    std::vector<std::byte> bytes(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(size));
    bytes.insert(bytes.end(), message->data.begin(), message->data.end());
    const auto again = decode_metadata(bytes);
    ASSERT(again && again->type == message->type && again->piece == message->piece);
    ASSERT(again->total_size == message->total_size);
    ASSERT(again->data.size() == message->data.size());
  }
  if (const auto pex = decode_pex(payload)) {
    for (Bytes rest = pex->added6; !rest.empty(); rest = rest.subspan(kCompactV6Size)) {
      std::array<std::byte, kCompactV6Size> out;
      const Endpoint endpoint = decode_compact(rest.first(kCompactV6Size));
      ASSERT(encode_compact(endpoint, out) == (endpoint.ip.is_v4() ? 6u : 18u));
    }
  }
}

void check_stream(Bytes stream) {
  while (!stream.empty()) {
    const Decoded d = decode_message(stream, kLimits);
    if (d.status != DecodeStatus::ok) {
      ASSERT(d.status != DecodeStatus::need_more || d.size > stream.size());
      return;
    }
    ASSERT(d.size >= kPrefixSize && d.size <= stream.size());
    // Every shorter piece of it asks for more, and never for more than there is.
    for (std::size_t n = 0; n < std::min<std::size_t>(d.size, 64); ++n) {
      const Decoded part = decode_message(stream.first(n), kLimits);
      ASSERT(part.status == DecodeStatus::need_more);
      ASSERT(part.size > n && part.size <= d.size);
    }
    check_encoding(d, stream);
    if (d.message.id == MessageId::extended) check_extended(d.message.payload);
    stream = stream.subspan(d.size);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Bytes input = std::as_bytes(std::span(data, size));
  const Opening opening = classify_opening(input);
  if (opening == Opening::bittorrent && size >= kHandshakeSize) {
    const Handshake handshake = decode_handshake(input);
    ASSERT(decode_handshake(encode_handshake(handshake)) == handshake);
    check_stream(input.subspan(kHandshakeSize));
  } else {
    ASSERT(opening != Opening::need_more || size < kProtocolName.size());
    check_stream(input);
    check_extended(input);
  }
  return 0;
}
