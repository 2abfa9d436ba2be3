// One session against an arbitrary peer and an arbitrary but lawful shard, with time: whatever the
// bytes, its invariants hold, what it sends decodes, its timers move on, and no page is lost.
//
// Input: a byte of options, then steps of an opcode and its operands.
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "base/assert.hh"
#include "base/random.hh"
#include "crypto/merkle.hh"
#include "peer/session.hh"
#include "swarm/hash_forest.hh"
#include "wire/extensions.hh"
#include "wire/peer_wire.hh"

namespace {

using namespace penstock;
using wire::MessageId;

constexpr std::uint32_t kPieceSize = 64 * 1024;

// A hybrid of one file of 6 pieces.
struct Content {
  Content() : states(6, PieceState::verified), info(20'000), leaves(22) {
    Random random(3);
    MerkleHasher hasher;
    for (Sha256Digest& d : leaves) {
      for (std::byte& b : d.bytes)
        b = static_cast<std::byte>(random.next());
    }
    const std::uint64_t size = 5 * kPieceSize + kBlockSize + 9;
    const MerkleShape shape = MerkleShape::of(size, kPieceSize);
    std::vector<Sha256Digest> layer;
    for (std::size_t i = 0; i < leaves.size(); i += 4) {
      layer.push_back(hasher.root_of_piece(
          shape, std::span(leaves).subspan(i, std::min<std::size_t>(4, leaves.size() - i))));
    }
    root = hasher.root_of_piece_layer(shape, layer);
    const HashForest::File file{.root = root, .length = size, .piece_layer = layer};
    forest = std::make_unique<HashForest>(std::span(&file, 1), kPieceSize);
    torrent.hash_list[0].bytes.fill(std::byte{0x11});
    torrent.hash_list[1].bytes.fill(std::byte{0x22});
    torrent.hash_count = 2;
    torrent.has_v2 = true;
    torrent.blocks = {.total_size = size, .piece_size = kPieceSize};
    torrent.pieces = &states;
    torrent.info_bytes = info;
    torrent.forest = forest.get();
  }
  PieceStates states;
  std::vector<std::byte> info;
  std::vector<Sha256Digest> leaves;
  Sha256Digest root;
  std::unique_ptr<HashForest> forest;
  Torrent torrent;
};

class Run {
 public:
  explicit Run(std::span<const std::uint8_t> input)
      : input_(input),
        options_(byte()),
        shared_(limits(options_), (options_ & 1) != 0 ? 3 : 32),
        leech_((options_ & 2) != 0) {
    for (std::uint32_t i = 0; i < 6; ++i)
      content_.states.set(PieceIndex(i), PieceState::verified);
    session_.open(now_, shared_, leech_ ? SessionRole::leech : SessionRole::seed, {}, leech_,
                  leech_ ? &content_.torrent : nullptr);
  }

  void all() {
    while (!input_.empty() && !session_.closed())
      step();
    for (int i = 0; i < 100 && !session_.closed(); ++i)
      pump(SIZE_MAX);
    session_.validate();
    session_.reset();
    ASSERT(shared_.pages.free_count() == shared_.pages.count());
  }

 private:
  static SessionLimits limits(std::uint8_t options) {
    SessionLimits limits;
    limits.peer_id.fill(std::byte{'x'});
    limits.fast = (options & 4) == 0;
    limits.extensions = (options & 8) == 0;
    limits.requests_max = 20;
    limits.requests_excess_max = 30;
    limits.messages_burst = 100;
    limits.unknown_burst = 20;
    return limits;
  }
  std::uint8_t byte() {
    if (input_.empty()) return 0;
    const std::uint8_t b = input_.front();
    input_ = input_.subspan(1);
    return b;
  }
  std::uint32_t word() {
    std::uint32_t w = 0;
    for (int i = 0; i < 4; ++i)
      w = w << 8 | byte();
    return w;
  }
  // Mostly a number that means something, sometimes any.
  std::uint32_t piece() {
    const std::uint8_t b = byte();
    return b < 240 ? b % 6u : word();
  }
  Request request() {
    const PieceIndex p(piece());
    const std::uint8_t b = byte();
    if (b < 200) return {p, b % 4u * kBlockSize, b % 5u == 0 ? 1 + b : 9u};
    const std::uint32_t begin = word();
    return {p, begin, word()};
  }

  void step() {
    switch (byte() % 16) {
      case 0:
      case 1:
        return feed_raw();
      case 2:
      case 3:
      case 4:
      case 5:
      case 6:
        return feed_message();
      case 7:
        return feed_handshake();
      case 8:
      case 9:
        return pump(1 + byte() * 3u);
      case 10:
        return take_requests();
      case 11:
        return end_request();
      case 12:
        return pass();
      case 13:
        return shard_call();
      case 14:
        return answer_leaves();
      default:
        return leech_ ? ask() : feed_message();
    }
  }

  void feed(std::span<const std::byte> bytes) {
    session_.on_data(now_, bytes);
    poll();
  }
  // In one or in two parts.
  void feed_split(std::span<const std::byte> bytes) {
    const std::size_t cut = std::min<std::size_t>(byte(), bytes.size());
    feed(bytes.first(cut));
    feed(bytes.subspan(cut));
  }
  void feed_raw() {
    const std::size_t size = std::min<std::size_t>(byte(), input_.size());
    const auto bytes = std::as_bytes(input_.first(size));
    input_ = input_.subspan(size);
    feed(bytes);
  }
  void feed_handshake() {
    const std::uint8_t b = byte();
    wire::Handshake handshake{.capabilities = {.extended = (b & 1) != 0, .fast = (b & 2) != 0},
                              .info_hash = content_.torrent.hash_list[(b & 4) != 0],
                              .peer_id = {}};
    if ((b & 0xf8) == 0xf8) handshake.info_hash = {};
    feed_split(wire::encode_handshake(handshake));
  }
  void feed_message() {
    const auto id = static_cast<MessageId>(byte() % 25);
    std::vector<std::byte> bytes;
    const auto add = [&bytes](std::span<const std::byte> more) {
      bytes.insert(bytes.end(), more.begin(), more.end());
    };
    switch (id) {
      case MessageId::choke:
      case MessageId::unchoke:
      case MessageId::interested:
      case MessageId::not_interested:
      case MessageId::have_all:
      case MessageId::have_none:
        add(wire::encode_simple(id));
        break;
      case MessageId::have:
      case MessageId::suggest_piece:
      case MessageId::allowed_fast:
        add(wire::encode_index(id, PieceIndex(piece())));
        break;
      case MessageId::bitfield: {
        add(wire::encode_bitfield_header(1));
        bytes.push_back(static_cast<std::byte>(byte()));
        break;
      }
      case MessageId::request:
      case MessageId::cancel:
      case MessageId::reject_request: {
        const Request r = !asked_.empty() && (byte() & 1) != 0 ? asked_.front() : request();
        add(wire::encode_block(id, r.piece, r.begin, r.length));
        break;
      }
      case MessageId::piece: {
        Request r = request();
        if (!asked_.empty()) {
          r = asked_.front();
          asked_.pop_front();
        }
        r.length = std::min(r.length, kBlockSize + 1);
        add(wire::encode_piece_header(r.piece, r.begin, r.length));
        bytes.resize(bytes.size() + r.length);
        break;
      }
      case MessageId::extended:
        return feed_extended();
      case MessageId::hash_request: {
        wire::HashQuery q{.pieces_root = content_.root};
        const std::uint8_t b = byte();
        q.base_layer = b % 3;
        q.index = b >> 2 & 7;
        q.length = 1u << (b >> 5);
        q.proof_layers = byte() % 8;
        if (b == 0xff) q.length = word();
        if (b == 0xfe) q.index = word();
        add(wire::encode_hash_header(id, q));
        break;
      }
      default:
        bytes.resize(5 + byte());
        store_be32(bytes.data(), static_cast<std::uint32_t>(bytes.size() - 4));
        bytes[4] = static_cast<std::byte>(id);
    }
    feed_split(bytes);
  }
  void feed_extended() {
    std::array<std::byte, 512> payload{};
    std::size_t size = 0;
    const std::uint8_t b = byte();
    std::uint8_t id = b % 10;
    if (id == 0) {
      size = wire::encode_extension_handshake(
          {.ids = {.ut_metadata = byte(), .ut_pex = 0, .upload_only = 3, .lt_donthave = byte()},
           .client = {},
           .request_queue = 1u + byte(),
           .upload_only = (b & 0x80) != 0},
          payload);
    } else if (id == 7) {
      store_be32(payload.data(), piece());
      size = 4;
    } else if (id == 2) {
      size = wire::encode_metadata({.type = static_cast<wire::MetadataType>(byte() % 3),
                                    .piece = byte() % 4u,
                                    .total_size = 20'000,
                                    .data = {}},
                                   payload);
    } else {
      size = byte();
    }
    std::vector<std::byte> bytes;
    const auto head = wire::encode_extended_header(id, static_cast<std::uint32_t>(size));
    bytes.insert(bytes.end(), head.begin(), head.end());
    bytes.insert(bytes.end(), payload.begin(), payload.begin() + static_cast<std::ptrdiff_t>(size));
    feed_split(bytes);
  }

  void pump(std::size_t most) {
    std::array<std::byte, kSmallScratchMin> scratch;
    std::array<SendPart, 2> parts;
    const bool pending = session_.small_pending();
    const SmallFill fill = session_.fill_small(now_, scratch, parts);
    ASSERT(pending || fill.bytes == 0);
    // The same again.
    const SmallFill again = session_.fill_small(now_, scratch, parts);
    ASSERT(again.bytes == fill.bytes && again.parts == fill.parts);
    const std::size_t taken = std::min(most, fill.bytes);
    std::size_t left = taken;
    for (std::size_t i = 0; i < fill.parts && left > 0; ++i) {
      const std::size_t size = std::min<std::size_t>(left, parts[i].length);
      sent_.insert(sent_.end(), parts[i].data, parts[i].data + size);
      left -= size;
    }
    session_.on_small_sent(now_, taken);
    poll();
    read_sent();
  }
  // What was sent is a handshake, and then messages.
  void read_sent() {
    std::span<const std::byte> left(sent_);
    if (!greeted_) {
      if (left.size() < wire::kHandshakeSize) return;
      ASSERT(wire::classify_opening(left) == wire::Opening::bittorrent);
      greeted_ = true;
      left = left.subspan(wire::kHandshakeSize);
    }
    for (;;) {
      const wire::Decoded d = wire::decode_message(left, {});
      ASSERT(d.status == wire::DecodeStatus::ok || d.status == wire::DecodeStatus::need_more);
      if (d.status == wire::DecodeStatus::need_more) break;
      ASSERT(d.message.known);
      left = left.subspan(d.size);
    }
    sent_.assign(left.begin(), left.end());
  }

  void take_requests() {
    if (leech_ || session_.closed()) return;
    for (std::uint8_t n = byte() % 8; n > 0 && session_.request_count() > 0; --n) {
      const Request front = session_.request_front();
      window_.push_back(session_.pop_request());
      ASSERT(window_.back() == front);
      ASSERT(content_.torrent.blocks.contains(front.piece, front.begin, front.length));
      ASSERT(front.length <= kBlockSize);
    }
  }
  void end_request() {
    if (window_.empty() || session_.closed()) return;
    const Request r = window_.front();
    window_.pop_front();
    if (byte() % 4 != 0) {
      session_.on_block_sent(now_);
    } else if (!session_.reject(now_, r)) {
      session_.drop_request();
    }
    poll();
  }
  void pass() {
    const std::uint8_t b = byte();
    now_ = now_ + Duration::milliseconds(b < 128 ? b : (b - 127) * 1000);
    if (session_.next_timeout() <= now_) {
      session_.on_timeout(now_);
      ASSERT(session_.next_timeout() > now_);
    }
    poll();
  }
  void shard_call() {
    const PieceIndex p(byte() % 6u);
    switch (byte() % 8) {
      case 0:
      case 1:
        session_.set_choked(now_, false);
        break;
      case 2:
        session_.set_choked(now_, true);
        break;
      case 3:
        content_.states.set(p, PieceState::lost);
        session_.on_piece_lost(now_, p);
        break;
      case 4:
        content_.states.set(p, PieceState::verified);
        session_.on_piece_recovered(now_, p);
        break;
      case 5:
        session_.set_send_blocked(now_, true);
        break;
      case 6:
        session_.set_send_blocked(now_, false);
        break;
      default:
        if (byte() == 77) session_.close(CloseReason::shutdown);
    }
    poll();
  }
  void answer_leaves() {
    if (!leaves_wanted_ || session_.closed()) return;
    leaves_wanted_ = false;
    const std::uint8_t b = byte();
    if (b % 4 == 0) {
      session_.refuse_leaf_hashes(now_);
    } else {
      const std::size_t first = b % 4 == 1 ? 1 : leaf_piece_.value * 4;
      leaves_given_ = true;
      session_.on_leaf_hashes(
          now_, std::span(content_.leaves)
                    .subspan(first, std::min<std::size_t>(4, content_.leaves.size() - first)));
    }
    poll();
  }
  void ask() {
    const std::uint8_t b = byte();
    if ((b & 1) != 0) session_.set_interested(now_, (b & 2) != 0);
    const Request r{PieceIndex(b >> 2 & 3), byte() * 64u, 100u + b};
    if ((b & 0x80) != 0 && !asked_.empty()) {
      session_.cancel(now_, asked_.back());
    } else if (session_.request(now_, r)) {
      asked_.push_back(r);
    }
    poll();
  }

  void poll() {
    SessionEvent e;
    while (session_.poll_event(e)) {
      ASSERT(!closed_told_);
      switch (e.kind) {
        case SessionEvent::Kind::info_hash:
          if (content_.torrent.answers_to(e.info_hash)) {
            session_.accept_torrent(now_, &content_.torrent);
          }
          break;
        case SessionEvent::Kind::closed:
          closed_told_ = true;
          break;
        case SessionEvent::Kind::leaf_hashes:
          ASSERT(!leaves_wanted_ && !leaves_given_ && e.piece.value < 6);
          leaves_wanted_ = true;
          leaf_piece_ = e.piece;
          break;
        case SessionEvent::Kind::leaf_hashes_done:
          ASSERT(leaves_given_);
          leaves_given_ = false;
          break;
        case SessionEvent::Kind::block:
          ASSERT(leech_ && e.offset + e.data.size() <= e.request.length);
          break;
        default:
          break;
      }
    }
    ASSERT(session_.closed() == closed_told_);
    session_.validate();
  }

  static inline Content content_;
  std::span<const std::uint8_t> input_;
  std::uint8_t options_;
  SessionShared shared_;
  bool leech_;
  Session session_;
  Instant now_{1'000'000'000};
  std::vector<std::byte> sent_;
  std::deque<Request> window_, asked_;
  PieceIndex leaf_piece_;
  bool greeted_ = false, closed_told_ = false, leaves_wanted_ = false, leaves_given_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Run({data, size}).all();
  return 0;
}
