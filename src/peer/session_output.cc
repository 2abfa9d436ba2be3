// What a session sends, made when it is pulled.
//
// What there is to say is kept as state (flags, queues, cursors), never as bytes. When the shard
// pulls, the most urgent of it is committed: it becomes an OutItem with a fixed length, in a short
// ring, and from then on is what comes next on the stream, however often it is written. An item
// leaves the ring when all its bytes were taken. Order: handshake, what we have, extensions, choke,
// rejects (BEP 6: after the CHOKE), changes of what we have, answers about hashes and metadata, the
// leecher's interest and requests; a keepalive only when there is nothing else.
#include "peer/hash_job.hh"
#include "peer/own_extensions.hh"
#include "peer/small_writer.hh"
#include "wire/extensions.hh"
#include "wire/peer_wire.hh"

namespace penstock {

namespace {

using wire::MessageId;

constexpr std::uint32_t kBlockMessageSize = 17;  // REQUEST, CANCEL, REJECT
constexpr std::uint32_t kBatchMax = 64;          // of them in one item
constexpr std::size_t kExtensionHandshakeMax = 512;
constexpr std::uint32_t kHaveSize = wire::kHeaderSize + 4;
constexpr std::uint32_t kDontHaveSize = wire::kExtendedHeaderSize + 4;

}  // namespace

bool Session::small_pending() const {
  return items_count_ > 0 || more_to_commit();
}

bool Session::more_to_commit() const {
  if (stage_ == Stage::closed || stage_ == Stage::idle) return false;
  if (handshake_due_) return true;
  if (stage_ != Stage::messages) return false;
  if (bitfield_due_ || extension_due_ || (keepalive_due_ && items_count_ == 0) || choke_due_ ||
      choked_ != told_choked_ || interested_ != told_interested_) {
    return true;
  }
  if (changes_count_ > 0 || sweep_ != kNoSweep || metadata_run_count_ > 0 ||
      metadata_reject_count_ > 0) {
    return true;
  }
  const Committed committed = this->committed();
  if (cancels_.size() > committed.cancels || (!committed.hashes && hash_reply_ready())) return true;
  return rejects_.size() > committed.rejects && (role_ == SessionRole::seed || !peer_choking_);
}

// Entries of the queues that items in the ring already stand for.
Session::Committed Session::committed() const {
  Committed sum;
  for (std::size_t i = 0; i < items_count_; ++i) {
    const OutItem& out = item(i);
    if (out.kind == OutKind::rejects || out.kind == OutKind::requests) sum.rejects += out.first;
    if (out.kind == OutKind::cancels) sum.cancels += out.first;
    sum.hashes |= out.kind == OutKind::hashes || out.kind == OutKind::hash_reject;
  }
  return sum;
}

void Session::commit(OutKind kind, std::uint32_t length, std::uint32_t first) {
  DCHECK(items_count_ < kOutItemsMax);
  items_[(items_head_ + items_count_) % kOutItemsMax] = {kind, length, first};
  ++items_count_;
}

// False: there is nothing more to say.
bool Session::commit_next() {
  if (stage_ == Stage::closed || stage_ == Stage::idle) return false;
  if (handshake_due_) {
    handshake_due_ = false;
    commit(OutKind::handshake, wire::kHandshakeSize);
    return true;
  }
  if (stage_ != Stage::messages) return false;
  return commit_state() || commit_queues();
}

bool Session::commit_state() {
  constexpr std::uint32_t kSimple = wire::kHeaderSize;
  if (bitfield_due_) {
    bitfield_due_ = false;
    const std::uint32_t pieces = torrent_->blocks.piece_count();
    if (role_ == SessionRole::leech) {
      commit(OutKind::have_none, kSimple);
    } else if (fast_ && torrent_->pieces->lost_count() == 0) {
      commit(OutKind::have_all, kSimple);
    } else {
      commit(OutKind::bitfield, kSimple + (pieces + 7) / 8);
    }
    return true;
  }
  if (extension_due_) {
    extension_due_ = false;
    std::array<std::byte, kExtensionHandshakeMax> bytes;
    commit(OutKind::extension_handshake,
           static_cast<std::uint32_t>(wire::kExtendedHeaderSize + encode_extensions(bytes)));
    return true;
  }
  if (choke_due_) {
    choke_due_ = false;
    told_choked_ = true;
    commit(OutKind::choke, kSimple);
    return true;
  }
  if (choked_ != told_choked_) {
    DCHECK(!choked_);
    told_choked_ = false;
    commit(OutKind::unchoke, kSimple);
    return true;
  }
  if (interested_ != told_interested_) {
    told_interested_ = interested_;
    commit(interested_ ? OutKind::interested : OutKind::not_interested, kSimple);
    return true;
  }
  return false;
}

bool Session::commit_queues() {
  const Committed committed = this->committed();
  const bool seed = role_ == SessionRole::seed;
  // Before new requests, which may be made at once in the room of the cancelled ones.
  if (cancels_.size() > committed.cancels) {
    const auto count = static_cast<std::uint32_t>(
        std::min<std::size_t>(cancels_.size() - committed.cancels, kBatchMax));
    commit(OutKind::cancels, count * kBlockMessageSize, count);
    return true;
  }
  const std::size_t queued = rejects_.size() - committed.rejects;
  if (queued > 0 && (seed || !peer_choking_)) {
    const auto count = static_cast<std::uint32_t>(std::min<std::size_t>(queued, kBatchMax));
    commit(seed ? OutKind::rejects : OutKind::requests, count * kBlockMessageSize, count);
    return true;
  }
  if (commit_piece_change()) return true;
  // One at a time: the answer's state is the front job's.
  if (!committed.hashes && hash_reply_ready()) {
    commit_hash_reply();
    return true;
  }
  if (commit_metadata()) return true;
  if (!keepalive_due_ || items_count_ > 0) return false;  // anything else says as much
  commit(OutKind::keepalive, wire::kPrefixSize);
  return true;
}

// ut_metadata (BEP 9): what can't be had first.
bool Session::commit_metadata() {
  if (metadata_reject_count_ == 0 && metadata_run_count_ == 0) return false;
  wire::MetadataMessage message;
  OutKind kind = OutKind::metadata_reject;
  if (metadata_reject_count_ > 0) {
    message.type = wire::MetadataType::reject;
    message.piece = metadata_rejects_[--metadata_reject_count_];
  } else {
    MetadataRun& run = metadata_runs_[0];
    kind = OutKind::metadata;
    message = metadata_message(*torrent_, run.first);
    ++run.first;
    if (--run.count == 0) {
      std::move(metadata_runs_.begin() + 1, metadata_runs_.end(), metadata_runs_.begin());
      --metadata_run_count_;
    }
  }
  std::array<std::byte, 64> bytes;
  const std::size_t size = wire::kExtendedHeaderSize + wire::encode_metadata(message, bytes);
  commit(kind, static_cast<std::uint32_t>(size + message.data.size()), message.piece);
  return true;
}

// HAVE and lt_donthave.
bool Session::commit_piece_change() {
  while (changes_count_ > 0) {
    const std::uint32_t change = changes_[changes_head_];
    changes_head_ = (changes_head_ + 1) % kPieceChangesMax;
    --changes_count_;
    const std::uint32_t piece = change & ~kLostFlag;
    if ((change & kLostFlag) == 0) {
      commit(OutKind::have, kHaveSize, piece);
      return true;
    }
    if (peer_dont_have_id_ == 0) continue;
    commit(OutKind::dont_have, kDontHaveSize, piece);
    return true;
  }
  return commit_sweep();
}

// A run of pieces that are all lost or all here. To repeat what the peer knows does no harm.
bool Session::commit_sweep() {
  while (sweep_ != kNoSweep) {
    const std::uint32_t first = sweep_;
    const bool here = torrent_->pieces->offered(PieceIndex(first));
    while (sweep_ < sweep_end_ && sweep_ - first < kBatchMax &&
           torrent_->pieces->offered(PieceIndex(sweep_)) == here) {
      ++sweep_;
    }
    const std::uint32_t count = sweep_ - first;
    if (sweep_ >= sweep_end_) sweep_ = kNoSweep;
    if (here && sweep_back_) {
      commit(OutKind::have, count * kHaveSize, first);
      return true;
    }
    if (!here && sweep_lost_ && peer_dont_have_id_ != 0) {
      commit(OutKind::dont_have, count * kDontHaveSize, first);
      return true;
    }
  }
  return false;
}

SmallFill Session::fill_small(Instant now, std::span<std::byte> scratch,
                              std::span<SendPart> parts) {
  ASSERT(scratch.size() >= kSmallScratchMin && !parts.empty());
  if (stage_ == Stage::idle || stage_ == Stage::closed) return {};
  now_ = now;
  Writer writer(scratch, parts);
  writer.skip(out_offset_);
  SmallFill fill;
  for (std::size_t i = 0; !writer.full(); ++i) {
    if (i == items_count_ && (items_count_ == kOutItemsMax || !commit_next())) break;
    write_item(writer, item(i));
  }
  fill.parts = writer.part_count();
  fill.bytes = writer.bytes();
  fill.complete = !writer.full() && !more_to_commit();
  return fill;
}

void Session::on_small_sent(Instant now, std::size_t bytes) {
  if (bytes == 0 || stage_ == Stage::closed) return;
  note_sent(now);
  out_offset_ += static_cast<std::uint32_t>(bytes);
  while (items_count_ > 0 && out_offset_ >= item(0).length) {
    const OutItem done = item(0);
    out_offset_ -= done.length;
    items_head_ = static_cast<std::uint8_t>((items_head_ + 1) % kOutItemsMax);
    --items_count_;
    finish_item(done);
  }
  ASSERT(items_count_ > 0 || out_offset_ == 0);  // no more than was filled
  if (items_count_ == 0 || item(0).kind != OutKind::requests) return;
  // The first of several may be answered before the last is sent.
  OutItem& batch = items_[items_head_];
  const std::uint32_t whole = out_offset_ / kBlockMessageSize;
  note_requests_sent(whole);
  if (stage_ == Stage::closed) return;
  batch.first -= whole;
  batch.length -= whole * kBlockMessageSize;
  out_offset_ -= whole * kBlockMessageSize;
}

// They are outstanding now.
void Session::note_requests_sent(std::uint32_t count) {
  SessionPages& pages = shared_->pages;
  for (; count > 0; --count) {
    const Request request = rejects_.front(pages);
    rejects_.pop(pages);
    if (!requests_.push(pages, request)) return close(CloseReason::no_resources);
    // A CHOKE crossed it, which without BEP 6 answers it.
    if (peer_choking_ && !fast_) ++forget_count_;
  }
}

void Session::finish_item(const OutItem& done) {
  SessionPages& pages = shared_->pages;
  switch (done.kind) {
    case OutKind::rejects:
      for (std::uint32_t i = 0; i < done.first; ++i)
        rejects_.pop(pages);
      break;
    case OutKind::requests:
      note_requests_sent(done.first);
      break;
    case OutKind::cancels:
      for (std::uint32_t i = 0; i < done.first; ++i)
        cancels_.pop(pages);
      break;
    case OutKind::hashes:
    case OutKind::hash_reject:
      finish_hash_job();
      break;
    default:
      break;
  }
}

void Session::write_item(Writer& writer, const OutItem& out) {
  switch (out.kind) {
    case OutKind::handshake:
      return writer.put(
          wire::encode_handshake({.capabilities = {.extended = shared_->limits.extensions,
                                                   .fast = shared_->limits.fast,
                                                   .v2 = torrent_->has_v2},
                                  .info_hash = info_hash_,
                                  .peer_id = shared_->limits.peer_id}));
    case OutKind::bitfield:
      return write_bitfield(writer);
    case OutKind::have_all:
      return writer.put(wire::encode_simple(MessageId::have_all));
    case OutKind::have_none:
      return writer.put(wire::encode_simple(MessageId::have_none));
    case OutKind::extension_handshake: {
      std::array<std::byte, kExtensionHandshakeMax> bytes;
      const std::size_t size = encode_extensions(bytes);
      writer.put(wire::encode_extended_header(0, static_cast<std::uint32_t>(size)));
      return writer.put(std::span(bytes).first(size));
    }
    case OutKind::choke:
      return writer.put(wire::encode_simple(MessageId::choke));
    case OutKind::unchoke:
      return writer.put(wire::encode_simple(MessageId::unchoke));
    case OutKind::interested:
      return writer.put(wire::encode_simple(MessageId::interested));
    case OutKind::not_interested:
      return writer.put(wire::encode_simple(MessageId::not_interested));
    case OutKind::have:
      for (std::uint32_t i = 0; i < out.length / kHaveSize && !writer.full(); ++i) {
        if (!writer.skips(kHaveSize))
          writer.put(wire::encode_index(MessageId::have, PieceIndex(out.first + i)));
      }
      return;
    case OutKind::dont_have:
      for (std::uint32_t i = 0; i < out.length / kDontHaveSize && !writer.full(); ++i) {
        if (writer.skips(kDontHaveSize)) continue;
        writer.put(wire::encode_extended_header(peer_dont_have_id_, 4));
        writer.put(wire::encode_dont_have(PieceIndex(out.first + i)));
      }
      return;
    case OutKind::rejects:
    case OutKind::requests:
    case OutKind::cancels:
      return write_queues(writer, out);
    case OutKind::metadata:
      return write_metadata(writer, metadata_message(*torrent_, out.first));
    case OutKind::metadata_reject:
      return write_metadata(writer, {.type = wire::MetadataType::reject, .piece = out.first});
    case OutKind::hashes:
      return write_hashes(writer, *hash_job(0));
    case OutKind::hash_reject:
      return writer.put(wire::encode_hash_header(MessageId::hash_reject, hash_job(0)->query));
    case OutKind::keepalive:
      return writer.put(wire::encode_keepalive());
  }
}

// Made from the states of the pieces as they are now: a piece lost since is told by lt_donthave.
void Session::write_bitfield(Writer& writer) const {
  const std::uint32_t pieces = torrent_->blocks.piece_count();
  const std::uint32_t size = (pieces + 7) / 8;
  writer.put(wire::encode_bitfield_header(size));
  for (std::uint32_t i = 0; i < size && !writer.full(); ++i) {
    if (writer.skips(1)) continue;
    unsigned bits = 0;
    const std::uint32_t end = std::min(pieces, 8 * i + 8);
    for (std::uint32_t piece = 8 * i; piece < end; ++piece) {
      if (torrent_->pieces->offered(PieceIndex(piece))) bits |= 0x80u >> (piece & 7);
    }
    const auto byte = static_cast<std::byte>(bits);
    writer.put({&byte, 1});
  }
}

void Session::write_metadata(Writer& writer, const wire::MetadataMessage& message) const {
  std::array<std::byte, 64> bytes;
  const std::size_t size = wire::encode_metadata(message, bytes);
  writer.put(wire::encode_extended_header(peer_metadata_id_,
                                          static_cast<std::uint32_t>(size + message.data.size())));
  writer.put(std::span(bytes).first(size));
  writer.refer(message.data);
}

// Items of one kind stand for consecutive entries: `out` for those after the earlier items'.
void Session::write_queues(Writer& writer, const OutItem& out) const {
  std::uint32_t before = 0;
  for (std::size_t i = 0; &item(i) != &out; ++i) {
    if (item(i).kind == out.kind) before += item(i).first;
  }
  const RequestQueue& queue = out.kind == OutKind::cancels ? cancels_ : rejects_;
  const MessageId id = out.kind == OutKind::cancels   ? MessageId::cancel
                       : out.kind == OutKind::rejects ? MessageId::reject_request
                                                      : MessageId::request;
  queue.for_front(shared_->pages, before + out.first, [&](const Request& r) {
    if (before > 0) {
      --before;
      return true;
    }
    if (!writer.skips(kBlockMessageSize)) {
      writer.put(wire::encode_block(id, r.piece, r.begin, r.length));
    }
    return !writer.full();
  });
}

std::size_t Session::encode_extensions(std::span<std::byte> out) const {
  const SessionLimits& limits = shared_->limits;
  wire::ExtensionHandshake handshake;
  handshake.ids = kOwnExtensionIds;
  handshake.client = "Penstock/" PENSTOCK_VERSION;
  handshake.request_queue = limits.requests_max;
  handshake.your_ip = remote_.ip;
  if (limits.listen_port != 0) handshake.port = limits.listen_port;
  if (torrent_->info_bytes.empty()) {
    handshake.ids.ut_metadata = 0;
  } else {
    handshake.metadata_size = static_cast<std::uint32_t>(torrent_->info_bytes.size());
  }
  handshake.upload_only = role_ == SessionRole::seed;
  return wire::encode_extension_handshake(handshake, out);
}

}  // namespace penstock
