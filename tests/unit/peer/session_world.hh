// A session with a scripted peer: bytes in, a transcript of what it says and tells out.
#pragma once

#include <cstring>
#include <sstream>
#include <string>
#include <vector>

#include "base/random.hh"
#include "peer/session.hh"
#include "wire/extensions.hh"
#include "wire/peer_wire.hh"

namespace penstock::test {

using Bytes = std::vector<std::byte>;
using wire::MessageId;

template <class Container>
Bytes bytes_of(const Container& c) {
  const auto* p = reinterpret_cast<const std::byte*>(std::data(c));
  return {p, p + std::size(c) * sizeof(*std::data(c))};
}
inline Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

inline Bytes simple(MessageId id) {
  return bytes_of(wire::encode_simple(id));
}
inline Bytes have(std::uint32_t piece) {
  return bytes_of(wire::encode_index(MessageId::have, PieceIndex(piece)));
}
inline Bytes block_message(MessageId id, std::uint32_t piece, std::uint32_t begin,
                           std::uint32_t length) {
  return bytes_of(wire::encode_block(id, PieceIndex(piece), begin, length));
}
inline Bytes request(std::uint32_t piece, std::uint32_t begin = 0,
                     std::uint32_t length = kBlockSize) {
  return block_message(MessageId::request, piece, begin, length);
}
inline Bytes bitfield(const Bytes& bits) {
  return bytes_of(wire::encode_bitfield_header(static_cast<std::uint32_t>(bits.size()))) + bits;
}
inline Bytes extended(std::uint8_t id, const Bytes& payload) {
  return bytes_of(wire::encode_extended_header(id, static_cast<std::uint32_t>(payload.size()))) +
         payload;
}
inline Bytes text(std::string_view t) {
  return bytes_of(t);
}
inline Bytes piece(std::uint32_t index, std::uint32_t begin, const Bytes& data) {
  return bytes_of(wire::encode_piece_header(PieceIndex(index), begin,
                                            static_cast<std::uint32_t>(data.size()))) +
         data;
}
// A message with any id and body.
inline Bytes raw(std::uint8_t id, const Bytes& body) {
  Bytes out(5);
  store_be32(out.data(), static_cast<std::uint32_t>(body.size() + 1));
  out[4] = std::byte{id};
  return out + body;
}

// 5 pieces of 32 KiB, the last of 20,000 bytes.
struct TestTorrent {
  explicit TestTorrent(std::uint32_t pieces = 5, std::uint32_t piece_size = 32 * 1024,
                       std::uint32_t last = 20'000, std::size_t info_size = 20'000)
      : states(pieces, PieceState::verified), info(info_size) {
    Random random(1);
    for (std::byte& b : info)
      b = static_cast<std::byte>(random.next());
    torrent.hash_list[0].bytes.fill(std::byte{0x11});
    torrent.hash_list[1].bytes.fill(std::byte{0x22});
    torrent.hash_count = 1;
    torrent.blocks = {.total_size = std::uint64_t{piece_size} * (pieces - 1) + last,
                      .piece_size = piece_size};
    torrent.pieces = &states;
    torrent.info_bytes = info;
  }
  PieceStates states;
  Bytes info;
  Torrent torrent;
};

inline std::array<std::byte, 20> peer_id(char last) {
  std::array<std::byte, 20> id;
  std::memcpy(id.data(), "-PS0100-abcdefghijk", 19);
  id[19] = static_cast<std::byte>(last);
  return id;
}
inline SessionLimits test_limits(char last = 'A') {
  SessionLimits limits;
  limits.peer_id = peer_id(last);
  return limits;
}

inline Bytes handshake(const TestTorrent& t,
                       wire::Capabilities capabilities = {.extended = true, .fast = true},
                       char last = 'Z', std::size_t which = 0) {
  return bytes_of(wire::encode_handshake({.capabilities = capabilities,
                                          .info_hash = t.torrent.hash_list[which],
                                          .peer_id = peer_id(last)}));
}

// One message as text: "request 1 0 16384", "bitfield ff80", "extended 0 (96)".
inline std::string describe(const wire::Message& m) {
  std::ostringstream out;
  const auto numbers = [&](std::uint32_t a, std::uint32_t b, std::uint32_t c) {
    out << ' ' << a << ' ' << b << ' ' << c;
  };
  switch (m.id) {
    case MessageId::keepalive:
      return "keepalive";
    case MessageId::choke:
      return "choke";
    case MessageId::unchoke:
      return "unchoke";
    case MessageId::interested:
      return "interested";
    case MessageId::not_interested:
      return "not_interested";
    case MessageId::have_all:
      return "have_all";
    case MessageId::have_none:
      return "have_none";
    case MessageId::have:
      return "have " + std::to_string(m.piece.value);
    case MessageId::bitfield: {
      out << "bitfield ";
      constexpr char kDigits[] = "0123456789abcdef";
      for (const std::byte b : m.payload)
        out << kDigits[static_cast<unsigned>(b) >> 4] << kDigits[static_cast<unsigned>(b) & 15];
      break;
    }
    case MessageId::request:
      out << "request";
      numbers(m.piece.value, m.begin, m.length);
      break;
    case MessageId::cancel:
      out << "cancel";
      numbers(m.piece.value, m.begin, m.length);
      break;
    case MessageId::reject_request:
      out << "reject";
      numbers(m.piece.value, m.begin, m.length);
      break;
    case MessageId::piece:
      out << "piece";
      numbers(m.piece.value, m.begin, m.length);
      break;
    case MessageId::extended:
      out << "extended " << int{m.extended_id} << " (" << m.payload.size() << ")";
      break;
    case MessageId::hash_request:
      out << "hash_request";
      break;
    case MessageId::hashes:
      out << "hashes " << wire::hashes_of(m).size() / 32;
      break;
    case MessageId::hash_reject:
      out << "hash_reject";
      break;
    default:
      out << "id " << int(m.id);
      break;
  }
  return out.str();
}

inline const char* event_name(SessionEvent::Kind kind) {
  constexpr const char* kNames[] = {
      "info_hash",   "handshaken",       "interested", "not_interested", "cancel",
      "leaf_hashes", "leaf_hashes_done", "closed",     "choked",         "unchoked",
      "have_all",    "have_none",        "have",       "dont_have",      "bitfield",
      "block",       "rejected"};
  return kNames[static_cast<std::size_t>(kind)];
}

class Rig {
 public:
  explicit Rig(SessionLimits limits = test_limits(), std::uint32_t pages = 256,
               std::uint32_t pages_reserve = 0)
      : shared(limits, pages, pages_reserve) {}
  ~Rig() {
    session.reset();
    EXPECT_EQ(shared.pages.free_count(), shared.pages.count()) << "pages were lost";
  }

  void open_seed() {
    session.open(now, shared, SessionRole::seed, Endpoint{IpAddress::v4(192, 0, 2, 1), 1234}, false,
                 nullptr);
  }
  void open_leech(bool outgoing = true) {
    session.open(now, shared, SessionRole::leech, Endpoint{IpAddress::v4(192, 0, 2, 1), 6881},
                 outgoing, &content.torrent);
  }
  // A seed past the handshake, its first words heard.
  void start_seed(wire::Capabilities capabilities = {.extended = true, .fast = true}) {
    open_seed();
    feed(handshake(content, capabilities));
    sent();
    events();
  }
  // A leecher past the handshake, unchoked.
  void start_leech(wire::Capabilities capabilities = {.extended = true, .fast = true}) {
    open_leech();
    sent();
    feed(handshake(content, capabilities) + simple(MessageId::unchoke));
    sent();
    events();
  }

  // Hands the bytes over in parts of `cut` bytes, and polls.
  void feed(const Bytes& bytes, std::size_t cut = SIZE_MAX) {
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t size = std::min(cut, bytes.size() - at);
      session.on_data(now, std::span(bytes).subspan(at, size));
      poll();
      session.validate();
      at += size;
    }
  }
  void poll() {
    SessionEvent e;
    while (session.poll_event(e)) {
      log_ += (log_.empty() ? "" : ", ") + std::string(event_name(e.kind));
      using Kind = SessionEvent::Kind;
      const auto r = [&] {
        return " " + std::to_string(e.request.piece.value) + " " + std::to_string(e.request.begin) +
               " " + std::to_string(e.request.length);
      };
      if (e.kind == Kind::closed) log_ += " " + std::string(close_reason_name(e.reason));
      if (e.kind == Kind::cancel || e.kind == Kind::rejected) log_ += r();
      if (e.kind == Kind::have || e.kind == Kind::dont_have || e.kind == Kind::leaf_hashes) {
        log_ += " " + std::to_string(e.piece.value);
      }
      if (e.kind == Kind::block) {
        log_ += r() + " +" + std::to_string(e.offset) + (e.last ? " last" : "");
        blocks.insert(blocks.end(), e.data.begin(), e.data.end());
      }
      if (e.kind == Kind::bitfield) {
        log_ += " " + std::to_string(e.piece.value) + (e.last ? " last" : "");
        bits.insert(bits.end(), e.data.begin(), e.data.end());
      }
      if (e.kind == Kind::info_hash && content.torrent.answers_to(e.info_hash)) {
        session.accept_torrent(now, &content.torrent);
      }
    }
  }
  // What was told since the last call.
  std::string events() { return std::exchange(log_, {}); }

  // Moves time, firing timers as they are due.
  void advance(Duration d) {
    const Instant end = now + d;
    for (int i = 0; session.next_timeout() <= end; ++i) {
      ASSERT_LT(i, 1000) << "a timer that fires without end";
      now = std::max(now, session.next_timeout());
      session.on_timeout(now);
      session.validate();
      poll();
    }
    now = end;
  }

  // Pulls all control messages, `take` bytes at a time, and returns them as text.
  std::string sent(std::size_t take = SIZE_MAX) {
    pull(take);
    std::string out;
    std::span<const std::byte> left(out_);
    if (!heard_handshake_) {
      if (left.size() < wire::kHandshakeSize) return "";
      out = "handshake";
      heard_handshake_ = true;
      hello = wire::decode_handshake(left);
      left = left.subspan(wire::kHandshakeSize);
    }
    while (!left.empty()) {
      const wire::Decoded d = wire::decode_message(left, {});
      if (d.status != wire::DecodeStatus::ok) {
        ADD_FAILURE() << "the session sent what does not decode";
        break;
      }
      out += (out.empty() ? "" : ", ") + describe(d.message);
      last_sent = Bytes(left.begin(), left.begin() + d.size);
      if (d.message.id == MessageId::extended && d.message.extended_id == 0) {
        extension_handshake = last_sent;
      }
      left = left.subspan(d.size);
    }
    out_.clear();
    return out;
  }
  // The bytes themselves.
  Bytes sent_bytes() {
    pull(SIZE_MAX);
    return std::exchange(out_, {});
  }
  void pull(std::size_t take) {
    std::vector<std::byte> scratch(scratch_size);
    std::vector<SendPart> parts(parts_max);
    for (int i = 0; session.small_pending(); ++i) {
      ASSERT_LT(i, 100'000) << "small_pending without end";
      const SmallFill fill = session.fill_small(now, scratch, parts);
      Bytes bytes;
      for (std::size_t p = 0; p < fill.parts; ++p)
        bytes.insert(bytes.end(), parts[p].data, parts[p].data + parts[p].length);
      EXPECT_EQ(bytes.size(), fill.bytes);
      bytes.resize(std::min(take, bytes.size()));
      out_.insert(out_.end(), bytes.begin(), bytes.end());
      session.on_small_sent(now, bytes.size());
      session.validate();
      poll();
    }
  }

  Instant now = Instant{1'000'000'000};
  TestTorrent content;
  SessionShared shared;
  Session session;
  std::size_t scratch_size = 4096;
  std::size_t parts_max = 8;
  Bytes blocks, bits;                    // what `block` and `bitfield` events carried
  Bytes last_sent, extension_handshake;  // whole messages
  wire::Handshake hello;                 // our handshake

 private:
  std::string log_;
  Bytes out_;
  bool heard_handshake_ = false;
};

}  // namespace penstock::test
